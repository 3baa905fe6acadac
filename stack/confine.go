package stack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// files reads one tenant's tree, each file once, bounds what is read, and
// remembers the plaintext of what was encrypted.
type files struct {
	fsys    fs.FS
	known   map[string]file
	bytes   int
	secrets []string
}

// file is what reading one gave.
type file struct {
	data    []byte
	tainted bool // came from an encrypted file
	err     error
}

func newFiles(fsys fs.FS) *files { return &files{fsys: fsys, known: map[string]file{}} }

// encrypted is what the secrets lens gives for a file that was encrypted: the
// plaintext values in it.
type encrypted interface{ Secrets() []string }

// read gives the content of a file, and whether it came from an encrypted one.
// name is a slash path from the root of the tree.
func (f *files) read(name string, limit int) (data []byte, tainted bool, err error) {
	got, ok := f.known[name]
	if !ok {
		if len(f.known) >= maxFiles {
			return nil, false, fmt.Errorf("more than %d files in one stack", maxFiles)
		}
		got.data, got.tainted, got.err = f.open(name)
		f.known[name] = got
	}
	if got.err == nil && len(got.data) > limit {
		return nil, got.tainted, fmt.Errorf("larger than %d bytes", limit)
	}
	if f.bytes += len(got.data); f.bytes > maxRead {
		return nil, got.tainted, fmt.Errorf("more than %d bytes read for one stack", maxRead)
	}
	return got.data, got.tainted, got.err
}

// taint notes values that came out of an encrypted file in another form than they
// have there: without a quote, a comment or an escape, or with variables put in.
func (f *files) taint(lines []variableLine) {
	for _, v := range lines {
		if v.set {
			f.secrets = append(f.secrets, v.value)
		}
	}
}

// open reads a file from the tree, at most one byte more than any may have.
func (f *files) open(name string) (data []byte, tainted bool, err error) {
	file, err := f.fsys.Open(name)
	if err != nil {
		return nil, false, openError(name, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, false, openError(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, errors.New("not a file")
	}
	if e, ok := file.(encrypted); ok {
		f.secrets = append(f.secrets, e.Secrets()...)
		tainted = true
	}
	data, err = io.ReadAll(io.LimitReader(file, maxContent+1))
	if err != nil {
		return nil, tainted, openError(name, err)
	}
	return data, tainted, nil
}

// openError words an error of the tree. A symlink that leaves it reads the same
// whether or not its target exists.
func openError(name string, err error) error {
	var escape *EscapeError
	if errors.As(err, &escape) {
		return err
	}
	var leaves interface{ LeavesTree() } // the error of a snapshot's tree
	if errors.As(err, &leaves) {
		return &EscapeError{Path: name}
	}
	// os.Root keeps its error for this to itself.
	if strings.HasSuffix(err.Error(), "path escapes from parent") {
		return &EscapeError{Path: name}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &wordedError{"no such file", err}
	}
	if errors.Is(err, fs.ErrPermission) {
		return &wordedError{"no permission to read it", err}
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return &wordedError{pathErr.Err.Error(), err}
	}
	return err
}

// wordedError shows its own words for a cause that stays visible to errors.Is and errors.As.
type wordedError struct {
	text  string
	cause error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.cause }

// confine gives the path from the root of the tree of what a file in dir calls
// p. Paths that would leave the tree are an *EscapeError.
func confine(dir, p string) (string, error) {
	switch {
	case p == "":
		return "", errors.New("empty path")
	case remote(p):
		return "", errors.New("remote files are not read; keep a copy in the repository")
	case p[0] == '/', p[0] == '~', strings.ContainsAny(p, "\\\x00"), len(p) > 1 && p[1] == ':':
		return "", &EscapeError{Path: p}
	}
	joined := path.Join(dir, p)
	if !fs.ValidPath(joined) {
		return "", &EscapeError{Path: p}
	}
	return joined, nil
}

// remote says whether compose would fetch p from elsewhere.
func remote(p string) bool {
	return strings.Contains(p, "://") || strings.HasPrefix(p, "git@") || strings.HasPrefix(p, "oci:")
}
