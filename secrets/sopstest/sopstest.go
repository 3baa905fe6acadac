// Package sopstest encrypts files for tests, in process, as the sops command
// would. It is for tests only and keeps no key.
package sopstest

import (
	"path"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
)

// Identity makes an age key pair: the private part as it stands in a keys.txt,
// and its recipient.
func Identity(tb testing.TB) (identity []byte, recipient string) {
	tb.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		tb.Fatalf("generate an age identity: %v", err)
	}
	return []byte("# created for a test\n" + id.String() + "\n"), id.Recipient().String()
}

// Encrypt gives plaintext encrypted for the recipients. The format is "yaml",
// "json", "dotenv", "ini" or "binary", or a file name that ends as sops expects
// it for one of these.
func Encrypt(tb testing.TB, format string, plaintext []byte, recipients ...string) []byte {
	tb.Helper()
	return EncryptWith(tb, format, plaintext, func(m *sops.Metadata) {
		m.KeyGroups = []sops.KeyGroup{Group(tb, recipients...)}
	})
}

// EncryptWith is Encrypt with metadata of the caller's choice; edit sets at
// least the key groups.
func EncryptWith(tb testing.TB, format string, plaintext []byte, edit func(*sops.Metadata)) []byte {
	tb.Helper()
	s := store(format)
	branches, err := s.LoadPlainFile(plaintext)
	if err != nil {
		tb.Fatalf("read %s to encrypt: %v", format, err)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		LastModified:      time.Now().UTC(),
		UnencryptedSuffix: sops.DefaultUnencryptedSuffix,
		Version:           "3.13.3",
	}}
	edit(&tree.Metadata)
	service := []keyservice.KeyServiceClient{keyservice.NewLocalClient()}
	key, errs := tree.GenerateDataKeyWithKeyServices(service)
	if len(errs) > 0 {
		tb.Fatalf("encrypt the data key: %v", errs)
	}
	out, err := seal(s, tree, key)
	if err != nil {
		tb.Fatalf("encrypt %s: %v", format, err)
	}
	return out
}

func seal(s sops.Store, tree sops.Tree, key []byte) ([]byte, error) {
	c := aes.NewCipher()
	mac, err := tree.Encrypt(key, c)
	if err != nil {
		return nil, err
	}
	tree.Metadata.MessageAuthenticationCode, err = c.Encrypt(mac, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil {
		return nil, err
	}
	return s.EmitEncryptedFile(tree)
}

// Group is a key group of age recipients.
func Group(tb testing.TB, recipients ...string) sops.KeyGroup {
	tb.Helper()
	var g sops.KeyGroup
	for _, r := range recipients {
		k, err := sopsage.MasterKeyFromRecipient(r)
		if err != nil {
			tb.Fatalf("recipient %s: %v", r, err)
		}
		g = append(g, k)
	}
	return g
}

func store(format string) sops.Store {
	c := config.NewStoresConfig()
	switch strings.TrimPrefix(extension(format), ".") {
	case "yaml", "yml":
		return yaml.NewStore(&c.YAML)
	case "json":
		return json.NewStore(&c.JSON)
	case "dotenv", "env":
		return dotenv.NewStore(&c.Dotenv)
	case "ini":
		return ini.NewStore(&c.INI)
	}
	return json.NewBinaryStore(&c.JSONBinary)
}

func extension(format string) string {
	if ext := path.Ext(format); ext != "" {
		return ext
	}
	return format
}
