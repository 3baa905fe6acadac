package secrets

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/keyservice"
	"golang.org/x/crypto/ssh"
)

// maxIdentities bounds what one file's decryption can cost.
const maxIdentities = 100

// Keyring holds one tenant's age identities. The zero value holds none: it
// reads plain files and gives a *DecryptError for encrypted ones. It is safe for
// use by several goroutines.
type Keyring struct{ keyring }

type keyring struct {
	ids        sopsage.ParsedIdentities
	recipients []string // of ids, sorted, each once
	cache      cache
}

// New parses age identities as they stand in a keys.txt, or ssh private keys
// that age accepts. Plugin identities are refused: they run a program. So are
// those behind a passphrase: nobody is there to type it. An error names the
// argument, counted from 1, and the line, and quotes neither.
func New(identities ...[]byte) (*Keyring, error) {
	k := &Keyring{}
	for i, text := range identities {
		if err := k.add(text); err != nil {
			return nil, fmt.Errorf("age identity %d: %w", i+1, err)
		}
	}
	slices.Sort(k.recipients)
	k.recipients = slices.Compact(k.recipients)
	return k, nil
}

// Recipients are the public keys of the identities, sorted.
func (k *Keyring) Recipients() []string { return slices.Clone(k.recipients) }

func (k *keyring) add(text []byte) error {
	text = bytes.TrimSpace(text)
	switch {
	case bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE")), bytes.HasPrefix(text, []byte("age-encryption.org/")):
		return errors.New("is itself encrypted with a passphrase; give it decrypted")
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		return k.addSSH(text)
	}
	return k.addAge(text)
}

func (k *keyring) addSSH(pem []byte) error {
	signer, err := ssh.ParsePrivateKey(pem)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		return errors.New("ssh key has a passphrase; give one without")
	}
	if err != nil {
		return errors.New("is no ssh private key that can be read")
	}
	id, err := agessh.ParseIdentity(pem)
	if err != nil {
		return fmt.Errorf("ssh key type %s cannot be used with age; ed25519 and rsa can", signer.PublicKey().Type())
	}
	k.ids = append(k.ids, id)
	k.recipients = append(k.recipients, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))))
	return nil
}

func (k *keyring) addAge(text []byte) error {
	before := len(k.ids)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if len(k.ids) == maxIdentities {
			return fmt.Errorf("line %d: one identity too many, at most %d are read", n, maxIdentities)
		}
		id, recipient, err := parseIdentity(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		k.ids = append(k.ids, id)
		k.recipients = append(k.recipients, recipient)
	}
	if lines.Err() != nil {
		return errors.New("has a line that is too long")
	}
	if len(k.ids) == before {
		return errors.New("holds no key; it must have a line that starts with AGE-SECRET-KEY-")
	}
	return nil
}

// parseIdentity hides age's own errors: some of them quote characters of the key.
func parseIdentity(line string) (age.Identity, string, error) {
	if strings.HasPrefix(line, "AGE-PLUGIN-") {
		return nil, "", errors.New("plugin identities are not supported: they run a program")
	}
	if strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1") {
		if id, err := age.ParseHybridIdentity(line); err == nil {
			return id, id.Recipient().String(), nil
		}
	}
	if strings.HasPrefix(line, "AGE-SECRET-KEY-1") {
		if id, err := age.ParseX25519Identity(line); err == nil {
			return id, id.Recipient().String(), nil
		}
	}
	if strings.HasPrefix(line, "age1") {
		return nil, "", errors.New("is a public key; the private one is needed")
	}
	return nil, "", errors.New("is not a valid age identity (AGE-SECRET-KEY-…)")
}

// ageOnly is the one key service that sops is given. It opens data keys with
// the identities it holds and refuses every other kind of key, so that a file
// can neither name an address to call nor a program to run.
type ageOnly struct {
	keyservice.UnimplementedKeyServiceServer
	ids sopsage.ParsedIdentities
}

var _ keyservice.KeyServiceServer = ageOnly{}

var (
	errOtherKey = errors.New("not an age key")
	errNoKey    = errors.New("no age identity")
)

// Decrypt opens one data key.
func (s ageOnly) Decrypt(_ context.Context, r *keyservice.DecryptRequest) (*keyservice.DecryptResponse, error) {
	k, ok := r.GetKey().GetKeyType().(*keyservice.Key_AgeKey)
	if !ok {
		return nil, errOtherKey
	}
	// Without identities sops looks into the environment, files, ssh keys and
	// runs the command in SOPS_AGE_KEY_CMD.
	if len(s.ids) == 0 {
		return nil, errNoKey
	}
	mk := sopsage.MasterKey{Recipient: k.AgeKey.Recipient, EncryptedKey: string(r.Ciphertext)}
	s.ids.ApplyToMasterKey(&mk)
	p, err := mk.Decrypt()
	if err != nil {
		return nil, err
	}
	return &keyservice.DecryptResponse{Plaintext: p}, nil
}
