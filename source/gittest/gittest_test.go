package gittest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestServers(t *testing.T) {
	t.Parallel()
	root := NewRoot(t)
	repo := root.Repo("team/shop.git")
	repo.Write(map[string]string{"a/b.txt": "one"})
	want := repo.Commit(Change{Write: map[string]string{"c": "two"}, Link: map[string]string{"l": "a/b.txt"}, Remove: []string{"a/none"}})
	repo.Tag("v1", want)
	h := ServeHTTP(t, root, HTTPOptions{User: "u", Password: "p"})
	s := ServeSSH(t, root, "")

	dir := t.TempDir()
	key, known := filepath.Join(dir, "key"), filepath.Join(dir, "known")
	for name, data := range map[string][]byte{key: s.ClientKey, known: s.KnownHosts} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sshCommand := "GIT_SSH_COMMAND=ssh -F none -i " + key + " -o IdentitiesOnly=yes -o UserKnownHostsFile=" + known
	for name, url := range map[string]string{
		"http": strings.Replace(h.URL, "://", "://u:p@", 1) + "/team/shop.git",
		"ssh":  s.URL + "/team/shop.git",
		"file": repo.URL(),
	} {
		cmd := exec.Command("git", "ls-remote", url, "main")
		cmd.Env = append(environment(), sshCommand)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: git ls-remote: %v\n%s\nwant %s", name, err, out, want)
		}
	}
	if h.Served() == 0 || s.Served() == 0 {
		t.Errorf("bytes served: http %d, ssh %d, want both above zero", h.Served(), s.Served())
	}
}

func TestCommitsOnBranches(t *testing.T) {
	t.Parallel()
	r := NewRepo(t)
	first := r.Write(map[string]string{"f": "1"})
	second := r.Write(map[string]string{"f": "2"})
	sibling := r.Commit(Change{From: first, Write: map[string]string{"f": "3"}})
	if got := r.Head("main"); got != sibling || sibling == second {
		t.Errorf("main is %s after a sibling of %s, want %s", got, second, sibling)
	}
	if got := strings.TrimSpace(r.Git("rev-parse", sibling+"^")); got != first {
		t.Errorf("parent of the sibling: %s, want %s", got, first)
	}
	r.Push("main", first)
	if got := r.Head("main"); got != first {
		t.Errorf("main is %s after a rollback, want %s", got, first)
	}
	r.Commit(Change{Orphan: true, Clear: true, Write: map[string]string{"g": "1"}})
	if got := strings.TrimSpace(r.Git("ls-tree", "--name-only", "main")); got != "g" {
		t.Errorf("files of the orphan: %q, want g", got)
	}
}
