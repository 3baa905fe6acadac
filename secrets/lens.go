package secrets

import (
	"bytes"
	"io"
	"io/fs"

	"github.com/getsops/sops/v3/logging"
)

// FS is fsys with encrypted files read as plaintext. Everything else passes
// through: ReadDir, Stat (of encrypted files: the plaintext's size), Sub, and
// Hash(name) (string, error) where fsys has it; hashes are of what is stored,
// not of the plaintext. A file that was encrypted implements
// interface{ Secrets() []string } on its fs.File: the plaintext values that were
// encrypted in it, as they are and as they are written in the plaintext (for a
// binary file: the whole). Errors are *DecryptError inside *fs.PathError.
//
// FS turns sops' own logging off for the process: it would write to standard
// error what belongs into the error.
func (k *Keyring) FS(fsys fs.FS) fs.FS {
	for _, l := range logging.Loggers {
		l.SetOutput(io.Discard)
	}
	return k.wrap(fsys)
}

func (k *Keyring) wrap(fsys fs.FS) fs.FS {
	l := lens{k, fsys}
	if h, ok := fsys.(hasher); ok {
		return hashLens{l, h}
	}
	return l
}

type hasher interface {
	Hash(name string) (string, error)
}

type lens struct {
	ring *Keyring
	fsys fs.FS
}

type hashLens struct {
	lens
	hasher
}

var (
	_ fs.ReadDirFS  = lens{}
	_ fs.ReadFileFS = lens{}
	_ fs.StatFS     = lens{}
	_ fs.SubFS      = lens{}
	_ hasher        = hashLens{}
)

// Open reads a regular file whole, for only its content tells whether it is
// encrypted.
func (l lens) Open(name string) (fs.File, error) {
	f, err := l.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return f, nil
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return l.file(name, info, content)
}

func (l lens) file(name string, info fs.FileInfo, content []byte) (fs.File, error) {
	if !encrypted(content) {
		return &file{info, bytes.NewReader(content)}, nil
	}
	p, err := l.ring.plaintext(name, content)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	info = plainInfo{info, int64(len(p.content))}
	return &decrypted{file{info, bytes.NewReader(p.content)}, p.secrets}, nil
}

// ReadFile gives the plaintext; the caller may change it.
func (l lens) ReadFile(name string) ([]byte, error) {
	content, err := fs.ReadFile(l.fsys, name)
	if err != nil || !encrypted(content) {
		return content, err
	}
	p, err := l.ring.plaintext(name, content)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return bytes.Clone(p.content), nil
}

// Stat tells the plaintext's size, so it decrypts.
func (l lens) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(l.fsys, name)
	if err != nil || !info.Mode().IsRegular() {
		return info, err
	}
	content, err := fs.ReadFile(l.fsys, name)
	if err != nil || !encrypted(content) {
		return info, err
	}
	p, err := l.ring.plaintext(name, content)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return plainInfo{info, int64(len(p.content))}, nil
}

// ReadDir lists what is stored; an entry's size is that of the stored file.
func (l lens) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(l.fsys, name) }

// Sub is the same lens over a folder.
func (l lens) Sub(dir string) (fs.FS, error) {
	sub, err := fs.Sub(l.fsys, dir)
	if err != nil {
		return nil, err
	}
	return l.ring.wrap(sub), nil
}

type file struct {
	info fs.FileInfo
	*bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

type decrypted struct {
	file
	secrets []string
}

// Secrets are the values that must be shown nowhere.
func (d *decrypted) Secrets() []string { return d.secrets }

type plainInfo struct {
	fs.FileInfo
	size int64
}

func (i plainInfo) Size() int64 { return i.size }
