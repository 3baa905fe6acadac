package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/skep-gitops/skep/e2e/lab"
	"github.com/skep-gitops/skep/source/gittest"
)

// remote is one of several tenants of one operator.
type remote struct {
	name   string // after the instance's
	cause  string // once it is broken; empty: nothing breaks it
	server string // URL before the repository's path
	access string // more lines for skep.yml, each indented by four
	breaks func(*remote)
	mends  func(*remote)

	repo *gittest.Repo
	ran  string // its task before anything broke
}

// remotes is an operator with one tenant for each remote, which serves web.
func remotes(t *testing.T, list []*remote, root *gittest.Root, first map[string]string) *tenant {
	t.Helper()
	tn := newTenant(t, options{})
	tenants := ""
	for _, r := range list {
		r.repo = root.Repo(r.name + ".git")
		r.repo.AllowAnyCommit()
		r.repo.Write(first)
		tenants += fmt.Sprintf("  - name: %s\n    repo: %s/%s\n    branch: main\n    policy: unrestricted\n%s", tn.name+"-"+r.name, r.server, r.repo.Path, r.access)
	}
	text := tn.config(options{})
	tn.must(tn.skep.Write(text[:strings.Index(text, "tenants:")] + "tenants:\n" + tenants))
	return tn
}

// of is the name of a remote's tenant.
func (r *remote) of(tn *tenant) string { return tn.name + "-" + r.name }

// element waits until a tenant's element without a stack is as f says; f gets
// nil while there is none.
func (tn *tenant) element(tenant string, f func(*lab.Stack) bool) {
	tn.Helper()
	tn.eventually("tenant "+tenant, func() (bool, string) {
		list, err := tn.skep.Stacks(tn.Context())
		if err != nil {
			return false, err.Error()
		}
		for _, s := range list {
			if s.Tenant == tenant && s.Stack == "" {
				return f(&s), s.String()
			}
		}
		return f(nil), "no element"
	})
}

