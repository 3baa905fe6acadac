package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// world is a folder on disk: tenant/ is what a stack may read, outside.txt and
// neighbour/ are what it may not.
func world(t *testing.T) (tenant fs.FS, write func(name, text string), link func(target, name string)) {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write = func(name, text string) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	link = func(target, name string) {
		t.Helper()
		must(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		must(os.Symlink(strings.ReplaceAll(target, "DIR", dir), filepath.Join(dir, name)))
	}
	write("outside.txt", "A="+outside)
	write("neighbour/x.yml", "services: {web: {image: "+outside+"}}")
	write("tenant/s/compose.yml", "services: {web: {image: x}}")
	root, err := os.OpenRoot(filepath.Join(dir, "tenant"))
	must(err)
	t.Cleanup(func() { root.Close() })
	return root.FS(), write, link
}

const outside = "planted-outside-the-tree"

// TestNoPathLeavesTheTree tries each way in which a stack names a file, with
// each way out of the tree, with and without something to find there.
func TestNoPathLeavesTheTree(t *testing.T) {
	uses := map[string]string{
		"env_file":        "services: {web: {image: x, env_file: PATH}}",
		"env_file list":   "services: {web: {image: x, env_file: [{path: PATH, required: false}]}}",
		"label_file":      "services: {web: {image: x, label_file: [PATH]}}",
		"secret":          "services: {web: {image: x}}\nsecrets: {s: {file: PATH}}",
		"config":          "services: {web: {image: x}}\nconfigs: {s: {file: PATH}}",
		"secret key":      "services: {web: {image: x}}\nsecrets: {s: {file: PATH, x-skep: {key: A}}}",
		"include":         "include: [PATH]\nservices: {web: {image: x}}",
		"include alias":   "x-i: &i [PATH]\ninclude: *i\nservices: {web: {image: x}}",
		"include merge":   "x-i: &i {include: [PATH]}\n<<: *i\nservices: {web: {image: x}}",
		"include mapping": "include: [{path: [PATH]}]\nservices: {web: {image: x}}",
		"extends":         "services: {web: {extends: {file: PATH, service: web}}}",
		"include nested":  "include: [nested.yml]\nservices: {web: {image: x}}",
		"extends nested":  "services: {web: {extends: {file: nestedbase.yml, service: web}}}",
	}
	ways := map[string]struct{ there, gone string }{
		"dots":               {"../../outside.txt", "../../nothing.txt"},
		"dots inside":        {"a/../../../outside.txt", "a/../../../nothing.txt"},
		"absolute":           {"/etc/passwd", "/etc/nothing"},
		"home":               {"~/.profile", "~/.nothing"},
		"symlink":            {"out", "dangling"},
		"absolute symlink":   {"absolute", "absdangling"},
		"symlinked folder":   {"folder/x.yml", "folder/none.yml"},
		"symlink to symlink": {"twice", "twicedangling"},
	}
	fsys, _, link := world(t)
	link("../../outside.txt", "tenant/s/out")
	link("../../nothing.txt", "tenant/s/dangling")
	link("DIR/outside.txt", "tenant/s/absolute")
	link("DIR/nothing.txt", "tenant/s/absdangling")
	link("../../neighbour", "tenant/s/folder")
	link("out", "tenant/s/twice")
	link("dangling", "tenant/s/twicedangling")
	for use, text := range uses {
		for way, paths := range ways {
			t.Run(use+" by "+way, func(t *testing.T) {
				there, gone := escapeText(t, fsys, text, paths.there), escapeText(t, fsys, text, paths.gone)
				if strings.ReplaceAll(there, path.Base(paths.there), "X") != strings.ReplaceAll(gone, path.Base(paths.gone), "X") {
					t.Errorf("the error tells whether the target exists:\n%s\n%s", there, gone)
				}
			})
		}
	}
}

// written is a tree on disk with some files of its own.
type written struct {
	fs.FS
	own fstest.MapFS
}

func (w written) Open(name string) (fs.File, error) {
	if w.own[name] != nil {
		return w.own.Open(name)
	}
	return w.FS.Open(name)
}

// escapeText loads a stack that names file and gives the error, which must be an
// *EscapeError.
func escapeText(t *testing.T, fsys fs.FS, text, file string) string {
	t.Helper()
	own := repo("s/compose.yml: "+strings.ReplaceAll(text, "PATH", "'"+file+"'"),
		"s/nested.yml: include: ['"+file+"']", "s/nestedbase.yml: services: {web: {extends: {file: '"+file+"', service: web}}}")
	_, err := loadFS(written{fsys, own})
	var escape *EscapeError
	if !errors.As(err, &escape) {
		t.Fatalf("%s: got %v, want an *EscapeError", file, err)
	}
	if strings.Contains(err.Error(), outside) || strings.Contains(err.Error(), os.TempDir()) {
		t.Errorf("the error shows what it should not: %v", err)
	}
	return err.Error()
}

func TestSymlinksThatStayInsideAreFollowed(t *testing.T) {
	fsys, write, link := world(t)
	write("tenant/shared/base.env", "A=1")
	link("../shared/base.env", "tenant/s/link.env")
	link("../shared", "tenant/s/folder")
	write("tenant/s/compose.yml", "services: {web: {image: x, env_file: [link.env]}}\nsecrets: {s: {file: folder/base.env}}")
	m, err := loadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.project.Services["web"].Environment["A"]; got == nil || *got != "1" || string(m.content["secrets.s"].data) != "A=1" {
		t.Errorf("got %v and %q", got, m.content["secrets.s"].data)
	}
}

func TestImplicitFilesAreConfined(t *testing.T) {
	for _, name := range []string{"tenant/.env", "tenant/s/.env", "tenant/p.env", "tenant/s/p.env", "tenant/s/compose.p.yml"} {
		fsys, _, link := world(t)
		link("DIR/outside.txt", name)
		o := Options{Environment: "p"}
		defs, err := Discover(fsys, o)
		i := slices.IndexFunc(defs, func(d Definition) bool { return d.Dir == "s" })
		if err != nil || i < 0 {
			t.Fatalf("%s: %v, %v", name, defs, err)
		}
		_, err = load(fsys, defs[i], o)
		var escape *EscapeError
		if !errors.As(err, &escape) || strings.Contains(err.Error(), outside) {
			t.Errorf("%s: got %v, want an *EscapeError", name, err)
		}
	}
}

func TestNoEnvIsReadBesideAnIncludedFile(t *testing.T) {
	fsys, write, link := world(t)
	link("DIR/outside.txt", "tenant/s/sub/.env")
	write("tenant/s/sub/inc.yml", "services: {inc: {image: 'x:${A:-none}'}}")
	write("tenant/s/compose.yml", "include: [sub/inc.yml]")
	m, err := loadFS(fsys)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.project.Services["inc"].Image; got != "x:none" {
		t.Errorf("got %s", got)
	}
}

func TestDiscoverReportsFoldersThatLeave(t *testing.T) {
	fsys, write, link := world(t)
	link("DIR/neighbour", "tenant/out")
	link("DIR/nothing", "tenant/outdangling")
	link("gone", "tenant/dangling")
	write("tenant/real/compose.yml", "services: {a: {image: x}}")
	link("real", "tenant/linked")
	link("loop", "tenant/loop")
	link("DIR/outside.txt", "tenant/README.md") // no stack could have these names
	link("DIR/neighbour", "tenant/Docs")
	link("DIR/outside.txt", "tenant/compose.yaml")
	defs, err := Discover(fsys, Options{Tenant: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range defs {
		var escape *EscapeError
		switch {
		case errors.As(d.Err, &escape):
			got = append(got, d.Name+" leaves")
			if d.Dir != "." && !strings.Contains(d.Err.Error(), "stacks:") {
				t.Errorf("%v does not say what to do", d.Err)
			}
		case d.Err != nil:
			got = append(got, d.Name+" fails")
		default:
			got = append(got, d.Name)
		}
	}
	if want := "linked loop fails out leaves outdangling leaves real s shop leaves"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

// FuzzConfine holds that no path leads out, whatever stands in it.
func FuzzConfine(f *testing.F) {
	for _, p := range []string{"a", "../a", "a/../../b", "/etc/passwd", "~/x", `..\x`, "C:/x", "a//b", "./.", "..", "%2e%2e/x", "a/\x00b", "https://x/y", "．．/x", ""} {
		f.Add("s/sub", p)
		f.Add(".", p)
	}
	f.Fuzz(func(t *testing.T, dir, p string) {
		if !fs.ValidPath(dir) || strings.ContainsAny(dir, "\\\x00") {
			return
		}
		got, err := confine(dir, p)
		if err == nil && (!fs.ValidPath(got) || strings.ContainsAny(got, "\\\x00") || !filepath.IsLocal(filepath.FromSlash(got))) {
			t.Errorf("%q in %q came to %q", p, dir, got)
		}
	})
}

// leaving is a tree all of whose files lead out of it, as a snapshot's tree tells it.
type leaving struct{ fs.FS }

type leads struct{ error }

func (leads) LeavesTree() {}

func (l leaving) Open(name string) (fs.File, error) {
	if name == "s/compose.yml" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: leads{errors.New("elsewhere")}}
	}
	return l.FS.Open(name)
}

func TestEscapeOfASnapshotsTree(t *testing.T) {
	t.Parallel()
	defs, err := Discover(leaving{repo("s/compose.yml")}, Options{})
	if err != nil || len(defs) != 1 {
		t.Fatal(defs, err)
	}
	var escape *EscapeError
	if got, want := fmt.Sprint(defs[0].Err), "s/compose.yml:1: path leaves the tenant's folder; keep a copy inside it"; got != want || !errors.As(defs[0].Err, &escape) {
		t.Errorf("got %v, want %s", defs[0].Err, want)
	}
}
