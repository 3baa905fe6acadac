// Package source keeps local copies of the tenants' repositories and hands out
// their trees commit by commit.
//
// It runs no program (but git itself, for file:// URLs), writes nothing outside
// its folder, which may vanish at any time, and shows no credential in an error.
package source

import (
	"io/fs"
	"time"
)

// Remote is what to follow and with which rights. Two Remotes with equal
// content may share one Mirror; any difference keeps them apart.
type Remote struct {
	URL      string // https, http, ssh (also git@host:path), file
	Branch   string // or Tag; both empty: the remote's HEAD
	Tag      string
	Username string
	Password string // http basic
	Token    string // http bearer
	CA       []byte // PEM, in addition to the system's roots
	SSHKey   []byte // PEM
	Known    []byte // known_hosts; mandatory for ssh
}

// Snapshot is one commit and its files.
type Snapshot struct {
	Commit  string    // full hash, in hex
	Time    time.Time // committer date
	Author  string    // name and address, one line, at most 200 bytes
	Subject string    // first line of the message, at most 200 bytes
	FS      FS
}

// FS is a commit's tree, read-only, at the root or below it. No path and no
// symlink leads out of it: opening one gives an *EscapeError in the
// *fs.PathError, the same whether or not the target exists.
type FS interface {
	fs.ReadDirFS
	fs.ReadFileFS
	fs.StatFS
	fs.SubFS // Sub moves the boundary too: what is above can no longer be reached

	// Hash identifies the content of a file or folder without reading it: equal
	// hashes, equal content (git's object hash and mode). Symlinks are followed.
	Hash(name string) (string, error)
}

// EscapeError is a symlink that leaves the tree.
type EscapeError struct{ Path string }

// Error names the path and the rule.
func (e *EscapeError) Error() string {
	return e.Path + ": path leaves the tenant's folder; keep a copy inside it"
}

// LeavesTree marks the error for whoever reads the tree as any fs.FS.
func (e *EscapeError) LeavesTree() {}

// Limits bound what a remote can cost.
type Limits struct {
	Timeout time.Duration // of one look or fetch; zero: 60s
	Bytes   int64         // of one mirror on disk; zero: 1 GiB
	File    int64         // of one file that is read; zero: 16 MiB
	Files   int           // in one tree; zero: 100,000
}

// Cause says what kind of thing went wrong, in one word of the API.
type Cause string

// The causes of a failed look or fetch.
const (
	CauseAuth          Cause = "auth"           // wrong or missing credentials
	CauseMissingBranch Cause = "missing-branch" // or tag
	CauseNotFound      Cause = "not-found"      // no such repository
	CauseEmpty         Cause = "empty"          // a repository without a commit
	CauseTimeout       Cause = "timeout"
	CauseHostKey       Cause = "host-key" // unknown or changed
	CauseTLS           Cause = "tls"
	CauseNetwork       Cause = "network"
	CauseLimit         Cause = "limit" // size, number of files, full cache
	CauseUnsupported   Cause = "unsupported"
	CauseMissingCommit Cause = "missing-commit" // the server no longer has it
	CauseServer        Cause = "server"         // anything else that the server answered
)

// Error is a look or fetch that failed. Its text holds no credential.
type Error struct {
	Cause Cause
	URL   string // without credentials
	Ref   string
	Err   error
	Hint  string        // what to do next; may be empty
	After time.Duration // that the server wants to be left alone for; zero: it says nothing
}

// Error names the repository, the ref, the cause and what to do.
func (e *Error) Error() string {
	s := e.URL
	if e.Ref != "" {
		s += " " + e.Ref
	}
	s += ": " + e.Err.Error()
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives the cause's own error.
func (e *Error) Unwrap() error { return e.Err }
