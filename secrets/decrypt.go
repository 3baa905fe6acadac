package secrets

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

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

// plaintext decrypts one encrypted file; name gives the format. The error is a
// *DecryptError.
func (k *keyring) plaintext(name string, content []byte) (*plain, error) {
	key := cacheKey{formatOf(name, content), sha256.Sum256(content)}
	if p := k.cache.get(key); p != nil {
		return p, nil
	}
	d := decryption{ids: k.ids, format: key.format, content: content}
	p, err := d.run()
	if err != nil {
		return nil, &DecryptError{File: name, Recipients: d.recipients(), Held: k.recipients, Text: err.Error()}
	}
	k.cache.put(key, p)
	return p, nil
}

// decryption is one file on its way from ciphertext to plaintext. Its errors are
// texts of our own: those of sops and of the parsers quote what they read.
type decryption struct {
	ids     sopsage.ParsedIdentities
	format  format
	content []byte
	tree    sops.Tree // set by load
}

func (d *decryption) run() (p *plain, err error) {
	// sops and the stores panic on some trees that only a hand-made file has.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, errors.New("has a structure that sops cannot read; encrypt it again")
		}
	}()
	if err := d.load(); err != nil {
		return nil, err
	}
	key, err := d.dataKey()
	if err != nil {
		return nil, err
	}
	values := &recorder{Cipher: aes.NewCipher()}
	if err := d.decrypt(key, values); err != nil {
		return nil, err
	}
	out, err := d.store().EmitPlainFile(d.tree.Branches)
	if err != nil {
		return nil, d.wrongFormat()
	}
	if encrypted(out) {
		return nil, errors.New("is encrypted twice; decrypt it once and encrypt the result")
	}
	return &plain{out, d.secrets(out, values.plain)}, nil
}

func (d *decryption) store() sops.Store {
	c := config.NewStoresConfig()
	switch d.format {
	case formatYAML:
		return yaml.NewStore(&c.YAML)
	case formatJSON:
		return json.NewStore(&c.JSON)
	case formatDotenv:
		return dotenv.NewStore(&c.Dotenv)
	case formatINI:
		return ini.NewStore(&c.INI)
	}
	return json.NewBinaryStore(&c.JSONBinary)
}

func (d *decryption) load() error {
	if err := checkSource(d.format, d.content); err != nil {
		return err
	}
	tree, err := d.store().LoadEncryptedFile(d.content)
	if errors.Is(err, sops.MetadataNotFound) {
		return d.noMetadata()
	}
	if err != nil {
		return d.unreadable(err)
	}
	d.tree = tree
	return checkTree(tree)
}

func (d *decryption) noMetadata() error {
	if f := blockFormat(d.content); f != "" && f != d.format {
		return d.wrongFormat()
	}
	return errors.New("holds sops ciphertext but no sops metadata: a part is missing; restore the file, or encrypt it again")
}

func (d *decryption) wrongFormat() error {
	f := blockFormat(d.content)
	if f == "" || f == d.format {
		return fmt.Errorf("does not hold what sops writes for %s files; encrypt it again", d.format)
	}
	extension := map[format]string{formatDotenv: "env"}[f]
	if extension == "" {
		extension = string(f)
	}
	return fmt.Errorf("is encrypted as %s, but its name says %s: give it a name that ends in .%s", f, d.format, extension)
}

var parserLine = regexp.MustCompile(`line (\d+)`)

// unreadable keeps of a parser's error nothing but the line.
func (d *decryption) unreadable(err error) error {
	if f := blockFormat(d.content); d.format == formatBinary && f != "" && f != formatJSON {
		return d.wrongFormat()
	}
	where := ""
	if m := parserLine.FindStringSubmatch(err.Error()); m != nil {
		where = " near line " + m[1]
	}
	return fmt.Errorf("is damaged%s: not the %s with a metadata block that sops writes; restore it, or encrypt it again", where, d.format)
}

func (d *decryption) dataKey() ([]byte, error) {
	if len(d.ids) == 0 {
		return nil, errors.New("is encrypted, but this tenant has no age key: give it one with age_key_file")
	}
	service := keyservice.NewCustomLocalClient(ageOnly{ids: d.ids})
	key, err := d.tree.Metadata.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{service}, []string{"age"})
	if err == nil {
		return key, nil
	}
	if n := len(d.tree.Metadata.KeyGroups); n > 1 {
		return nil, fmt.Errorf("needs keys of %d of its %d key groups and this tenant's open fewer: add its recipient to each in .sops.yaml and run `sops updatekeys`", max(d.tree.Metadata.ShamirThreshold, 1), n)
	}
	if len(ageKeys(d.tree.Metadata)) == 0 {
		return nil, errors.New("is encrypted for no age key, and other key services are not used: add this tenant's recipient to .sops.yaml and run `sops updatekeys`")
	}
	return nil, errors.New("cannot be opened with this tenant's age keys: add its recipient to .sops.yaml and run `sops updatekeys`")
}

func (d *decryption) decrypt(key []byte, values *recorder) error {
	mac, err := d.tree.Decrypt(key, values)
	if err != nil && values.err != nil {
		return values.err
	}
	if err != nil {
		return errors.New("holds a plain value where its rules ask for an encrypted one: it was changed without sops; edit it with `sops edit`")
	}
	m := d.tree.Metadata
	if m.MessageAuthenticationCode == "" {
		return errors.New("has lost its MAC: it was changed without sops; restore it, or encrypt it again")
	}
	stored, err := values.Cipher.Decrypt(m.MessageAuthenticationCode, key, m.LastModified.Format(time.RFC3339))
	if err != nil {
		return errors.New("has a MAC that cannot be read: it was changed without sops; restore it, or encrypt it again")
	}
	text, _ := stored.(string)
	if text == "" || subtle.ConstantTimeCompare([]byte(text), []byte(mac)) != 1 {
		return errors.New("does not match its MAC: a value was changed, moved or removed without sops; restore it, or use `sops edit`")
	}
	return nil
}

// recorder is sops' cipher, which also keeps what it decrypts and says at which
// key it failed.
type recorder struct {
	aes.Cipher
	plain []any
	err   error
}

// Decrypt opens one value; path is the keys that lead to it, each with a colon
// behind it.
func (r *recorder) Decrypt(ciphertext string, key []byte, path string) (any, error) {
	v, err := r.Cipher.Decrypt(ciphertext, key, path)
	if err != nil {
		r.err = valueError(ciphertext, path)
		return nil, err
	}
	if ciphertext != "" {
		r.plain = append(r.plain, v)
	}
	return v, nil
}

// Encrypt is never asked for.
func (r *recorder) Encrypt(any, []byte, string) (string, error) {
	return "", errors.New("encryption is not supported")
}

func valueError(ciphertext, path string) error {
	at := printable(strings.ReplaceAll(strings.TrimSuffix(path, ":"), ":", "."))
	if strings.HasPrefix(ciphertext, "ENC[") {
		return fmt.Errorf("is damaged at key %q: it was changed without sops; restore it, or use `sops edit`", at)
	}
	return fmt.Errorf("holds a plain value at key %q where its rules ask for an encrypted one: use `sops edit`", at)
}

// printable is s without control characters, cut to what fits a line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s[:min(len(s), 1000)])
	if r := []rune(s); len(r) > 120 {
		return string(r[:120]) + "…"
	}
	return s
}
