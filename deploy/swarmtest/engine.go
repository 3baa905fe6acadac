package swarmtest

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed" // for app
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/client"

	"github.com/skep-gitops/skep/deploy"
)

// app is the program in the images: without an argument it waits for a signal,
// with one it ends with that exit code.
//
//go:embed testdata/app/main.go
var app []byte

// Engine connects to the real engine that DOCKER_HOST names, or to that of the
// default socket, and sees to it that it has the images of Contract. An engine
// that is missing, or no manager of a swarm, fails the test.
func Engine(t testing.TB) *client.Client {
	t.Helper()
	c, err := deploy.Connect(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	info, err := c.Info(ctx)
	if err != nil {
		t.Fatalf("this test needs a Docker Engine: start one, or name it in DOCKER_HOST: %v", err)
	}
	if !info.Swarm.ControlAvailable {
		t.Fatal("this test needs a swarm: run `docker swarm init --advertise-addr 127.0.0.1` on a machine that is in none")
	}
	if err := images(ctx, c, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	return c
}

// images builds the images that the engine does not have.
func images(ctx context.Context, c *client.Client, dir string) error {
	var bin []byte
	for name, entrypoint := range map[string]string{ImageRuns: `["/app"]`, ImageEnds: `["/app","0"]`, ImageCrashes: `["/app","3"]`} {
		_, err := c.ImageInspect(ctx, name)
		if err == nil {
			continue
		}
		if !cerrdefs.IsNotFound(err) {
			return err
		}
		if bin == nil {
			if bin, err = compile(ctx, dir); err != nil {
				return err
			}
		}
		if err := image(ctx, c, name, entrypoint, bin); err != nil {
			return fmt.Errorf("build image %s: %w", name, err)
		}
	}
	return nil
}

func image(ctx context.Context, c *client.Client, name, entrypoint string, bin []byte) error {
	dockerfile := fmt.Sprintf("FROM scratch\nCOPY app /app\nENTRYPOINT %s\n", entrypoint)
	tarred, err := archive(map[string][]byte{"Dockerfile": []byte(dockerfile), "app": bin})
	if err != nil {
		return err
	}
	resp, err := c.ImageBuild(ctx, tarred, build.ImageBuildOptions{Tags: []string{name}, Remove: true})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && bytes.Contains(out, []byte(`"errorDetail"`)) {
		err = fmt.Errorf("%s", out)
	}
	return err
}

// compile builds the app for the engine of this machine.
func compile(ctx context.Context, dir string) ([]byte, error) {
	source, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "app")
	if err := os.WriteFile(source, app, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the app: %w: %s", err, out)
	}
	return os.ReadFile(bin)
}

func archive(files map[string][]byte) (io.Reader, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	return &b, w.Close()
}
