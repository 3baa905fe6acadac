package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	maxLinks  = 40   // symlinks on the way to one file, as Linux has it
	maxTarget = 4096 // bytes of a symlink
)

// tree is the FS of one commit, at root or below.
type tree struct {
	m      *mirror
	gen    int // of the folder that it was found in
	commit string
	when   time.Time
	root   plumbing.Hash
	base   string // where root is in the commit
}

var _ FS = (*tree)(nil)

// node is what a path leads to.
type node struct {
	mode filemode.FileMode
	hash plumbing.Hash
}

func (n node) dir() bool { return n.mode == filemode.Dir || n.mode == filemode.Submodule }

// Open opens a file or folder; symlinks are followed.
func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir() {
		list, err := t.list(name, n)
		if err != nil {
			return nil, err
		}
		return &openDir{info: t.info(name, n), list: list}, nil
	}
	data, err := t.read(name, n)
	if err != nil {
		return nil, err
	}
	return &openFile{Reader: bytes.NewReader(data), info: t.info(name, n)}, nil
}

// ReadFile reads a file up to the limit for one.
func (t *tree) ReadFile(name string) ([]byte, error) {
	n, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	if n.dir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	return t.read(name, n)
}

// ReadDir lists a folder by name. Symlinks are shown as such; submodules are
// empty folders.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.dir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	return t.list(name, n)
}

// Stat describes what a path leads to; symlinks are followed.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	i := t.info(name, n)
	if !n.dir() {
		if i.size, err = t.m.store.size(t.gen, n.hash); err != nil {
			return nil, t.fail("stat", name, err)
		}
		i.known = true
	}
	return i, nil
}

// Sub is the tree at a folder. What is above can no longer be reached.
func (t *tree) Sub(name string) (fs.FS, error) {
	n, err := t.find("sub", name)
	if err != nil {
		return nil, err
	}
	if n.mode != filemode.Dir {
		return nil, &fs.PathError{Op: "sub", Path: name, Err: syscall.ENOTDIR}
	}
	sub := *t
	sub.root, sub.base = n.hash, path.Join(t.base, name)
	return &sub, nil
}

// Hash identifies the content below name. For a folder with symlinks inside, it
// covers what they lead to as well.
func (t *tree) Hash(name string) (string, error) {
	n, err := t.find("hash", name)
	if err != nil {
		return "", err
	}
	return t.hash(name, n, map[plumbing.Hash]bool{})
}

// hash is git's own where that says it all. seen are the folders around: a link
// back into one adds nothing.
func (t *tree) hash(name string, n node, seen map[plumbing.Hash]bool) (string, error) {
	own := fmt.Sprintf("%o %s", uint32(n.mode), n.hash)
	if n.mode != filemode.Dir || seen[n.hash] {
		return own, nil
	}
	seen[n.hash] = true
	defer delete(seen, n.hash)
	links, err := t.links(n.hash, "")
	if err != nil {
		return "", t.fail("hash", name, err)
	}
	if len(links) == 0 {
		return own, nil
	}
	sum := sha256.New()
	io.WriteString(sum, own)
	for _, l := range links {
		fmt.Fprintf(sum, "\n%q ", l)
		to := path.Join(name, l)
		target, err := t.find("hash", to)
		if err == nil {
			var h string
			if h, err = t.hash(to, target, seen); err == nil {
				io.WriteString(sum, h)
			}
		}
		if err != nil && t.lost(err) {
			return "", err
		}
		if err != nil {
			io.WriteString(sum, "no target") // dangling, a loop, or out of the tree
		}
	}
	return fmt.Sprintf("%s+%x", own, sum.Sum(nil)), nil
}

// lost says whether err speaks of the local copy, not of the path.
func (t *tree) lost(err error) bool {
	var e *Error
	return errors.As(err, &e)
}

// links are the symlinks below a folder.
func (t *tree) links(h plumbing.Hash, below string) ([]string, error) {
	entries, err := t.m.store.tree(t.gen, h)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		switch e.Mode {
		case filemode.Symlink:
			out = append(out, path.Join(below, e.Name))
		case filemode.Dir:
			more, err := t.links(e.Hash, path.Join(below, e.Name))
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		}
	}
	return out, nil
}

// find walks to name, through symlinks, and never out of the root.
func (t *tree) find(op, name string) (node, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return node{}, &fs.PathError{Op: op, Path: clean(name, 200), Err: fs.ErrInvalid}
	}
	n, err := t.walk(name)
	switch {
	case errors.Is(err, errEscape):
		return node{}, &fs.PathError{Op: op, Path: name, Err: &EscapeError{Path: path.Join(t.base, name)}}
	case err != nil:
		return node{}, t.fail(op, name, err)
	}
	return n, nil
}

// errEscape is a way out of the tree.
var errEscape = errors.New("path leaves the tree")

// walk takes name apart step by step, as a kernel does. The folders on the way
// are a stack, so that .. in a symlink goes to where the symlink is, not to
// where its name is.
func (t *tree) walk(name string) (node, error) {
	stack := []node{{filemode.Dir, t.root}}
	rest := steps(name)
	links := 0
	for len(rest) > 0 {
		step := rest[0]
		rest = rest[1:]
		at := stack[len(stack)-1]
		if step == ".." {
			if len(stack) == 1 {
				return node{}, errEscape
			}
			stack = stack[:len(stack)-1]
			continue
		}
		n, err := t.child(at, step)
		if err != nil {
			return node{}, err
		}
		if n.mode != filemode.Symlink {
			stack = append(stack, n)
			continue
		}
		if links++; links > maxLinks {
			return node{}, syscall.ELOOP
		}
		target, err := t.target(n, len(stack)-1)
		if err != nil {
			return node{}, err
		}
		rest = append(target, rest...)
	}
	return stack[len(stack)-1], nil
}

