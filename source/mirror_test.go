package source

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/skep-gitops/skep/source/gittest"
)

// big does not compress, so that bytes served tell whether it was sent again.
func big(t testing.TB, n int) string {
	t.Helper()
	b := make([]byte, n*3/4)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

// open gives a mirror in a cache of its own, with a generous time limit.
func open(t testing.TB, r Remote) *Mirror {
	t.Helper()
	return openIn(t, t.TempDir(), r, Limits{})
}

func openIn(t testing.TB, dir string, r Remote, l Limits) *Mirror {
	t.Helper()
	if l.Timeout == 0 {
		l.Timeout = 2 * time.Minute
	}
	m := Open(dir, r, l)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return m
}

func fetch(t testing.TB, m *Mirror, want string) Snapshot {
	t.Helper()
	s, err := m.Fetch(t.Context())
	if err != nil {
		t.Fatalf("fetch: %v", err)
	}
	if want != "" && s.Commit != want {
		t.Fatalf("fetch: commit %s, want %s", s.Commit, want)
	}
	return s
}

func content(t testing.TB, fsys fs.FS, name, want string) {
	t.Helper()
	got, err := fs.ReadFile(fsys, name)
	if err != nil || string(got) != want {
		t.Fatalf("%s: %.80q, %v, want %.80q", name, got, err, want)
	}
}

// whole reads everything that a tree holds.
func whole(t testing.TB, fsys fs.FS) (files int) {
	t.Helper()
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		_, err = fs.ReadFile(fsys, p)
		return err
	})
	if err != nil {
		t.Fatalf("read the tree: %v", err)
	}
	return files
}

// failure is the *Error that err must be.
func failure(t testing.TB, err error, want Cause) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want an *Error of cause %s", err, err, want)
	}
	if e.Cause != want {
		t.Fatalf("cause %s, want %s: %v", e.Cause, want, err)
	}
	return e
}

// transport is a way to reach a repository, and how much came over it.
type transport struct {
	name   string
	remote Remote
	served func() int64 // nil where it is not counted
}

func transports(t testing.TB, root *gittest.Root, repo *gittest.Repo) []transport {
	t.Helper()
	plain := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	basic := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "ada", Password: "correct horse", TLS: true})
	token := gittest.ServeHTTP(t, root, gittest.HTTPOptions{Token: "tok-12345", TLS: true})
	asPassword := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "git", Password: "tok-12345"})
	shell := gittest.ServeSSH(t, root, "")
	return []transport{
		{"http", Remote{URL: plain.URL + "/" + repo.Path}, plain.Served},
		{"https with a password and an own authority", Remote{URL: basic.URL + "/" + repo.Path, Username: "ada", Password: "correct horse", CA: basic.CA}, basic.Served},
		{"https with a token", Remote{URL: token.URL + "/" + repo.Path, Token: "tok-12345", CA: token.CA}, token.Served},
		{"http with a token as the password", Remote{URL: asPassword.URL + "/" + repo.Path, Token: "tok-12345"}, asPassword.Served},
		{"ssh", Remote{URL: shell.URL + "/" + repo.Path, SSHKey: shell.ClientKey, Known: shell.KnownHosts}, shell.Served},
		{"file", Remote{URL: repo.URL()}, nil},
	}
}

func TestFetchFollowsWithoutSendingTheTreeAgain(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	// each way has its own repository, because each moves the branch
	for i, kind := range []int{0, 1, 2, 3, 4, 5} {
		repo := root.Repo(string(rune('a'+i)) + "/repo.git")
		large := big(t, 400_000)
		repo.Write(map[string]string{"old": "x"})
		first := repo.Write(map[string]string{"large": large, "apps/web/stack.yml": "v1\n", "apps/db/stack.yml": "v1\n"})
		way := transports(t, root, repo)[kind]
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			m := open(t, way.remote)
			step := func(name, want, file string, most int64) Snapshot {
				t.Helper()
				var before int64
				if way.served != nil {
					before = way.served()
				}
				s := fetch(t, m, want)
				content(t, s.FS, "apps/web/stack.yml", file)
				content(t, s.FS, "large", large)
				whole(t, s.FS)
				if way.served == nil {
					return s
				}
				if got := way.served() - before; got > most {
					t.Errorf("%s: %d bytes were served, want at most %d", name, got, most)
				}
				return s
			}
			s1 := step("first fetch", first, "v1\n", 600_000)
			step("nothing new", first, "v1\n", 4_000)
			second := repo.Write(map[string]string{"apps/web/stack.yml": "v2\n"})
			step("one more commit", second, "v2\n", 20_000)
			for range 5 {
				repo.Write(map[string]string{"apps/web/stack.yml": big(t, 2_000)})
			}
			sixth := repo.Write(map[string]string{"apps/web/stack.yml": "v6\n"})
			step("many commits at once", sixth, "v6\n", 20_000)
			sibling := repo.Commit(gittest.Change{From: second, Write: map[string]string{"apps/web/stack.yml": "sibling\n"}})
			step("force push to a sibling", sibling, "sibling\n", 20_000)
			repo.Push("main", first)
			step("rollback to a commit that is here", first, "v1\n", 4_000)
			between := strings.TrimSpace(repo.Git("rev-parse", sixth+"~2"))
			repo.Push("main", between)
			step("rollback to a commit that is not here", between, repo.Git("show", between+":apps/web/stack.yml"), 20_000)
			revert := repo.Commit(gittest.Change{Write: map[string]string{"apps/web/stack.yml": "v1\n"}})
			step("revert", revert, "v1\n", 20_000)
			orphan := repo.Commit(gittest.Change{Orphan: true, Clear: true, Write: map[string]string{"large": large, "apps/web/stack.yml": "other\n"}})
			step("unrelated history", orphan, "other\n", 20_000)
			content(t, s1.FS, "apps/db/stack.yml", "v1\n") // still readable
		})
	}
}

