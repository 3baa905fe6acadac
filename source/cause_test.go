package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skep-gitops/skep/source/gittest"
)

func TestEachCause(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	repo.Write(map[string]string{"f": "1"})
	root.Repo("empty.git")
	unborn := root.Repo("unborn.git")
	unborn.Commit(gittest.Change{Branch: "dev", Write: map[string]string{"f": "1"}})
	blob := root.Repo("blob.git")
	blob.Write(map[string]string{"f": "1"})
	blob.Git("tag", "blob", "main:f")
	blob.Git("tag", "-a", "-m", "x", "annotated", "main:f")
	sha256 := root.Repo("sha256.git")
	sha256.Git("init", "-q", "--bare", "--object-format=sha256", "--initial-branch=main", "../sha256b.git")
	tree := strings.TrimSpace(sha256.Git("-C", "../sha256b.git", "hash-object", "-w", "-t", "tree", "/dev/null"))
	commit := strings.TrimSpace(sha256.Git("-C", "../sha256b.git", "commit-tree", "-m", "x", tree))
	sha256.Git("-C", "../sha256b.git", "update-ref", "refs/heads/main", commit)

	plain := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	basic := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "ada", Password: "planted-secret", TLS: true})
	shell := gittest.ServeSSH(t, root, "")
	otherKey, _ := gittest.Key(t)
	closed := closedPort(t)
	status := func(code int, head ...string) string {
		return answer200(t, func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(head); i += 2 {
				w.Header().Set(head[i], head[i+1])
			}
			http.Error(w, "planted-secret and "+r.Header.Get("Authorization"), code)
		})
	}
	html := answer200(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in</html>") })
	garbage := answer200(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		fmt.Fprint(w, "zzzz planted-secret")
	})
	sshRemote := func(change func(*Remote)) Remote {
		r := Remote{URL: shell.URL + "/repo.git", SSHKey: shell.ClientKey, Known: shell.KnownHosts}
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		r    Remote
		want Cause
		text string
	}{
		"no credentials":            {Remote{URL: basic.URL + "/repo.git", CA: basic.CA}, CauseAuth, "needs credentials"},
		"wrong password":            {Remote{URL: basic.URL + "/repo.git", CA: basic.CA, Username: "ada", Password: "planted-wrong"}, CauseAuth, "401"},
		"wrong password in the URL": {Remote{URL: strings.Replace(basic.URL, "://", "://ada:planted-wrong@", 1) + "/repo.git", CA: basic.CA}, CauseAuth, "401"},
		"token in the URL":          {Remote{URL: strings.Replace(basic.URL, "://", "://planted-token@", 1) + "/repo.git", CA: basic.CA}, CauseAuth, "401"},
		"wrong token":               {Remote{URL: basic.URL + "/repo.git", CA: basic.CA, Token: "planted-wrong"}, CauseAuth, "401"},
		"forbidden":                 {Remote{URL: status(403), Token: "planted-token"}, CauseAuth, "403"},
		"unknown authority":         {Remote{URL: basic.URL + "/repo.git"}, CauseTLS, "certificate"},
		"tls to a plain server":     {Remote{URL: strings.Replace(plain.URL, "http:", "https:", 1) + "/repo.git"}, CauseTLS, "HTTPS client"},
		"authority without PEM":     {Remote{URL: basic.URL + "/repo.git", CA: []byte("no")}, CauseTLS, "no certificate"},
		"no such repository":        {Remote{URL: plain.URL + "/none.git"}, CauseNotFound, "404"},
		"gone":                      {Remote{URL: status(410)}, CauseNotFound, "410"},
		"busy":                      {Remote{URL: status(429, "Retry-After", "120")}, CauseServer, "120"},
		"server error":              {Remote{URL: status(500)}, CauseServer, "500"},
		"a web page":                {Remote{URL: html}, CauseServer, "git server"},
		"garbage":                   {Remote{URL: garbage, Password: "planted-secret"}, CauseServer, ""},
		"refused":                   {Remote{URL: "http://" + closed + "/repo.git"}, CauseNetwork, "refused"},
		"no such host":              {Remote{URL: "http://no-such-host.invalid/repo.git"}, CauseNetwork, ""},
		"empty over http":           {Remote{URL: plain.URL + "/empty.git"}, CauseEmpty, "empty"},
		"empty over file":           {Remote{URL: "file://" + root.Dir + "/empty.git"}, CauseEmpty, "empty"},
		"empty over ssh":            {sshRemote(func(r *Remote) { r.URL = shell.URL + "/empty.git" }), CauseEmpty, "empty"},
		"empty with a branch":       {Remote{URL: plain.URL + "/empty.git", Branch: "main"}, CauseEmpty, "empty"},
		"unborn HEAD":               {Remote{URL: plain.URL + "/unborn.git"}, CauseEmpty, "dev"},
		"missing branch":            {Remote{URL: plain.URL + "/repo.git", Branch: "nope"}, CauseMissingBranch, "main"},
		"missing tag":               {Remote{URL: plain.URL + "/repo.git", Tag: "nope"}, CauseMissingBranch, "tag nope"},
		"tag of a file":             {Remote{URL: plain.URL + "/blob.git", Tag: "annotated"}, CauseUnsupported, "not a commit"},
		"sha256 repository":         {Remote{URL: plain.URL + "/sha256b.git"}, CauseUnsupported, "sha256"},
		"branch and tag":            {Remote{URL: plain.URL + "/repo.git", Branch: "a", Tag: "b"}, CauseUnsupported, "both"},
		"branch like an option":     {Remote{URL: plain.URL + "/repo.git", Branch: "--upload-pack=x"}, CauseUnsupported, "'-'"},
		"remote helper":             {Remote{URL: "ext::sh -c touch /tmp/planted"}, CauseUnsupported, ""},
		"remote helper, one word":   {Remote{URL: "ext::sh"}, CauseUnsupported, "helpers"},
		"git protocol":              {Remote{URL: "git://127.0.0.1/repo.git"}, CauseUnsupported, "git://"},
		"unknown scheme":            {Remote{URL: "s3://bucket/repo.git"}, CauseUnsupported, "s3://"},
		"option as URL":             {Remote{URL: "--upload-pack=x"}, CauseUnsupported, "'-'"},
		"option as host":            {Remote{URL: "ssh://-oProxyCommand=x/repo.git"}, CauseUnsupported, ""},
		"password for ssh":          {Remote{URL: "ssh://git:planted-secret@127.0.0.1/repo.git"}, CauseUnsupported, "password"},
		"no URL":                    {Remote{}, CauseUnsupported, "no URL"},
		"no file repository":        {Remote{URL: "file://" + root.Dir + "/none.git"}, CauseNotFound, ""},
		"not a file repository":     {Remote{URL: "file://" + root.Dir + "/repo.git/objects"}, CauseNotFound, ""},
		"wrong ssh key":             {sshRemote(func(r *Remote) { r.SSHKey = otherKey }), CauseAuth, "refuses"},
		"no ssh key":                {sshRemote(func(r *Remote) { r.SSHKey = nil }), CauseAuth, "private key"},
		"broken ssh key":            {sshRemote(func(r *Remote) { r.SSHKey = []byte("planted-secret") }), CauseAuth, "parse"},
		"no known_hosts":            {sshRemote(func(r *Remote) { r.Known = nil }), CauseHostKey, "first sight"},
		"broken known_hosts":        {sshRemote(func(r *Remote) { r.Known = []byte("# x\n\nhost ssh-rsa\n") }), CauseHostKey, "line 3"},
		"unknown host":              {sshRemote(func(r *Remote) { r.Known = []byte(strings.Replace(string(r.Known), "127.0.0.1", "127.0.0.2", 1)) }), CauseHostKey, "no key for the server"},
		"no ssh repository":         {sshRemote(func(r *Remote) { r.URL = shell.URL + "/none.git" }), CauseNotFound, ""},
		"ssh refused": {sshRemote(func(r *Remote) {
			r.URL = "ssh://git@" + closed + "/repo.git"
			r.Known = []byte("* " + strings.SplitN(string(r.Known), " ", 2)[1])
		}), CauseNetwork, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := open(t, c.r).Fetch(t.Context())
			e := failure(t, err, c.want)
			if !strings.Contains(e.Error(), c.text) {
				t.Errorf("%q, want it to say %q", e, c.text)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v %v", e, e, e.Err, errors.Unwrap(e)), "planted-") {
				t.Errorf("%q shows a credential", e)
			}
		})
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func answer200(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/repo.git"
}

func TestFileNeedsGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := open(t, Remote{URL: "file:///srv/repo.git"}).Fetch(t.Context())
	if e := failure(t, err, CauseUnsupported); !strings.Contains(e.Error(), "git binary") {
		t.Errorf("%v does not say what is missing", e)
	}
}

func TestChangedHostKey(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	tip := repo.Write(map[string]string{"f": "1"})
	s := gittest.ServeSSH(t, root, "")
	m := open(t, Remote{URL: s.URL + "/repo.git", SSHKey: s.ClientKey, Known: s.KnownHosts})
	snap := fetch(t, m, tip)
	s.ChangeHostKey()
	_, err := m.Fetch(t.Context())
	if e := failure(t, err, CauseHostKey); !strings.Contains(e.Error(), "SHA256:") {
		t.Errorf("%v does not show the key's fingerprint", e)
	}
	content(t, snap.FS, "f", "1")
}

func TestLastGoodStaysThroughFailures(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	tip := repo.Write(map[string]string{"f": "1"})
	var broken atomic.Value
	broken.Store("")
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case broken.Load() == "cut" && r.Method == http.MethodPost:
				rec := httptest.NewRecorder()
				next.ServeHTTP(rec, r)
				for k, v := range rec.Header() {
					w.Header()[k] = v
				}
				w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()))
				_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
				panic(http.ErrAbortHandler)
			case broken.Load() == "pack" && r.Method == http.MethodPost:
				w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
				_, _ = io.WriteString(w, "0008NAK\n0011\x01PACKgarbage!0000")
			case broken.Load() == "error" && r.Method == http.MethodPost:
				w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
				_, _ = io.WriteString(w, "001fERR upload-pack: not our ref")
			case broken.Load() == "sideband" && r.Method == http.MethodPost:
				w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
				_, _ = io.WriteString(w, "0008NAK\n0017\x03\x1b[31mout of memory0000")
			default:
				next.ServeHTTP(w, r)
			}
		})
	}})
	dir := t.TempDir()
	m := openIn(t, dir, Remote{URL: h.URL + "/repo.git"}, Limits{})
	snap := fetch(t, m, tip)
	next := repo.Write(map[string]string{"f": big(t, 50_000)})
	for _, kind := range []string{"cut", "pack", "error", "sideband"} {
		broken.Store(kind)
		_, err := m.Fetch(t.Context())
		var e *Error
		if !errors.As(err, &e) || (e.Cause != CauseServer && e.Cause != CauseNetwork) {
			t.Errorf("%s: %v", kind, err)
		}
		if strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %q has a control character", kind, err)
		}
		content(t, snap.FS, "f", "1")
	}
	repo.Push("main", tip)
	broken.Store("")
	fetch(t, m, tip)
	repo.Push("main", next)
	whole(t, fetch(t, m, next).FS)
	content(t, snap.FS, "f", "1")
	noTemporaryFiles(t, dir)
}