// put writes a file of credentials beside skep.yml and gives its path.
func put(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// servers are one git server of each kind for the same repositories.
type servers struct {
	root                           *gittest.Root
	open, basic, token, tls, hangs *gittest.HTTP
	ssh, moves                     *gittest.SSH
	dir                            string // of the credentials
	hang                           atomic.Bool
	held                           chan struct{} // closed by release, so that requests that hang end
	release                        func()
}

func serve(t *testing.T) *servers {
	root := gittest.NewRoot(t)
	s := &servers{root: root, dir: t.TempDir(), held: make(chan struct{})}
	s.open = gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	s.basic = gittest.ServeHTTP(t, root, gittest.HTTPOptions{User: "skep", Password: "swordfish"})
	s.token = gittest.ServeHTTP(t, root, gittest.HTTPOptions{Token: "tok-en-1"})
	s.tls = gittest.ServeHTTP(t, root, gittest.HTTPOptions{TLS: true})
	s.hangs = gittest.ServeHTTP(t, root, gittest.HTTPOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.hang.Load() {
				select {
				case <-s.held:
				case <-r.Context().Done():
				}
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	s.ssh, s.moves = gittest.ServeSSH(t, root, ""), gittest.ServeSSH(t, root, "")
	s.release = sync.OnceFunc(func() { close(s.held) })
	t.Cleanup(s.release)
	return s
}

// remotes are the kinds of access that work, and the ways to fail.
func (s *servers) remotes(t *testing.T) []*remote {
	file := func(name string, data []byte) string { return put(t, s.dir, name, data) }
	key := func(k *gittest.SSH, name string) string {
		return fmt.Sprintf("    ssh_key_file: %s\n    known_hosts_file: %s\n", file(name+"-key", k.ClientKey), file(name+"-hosts", k.KnownHosts))
	}
	basic := func(name string) string {
		return "    username: skep\n    password_file: " + file(name, []byte("swordfish\n")) + "\n"
	}
	aside := func(r *remote) { rename(t, r.repo.Dir, r.repo.Dir+".gone") }
	return []*remote{
		{name: "basic", server: s.basic.URL, access: basic("good")},
		{name: "token", server: s.token.URL, access: "    token_file: " + file("token", []byte("tok-en-1\n")) + "\n"},
		{name: "tls", server: s.tls.URL, access: "    ca_file: " + file("ca", s.tls.CA) + "\n"},
		{name: "ssh", server: s.ssh.URL, access: key(s.ssh, "ssh")},
		{name: "password", cause: "auth", server: s.basic.URL, access: basic("bad"),
			breaks: func(*remote) { file("bad", []byte("guessed-wrong\n")) },
			mends:  func(*remote) { file("bad", []byte("swordfish\n")) }},
		{name: "nofile", cause: "auth", server: s.basic.URL, access: basic("lost"),
			breaks: func(*remote) { rename(t, filepath.Join(s.dir, "lost"), filepath.Join(s.dir, "lost.gone")) },
			mends:  func(*remote) { rename(t, filepath.Join(s.dir, "lost.gone"), filepath.Join(s.dir, "lost")) }},
		{name: "branch", cause: "missing-branch", server: s.open.URL,
			breaks: func(r *remote) { r.repo.Git("branch", "-m", "main", "other") },
			mends:  func(r *remote) { r.repo.Git("branch", "-m", "other", "main") }},
		{name: "gone", cause: "not-found", server: s.open.URL, breaks: aside,
			mends: func(r *remote) { rename(t, r.repo.Dir+".gone", r.repo.Dir) }},
		{name: "empty", cause: "empty", server: s.open.URL,
			breaks: func(r *remote) { aside(r); s.root.Repo(r.name + ".git") },
			mends:  func(r *remote) { os.RemoveAll(r.repo.Dir); rename(t, r.repo.Dir+".gone", r.repo.Dir) }},
		{name: "hostkey", cause: "host-key", server: s.moves.URL, access: key(s.moves, "moves"),
			breaks: func(*remote) { s.moves.ChangeHostKey() },
			mends:  func(*remote) { file("moves-hosts", s.moves.KnownHosts) }},
		{name: "hangs", cause: "timeout", server: s.hangs.URL,
			breaks: func(*remote) { s.hang.Store(true) },
			mends:  func(*remote) { s.hang.Store(false); s.release() }},
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestRepositoriesOfEveryKind follows many tenants over http, https and ssh, has
// most of them fail, each for a cause of its own, and sees that none of it
// reaches the others or what runs.
func TestRepositoriesOfEveryKind(t *testing.T) {
	t.Parallel()
	s := serve(t)
	list := s.remotes(t)
	tn := remotes(t, list, s.root, map[string]string{"web/stack.yml": plain()})
	tn.start()
	for _, r := range list {
		tn.live(r.name+"-web", r.repo.Head("main"))
		r.ran = tn.tasks(r.name+"-web", "web")
	}
	tn.quiet()

	for _, r := range list {
		if r.breaks != nil {
			r.breaks(r)
		}
	}
	// The healthy ones go on while the others fail or hang.
	began := time.Now()
	pushed := map[string]string{}
	for _, r := range list {
		if r.cause == "" {
			pushed[r.name] = r.repo.Write(map[string]string{"web/stack.yml": plain("hostname: second")})
		}
	}
	for _, r := range list {
		if r.cause == "" {
			tn.live(r.name+"-web", pushed[r.name])
		}
	}
	if d := time.Since(began); d > time.Minute {
		t.Errorf("healthy tenants took %v beside failing ones", d)
	}

	for _, r := range list {
		if r.cause == "" {
			continue
		}
		tn.element(r.of(tn), func(st *lab.Stack) bool {
			return st != nil && st.Reason == "FetchFailed" && st.Cause == r.cause && st.Message != ""
		})
		if now := tn.tasks(r.name+"-web", "web"); now != r.ran {
			t.Errorf("%s: tasks %s, want %s as before", r.name, now, r.ran)
		}
	}
	tn.oneAlertEach(list)
	if out := tn.skep.Output() + tn.verb("status"); strings.Contains(out, "swordfish") || strings.Contains(out, "tok-en-1") || strings.Contains(out, "guessed-wrong") {
		t.Error("a credential is in the log or the status")
	}

	for _, r := range list {
		if r.mends != nil {
			r.mends(r)
		}
	}
	for _, r := range list {
		tn.element(r.of(tn), func(st *lab.Stack) bool { return st == nil })
		tn.live(r.name+"-web", r.repo.Head("main"))
		if now := tn.tasks(r.name+"-web", "web"); r.cause != "" && now != r.ran {
			t.Errorf("%s: tasks %s after it was mended, want %s as before", r.name, now, r.ran)
		}
	}
	tn.quiet()
}

// oneAlertEach waits until each tenant that fails has one alert, and the others none.
func (tn *tenant) oneAlertEach(list []*remote) {
	tn.Helper()
	tn.eventually("one alert for each tenant that fails", func() (bool, string) {
		want, got := "", ""
		for _, r := range list {
			if r.cause != "" {
				want += r.of(tn) + " "
			}
			for _, a := range tn.alerts() {
				if a.Labels["tenant"] != r.of(tn) {
					continue
				}
				if got += r.of(tn) + " "; a.Labels["alertname"] != "SkepSourceFailed" || a.Labels["stack"] != "" {
					return false, fmt.Sprint(a)
				}
			}
		}
		return got == want, fmt.Sprintf("alerts for %s\nwant %s", got, want)
	})
}

// TestBranchThatIsRewritten follows a forced push, a rollback and an unrelated history.
func TestBranchThatIsRewritten(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	r := &remote{name: "a", server: h.URL}
	tn := remotes(t, []*remote{r}, root, map[string]string{"web/stack.yml": plain()})
	first := r.repo.Head("main")
	tn.start()
	tn.live("a-web", first)
	hostname := func(want string) {
		t.Helper()
		if got := tn.service("a-web", "web").Spec.TaskTemplate.ContainerSpec.Hostname; got != want {
			t.Errorf("hostname %q, want %q", got, want)
		}
	}
	second := r.repo.Write(map[string]string{"web/stack.yml": plain("hostname: second")})
	tn.live("a-web", second)
	hostname("second")
	r.repo.Push("main", first)
	tn.live("a-web", first)
	hostname("")
	sibling := r.repo.Commit(gittest.Change{From: first, Write: map[string]string{"web/stack.yml": plain("hostname: sibling")}})
	tn.live("a-web", sibling)
	hostname("sibling")
	orphan := r.repo.Commit(gittest.Change{Orphan: true, Clear: true, Write: map[string]string{"web/stack.yml": plain("hostname: orphan")}})
	tn.live("a-web", orphan)
	hostname("orphan")
	r.repo.Push("main", second)
	tn.live("a-web", second)
	hostname("second")
	if list := tn.alerts(); len(list) > 0 {
		t.Errorf("alerts: %v", list)
	}
}

// TestCacheVanishes removes the cache under a running operator, in parts and as a whole.
func TestCacheVanishes(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	entries, err := os.ReadDir(tn.skep.Cache)
	tn.must(err)
	for _, e := range entries {
		tn.removeAll(filepath.Join(tn.skep.Cache, e.Name()))
	}
	second := tn.push("second", map[string]string{"web/stack.yml": plain("hostname: second")})
	tn.live("web", second)
	tn.removeAll(tn.skep.Cache)
	third := tn.push("third", map[string]string{"web/stack.yml": plain("hostname: third")})
	tn.live("web", third)
	tn.quiet()
}

// TestCacheIsFull keeps the cache on a small tmpfs: a commit that does not fit
// is FetchFailed and names the limit, and the next one that fits is deployed.
func TestCacheIsFull(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	tn.must(syscall.Mount("tmpfs", tn.skep.Cache, "tmpfs", 0, "size=512k"))
	t.Cleanup(func() {
		tn.skep.Stop()
		if err := syscall.Unmount(tn.skep.Cache, 0); err != nil {
			t.Error(err)
		}
	})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	ran := tn.tasks("web", "web")
	tn.push("large", map[string]string{"web/stack.yml": plain("hostname: second"), "web/large": noise(2 << 20)})
	tn.element(tn.name, func(s *lab.Stack) bool { return s != nil && s.Reason == "FetchFailed" && s.Cause == "limit" })
	tn.element(tn.name, func(s *lab.Stack) bool { return s != nil && strings.Contains(s.Message, "cache is full") })
	tn.fires("SkepSourceFailed", "")
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("tasks %s, want %s as before", now, ran)
	}
	tn.must(tn.repo.Git(t.Context(), "reset", "-q", "--hard", first))
	last := tn.push("small again", map[string]string{"web/stack.yml": plain("hostname: third")})
	tn.live("web", last)
	tn.quiet()
}

// noise is text that no compression makes smaller than half.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[x>>58]
	}
	return string(b)
}

// TestOneFetchForAll counts the requests of tenants that share a repository
// against those of one that is alone with its credentials.
func TestOneFetchForAll(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	var mu sync.Mutex
	requests := map[string]int{}
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, _, _ := r.BasicAuth()
			mu.Lock()
			requests[user]++
			mu.Unlock()
			next.ServeHTTP(w, r)
		})
	}})
	dir := t.TempDir()
	text := ""
	tn := newTenant(t, options{})
	repo := root.Repo("all.git")
	files := map[string]string{}
	for i := range 8 {
		user, file := "shared", put(t, dir, fmt.Sprint("password", i), []byte("same\n")) // equal content, another file
		if i == 7 {
			user = "alone"
		}
		text += fmt.Sprintf("  - name: %s-%d\n    repo: %s/all.git\n    branch: main\n    path: t%d\n    username: %s\n    password_file: %s\n    policy: unrestricted\n",
			tn.name, i, h.URL, i, user, file)
		files[fmt.Sprintf("t%d/web/stack.yml", i)] = strings.Replace(plain(), "deploy:\n", "deploy:\n      replicas: 0\n", 1)
	}
	first := repo.Write(files)
	whole := tn.config(options{})
	tn.must(tn.skep.Write(whole[:strings.Index(whole, "tenants:")] + "tenants:\n" + text))
	tn.start()
	for i := range 8 {
		tn.live(fmt.Sprintf("%d-web", i), first)
	}
	for i := range 8 {
		files[fmt.Sprintf("t%d/web/stack.yml", i)] += "      labels: {second: 'yes'}\n"
	}
	second := repo.Write(files)
	for i := range 8 {
		tn.live(fmt.Sprintf("%d-web", i), second)
	}
	mu.Lock()
	defer mu.Unlock()
	if requests["alone"] < 3 || requests["shared"] > 2*requests["alone"]+5 {
		t.Errorf("requests of seven tenants that share: %d; of one that is alone: %d", requests["shared"], requests["alone"])
	}
}

