package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Git is a real git server (git http-backend) for the repositories below one folder.
type Git struct {
	URL string // http://host:port
	dir string
	srv *http.Server
}

// NewGit serves repositories on addr (host:0 picks a port).
func NewGit(dir, addr string) (*Git, error) {
	path, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("git is not installed: %w", err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	h := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{
		"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + dir,
	}}
	g := &Git{URL: "http://" + l.Addr().String(), dir: dir, srv: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}}
	go g.srv.Serve(l) // ends with Close
	return g, nil
}

// OpenGit is the server that another process runs at url for the same folder.
func OpenGit(dir, url string) *Git { return &Git{URL: url, dir: dir, srv: &http.Server{}} }

// Close ends the server; the repositories stay.
func (g *Git) Close() error { return g.srv.Close() }

// Repo is one repository on the server and a work tree to push from.
type Repo struct {
	URL  string
	Dir  string // of the work tree
	bare string
}

// Repo makes an empty repository, or opens the one that is there.
func (g *Git) Repo(ctx context.Context, name string) (*Repo, error) {
	r := &Repo{URL: g.URL + "/" + name + ".git", Dir: filepath.Join(g.dir, name+".work"), bare: filepath.Join(g.dir, name+".git")}
	if err := git(ctx, g.dir, "init", "-q", "--bare", "-b", "main", r.bare); err != nil {
		return nil, err
	}
	if err := git(ctx, g.dir, "-C", r.bare, "config", "uploadpack.allowReachableSHA1InWant", "true"); err != nil {
		return nil, err
	}
	if err := git(ctx, g.dir, "init", "-q", "-b", "main", r.Dir); err != nil {
		return nil, err
	}
	// It exists already when the folder is used again.
	_ = git(ctx, r.Dir, "remote", "add", "origin", r.bare)
	return r, nil
}

// Push writes files (nil content removes one, or a folder), commits and pushes.
// It gives the commit's hash.
func (r *Repo) Push(ctx context.Context, message string, files map[string]string, remove ...string) (string, error) {
	for _, name := range remove {
		if err := os.RemoveAll(filepath.Join(r.Dir, name)); err != nil {
			return "", err
		}
	}
	for name, text := range files {
		p := filepath.Join(r.Dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	if err := git(ctx, r.Dir, "add", "-A"); err != nil {
		return "", err
	}
	if err := git(ctx, r.Dir, "commit", "-q", "--allow-empty", "-m", message); err != nil {
		return "", err
	}
	if err := git(ctx, r.Dir, "push", "-q", "-f", "origin", "HEAD:refs/heads/main"); err != nil {
		return "", err
	}
	return r.Head(ctx)
}

// Head is the work tree's commit.
func (r *Repo) Head(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "HEAD")
	cmd.Dir = r.Dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// Git runs git in the work tree.
func (r *Repo) Git(ctx context.Context, args ...string) error { return git(ctx, r.Dir, args...) }

func git(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, b)
	}
	return nil
}
