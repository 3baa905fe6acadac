// Package lab is the world that the end-to-end tests and the demo run skep in: a
// real swarm, real git servers, a real Alertmanager, and a proxy that makes the
// Docker API misbehave.
//
// It touches nothing on the engine but objects of the instances that it made up
// itself, and images below skep-lab/.
package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// AppImage is the image of e2e/app. It is in no registry.
const AppImage = "skep-lab/app:1"

// Lab is an engine with a swarm, the skep binary and the app image.
type Lab struct {
	Docker *client.Client
	Dir    string // scratch folder of this run
	Bin    string // the skep binary
	Root   string // of the checkout
}

// New connects to the engine, which must be a swarm manager, and builds the
// binary and the app image.
func New(ctx context.Context, dir string) (*Lab, error) {
	cli, err := Connect(ctx)
	if err != nil {
		return nil, err
	}
	info, err := cli.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("no Docker Engine (make test sets one up): %w", err)
	}
	if !info.Swarm.ControlAvailable {
		return nil, errors.New("the engine is no swarm manager (make test sets one up): docker swarm init --advertise-addr 127.0.0.1")
	}
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	l := &Lab{Docker: cli, Dir: dir, Bin: filepath.Join(dir, "skep"), Root: root}
	if err := l.goBuild(ctx, l.Bin, "./cmd/skep"); err != nil {
		return nil, err
	}
	if err := l.goBuild(ctx, filepath.Join(dir, "app"), "./e2e/app"); err != nil {
		return nil, err
	}
	return l, l.image(ctx, AppImage, filepath.Join(dir, "app"), "app")
}

// checkout is the folder of the module's go.mod, from wherever a test runs.
func checkout() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// goBuild builds one static binary.
func (l *Lab) goBuild(ctx context.Context, out, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, b)
	}
	return nil
}

// image builds a FROM scratch image that holds one binary.
func (l *Lab) image(ctx context.Context, tag, bin, name string) error {
	b, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	file := []byte("FROM scratch\nCOPY " + name + " /" + name + "\nENTRYPOINT [\"/" + name + "\"]\n")
	return l.build(ctx, tag, []entry{{"Dockerfile", 0o644, file}, {name, 0o755, b}})
}

// entry is a file, or with a slash at the end a folder, that an image is built from.
type entry struct {
	name string
	mode int64
	data []byte
}

// build builds an image from entries, one of which is the Dockerfile.
func (l *Lab) build(ctx context.Context, tag string, entries []entry) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.data)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(e.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	resp, err := l.Docker.ImageBuild(ctx, &buf, build.ImageBuildOptions{Tags: []string{tag}, Remove: true})
	if err != nil {
		return fmt.Errorf("build image %s: %w", tag, err)
	}
	defer resp.Body.Close()
	log, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("build image %s: %w", tag, err)
	}
	if bytes.Contains(log, []byte(`"errorDetail"`)) {
		return fmt.Errorf("build image %s: %s", tag, log)
	}
	return nil
}

// Gateway is the host's address that containers on docker_gwbridge reach.
func (l *Lab) Gateway(ctx context.Context) (string, error) {
	n, err := l.Docker.NetworkInspect(ctx, "docker_gwbridge", network.InspectOptions{})
	if err != nil {
		return "", err
	}
	for _, c := range n.IPAM.Config {
		if c.Gateway != "" {
			return c.Gateway, nil
		}
	}
	return "", errors.New("docker_gwbridge has no gateway")
}

// Poll calls f until it says true, every 100 ms at first and every 500 ms later,
// and gives its last word when the time is over.
func Poll(ctx context.Context, limit time.Duration, f func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	wait := 100 * time.Millisecond
	for {
		ok, word := f()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", limit, word)
		case <-time.After(wait):
		}
		if wait < 500*time.Millisecond {
			wait += 50 * time.Millisecond
		}
	}
}

// Services are the services of one stack, by name.
func (l *Lab) Services(ctx context.Context, stack string) (map[string]swarm.Service, error) {
	list, err := l.Docker.ServiceList(ctx, swarm.ServiceListOptions{Filters: namespace(stack), Status: true})
	if err != nil {
		return nil, err
	}
	out := map[string]swarm.Service{}
	for _, s := range list {
		out[s.Spec.Name] = s
	}
	return out, nil
}

// Connect makes a client of the engine in the environment.
func Connect(ctx context.Context) (*client.Client, error) {
	cli, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	cli.NegotiateAPIVersion(ctx)
	return cli, nil
}

// FreePort is host with a port that nobody listens on.
func FreePort(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
