package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"golang.org/x/crypto/bcrypt"
)

// Registry is a real image registry on loopback that asks for a password.
type Registry struct {
	Host string // 127.0.0.1:port, as it stands in image references

	dir, user, password string
	cmd                 *exec.Cmd
}

// NewRegistry starts one below dir.
func NewRegistry(dir, user, password string) (*Registry, error) {
	addr, err := FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	r := &Registry{Host: addr, dir: dir, user: user, password: password}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: '%s'}\nauth: {htpasswd: {realm: lab, path: %s}}\n",
		filepath.Join(dir, "data"), addr, filepath.Join(dir, "htpasswd"))
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(user+":"+string(hash)+"\n"), 0o644); err != nil {
		return nil, err
	}
	return r, r.Start()
}

// Start runs it on the same address as before.
func (r *Registry) Start() error {
	path, err := exec.LookPath("docker-registry")
	if err != nil {
		return fmt.Errorf("no registry (Debian: apt-get install docker-registry): %w", err)
	}
	log, err := os.Create(filepath.Join(r.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	r.cmd = exec.Command(path, "serve", filepath.Join(r.dir, "config.yml"))
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		return err
	}
	return Poll(context.Background(), time.Minute, func() (bool, string) {
		resp, err := http.Get("http://" + r.Host + "/v2/")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized, resp.Status
	})
}

// Stop kills it; what was pushed stays.
func (r *Registry) Stop() {
	if r.cmd == nil {
		return
	}
	r.cmd.Process.Kill()
	r.cmd.Wait()
	r.cmd = nil
}

// Push pushes the app image under a name and tag; it gives the reference.
func (r *Registry) Push(ctx context.Context, l *Lab, name string) (string, error) {
	ref := r.Host + "/" + name
	if err := l.Docker.ImageTag(ctx, AppImage, ref); err != nil {
		return "", err
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: r.user, Password: r.password, ServerAddress: r.Host})
	if err != nil {
		return "", err
	}
	out, err := l.Docker.ImagePush(ctx, ref, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", err
	}
	defer out.Close()
	log, err := io.ReadAll(out)
	if err != nil {
		return "", err
	}
	if strings.Contains(string(log), `"errorDetail"`) {
		return "", fmt.Errorf("push %s: %s", ref, log)
	}
	return ref, nil
}
