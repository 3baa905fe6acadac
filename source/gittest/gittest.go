// Package gittest has real git repositories and servers for tests: bare
// repositories that the git binary writes, served over http(s) by git
// http-backend and over ssh by a server in the process that runs git
// upload-pack. Everything it makes is gone when the test ends.
//
// It needs a git binary and is only imported by tests and benchmarks.
package gittest

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// TB is what is used of testing.TB, so that a benchmark program can bring its own.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	TempDir() string
}

// Root is a folder of bare repositories: what a server serves.
type Root struct {
	Dir string
	tb  TB
}

// NewRoot gives an empty folder for repositories.
func NewRoot(tb TB) *Root {
	tb.Helper()
	return &Root{Dir: tb.TempDir(), tb: tb}
}

// Repo is a bare repository below a Root. HEAD names the branch main.
type Repo struct {
	Dir  string // absolute
	Path string // below the root, such as "shop.git": the path in a server's URL

	tb    TB
	clock atomic.Int64 // seconds that the next commit is later than the first
}

// Repo makes the empty bare repository path, such as "shop.git".
func (r *Root) Repo(path string) *Repo {
	r.tb.Helper()
	p := &Repo{Dir: filepath.Join(r.Dir, filepath.FromSlash(path)), Path: path, tb: r.tb}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		r.tb.Fatalf("gittest: %v", err)
	}
	p.Git("init", "--quiet", "--bare", "--initial-branch=main", ".")
	return p
}

// NewRepo makes an empty bare repository in a root of its own.
func NewRepo(tb TB) *Repo {
	tb.Helper()
	return NewRoot(tb).Repo("repo.git")
}

// URL is the repository's file:// address.
func (r *Repo) URL() string { return "file://" + filepath.ToSlash(r.Dir) }

// Change is what a commit does to the tree. Paths use slashes.
type Change struct {
	Branch  string            // empty: main
	From    string            // commit or branch to build on; empty: the branch as it is
	Orphan  bool              // start an unrelated history
	Message string            // empty: "change"
	Author  string            // "Name <address>"; empty: a fixed one
	Write   map[string]string // content by path
	Exec    map[string]string // the same, executable
	Link    map[string]string // target by path of the symlink
	Module  map[string]string // commit by path of the submodule
	Remove  []string          // files or folders
	Clear   bool              // remove everything first
}

// Write commits files on top of main and returns the commit's hash.
func (r *Repo) Write(files map[string]string) string {
	r.tb.Helper()
	return r.Commit(Change{Write: files})
}

// Commit makes a commit and moves the branch to it, also where that is no
// fast-forward. It returns the commit's hash.
func (r *Repo) Commit(c Change) string {
	r.tb.Helper()
	return r.Commits(c)[0]
}

// Commits makes several commits at once, which is much faster than one by one.
func (r *Repo) Commits(changes ...Change) []string {
	r.tb.Helper()
	var b bytes.Buffer
	begun := map[string]bool{}
	for i, c := range changes {
		c = c.orDefault()
		if !begun[c.Branch] || c.From != "" || c.Orphan {
			r.reset(&b, c)
		}
		begun[c.Branch] = true
		r.stream(&b, c, i+1)
	}
	for i := range changes {
		fmt.Fprintf(&b, "get-mark :%d\n", i+1) // printed: the commit's hash
	}
	return strings.Fields(r.run(b.Bytes(), "fast-import", "--quiet", "--force", "--cat-blob-fd=1"))
}

func (c Change) orDefault() Change {
	if c.Branch == "" {
		c.Branch = "main"
	}
	if c.Message == "" {
		c.Message = "change"
	}
	if c.Author == "" {
		c.Author = "Ada Lovelace <ada@example.com>"
	}
	return c
}

func (c Change) ref() string { return "refs/heads/" + c.Branch }

// reset puts the branch where c begins.
func (r *Repo) reset(b *bytes.Buffer, c Change) {
	fmt.Fprintf(b, "reset %s\n", c.ref())
	if from := r.parent(c); from != "" {
		fmt.Fprintf(b, "from %s\n", from)
	}
	b.WriteByte('\n')
}

// stream is c in the language of git fast-import.
func (r *Repo) stream(b *bytes.Buffer, c Change, mark int) {
	when := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + r.clock.Add(1)
	fmt.Fprintf(b, "commit %s\nmark :%d\nauthor %s %d +0000\n", c.ref(), mark, c.Author, when)
	fmt.Fprintf(b, "committer Ada Lovelace <ada@example.com> %d +0000\n", when)
	data(b, c.Message)
	if c.Clear {
		b.WriteString("deleteall\n")
	}
	for _, p := range c.Remove {
		fmt.Fprintf(b, "D %s\n", p)
	}
	for _, kind := range []struct {
		mode  string
		files map[string]string
	}{{"100644", c.Write}, {"100755", c.Exec}, {"120000", c.Link}} {
		for _, p := range slices.Sorted(maps.Keys(kind.files)) {
			fmt.Fprintf(b, "M %s inline %s\n", kind.mode, p)
			data(b, kind.files[p])
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.Module)) {
		fmt.Fprintf(b, "M 160000 %s %s\n", c.Module[p], p)
	}
	b.WriteByte('\n')
}

func data(b *bytes.Buffer, s string) { fmt.Fprintf(b, "data %d\n%s\n", len(s), s) }

// parent is the full hash of the commit to build on, empty for none.
func (r *Repo) parent(c Change) string {
	if c.Orphan {
		return ""
	}
	if c.From != "" {
		return strings.TrimSpace(r.Git("rev-parse", "--verify", c.From+"^{commit}"))
	}
	if loose, err := os.ReadFile(filepath.Join(r.Dir, filepath.FromSlash(c.ref()))); err == nil {
		return strings.TrimSpace(string(loose))
	}
	return strings.TrimSpace(r.Git("for-each-ref", "--format=%(objectname)", c.ref()))
}

// Head is the hash that a branch points to.
func (r *Repo) Head(branch string) string {
	r.tb.Helper()
	return strings.TrimSpace(r.Git("rev-parse", "--verify", "refs/heads/"+branch))
}

// Push moves a branch to a commit: a rollback, or any other forced push.
func (r *Repo) Push(branch, commit string) {
	r.tb.Helper()
	r.Git("update-ref", "refs/heads/"+branch, commit)
}

// Tag makes an annotated tag, or moves it.
func (r *Repo) Tag(name, commit string) {
	r.tb.Helper()
	r.Git("tag", "--force", "--annotate", "--message", name, name, commit)
}

// AllowAnyCommit makes the server hand out any commit by its hash, as most
// hosting services do.
func (r *Repo) AllowAnyCommit() {
	r.tb.Helper()
	r.Git("config", "uploadpack.allowAnySHA1InWant", "true")
}

// Git runs git in the repository and returns its output.
func (r *Repo) Git(args ...string) string {
	r.tb.Helper()
	return r.run(nil, args...)
}

func (r *Repo) run(stdin []byte, args ...string) string {
	r.tb.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = environment()
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.tb.Fatalf("gittest: git %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// environment keeps the machine's own git configuration out of tests.
func environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada Lovelace", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada Lovelace", "GIT_COMMITTER_EMAIL=ada@example.com",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
}