func TestRevertOnAServerWithBitmaps(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	var commits []string
	for range 6 {
		commits = append(commits, repo.Write(map[string]string{"a/f": big(t, 500), "b/g": big(t, 500)}))
	}
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	m := open(t, Remote{URL: h.URL + "/repo.git"})
	for i, at := range []int{5, 1, 4, 0, 3, 2} {
		repo.Push("main", commits[at])
		if i == 1 {
			repo.Git("repack", "-a", "-d", "-q", "--write-bitmap-index")
		}
		if got := whole(t, fetch(t, m, commits[at]).FS); got != 2 {
			t.Fatalf("%d files, want 2", got)
		}
	}
}

func TestCommitIsDescribed(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	want := repo.Commit(gittest.Change{
		Author:  "Eve \x1b[31mRed\x1b[0m <eve@example.com>",
		Message: "\n  fix \x1b]8;;http://evil\x07link\x1b]8;;\x07 \u202eabc\xff\x00\tdone\r\n\nbody\n",
		Write:   map[string]string{"f": "1"},
	})
	s := fetch(t, open(t, Remote{URL: repo.URL()}), want)
	if s.Author != "Eve Red <eve@example.com>" {
		t.Errorf("author %q", s.Author)
	}
	if !utf8.ValidString(s.Subject) || strings.ContainsAny(s.Subject, "\x1b\x00\r\n\t\u202e") || !strings.HasPrefix(s.Subject, "fix link") {
		t.Errorf("subject %q", s.Subject)
	}
	if s.Time.IsZero() || s.Time.Location() != time.UTC {
		t.Errorf("time %v", s.Time)
	}
	long := repo.Commit(gittest.Change{Message: strings.Repeat("ü", 1<<19), Write: map[string]string{"f": "2"}})
	if s := fetch(t, open(t, Remote{URL: repo.URL()}), long); len(s.Subject) > 200 || !strings.HasSuffix(s.Subject, "…") {
		t.Errorf("subject of 1 MiB: %d bytes, %q", len(s.Subject), s.Subject)
	}
}

func TestBranchesAndTags(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	one := repo.Write(map[string]string{"f": "1"})
	two := repo.Write(map[string]string{"f": "2"})
	dev := repo.Commit(gittest.Change{Branch: "dev", From: one, Write: map[string]string{"f": "3"}})
	repo.Tag("v1", one)
	repo.Git("tag", "light", two)
	repo.Git("tag", "-a", "-m", "tag of a tag", "nested", "v1")
	for name, c := range map[string]struct {
		r    Remote
		want string
	}{
		"HEAD":            {Remote{}, two},
		"branch":          {Remote{Branch: "dev"}, dev},
		"annotated tag":   {Remote{Tag: "v1"}, one},
		"lightweight tag": {Remote{Tag: "light"}, two},
		"tag of a tag":    {Remote{Tag: "nested"}, one},
	} {
		c.r.URL = repo.URL()
		m := open(t, c.r)
		for range 2 {
			if s, err := m.Fetch(t.Context()); err != nil || s.Commit != c.want {
				t.Errorf("%s: commit %s, %v, want %s", name, s.Commit, err, c.want)
			}
		}
	}
	m := open(t, Remote{URL: repo.URL(), Tag: "v1"})
	fetch(t, m, one)
	repo.Tag("v1", dev)
	content(t, fetch(t, m, dev).FS, "f", "3")
	repo.Git("symbolic-ref", "HEAD", "refs/heads/dev")
	fetch(t, open(t, Remote{URL: repo.URL()}), dev)
}

