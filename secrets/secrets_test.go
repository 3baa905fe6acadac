package secrets_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/secrets"
	"github.com/skep-gitops/skep/secrets/sopstest"
)

// canary is the value that must be seen nowhere but in a plaintext.
const canary = "c4n4ry-Pa$$w0rd"

// tenant is a keyring and the recipient that files are encrypted for.
type tenant struct {
	*secrets.Keyring
	recipient string
}

func newTenant(tb testing.TB) tenant {
	tb.Helper()
	id, recipient := sopstest.Identity(tb)
	k, err := secrets.New(id)
	if err != nil {
		tb.Fatal(err)
	}
	return tenant{k, recipient}
}

// read opens one file through k's lens.
func read(k *secrets.Keyring, name string, content []byte) (string, []string, error) {
	f, err := k.FS(fstest.MapFS{name: {Data: content}}).Open(name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return "", nil, err
	}
	if s, ok := f.(interface{ Secrets() []string }); ok {
		return string(b), s.Secrets(), nil
	}
	return string(b), nil, nil
}

// refused says that err is a *DecryptError inside a *fs.PathError, shows no
// canary, and has the wanted words.
func refused(t *testing.T, err error, words ...string) *secrets.DecryptError {
	t.Helper()
	var d *secrets.DecryptError
	var p *fs.PathError
	if !errors.As(err, &d) || !errors.As(err, &p) {
		t.Fatalf("got %T %v, want a *DecryptError in a *fs.PathError", err, err)
	}
	j, jerr := json.Marshal(d)
	if jerr != nil {
		t.Fatal(jerr)
	}
	shown := fmt.Sprintf("%v %+v %#v %v %+v %#v %s", err, err, err, d, d, d, j)
	for _, leak := range []string{canary, "c4n4ry", "AGE-SECRET-KEY"} {
		if strings.Contains(shown, leak) {
			t.Errorf("the error shows %q: %s", leak, shown)
		}
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	return d
}

func TestEveryFormat(t *testing.T) {
	me := newTenant(t)
	cases := []struct {
		about, name, plain, want string
		secrets                  []string
	}{
		{"yaml with comments, nesting, empty values and types", "compose.yaml", `# a stack
services:
    web:
        image: web # inline
        environment:
            PASSWORD: ` + canary + `
            EMPTY: ""
            TEXT: |-
                first line
                second line
            COLON: 'a: b'
        ports: [8080, 9090]
        ratio: 1.50
        on: true
        nothing: null
        plain_unencrypted: kept
`, `# a stack
services:
    web:
        # inline
        image: web
        environment:
            PASSWORD: ` + canary + `
            EMPTY: ""
            TEXT: |-
                first line
                second line
            COLON: 'a: b'
        ports:
            - 8080
            - 9090
        ratio: 1.5
        "on": true
        nothing: null
        plain_unencrypted: kept
`, []string{" a stack", "a stack", " inline", "inline", "web", canary, "first line\nsecond line", "|-\n    first line\n    second line", "a: b", "'a: b'", "8080", "9090", "1.5", "true", "True"}},
		{"yaml of two documents", "two.yml", "a: " + canary + "\n---\nb: other-value\n", "a: " + canary + "\n---\nb: other-value\n", []string{canary, "other-value"}},
		{"json", "app.json", `{"a": {"b": ["` + canary + `", 1, true, null, 0.5, ""]}, "c": "x\"y"}`,
			"{\n\t\"a\": {\n\t\t\"b\": [\n\t\t\t\"" + canary + "\",\n\t\t\t1,\n\t\t\ttrue,\n\t\t\tnull,\n\t\t\t0.5,\n\t\t\t\"\"\n\t\t]\n\t},\n\t\"c\": \"x\\\"y\"\n}\n",
			[]string{canary, "1", "true", "True", "0.5", `x"y`, `x\"y`}},
		{"dotenv", ".env", "# who\nUSER=me\nPASSWORD=\"" + canary + "\"\nEMPTY=\n", "# who\nUSER=me\nPASSWORD=\"" + canary + "\"\nEMPTY=\n",
			[]string{" who", "who", "me", `"` + canary + `"`, canary}},
		{"dotenv by its first part", ".env.production", "PASSWORD=" + canary + "\n", "PASSWORD=" + canary + "\n", []string{canary}},
		{"dotenv by its extension", "sub/production.env", "PASSWORD=" + canary + "\n", "PASSWORD=" + canary + "\n", []string{canary}},
		{"ini", "my.ini", "[client]\nuser     = me\npassword = " + canary + "\n", "[client]\nuser     = me\npassword = " + canary + "\n", []string{"me", canary}},
		{"binary", "tls.key", "\x00\x01" + canary + "\n", "\x00\x01" + canary + "\n", []string{"\x00\x01" + canary + "\n"}},
		{"binary of nothing known", "password", canary, canary, []string{canary}},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			format := c.name
			if c.name == ".env.production" {
				format = "dotenv"
			}
			sealed := sopstest.Encrypt(t, format, []byte(c.plain), me.recipient)
			if bytes.Contains(sealed, []byte(canary)) {
				t.Fatalf("the file is not encrypted:\n%s", sealed)
			}
			got, values, err := read(me.Keyring, c.name, sealed)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, strings.Replace(got, "[DEFAULT]\n", "", 1)); diff != "" {
				t.Errorf("plaintext (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.secrets, values); diff != "" {
				t.Errorf("secrets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesThatSopsReadsDifferently(t *testing.T) {
	me := newTenant(t)
	sealed := sopstest.Encrypt(t, "binary", []byte("PASSWORD="+canary+"\n"), me.recipient)
	for _, name := range []string{".env.production", "SECRETS.YAML", "app.ini"} {
		got, _, err := read(me.Keyring, name, sealed)
		if want := "PASSWORD=" + canary + "\n"; got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	for name, format := range map[string]string{"secrets.txt": "yaml", "secrets": "dotenv", "conf.d": "ini", "data": "json", "x.json": "yaml"} {
		plain := map[string]string{"json": `{"a": "` + canary + `"}`, "yaml": "a: " + canary, "dotenv": "A=" + canary, "ini": "[s]\na = " + canary}[format]
		_, _, err := read(me.Keyring, name, sopstest.Encrypt(t, format, []byte(plain), me.recipient))
		refused(t, err, name)
		t.Log(err)
	}
}

func TestPlainFilesPassUnchanged(t *testing.T) {
	ring := newTenant(t).Keyring
	for name, content := range map[string]string{
		"compose.yaml":     "services: {web: {image: web}}\r\n# end",
		"sops-key.yaml":    "sops: true\nmac: 12:34\n",
		"sops-map.yaml":    "sops:\n    version: 3.13.3\n    lastmodified: yesterday\n",
		".sops.yaml":       "creation_rules:\n    - age: age1qqq\n",
		"sops.json":        `{"sops": {"version": "3.13.3"}, "x": 1}`,
		"broken.yaml":      "a: [\nsops: {",
		"broken.json":      `{"sops":`,
		"README.md":        "sops writes ENC[AES256_GCM,data:…,iv:…] and a mac; lastmodified is in its block.\n",
		"app.env":          "SOPS_AGE_KEY_FILE=/x\nsops_dir=/y\n",
		"empty":            "",
		"picture.png":      "\x89PNG\r\n\x1a\n\x00\xff",
		"conf.ini":         "[sops]\nuser = me\n",
		"raw.age":          "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
		"six-megabytes.db": strings.Repeat("sops mac ENC[", 6<<20/13),
	} {
		for about, k := range map[string]*secrets.Keyring{"ring": ring, "empty ring": {}} {
			got, values, err := read(k, name, []byte(content))
			if got != content || values != nil || err != nil {
				t.Errorf("%s, %s: got %.60q, %q, %v", about, name, got, values, err)
			}
			b, err := fs.ReadFile(k.FS(fstest.MapFS{name: {Data: []byte(content)}}), name)
			if string(b) != content || err != nil {
				t.Errorf("%s, %s: ReadFile got %.60q, %v", about, name, b, err)
			}
		}
	}
}

func TestKeysOfOthers(t *testing.T) {
	mine, other := newTenant(t), newTenant(t)
	sealed := sopstest.Encrypt(t, "yaml", []byte("a: "+canary), other.recipient)
	_, _, err := read(mine.Keyring, "db.yaml", sealed)
	d := refused(t, err, "db.yaml", mine.recipient, other.recipient, "sops updatekeys")
	want := &secrets.DecryptError{File: "db.yaml", Recipients: []string{other.recipient}, Held: []string{mine.recipient}, Text: d.Text}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, _, err = read(&secrets.Keyring{}, "db.yaml", sealed)
	refused(t, err, "no age key", "age_key_file", other.recipient)

	both := sopstest.Encrypt(t, "yaml", []byte("a: "+canary), other.recipient, mine.recipient)
	for _, k := range []tenant{mine, other} {
		if got, _, err := read(k.Keyring, "db.yaml", both); got != "a: "+canary+"\n" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestEnvironmentIsIgnored(t *testing.T) {
	id, recipient := sopstest.Identity(t)
	mine := newTenant(t)
	ran := t.TempDir() + "/ran"
	t.Setenv("SOPS_AGE_KEY", string(id))
	t.Setenv("SOPS_AGE_KEY_CMD", "touch "+ran)
	t.Setenv("SOPS_AGE_SSH_PRIVATE_KEY_CMD", "touch "+ran)
	sealed := sopstest.Encrypt(t, "binary", []byte(canary), recipient)
	for _, k := range []*secrets.Keyring{mine.Keyring, {}} {
		_, _, err := read(k, "password", sealed)
		refused(t, err, recipient)
	}
	if _, err := os.Stat(ran); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a command of the environment was run: %v", err)
	}
}

func TestCacheDoesNotCrossKeyrings(t *testing.T) {
	mine, other := newTenant(t), newTenant(t)
	sealed := sopstest.Encrypt(t, "binary", []byte(canary), mine.recipient)
	for range 2 {
		if got, _, err := read(mine.Keyring, "a", sealed); got != canary || err != nil {
			t.Fatalf("got %q, %v", got, err)
		}
		_, _, err := read(other.Keyring, "a", sealed)
		refused(t, err)
	}
}

func TestKeyRotation(t *testing.T) {
	old, oldRecipient := sopstest.Identity(t)
	fresh, freshRecipient := sopstest.Identity(t)
	both, err := secrets.New(old, fresh)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{oldRecipient, freshRecipient} {
		if got, _, err := read(both, "p", sopstest.Encrypt(t, "binary", []byte(canary), r)); got != canary || err != nil {
			t.Errorf("%s: got %q, %v", r, got, err)
		}
	}
	one, err := secrets.New(append(old, fresh...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(both.Recipients(), one.Recipients()); diff != "" || len(one.Recipients()) != 2 {
		t.Errorf("two keys in one text and in two differ:\n%s", diff)
	}
}