func noTemporaryFiles(t *testing.T, dir string) {
	t.Helper()
	err := walkFiles(dir, func(p string, _ int64) {
		if strings.Contains(p, "tmp_") {
			t.Errorf("left over: %s", p)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	tip := repo.Write(map[string]string{"f": "1"})
	var leaked atomic.Int64
	watch := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				leaked.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	}
	open443 := gittest.ServeHTTP(t, root, gittest.HTTPOptions{Wrap: watch})
	redirect := func(to string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+strings.TrimPrefix(r.URL.Path, "/moved")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
		}))
		t.Cleanup(s.Close)
		return s.URL + "/moved/repo.git"
	}
	m := open(t, Remote{URL: redirect(open443.URL), Username: "ada", Password: "planted-secret"})
	fetch(t, m, tip)
	if n := leaked.Load(); n != 0 {
		t.Errorf("%d requests brought credentials to another host", n)
	}
	var here *httptest.Server
	same := gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "ada", Password: "planted-secret", Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if path, ok := strings.CutPrefix(r.URL.Path, "/old"); ok {
				http.Redirect(w, r, path+"?"+r.URL.RawQuery, http.StatusFound)
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	fetch(t, open(t, Remote{URL: same.URL + "/old/repo.git", Username: "ada", Password: "planted-secret"}), tip)
	here = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, here.URL+r.URL.Path, http.StatusFound)
	}))
	t.Cleanup(here.Close)
	_, err := open(t, Remote{URL: here.URL + "/repo.git"}).Fetch(t.Context())
	failure(t, err, CauseServer)
	down := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, open443.URL+r.URL.Path+"?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(down.Close)
	_, err = open(t, Remote{URL: down.URL + "/repo.git", CA: pemOf(down), Token: "planted-secret"}).Fetch(t.Context())
	failure(t, err, CauseServer)
}

func TestUnusableCache(t *testing.T) {
	t.Parallel()
	repo := gittest.NewRepo(t)
	repo.Write(map[string]string{"f": "1"})
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openIn(t, file, Remote{URL: repo.URL()}, Limits{}).Fetch(t.Context())
	if e := failure(t, err, CauseLimit); !strings.Contains(e.Error(), file) {
		t.Errorf("%v does not name the folder", e)
	}
}