func TestEqualRemotesShareAFolderAndOthersDoNot(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	tip := repo.Write(map[string]string{"large": big(t, 100_000)})
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	dir := t.TempDir()
	base := Remote{URL: h.URL + "/repo.git", Username: "u", Password: "p"}
	fetch(t, openIn(t, dir, base, Limits{}), tip)
	packs := h.Packs()
	fetch(t, openIn(t, dir, base, Limits{}), tip)
	if got := h.Packs(); got != packs {
		t.Errorf("an equal remote fetched again: %d requests for objects, want %d", got, packs)
	}
	other := []Remote{base, base, base, base, base, base}
	other[0].Password = "q"
	other[1].Username = "v"
	other[2].Branch = "main"
	other[3].Token = "t"
	other[4].Known = []byte("k")
	other[5].SSHKey = []byte("k")
	for i, r := range other {
		before := h.Packs()
		fetch(t, openIn(t, dir, r, Limits{}), tip)
		if h.Packs() == before {
			t.Errorf("remote %d uses what another remote fetched", i)
		}
	}
	folders, err := os.ReadDir(dir)
	if err != nil || len(folders) != 1+len(other) {
		t.Errorf("%d folders, %v, want %d", len(folders), err, 1+len(other))
	}
}

func TestCacheVanishesOrBreaks(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	large := big(t, 200_000)
	repo.Write(map[string]string{"large": large, "f": "1"})
	tip := repo.Write(map[string]string{"f": "2"})
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	remove := func(t *testing.T, dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	each := func(suffix string, do func(string) error) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			n := 0
			err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || !strings.HasSuffix(p, suffix) {
					return err
				}
				n++
				if err := os.Chmod(p, 0o600); err != nil {
					return err
				}
				return do(p)
			})
			if err != nil || n == 0 {
				t.Fatalf("%d files changed, %v", n, err)
			}
		}
	}
	flip := func(p string) error {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		b[len(b)/2] ^= 0xff
		return os.WriteFile(p, b, 0o600)
	}
	for name, hurt := range map[string]func(*testing.T, string){
		"emptied":           remove,
		"removed":           func(t *testing.T, dir string) { _ = os.RemoveAll(dir) },
		"packs truncated":   each(".pack", func(p string) error { return os.Truncate(p, 100) }),
		"packs emptied":     each(".pack", func(p string) error { return os.Truncate(p, 0) }),
		"packs removed":     each(".pack", os.Remove),
		"packs flipped":     each(".pack", flip),
		"indexes truncated": each(".idx", func(p string) error { return os.Truncate(p, 50) }),
		"all truncated":     each("", func(p string) error { return os.Truncate(p, 3) }),
	} {
		for _, restart := range []bool{false, true} {
			dir := t.TempDir()
			r := Remote{URL: h.URL + "/repo.git"}
			m := openIn(t, dir, r, Limits{})
			fetch(t, m, tip)
			hurt(t, dir)
			if restart {
				m = openIn(t, dir, r, Limits{})
			}
			// what breaks on reading is noticed then, and mended by the next look
			for try := 0; ; try++ {
				s := fetch(t, m, tip)
				got, err := fs.ReadFile(s.FS, "large")
				if err == nil && string(got) == large {
					break
				}
				if err == nil {
					t.Fatalf("%s: wrong content and no error", name)
				}
				failure(t, err, CauseMissingCommit)
				if try == 2 {
					t.Fatalf("%s (restart %v): never mended: %v", name, restart, err)
				}
			}
			left, err := filepath.Glob(filepath.Join(dir, "*", "g-*"))
			if err != nil || len(left) != 1 {
				t.Errorf("%s: folders %v, %v, want one", name, left, err)
			}
		}
	}
}

// keepAny has the folder believe that it holds one more commit.
func keepAny(t testing.TB, m *Mirror) {
	t.Helper()
	var h plumbing.Hash
	if _, err := rand.Read(h[:]); err != nil {
		t.Fatal(err)
	}
	if err := m.store.now.keep(h); err != nil {
		t.Fatal(err)
	}
}