// steps are the elements of a path that lead anywhere.
func steps(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." })
}

// child is an entry of a folder.
func (t *tree) child(at node, name string) (node, error) {
	switch {
	case at.mode == filemode.Submodule:
		return node{}, fmt.Errorf("inside a submodule, which is not fetched: %w", fs.ErrNotExist)
	case !at.dir():
		return node{}, syscall.ENOTDIR
	}
	entries, err := t.m.store.tree(t.gen, at.hash)
	if err != nil {
		return node{}, err
	}
	i, ok := slices.BinarySearchFunc(entries, name, func(e object.TreeEntry, name string) int {
		return strings.Compare(e.Name, name)
	})
	if !ok {
		return node{}, fs.ErrNotExist
	}
	return node{entries[i].Mode, entries[i].Hash}, nil
}

// target reads a symlink in a folder that is depth below the root. One that
// leads out by its words alone is refused before anything on its way is looked
// at.
func (t *tree) target(n node, depth int) ([]string, error) {
	data, err := t.m.store.blob(t.gen, n.hash, maxTarget)
	if err != nil {
		return nil, err
	}
	s := string(data)
	if s == "" || strings.ContainsRune(s, 0) {
		return nil, fs.ErrInvalid
	}
	if strings.HasPrefix(s, "/") {
		return nil, errEscape
	}
	target := steps(s)
	for _, step := range target {
		if step != ".." {
			depth++
		} else if depth--; depth < 0 {
			return nil, errEscape
		}
	}
	return target, nil
}

// read gives a file's content.
func (t *tree) read(name string, n node) ([]byte, error) {
	data, err := t.m.store.blob(t.gen, n.hash, t.m.limits.File)
	if err != nil {
		return nil, t.fail("read", name, err)
	}
	return data, nil
}

func (t *tree) list(name string, n node) ([]fs.DirEntry, error) {
	if n.mode == filemode.Submodule {
		return nil, nil
	}
	entries, err := t.m.store.tree(t.gen, n.hash)
	if err != nil {
		return nil, t.fail("readdir", name, err)
	}
	list := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = &entry{t.info(e.Name, node{e.Mode, e.Hash})}
	}
	return list, nil
}

// fail puts an error into a *fs.PathError; what the local copy or a limit is to
// blame for is an *Error in it.
func (t *tree) fail(op, name string, err error) error {
	var f *fault
	switch {
	case errors.Is(err, fs.ErrNotExist) && !t.onDisk(err), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENOTDIR):
	case errors.As(err, &f):
		err = &Error{Cause: f.cause, URL: t.m.shown, Ref: t.m.remote.ref(), Err: f.err, Hint: f.hint}
	case errors.Is(err, errGone) && t.gen != t.m.store.generation():
		err = t.gone(fmt.Errorf("the local copy was made again, and commit %s is no longer in it", t.commit))
	default:
		err = t.gone(fmt.Errorf("the local copy of commit %s is damaged or was removed: %w", t.commit, err))
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// onDisk says whether a missing file is one of the cache, not one of the tree.
func (t *tree) onDisk(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

func (t *tree) gone(err error) error {
	return &Error{Cause: CauseMissingCommit, URL: t.m.shown, Ref: t.m.remote.ref(), Err: err, Hint: "it is fetched again at the next look"}
}

func (t *tree) info(name string, n node) *info {
	return &info{t: t, name: path.Base(name), node: n}
}

// info is both kinds of description of a file.
type info struct {
	t     *tree
	name  string
	node  node
	size  int64
	known bool // size was read
}

func (i *info) Name() string       { return i.name }
func (i *info) ModTime() time.Time { return i.t.when }
func (i *info) IsDir() bool        { return i.node.dir() }
func (i *info) Sys() any           { return nil }

// Size is read when it is asked for; zero where that fails.
func (i *info) Size() int64 {
	if i.known || i.IsDir() {
		return i.size
	}
	n, err := i.t.m.store.size(i.t.gen, i.node.hash)
	if err != nil {
		return 0
	}
	return n
}

func (i *info) Mode() fs.FileMode {
	switch i.node.mode {
	case filemode.Dir, filemode.Submodule:
		return fs.ModeDir | 0o555
	case filemode.Symlink:
		return fs.ModeSymlink | 0o777
	case filemode.Executable:
		return 0o555
	default:
		return 0o444
	}
}

// entry is a line of a folder.
type entry struct{ *info }

func (e *entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *entry) Info() (fs.FileInfo, error) { return e.info, nil }
func (e *entry) String() string             { return fs.FormatDirEntry(e) }

// openFile is a file in memory.
type openFile struct {
	*bytes.Reader
	info *info
}

func (f *openFile) Stat() (fs.FileInfo, error) {
	i := *f.info
	i.size, i.known = f.Reader.Size(), true
	return &i, nil
}

func (f *openFile) Close() error { return nil }

// openDir is a folder that is being listed.
type openDir struct {
	info *info
	list []fs.DirEntry
	next int
}

func (d *openDir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error               { return nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: syscall.EISDIR}
}

func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	left := d.list[d.next:]
	if n > 0 && len(left) == 0 {
		return nil, io.EOF
	}
	if n > 0 && n < len(left) {
		left = left[:n]
	}
	d.next += len(left)
	return slices.Clone(left), nil
}