func TestServersThatHang(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	repo.Write(map[string]string{"f": big(t, 100_000)})
	key, _ := gittest.Key(t)
	silent := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	banner := listener(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "SSH-2.0-slow\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	slow := gittest.ServeHTTP(t, root, gittest.HTTPOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				next.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			for _, b := range rec.Body.Bytes() { // one byte, then a wait that the client ends
				_, _ = w.Write([]byte{b})
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-release:
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}})
	known := []byte("* " + string(authorized(t, key)))
	for name, r := range map[string]Remote{
		"http that never answers":      {URL: "http://" + silent + "/repo.git"},
		"https that never answers":     {URL: "https://" + silent + "/repo.git"},
		"ssh that never greets":        {URL: "ssh://git@" + silent + "/repo.git", SSHKey: key, Known: known},
		"ssh that stops at the banner": {URL: "ssh://git@" + banner + "/repo.git", SSHKey: key, Known: known},
		"a byte now and then":          {URL: slow.URL + "/repo.git"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			m := openIn(t, dir, r, Limits{Timeout: 300 * time.Millisecond})
			_, err := m.Fetch(t.Context())
			failure(t, err, CauseTimeout)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is no context.DeadlineExceeded", err)
			}
			noTemporaryFiles(t, dir)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := m.Fetch(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("canceled: %v", err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	repo := root.Repo("repo.git")
	small := repo.Write(map[string]string{"a/f": "1", "a/g": "2"})
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	url := h.URL + "/repo.git"
	check := func(l Limits, text string, files map[string]string) {
		t.Helper()
		dir := t.TempDir()
		m := openIn(t, dir, Remote{URL: url}, l)
		snap := fetch(t, m, small)
		repo.Write(files)
		_, err := m.Fetch(t.Context())
		packs := h.Packs()
		_, again := m.Fetch(t.Context())
		failure(t, again, CauseLimit)
		if got := h.Packs(); got != packs {
			t.Errorf("the commit that broke the limit %q was asked for again", text)
		}
		e := failure(t, err, CauseLimit)
		if !strings.Contains(e.Error(), text) {
			t.Errorf("%v does not name the limit %q", e, text)
		}
		content(t, snap.FS, "a/f", "1")
		repo.Push("main", small)
		fetch(t, m, small)
		noTemporaryFiles(t, dir)
		var sum int64
		if err := walkFiles(dir, func(_ string, n int64) { sum += n }); err != nil || sum > 100_000 {
			t.Errorf("%d bytes on disk, %v", sum, err)
		}
	}
	check(Limits{Bytes: 100_000}, "97.7 KiB", map[string]string{"big": big(t, 300_000)})
	check(Limits{Files: 6}, "6 files", map[string]string{"a/h": "3", "a/i": "4", "a/j": "5", "b/c/d": "6"})
	// what is kept may be larger than what is read, but not this large
	check(Limits{File: 100_000}, "32 MiB", map[string]string{"bomb": strings.Repeat("0", 33<<20)})

	repo.Write(map[string]string{"big": big(t, 300_000)})
	m := openIn(t, t.TempDir(), Remote{URL: url}, Limits{File: 100_000})
	s := fetch(t, m, "")
	content(t, s.FS, "a/f", "1")
	_, err := s.FS.ReadFile("big")
	failure(t, err, CauseLimit)
	_, err = s.FS.Open("big")
	failure(t, err, CauseLimit)
	if i, err := s.FS.Stat("big"); err != nil || i.Size() != 300_000 {
		t.Errorf("stat of a file over the limit: %v, %v", i, err)
	}
}

// TestBusyServerSaysHowLong: the time is in the error, and bounded.
func TestBusyServerSaysHowLong(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "999999999999999999999": 0, "86400": time.Hour,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0, "Fri, 02 Jan 2026 13:00:00 GMT": time.Hour,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestFullCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatalf("mount a small tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	repo := gittest.NewRepo(t)
	small := repo.Write(map[string]string{"f": "1"})
	m := openIn(t, dir, Remote{URL: repo.URL()}, Limits{})
	snap := fetch(t, m, small)
	repo.Write(map[string]string{"f": big(t, 3_000_000)})
	_, err := m.Fetch(t.Context())
	e := failure(t, err, CauseLimit)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(e.Error(), "cache") {
		t.Errorf("%v", e)
	}
	content(t, snap.FS, "f", "1")
	noTemporaryFiles(t, dir)
	repo.Push("main", small)
	fetch(t, m, small)
	// filled by something else: a fresh mirror cannot even start
	if err := os.WriteFile(dir+"/filler", make([]byte, 1_900_000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = openIn(t, dir, Remote{URL: repo.URL(), Branch: "main"}, Limits{}).Fetch(t.Context())
	if err != nil {
		failure(t, err, CauseLimit)
	}
	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	next := repo.Write(map[string]string{"f": "2"})
	content(t, fetch(t, m, next).FS, "f", "2")
	// no room for a fresh folder beside the one that is due to be replaced
	for m.store.commits() < maxCommits-1 {
		keepAny(t, m)
	}
	half := repo.Write(map[string]string{"f": "3", "half": big(t, 1_400_000)})
	fetch(t, m, half)
	added := repo.Write(map[string]string{"f": "4"})
	content(t, fetch(t, m, added).FS, "f", "4")
}
