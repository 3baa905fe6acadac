package secrets_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/skep-gitops/skep/secrets"
	"github.com/skep-gitops/skep/secrets/sopstest"
)

func sshKey(t *testing.T, key any, passphrase string) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}

func TestIdentitiesThatWork(t *testing.T) {
	id, recipient := sopstest.Identity(t)
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for about, c := range map[string]struct {
		identity  []byte
		recipient string
	}{
		"age":                       {id, recipient},
		"age with Windows' lines":   {[]byte(strings.ReplaceAll("\n"+string(id), "\n", "\r\n")), recipient},
		"age with spaces around":    {[]byte("  " + strings.TrimSpace(strings.SplitAfter(string(id), "\n")[1]) + "  "), recipient},
		"age post-quantum":          {[]byte(hybrid.String()), hybrid.Recipient().String()},
		"ssh ed25519, as in id_rsa": {sshKey(t, private, ""), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPublic)))},
	} {
		k, err := secrets.New(c.identity)
		if err != nil {
			t.Errorf("%s: %v", about, err)
			continue
		}
		if got := k.Recipients(); len(got) != 1 || got[0] != c.recipient {
			t.Errorf("%s: recipients %q, want %q", about, got, c.recipient)
		}
		got, _, err := read(k, "p", sopstest.Encrypt(t, "binary", []byte(canary), c.recipient))
		if got != canary || err != nil {
			t.Errorf("%s: got %q, %v", about, got, err)
		}
	}
}

func TestIdentitiesThatAreRefused(t *testing.T) {
	id, recipient := sopstest.Identity(t)
	key := strings.TrimSpace(strings.SplitAfter(string(id), "\n")[1])
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for about, c := range map[string]struct {
		identity []byte
		words    string
	}{
		"nothing":             {nil, "holds no key"},
		"only comments":       {[]byte("# a\n\n"), "holds no key"},
		"a public key":        {[]byte(recipient), "line 1: is a public key"},
		"a plugin":            {[]byte("# x\nAGE-PLUGIN-X-1QQQ"), "line 2: plugin identities"},
		"a cut key":           {[]byte(key[:len(key)-3]), "line 1: is not a valid"},
		"a wrong character":   {[]byte(key[:20] + "!" + key[21:]), "line 1: is not a valid"},
		"a small letter":      {[]byte(key[:20] + "b" + key[21:]), "line 1: is not a valid"},
		"junk after the key":  {[]byte(key + " # mine"), "line 1: is not a valid"},
		"an encrypted one":    {[]byte("-----BEGIN AGE ENCRYPTED FILE-----\n"), "passphrase"},
		"ssh with passphrase": {sshKey(t, private, "x"), "passphrase"},
		"ssh ecdsa":           {sshKey(t, curve, ""), "ecdsa-sha2-nistp256"},
		"a certificate":       {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "no ssh private key"},
		"a very long line":    {[]byte(strings.Repeat("A", 1<<20)), "too long"},
		"two hundred":         {[]byte(strings.Repeat(key+"\n", 101)), "at most 100"},
	} {
		_, err := secrets.New(id, c.identity)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: got %v, want %q", about, err, c.words)
			continue
		}
		if strings.Contains(err.Error(), key[16:26]) || strings.Contains(err.Error(), "QQQ") {
			t.Errorf("%s: the error shows the key: %v", about, err)
		}
	}
}
