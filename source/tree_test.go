package source

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/skep-gitops/skep/source/gittest"
)

// snapshot commits a change to a repository of its own and fetches it.
func snapshot(t testing.TB, c gittest.Change) FS {
	t.Helper()
	repo := gittest.NewRepo(t)
	repo.Commit(c)
	return fetch(t, open(t, Remote{URL: repo.URL()}), "").FS
}

func sub(t testing.TB, fsys FS, dir string) FS {
	t.Helper()
	s, err := fsys.Sub(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.(FS)
}

func TestTreeIsAFileSystem(t *testing.T) {
	t.Parallel()
	fsys := snapshot(t, gittest.Change{
		Write:  map[string]string{"a/b/c.txt": "c", "a/b.txt": "b", "a-b": "1", "empty": "", "a/Upper": "U", "a/upper": "u", ".gitmodules": "x", "ü/ö": "ö"},
		Exec:   map[string]string{"run.sh": "#!"},
		Link:   map[string]string{"link": "a/b/c.txt", "dirlink": "a/b", "a/b/to-c": "c.txt"},
		Module: map[string]string{"module": strings.Repeat("1", 40)},
	})
	if err := fstest.TestFS(fsys, "a/b/c.txt", "a/b.txt", "a-b", "empty", "run.sh", "ü/ö", "module", "link", "dirlink"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(sub(t, fsys, "a"), "b/c.txt", "b.txt", "Upper", "upper"); err != nil {
		t.Error(err)
	}
	content(t, fsys, "link", "c")
	content(t, fsys, "dirlink/c.txt", "c")
	content(t, fsys, "dirlink/to-c", "c")
	content(t, fsys, "a/Upper", "U")
	for name, want := range map[string]fs.FileMode{
		".": fs.ModeDir | 0o555, "a": fs.ModeDir | 0o555, "module": fs.ModeDir | 0o555, "dirlink": fs.ModeDir | 0o555, "run.sh": 0o555, "a-b": 0o444, "link": 0o444,
	} {
		if i, err := fsys.Stat(name); err != nil || i.Mode() != want {
			t.Errorf("%s: mode %v, %v, want %v", name, i.Mode(), err, want)
		}
	}
	if list, err := fsys.ReadDir("module"); err != nil || len(list) != 0 {
		t.Errorf("a submodule lists %v, %v", list, err)
	}
	if _, err := fsys.Open("module/file"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "submodule") {
		t.Errorf("in a submodule: %v", err)
	}
	for _, name := range []string{"a-b/x", "run.sh/x/y"} {
		if _, err := fsys.Open(name); err == nil {
			t.Errorf("%s: opened below a file", name)
		}
	}
	if _, err := fsys.ReadDir("a-b"); err == nil {
		t.Error("a file was listed")
	}
	if _, err := fsys.ReadFile("a"); err == nil {
		t.Error("a folder was read as a file")
	}
	if _, err := fsys.Sub("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sub of nothing: %v", err)
	}
}

func TestInvalidPathsAreRefused(t *testing.T) {
	t.Parallel()
	fsys := snapshot(t, gittest.Change{Write: map[string]string{"a/f": "1"}})
	for _, name := range []string{"..", "../a", "a/../a/f", "/a", "a/", "", "a//f", "./a", "a/f\x00", "\x00"} {
		for op, do := range map[string]func(string) error{
			"open":    func(n string) error { _, err := fsys.Open(n); return err },
			"stat":    func(n string) error { _, err := fsys.Stat(n); return err },
			"read":    func(n string) error { _, err := fsys.ReadFile(n); return err },
			"readdir": func(n string) error { _, err := fsys.ReadDir(n); return err },
			"sub":     func(n string) error { _, err := fsys.Sub(n); return err },
			"hash":    func(n string) error { _, err := fsys.Hash(n); return err },
		} {
			var p *fs.PathError
			if err := do(name); !errors.Is(err, fs.ErrInvalid) || !errors.As(err, &p) {
				t.Errorf("%s %q: %v, want fs.ErrInvalid in a *fs.PathError", op, name, err)
			}
		}
	}
	for _, name := range []string{`..\a`, `a\f`, "%2e%2e", "．．/a", "C:/a", "A/f"} {
		if _, err := fsys.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, want fs.ErrNotExist", name, err)
		}
	}
}

