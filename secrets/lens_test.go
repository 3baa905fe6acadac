package secrets_test

import (
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/skep-gitops/skep/secrets/sopstest"
)

// hashed is a file system with a Hash, as a commit's tree has it.
type hashed struct{ fstest.MapFS }

func (hashed) Hash(name string) (string, error) { return "hash of " + name, nil }

func (h hashed) Sub(dir string) (fs.FS, error) {
	sub, err := h.MapFS.Sub(dir)
	return hashedSub{sub, dir}, err
}

type hashedSub struct {
	fs.FS
	dir string
}

func (h hashedSub) Hash(name string) (string, error) { return "hash of " + h.dir + "/" + name, nil }

func TestLensPassesThrough(t *testing.T) {
	me := newTenant(t)
	files := fstest.MapFS{
		"web/compose.yaml": {Data: []byte("services: {}\n"), Mode: 0o640},
		"web/db.yaml":      {Data: sopstest.Encrypt(t, "yaml", []byte("a: "+canary), me.recipient), Mode: 0o600},
		"top":              {Data: []byte("x")},
	}
	if err := fstest.TestFS(me.FS(fstest.MapFS{"web/compose.yaml": files["web/compose.yaml"], "top": files["top"]}), "web/compose.yaml", "top"); err != nil {
		t.Error(err)
	}
	if _, ok := me.FS(files).(interface{ Hash(string) (string, error) }); ok {
		t.Error("a Hash appeared from nowhere")
	}
	sub, err := fs.Sub(me.FS(hashed{files}), "web")
	if err != nil {
		t.Fatal(err)
	}
	got, err := sub.(interface{ Hash(string) (string, error) }).Hash("db.yaml")
	if got != "hash of web/db.yaml" || err != nil {
		t.Errorf("Hash below Sub: %q, %v", got, err)
	}
	want := "a: " + canary + "\n"
	info, err := fs.Stat(sub, "db.yaml")
	if err != nil || info.Size() != int64(len(want)) || info.Mode() != 0o600 || info.Name() != "db.yaml" {
		t.Errorf("Stat: %v, %v", info, err)
	}
	b, err := fs.ReadFile(sub, "db.yaml")
	if string(b) != want || err != nil {
		t.Errorf("ReadFile: %q, %v", b, err)
	}
	clear(b)
	if b, err = fs.ReadFile(sub, "db.yaml"); string(b) != want || err != nil {
		t.Errorf("a reader changed what the next one reads: %q, %v", b, err)
	}
	entries, err := fs.ReadDir(sub, ".")
	if len(entries) != 2 || err != nil {
		t.Errorf("ReadDir: %v, %v", entries, err)
	}
	if _, err := fs.Stat(sub, "absent"); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
}

// What sops has to say of odd files goes into the error, not to standard error:
// the test runs itself and looks at what came out there.
func TestNothingIsLogged(t *testing.T) {
	if os.Getenv("SECRETS_TEST_CHILD") != "" {
		readOddFile(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestNothingIsLogged$")
	child.Env = append(os.Environ(), "SECRETS_TEST_CHILD=1")
	var stderr strings.Builder
	child.Stderr = &stderr
	if out, err := child.Output(); err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("standard error: %s", stderr.String())
	}
}

// readOddFile reads a file with a comment in plain text, which sops warns of.
func readOddFile(t *testing.T) {
	me := newTenant(t)
	sealed := sopstest.Encrypt(t, "yaml", []byte("a: 1\n"), me.recipient)
	got, _, err := read(me.Keyring, "a.yaml", append([]byte("# "+canary+"\n"), sealed...))
	if want := "# " + canary + "\na: 1\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