func TestManyFetchesMakeTheFolderNew(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	first := repo.Write(map[string]string{"f": "0", "g": "0"})
	dir := t.TempDir()
	m := openIn(t, dir, Remote{URL: repo.URL()}, Limits{})
	s := fetch(t, m, first)
	for m.store.commits() < maxCommits-3 { // as if fetched long ago
		keepAny(t, m)
	}
	for i := range 6 {
		fetch(t, m, repo.Write(map[string]string{"f": strings.Repeat("x", i+1)}))
	}
	if got := m.store.commits(); got > 5 {
		t.Errorf("%d commits are kept, want a folder made anew", got)
	}
	_, err := fs.ReadFile(s.FS, "f")
	e := failure(t, err, CauseMissingCommit)
	if !strings.Contains(e.Error(), first) {
		t.Errorf("%v does not name the commit", e)
	}
	back, err := m.At(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	content(t, back.FS, "f", "0")
	content(t, s.FS, "f", "0")
}

func TestAt(t *testing.T) {
	t.Parallel()
	for name, any := range map[string]bool{"by hash": true, "by deepening": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := gittest.NewRoot(t)
			repo := root.Repo("repo.git")
			large := big(t, 300_000)
			history := []gittest.Change{{Write: map[string]string{"f": "0", "large": large}}}
			for i := range 60 {
				history = append(history, gittest.Change{Write: map[string]string{"f": strings.Repeat("x", i+1)}})
			}
			commits := repo.Commits(history...)
			if any {
				repo.AllowAnyCommit()
			}
			gone := repo.Commit(gittest.Change{Branch: "gone", Write: map[string]string{"f": "gone"}})
			repo.Git("update-ref", "-d", "refs/heads/gone")
			h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
			m := open(t, Remote{URL: h.URL + "/repo.git"})
			fetch(t, m, commits[60])
			before := h.Served()
			for _, i := range []int{60, 55, 3, 0} {
				s, err := m.At(t.Context(), commits[i])
				if err != nil {
					t.Fatalf("at %d: %v", i, err)
				}
				if s.Commit != commits[i] {
					t.Fatalf("at %d: %s, want %s", i, s.Commit, commits[i])
				}
				want := "0"
				if i > 0 {
					want = strings.Repeat("x", i)
				}
				content(t, s.FS, "f", want)
				content(t, s.FS, "large", large)
			}
			if got := h.Served() - before; got > 250_000 {
				t.Errorf("%d bytes were served for older commits: the large file was sent again", got)
			}
			if s, err := m.At(t.Context(), gone); any != (err == nil) {
				t.Errorf("a commit of no branch: %v, %v", s.Commit, err)
			} else if !any {
				failure(t, err, CauseMissingCommit)
			}
			_, err := m.At(t.Context(), strings.Repeat("1", 40))
			failure(t, err, CauseMissingCommit)
			_, err = m.At(t.Context(), "main")
			failure(t, err, CauseMissingCommit)
			fetch(t, m, commits[60])
			next := repo.Write(map[string]string{"f": "next"})
			content(t, fetch(t, m, next).FS, "f", "next")
		})
	}
}

func TestAtBeforeAnyFetchAndWithoutNetwork(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	first := repo.Write(map[string]string{"f": "1"})
	second := repo.Write(map[string]string{"f": "2"})
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	dir := t.TempDir()
	r := Remote{URL: h.URL + "/repo.git"}
	s, err := openIn(t, dir, r, Limits{}).At(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	content(t, s.FS, "f", "1")
	h.Close()
	m := openIn(t, dir, r, Limits{})
	if s, err = m.At(t.Context(), first); err != nil {
		t.Fatalf("from the local copy, after a restart: %v", err)
	}
	content(t, s.FS, "f", "1")
	_, err = m.Fetch(t.Context())
	failure(t, err, CauseNetwork)
	content(t, s.FS, "f", "1")
	_, err = m.At(t.Context(), strings.Repeat("2", 40))
	failure(t, err, CauseNetwork)
	_ = second
}

func TestCallsAtTheSameTime(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	commits := []string{repo.Write(map[string]string{"a/f": "0", "large": big(t, 50_000)})}
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	dir := t.TempDir()
	r := Remote{URL: h.URL + "/repo.git"}
	mirrors := []*Mirror{openIn(t, dir, r, Limits{}), openIn(t, dir, r, Limits{})}
	s := fetch(t, mirrors[0], commits[0])
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			m := mirrors[i%2]
			for range 4 {
				s, err := m.Fetch(context.Background())
				if err != nil {
					t.Errorf("fetch: %v", err)
					return
				}
				if _, err := fs.ReadFile(s.FS, "a/f"); err != nil {
					t.Errorf("read: %v", err)
				}
			}
		})
	}
	group.Go(func() {
		for range 50 {
			if _, err := fs.ReadFile(s.FS, "large"); err != nil {
				t.Errorf("read an older snapshot: %v", err)
			}
		}
	})
	for i := range 5 {
		repo.Write(map[string]string{"a/f": strings.Repeat("x", i+1)})
	}
	group.Wait()
	tip := repo.Head("main")
	for _, m := range mirrors {
		content(t, fetch(t, m, tip).FS, "a/f", "xxxxx")
	}
}

func TestNothingOfTheCredentialsIsOnDisk(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	tip := repo.Write(map[string]string{"f": "1"})
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "planted-user", Password: "planted-secret"})
	dir := t.TempDir()
	fetch(t, openIn(t, dir, Remote{URL: h.URL + "/repo.git", Username: "planted-user", Password: "planted-secret"}, Limits{}), tip)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if bytes.Contains(b, []byte("planted")) || strings.Contains(p, "planted") {
			t.Errorf("%s holds a credential", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