func TestSymlinksStayInside(t *testing.T) {
	t.Parallel()
	root := snapshot(t, gittest.Change{
		Write: map[string]string{"secret": "s", "tenant/in/f": "f", "tenant/g": "g", "other/h": "h"},
		Link: map[string]string{
			"tenant/ok":          "in/f",
			"tenant/in/ok":       "../g",
			"tenant/dots":        "in/.././in//f",
			"tenant/chain":       "in/ok",
			"tenant/dir":         "in",
			"tenant/self":        ".",
			"tenant/up":          "../secret",
			"tenant/up-none":     "../none",
			"tenant/in/up":       "../../other/h",
			"tenant/back":        "../tenant/g",
			"tenant/abs":         "/etc/passwd",
			"tenant/abs-none":    "/none",
			"tenant/none-up":     "none/../../secret",
			"tenant/dir-up":      "dir/../../secret",
			"tenant/parent":      "..",
			"tenant/chain-up":    "up",
			"tenant/loop":        "loop",
			"tenant/loop-a":      "loop-b",
			"tenant/loop-b":      "loop-a",
			"tenant/dangling":    "none",
			"tenant/in/deep":     "../dir/../g",
			"tenant/hop":         "in/hop",
			"tenant/in/hop":      "../../secret",
			"tenant/through-abs": "abs/x",
		},
	})
	tenant := sub(t, root, "tenant")
	for name, want := range map[string]string{"ok": "f", "in/ok": "g", "dots": "f", "chain": "g", "dir/f": "f", "dir/ok": "g", "self/self/g": "g", "in/deep": "g"} {
		content(t, tenant, name, want)
	}
	for _, name := range []string{"up", "up-none", "in/up", "back", "abs", "abs-none", "none-up", "dir-up", "parent", "parent/secret", "chain-up", "up/x", "hop", "dir/hop", "through-abs"} {
		for op, do := range map[string]func(string) error{
			"open":    func(n string) error { _, err := tenant.Open(n); return err },
			"stat":    func(n string) error { _, err := tenant.Stat(n); return err },
			"read":    func(n string) error { _, err := tenant.ReadFile(n); return err },
			"readdir": func(n string) error { _, err := tenant.ReadDir(n); return err },
			"sub":     func(n string) error { _, err := tenant.Sub(n); return err },
			"hash":    func(n string) error { _, err := tenant.Hash(n); return err },
		} {
			err := do(name)
			var escape *EscapeError
			var p *fs.PathError
			if !errors.As(err, &escape) || !errors.As(err, &p) {
				t.Errorf("%s %s: %v, want an *EscapeError in a *fs.PathError", op, name, err)
				continue
			}
			if errors.Is(err, fs.ErrNotExist) || escape.Path != path.Join("tenant", name) {
				t.Errorf("%s %s: %v tells too much or names %s", op, name, err, escape.Path)
			}
		}
	}
	// the target's existence shows nowhere
	_, there := tenant.Open("up")
	_, none := tenant.Open("up-none")
	if strings.ReplaceAll(there.Error(), "up", "X") != strings.ReplaceAll(none.Error(), "up-none", "X") {
		t.Errorf("%q and %q differ", there, none)
	}
	for _, name := range []string{"loop", "loop-a"} {
		if _, err := tenant.Open(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := tenant.Open("dangling"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling: %v", err)
	}
	// from the root, what stays in the repository is inside
	content(t, root, "tenant/up", "s")
	content(t, root, "tenant/back", "g")
	content(t, root, "tenant/parent/tenant/hop", "s")
	// through a link, the boundary is where it leads to
	in := sub(t, tenant, "dir")
	if _, err := in.Open("ok"); !errors.As(err, new(*EscapeError)) {
		t.Errorf("above the boundary: %v", err)
	}
	// listing shows links, and walking does not follow them
	var walked []string
	if err := fs.WalkDir(tenant, ".", func(p string, _ fs.DirEntry, err error) error { walked = append(walked, p); return err }); err != nil {
		t.Error(err)
	}
	if slices.Contains(walked, "dir/f") || !slices.Contains(walked, "dir") || !slices.Contains(walked, "up") {
		t.Errorf("walked %v", walked)
	}
}

func TestHashSaysWhatChanged(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	m := open(t, Remote{URL: repo.URL()})
	repo.Commit(gittest.Change{
		Write: map[string]string{"a/f": "1", "b/f": "1", "c/f": "2", "shared/x": "1", "e/f": "1"},
		Link:  map[string]string{"d/f": "../shared/x", "d/loop": "..", "d/none": "gone", "l": "a/f", "e2": "e"},
	})
	one := fetch(t, m, "").FS
	hash := func(fsys FS, name string) string {
		t.Helper()
		h, err := fsys.Hash(name)
		if err != nil || h == "" {
			t.Fatalf("hash of %s: %q, %v", name, h, err)
		}
		return h
	}
	if hash(one, "a") != hash(one, "b") || hash(one, "a") == hash(one, "c") {
		t.Error("folders: equal content and equal hashes do not go together")
	}
	if hash(one, "l") != hash(one, "a/f") || hash(one, "e2") != hash(one, "e") {
		t.Error("symlinks are not followed")
	}
	if hash(one, ".") == hash(one, "a") {
		t.Error("the root has the hash of a folder")
	}
	repo.Write(map[string]string{"shared/x": "2"})
	two := fetch(t, m, "").FS
	if hash(one, "d") == hash(two, "d") {
		t.Error("a folder's hash does not see what its symlink leads to")
	}
	if hash(one, "a") != hash(two, "a") {
		t.Error("the hash of an untouched folder changed")
	}
	repo.Commit(gittest.Change{Exec: map[string]string{"a/f": "1"}})
	three := fetch(t, m, "").FS
	if hash(two, "a/f") == hash(three, "a/f") {
		t.Error("the mode is not in the hash")
	}
	if a, b := hash(one, "a"), hash(sub(t, one, "a"), "."); a != b {
		t.Errorf("hash of a folder %s, as its own root %s", a, b)
	}
	_, err := one.Hash("none")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hash of nothing: %v", err)
	}
}

// FuzzSymlink holds every path through every symlink to what is inside.
func FuzzSymlink(f *testing.F) {
	for _, s := range [][2]string{{"in/f", "l"}, {"../secret", "l"}, {"/etc", "l/passwd"}, {"in/../../secret", "l"}, {"..", "l/secret"}, {"l", "l"}, {".", "l/l/in/f"}, {"in", "in/l/../l"}, {"//", "l"}, {"in/back/../..", "l/secret"}} {
		f.Add(s[0], s[1])
	}
	m := &Open("", Remote{URL: "file:///fuzz"}, Limits{}).mirror
	home := f.TempDir()
	f.Fuzz(func(t *testing.T, target, name string) {
		if target == "" || len(target) > 200 || len(name) > 200 {
			return
		}
		folder, err := newFolder(home, m.limits)
		if err != nil {
			t.Fatal(err)
		}
		defer folder.remove()
		put := func(kind plumbing.ObjectType, data []byte) plumbing.Hash {
			t.Helper()
			h, err := folder.git.SetEncodedObject(memory(kind, data))
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		blob := func(s string) plumbing.Hash { return put(plumbing.BlobObject, []byte(s)) }
		dir := func(entries ...object.TreeEntry) plumbing.Hash {
			t.Helper()
			o := &plumbing.MemoryObject{}
			if err := (&object.Tree{Entries: entries}).Encode(o); err != nil {
				t.Fatal(err)
			}
			h, err := folder.git.SetEncodedObject(o)
			if err != nil {
				t.Fatal(err)
			}
			return h
		}
		link := object.TreeEntry{Name: "l", Mode: filemode.Symlink, Hash: blob(target)}
		in := dir(
			object.TreeEntry{Name: "back", Mode: filemode.Symlink, Hash: blob("..")},
			object.TreeEntry{Name: "f", Mode: filemode.Regular, Hash: blob("inside")}, link)
		root := dir(
			object.TreeEntry{Name: "secret", Mode: filemode.Regular, Hash: blob("outside")},
			object.TreeEntry{Name: "tenant", Mode: filemode.Dir, Hash: dir(object.TreeEntry{Name: "in", Mode: filemode.Dir, Hash: in}, link)})
		m.store.now = folder
		tenant, err := (&tree{m: m, root: root, base: "."}).Sub("tenant")
		if err != nil {
			t.Fatal(err)
		}
		data, err := fs.ReadFile(tenant, name)
		if err == nil && string(data) != "inside" {
			t.Fatalf("%q through %q: %q", name, target, data)
		}
		var p *fs.PathError
		if err != nil && !errors.As(err, &p) {
			t.Fatalf("%q through %q: %v is no *fs.PathError", name, target, err)
		}
		var e *Error
		if errors.As(err, &e) {
			t.Fatalf("%q through %q: %v blames the local copy", name, target, err)
		}
		list, err := fs.ReadDir(tenant, name)
		for _, e := range list {
			if err == nil && e.Name() == "secret" {
				t.Fatalf("%q through %q lists what is outside", name, target)
			}
		}
	})
}
