package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/skep-gitops/skep/e2e/lab"
)

// stage is what the story is played on.
type stage struct {
	*lab.Lab
	dir     string
	repo    *lab.Repo
	gitURL  string
	alerts  string // Alertmanager's URL
	started time.Time
}

// newStage starts the git server and the Alertmanager in the background, fills
// the tenant's repository with examples/shop, and deploys skep as a service.
func newStage(ctx context.Context, dir string) (*stage, error) {
	for _, d := range []string{"git", "alertmanager"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	s := &stage{dir: dir, started: time.Now()}
	s.say("build skep, its image and the example's app")
	var err error
	if s.Lab, err = lab.New(ctx, dir); err != nil {
		return nil, err
	}
	gateway, err := s.Gateway(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.background(ctx, gateway); err != nil {
		return nil, err
	}
	g := lab.OpenGit(filepath.Join(dir, "git"), s.gitURL)
	if s.repo, err = g.Repo(ctx, "shop"); err != nil {
		return nil, err
	}
	if err := os.CopyFS(s.repo.Dir, os.DirFS(filepath.Join(s.Root, "examples", "shop"))); err != nil {
		return nil, err
	}
	return s, s.deploy(ctx)
}

// background starts the git server and the Alertmanager on the gateway of
// docker_gwbridge, where containers reach them; both outlive this program.
func (s *stage) background(ctx context.Context, gateway string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	gitAddr, err := lab.FreePort(gateway)
	if err != nil {
		return err
	}
	if err := s.spawn("git", self, "serve", filepath.Join(s.dir, "git"), gitAddr); err != nil {
		return err
	}
	s.gitURL = "http://" + gitAddr
	am, err := lab.NewAlertmanager(filepath.Join(s.dir, "alertmanager"), gateway+":0")
	if err != nil {
		return err
	}
	s.alerts = am.URL
	if err := s.remember("alertmanager", am.Pid()); err != nil {
		return err
	}
	return lab.Poll(ctx, 30*time.Second, func() (bool, string) {
		resp, err := http.Get(s.gitURL + "/")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return true, ""
	})
}

// spawn starts a program in a session of its own and remembers its process.
func (s *stage) spawn(name, path string, args ...string) error {
	// The program's own file is gone when go run ends: keep a copy.
	bin := filepath.Join(s.dir, name+".bin")
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		return err
	}
	cmd := exec.Command(bin, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return s.remember(name, cmd.Process.Pid)
}

func (s *stage) remember(name string, pid int) error {
	return os.WriteFile(filepath.Join(s.dir, name+".pid"), []byte(strconv.Itoa(pid)), 0o644)
}

// deploy builds skep's image from the binary and deploys deploy/skep.yml.
func (s *stage) deploy(ctx context.Context) error {
	if err := s.SkepImage(ctx, image); err != nil {
		return err
	}
	config := fmt.Sprintf(`cluster: demo
instance: %s
interval: 1s
alertmanagers:
  - url: %s
tenants:
  - name: %s
    repo: %s/shop.git
    branch: main
    age_key_file: /run/secrets/demo-age
    policy: unrestricted
`, instance, s.alerts, tenant, s.gitURL)
	if err := os.WriteFile(filepath.Join(s.dir, "skep.yml"), []byte(config), 0o644); err != nil {
		return err
	}
	more := fmt.Sprintf("version: '3.8'\nservices:\n  skep:\n    secrets: [demo-age]\nsecrets:\n  demo-age:\n    file: %s\n",
		filepath.Join(s.Root, "examples", "demo", "age-key.txt"))
	extra := filepath.Join(s.dir, "secrets.yml")
	if err := os.WriteFile(extra, []byte(more), 0o644); err != nil {
		return err
	}
	s.say("docker stack deploy -c deploy/skep.yml " + operatorStack)
	return lab.DeploySkep(ctx, lab.Deployment{Stack: operatorStack, Root: s.Root, Config: filepath.Join(s.dir, "skep.yml"), Image: image, Version: "demo-1", Extra: []string{extra}})
}

// say prints one line with the time since the start.
func (s *stage) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(s.started).Seconds(), fmt.Sprintf(format, args...))
}

// stacks asks the operator in its container.
func (s *stage) stacks(ctx context.Context) ([]lab.Stack, error) {
	id, err := s.Container(ctx, operatorStack+"_skep")
	if err != nil {
		return nil, err
	}
	out, err := s.Exec(ctx, id, container.ExecOptions{Cmd: []string{"/skep", "status", "-o", "json"}})
	if err != nil {
		return nil, err
	}
	var st struct{ Stacks []lab.Stack }
	return st.Stacks, json.Unmarshal(out, &st)
}

// serve is the git server in the background.
func serve(ctx context.Context, dir, addr string) error {
	g, err := lab.NewGit(dir, addr)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return g.Close()
}

// down removes what up made: services and objects by their labels, processes by
// their remembered numbers, and the folder.
func down(ctx context.Context, dir string) error {
	cli, err := lab.Connect(ctx)
	if err != nil {
		return err
	}
	l := &lab.Lab{Docker: cli}
	errs := []error{l.RemoveStack(ctx, operatorStack), l.RemoveInstance(ctx, instance)}
	for _, name := range []string{"git", "alertmanager"} {
		errs = append(errs, kill(filepath.Join(dir, name+".pid"), dir))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// kill ends the process that a file names, if it still is one of the demo's:
// its command line mentions the demo's folder.
func kill(file, dir string) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte(dir)) {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
