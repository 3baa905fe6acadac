package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"
)

// Deployment is skep as a Swarm service, from deploy/skep.yml.
type Deployment struct {
	Stack   string
	Root    string   // of the checkout
	Config  string   // path of skep.yml
	Version string   // of the config: another text wants another version
	Image   string   // that SkepImage built
	Extra   []string // more stack files, merged on top
}

// SkepImage builds skep's own image from the binary that New built, with the
// project's Dockerfile.
func (l *Lab) SkepImage(ctx context.Context, tag string) error {
	file, err := os.ReadFile(filepath.Join(l.Root, "Dockerfile"))
	if err != nil {
		return err
	}
	bin, err := os.ReadFile(l.Bin)
	if err != nil {
		return err
	}
	return l.build(ctx, tag, []entry{{"Dockerfile", 0o644, file}, {"skep", 0o755, bin}, {"cache/", 0o755, nil}})
}

// DeploySkep runs docker stack deploy with deploy/skep.yml, as the README says.
func DeploySkep(ctx context.Context, d Deployment) error {
	args := []string{"stack", "deploy", "--resolve-image", "never", "-c", filepath.Join(d.Root, "deploy", "skep.yml")}
	for _, e := range d.Extra {
		args = append(args, "-c", e)
	}
	env := []string{"SKEP_IMAGE=" + d.Image, "SKEP_CONFIG=" + d.Version, "SKEP_YML=" + d.Config}
	return run(ctx, d.Root, env, "docker", append(args, d.Stack)...)
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if b, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, b)
	}
	return nil
}

// Container is the newest running container of a service on this node.
func (l *Lab) Container(ctx context.Context, service string) (string, error) {
	f := filters.NewArgs(filters.Arg("label", "com.docker.swarm.service.name="+service), filters.Arg("status", "running"))
	list, err := l.Docker.ContainerList(ctx, container.ListOptions{Filters: f})
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", fmt.Errorf("no container of service %s runs on this node", service)
	}
	return list[0].ID, nil
}

// Addresses are where the running containers of a service on this node are
// reached from this machine.
func (l *Lab) Addresses(ctx context.Context, service string) ([]string, error) {
	f := filters.NewArgs(filters.Arg("label", "com.docker.swarm.service.name="+service), filters.Arg("status", "running"))
	list, err := l.Docker.ContainerList(ctx, container.ListOptions{Filters: f})
	if err != nil {
		return nil, err
	}
	n, err := l.Docker.NetworkInspect(ctx, "docker_gwbridge", network.InspectOptions{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range list {
		if at, _, ok := strings.Cut(n.Containers[c.ID].IPv4Address, "/"); ok {
			out = append(out, at)
		}
	}
	slices.Sort(out)
	return out, nil
}

// SecretIn is the SHA-256, in hex, of a secret as the app in the container of a
// service on this node reads it.
func (l *Lab) SecretIn(ctx context.Context, service, name string) (string, error) {
	id, err := l.Container(ctx, service)
	if err != nil {
		return "", err
	}
	out, err := l.Exec(ctx, id, container.ExecOptions{Cmd: []string{"/app", "secret", name}})
	return strings.TrimSpace(string(out)), err
}

// Exec runs a program in a container and gives its standard output; an exit
// code other than 0 is an error with what it printed.
func (l *Lab) Exec(ctx context.Context, id string, o container.ExecOptions) ([]byte, error) {
	o.AttachStdout, o.AttachStderr = true, true
	e, err := l.Docker.ContainerExecCreate(ctx, id, o)
	if err != nil {
		return nil, err
	}
	a, err := l.Docker.ContainerExecAttach(ctx, e.ID, container.ExecAttachOptions{})
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, a.Reader); err != nil {
		return nil, err
	}
	in, err := l.Docker.ContainerExecInspect(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	if in.ExitCode != 0 {
		return nil, fmt.Errorf("%v: exit code %d: %s%s", o.Cmd, in.ExitCode, out.Bytes(), errs.Bytes())
	}
	return out.Bytes(), nil
}