// removeAll removes a folder that the operator may be writing to.
func (tn *tenant) removeAll(path string) {
	tn.Helper()
	tn.eventually("the folder is removed", func() (bool, string) {
		err := os.RemoveAll(path)
		return err == nil, fmt.Sprint(err)
	})
}

// TestOddRepositories reads a repository with everything in it that trips
// programs up, and follows a tag that is moved and removed.
func TestOddRepositories(t *testing.T) {
	t.Parallel()
	root := gittest.NewRoot(t)
	h := gittest.ServeHTTP(t, root, gittest.HTTPOptions{})
	repo := root.Repo("odd.git")
	repo.AllowAnyCommit()
	still := strings.Replace(plain(), "deploy:\n", "deploy:\n      replicas: 0\n", 1)
	files := map[string]string{
		"web/stack.yml":                  still,
		`"quo\"te$(id)/stack.yml"`:       still,
		`"new\nline/stack.yml"`:          still,
		`"es\033[31mcape/stack.yml"`:     still,
		"pointer/stack.yml":              plain("configs: [c]") + "configs: {c: {file: data.bin}}\n",
		"pointer/data.bin":               "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
		"control/stack.yml":              strings.Replace(still, "services:", "configs: {c: {file: \"a\\nb\\e[2J\"}}\nservices:", 1),
		"\"control/a\\nb\\033[2J\"":      "x",
		"-rf/stack.yml":                  "services: {}",
		".hidden/stack.yml":              "services: [",
		"deep/a/b/c/d/e/f/g/h/stack.yml": "services: [",
	}
	for i := range 20000 {
		files[fmt.Sprintf("many/%d/%d", i%200, i)] = fmt.Sprint(i)
	}
	message := "red \x1b[31mALERT\x1b[0m\n\nmore"
	first := repo.Commit(gittest.Change{
		Message: message, Author: "Eve \x1b[2J <eve@example.com>", Write: files,
		Link:   map[string]string{"self": ".", "loop": "loop", "alias": "web", "outside": "/etc", "up": "../.."},
		Module: map[string]string{"module": "4d7a214614ab2935c943f9e0ff69d22eadbb8f32"},
	})
	repo.Tag("v1", first)
	tn := newTenant(t, options{})
	text := tn.config(options{})
	text = text[:strings.Index(text, "tenants:")] + "tenants:\n"
	for name, lines := range map[string]string{"all": "branch: main", "tag": "tag: v1\n    path: web", "none": "path: nowhere", "module": "path: module"} {
		text += fmt.Sprintf("  - name: %s-%s\n    repo: %s/odd.git\n    policy: unrestricted\n    %s\n", tn.name, name, h.URL, lines)
	}
	tn.must(tn.skep.Write(text))
	tn.start()
	for _, good := range []string{"all-web", "all-alias", "all-control", "tag"} {
		tn.live(good, first)
	}
	for stack, cause := range map[string]string{"all-pointer": "", "all--rf": "", "all-loop": "", "all-outside": "path-escape", "all-up": "path-escape", "all-new\nline": "", "all-es\x1b[31mcape": "", "all-quo\"te$(id)": ""} {
		if st := tn.fails(stack, "RenderFailed"); cause != "" && st.Cause != cause {
			t.Errorf("%s: cause %s, want %s", stack, st.Cause, cause)
		}
	}
	for _, whole := range []string{"none", "module"} {
		tn.element(tn.stack(whole), func(s *lab.Stack) bool { return s != nil && s.Reason == "RenderFailed" })
	}
	for _, out := range []string{tn.verb("status"), tn.verb("history", tn.stack("all-web"))} {
		if strings.ContainsRune(out, '\x1b') {
			t.Errorf("an escape sequence of the repository reaches the terminal: %q", out)
		}
	}

	second := repo.Write(map[string]string{"web/stack.yml": still + "    hostname: second\n"})
	repo.Tag("v1", second)
	tn.live("tag", second)
	repo.Git("tag", "-d", "v1")
	tn.element(tn.stack("tag"), func(s *lab.Stack) bool {
		return s != nil && s.Reason == "FetchFailed" && s.Cause == "missing-branch" && strings.Contains(s.Message, "tag v1")
	})
	tn.service("tag", "web")
}
