package stack

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad looks for panics, for findings without a file, and for files that
// are opened outside the tree.
func FuzzLoad(f *testing.F) {
	cases, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range cases {
		c := readFuzzSeed(f, file)
		f.Add(c["s/compose.yml"], c["s/.env"])
	}
	f.Fuzz(func(t *testing.T, text, env string) {
		if len(text) > 4096 {
			return
		}
		fsys := watched{t, fstest.MapFS{
			"s/compose.yml": {Data: []byte(text)}, "s/.env": {Data: []byte(env)},
			"s/a.env": {Data: []byte("A=1\n")}, "s/inc.yml": {Data: []byte("services: {inc: {image: x}}")},
		}}
		defs, err := Discover(fsys, Options{Tenant: "t"})
		if err != nil || len(defs) != 1 {
			t.Fatalf("%v, %v", defs, err)
		}
		_, err = load(fsys, defs[0], Options{Tenant: "t"})
		if err == nil {
			return
		}
		var r *RenderError
		if !errors.As(err, &r) || len(r.Findings) == 0 {
			t.Fatalf("%T without findings: %v", err, err)
		}
		for _, finding := range r.Findings {
			if finding.File == "" || finding.Text == "" || strings.ContainsAny(finding.Text, "\x1b\n") {
				t.Errorf("bad finding %q", finding)
			}
			if strings.Contains(finding.Text, "a value has a form that can't be read") {
				t.Errorf("compose-go panicked: %v", finding)
			}
		}
	})
}

// readFuzzSeed gives the files of an archive.
func readFuzzSeed(f *testing.F, file string) map[string]string {
	f.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		f.Fatal(err)
	}
	c := map[string]string{}
	for _, part := range archive.Files {
		c[part.Name] = string(part.Data)
	}
	return c
}

// watched fails the test when a path that is no path of a tree is opened.
type watched struct {
	t    *testing.T
	fsys fs.FS
}

func (w watched) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		w.t.Errorf("opened %q", name)
	}
	return w.fsys.Open(name)
}
