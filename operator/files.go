package operator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
)

// recorder is an fs.FS that remembers what was asked of it, so that a stack is
// rendered again only when a file that it really read has changed. It passes
// the marks of the secrets lens on.
type recorder struct {
	fsys  fs.FS
	dir   string // of fsys in the recorded tree
	reads *reads
}

// reads is the set of names that were asked for. Folders that were listed end
// in a slash: what matters of them is which names they hold.
type reads struct {
	mu    sync.Mutex // guards names
	names map[string]bool
}

// watchReads gives fsys with its reads noted.
func watchReads(fsys fs.FS) (fs.FS, *reads) {
	r := &reads{names: map[string]bool{}}
	return recorder{fsys: fsys, dir: ".", reads: r}, r
}

var (
	_ fs.ReadDirFS  = recorder{}
	_ fs.ReadFileFS = recorder{}
	_ fs.StatFS     = recorder{}
	_ fs.SubFS      = recorder{}
)

func (r recorder) note(name string) {
	r.reads.mu.Lock()
	defer r.reads.mu.Unlock()
	full := path.Join(r.dir, name)
	if strings.HasSuffix(name, "/") {
		full += "/"
	}
	r.reads.names[full] = true
}

// Open notes the name and opens it.
func (r recorder) Open(name string) (fs.File, error) {
	r.note(name)
	return r.fsys.Open(name)
}

// ReadDir notes the name and reads the folder.
func (r recorder) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(name + "/")
	return fs.ReadDir(r.fsys, name)
}

// ReadFile notes the name and reads the file.
func (r recorder) ReadFile(name string) ([]byte, error) {
	r.note(name)
	return fs.ReadFile(r.fsys, name)
}

// Stat notes the name and describes it.
func (r recorder) Stat(name string) (fs.FileInfo, error) {
	r.note(name)
	return fs.Stat(r.fsys, name)
}

// Sub is the tree below dir; its reads are noted under their whole names.
func (r recorder) Sub(dir string) (fs.FS, error) {
	sub, err := fs.Sub(r.fsys, dir)
	if err != nil {
		return nil, err
	}
	return recorder{fsys: sub, dir: path.Join(r.dir, dir), reads: r.reads}, nil
}

// sorted gives the names.
func (r *reads) sorted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.names))
	for n := range r.names {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// hasher is what a source's tree can do beside being read.
type hasher interface {
	Hash(name string) (string, error)
}

// inputHash identifies everything that a rendering depends on: the content of
// the files that it read (or that they were not there) and what the platform
// says. Equal hashes, equal specs.
func inputHash(fsys fs.FS, names []string, options any) (string, error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(options); err != nil {
		return "", err
	}
	for _, name := range names {
		h, err := hashOf(fsys, name)
		if err != nil {
			return "", err
		}
		io.WriteString(sum, name+"\x00"+h+"\n")
	}
	return hex.EncodeToString(sum.Sum(nil))[:32], nil
}

// hashOf is a file's hash, or what is wrong with it: a file that is not there
// is an input too.
func hashOf(fsys fs.FS, name string) (string, error) {
	if dir, ok := strings.CutSuffix(name, "/"); ok {
		return hashOfNames(fsys, dir), nil
	}
	h, ok := fsys.(hasher)
	switch {
	case name == ".":
		return "root", nil
	case !ok:
		return "", errors.New("this tree cannot tell what its files hash to")
	}
	sum, err := h.Hash(name)
	switch {
	case err == nil:
		return sum, nil
	case errors.Is(err, fs.ErrNotExist):
		return "absent", nil
	}
	return "unreadable", nil
}

// hashOfNames stands for the names in a folder, not for what they hold.
func hashOfNames(fsys fs.FS, dir string) string {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return "absent"
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Type().String()+e.Name())
	}
	return strings.Join(names, "\x00")
}
