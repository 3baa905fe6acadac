package stack

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzRender looks for panics, for findings that name no place, and for two
// renderings of one tree that differ.
func FuzzRender(f *testing.F) {
	cases, err := filepath.Glob("testdata/convert/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range cases {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "stack.yml" {
				f.Add(string(part.Data), "1.41")
				f.Add(string(part.Data), "")
			}
		}
	}
	f.Fuzz(func(t *testing.T, text, api string) {
		if len(text) > 4096 {
			return
		}
		fsys := fstest.MapFS{"stack.yml": {Data: []byte(text)}, "f": {Data: []byte("x")}}
		def := Definition{Tenant: "acme", Name: "shop", Dir: ".", Files: []string{"stack.yml"}}
		one, err := Render(fsys, def, Options{API: api})
		two, again := Render(fsys, def, Options{API: api})
		// compose-go reports one error of several, and not always the same one
		if !reflect.DeepEqual(one, two) || (err == nil) != (again == nil) {
			t.Fatalf("two renderings differ:\n%v, %v\n%v, %v", one, err, two, again)
		}
		findings := one.Warnings
		var refused *RenderError
		switch {
		case errors.As(err, &refused):
			findings = refused.Findings
		case err != nil:
			t.Fatalf("%T: %v", err, err)
		}
		for _, found := range findings {
			if found.File == "" || found.Text == "" || strings.ContainsAny(found.Text, "\x1b\n") {
				t.Errorf("bad finding %q", found)
			}
		}
	})
}
