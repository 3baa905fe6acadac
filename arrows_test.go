package skep_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/skep-gitops/skep/"

// arrows are the imports between rooms that docs/design.md draws, and no others.
// What lies below a room (its test servers, say) belongs to it.
func arrows() map[string][]string {
	return map[string][]string{
		"alerting": {},
		"secrets":  {},
		"source":   {},
		"stack":    {},
		"deploy":   {"stack"},
		"operator": {"source", "secrets", "stack", "deploy", "alerting"},
		"web":      {"operator"},
		"cmd":      {"web", "operator", "source", "secrets", "stack", "deploy", "alerting"},
	}
}

// tests, programs for people and tools may look into every room.
func outside(room string) bool {
	return slices.Contains([]string{"e2e", "bench", "examples", "internal"}, room)
}

func TestRoomsImportOnlyAsDesigned(t *testing.T) {
	for _, f := range files(t, parser.ImportsOnly) {
		room, _, _ := strings.Cut(f.name, "/")
		allowed, known := arrows()[room]
		if !known && !outside(room) {
			t.Errorf("%s: %s is no room of docs/design.md", f.name, room)
		}
		for _, i := range f.syntax.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			target, ours := strings.CutPrefix(p, module)
			other, _, _ := strings.Cut(target, "/")
			switch {
			case !ours || other == room || outside(room):
			case isTest(f.name) && known && !slices.Contains([]string{"cmd", "web", "e2e"}, other):
				// A test may bring two rooms together as the operator does.
			case !slices.Contains(allowed, other):
				t.Errorf("%s: imports %s; %s may import %v", f.name, p, room, allowed)
			}
		}
	}
}

// isTest: test files, and the packages that exist for tests.
func isTest(name string) bool {
	return strings.HasSuffix(name, "_test.go") || strings.HasSuffix(path.Dir(name), "test")
}

// Only operator, web and cmd log; the rooms below return values.
func TestRoomsBelowDoNotLog(t *testing.T) {
	for _, f := range files(t, parser.ImportsOnly) {
		room, _, _ := strings.Cut(f.name, "/")
		if !slices.Contains([]string{"source", "secrets", "stack", "deploy", "alerting"}, room) || isTest(f.name) {
			continue
		}
		for _, i := range f.syntax.Imports {
			if i.Path.Value == `"log"` {
				t.Errorf("%s: imports log", f.name)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := map[string]bool{}
	for _, f := range files(t, parser.ParseComments|parser.PackageClauseOnly) {
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		dir := path.Dir(f.name)
		documented[dir] = documented[dir] || hasDoc(f.syntax)
	}
	if len(documented) < 8 {
		t.Fatalf("only %d packages found", len(documented))
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}

// hasDoc says whether a file has a package comment in the usual form.
func hasDoc(f *ast.File) bool {
	text := f.Doc.Text()
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ") || (f.Name.Name == "main" && strings.HasPrefix(text, "Command "))
}

type file struct {
	name   string // slash path from the module's root
	syntax *ast.File
}

// files parses every Go file of the module, nested modules left out.
func files(t *testing.T, mode parser.Mode) []file {
	t.Helper()
	var out []file
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return skipped(name)
		}
		if !strings.HasSuffix(name, ".go") || name == "arrows_test.go" {
			return nil
		}
		syntax, err := parser.ParseFile(set, name, nil, mode)
		if err != nil {
			return err
		}
		out = append(out, file{filepath.ToSlash(name), syntax})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// skipped leaves out folders that are no part of the module.
func skipped(dir string) error {
	base := filepath.Base(dir)
	if dir != "." && (strings.HasPrefix(base, ".") || base == "testdata" || dir == "bin" || dir == "tmp") {
		return fs.SkipDir
	}
	if nested, err := filepath.Glob(filepath.Join(dir, "go.mod")); dir != "." && (err != nil || len(nested) > 0) {
		return fs.SkipDir
	}
	return nil
}
