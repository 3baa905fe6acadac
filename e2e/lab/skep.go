package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Skep is one running operator outside a container, with a folder, an instance
// and a socket of its own.
type Skep struct {
	Config string // path of its skep.yml
	Socket string
	Cache  string

	lab *Lab
	env []string
	cmd *exec.Cmd
	out *buffer
	end chan error
}

// buffer collects what a process prints while others read it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Skep writes skep.yml into a new folder below the lab's and prepares an
// operator for it. config is the text without cache and socket, which are added.
func (l *Lab) Skep(name, config string, env ...string) (*Skep, error) {
	dir := filepath.Join(l.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &Skep{Config: filepath.Join(dir, "skep.yml"), Socket: filepath.Join(dir, "s.sock"), Cache: filepath.Join(dir, "cache"), lab: l, env: env, out: &buffer{}}
	if err := os.MkdirAll(s.Cache, 0o755); err != nil {
		return nil, err
	}
	return s, s.Write(config)
}

// Write replaces skep.yml at once, as an editor does: a new file under the old name.
func (s *Skep) Write(config string) error {
	text := fmt.Sprintf("cache: %s\nsocket: %s\n%s", s.Cache, s.Socket, config)
	tmp := s.Config + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, s.Config)
}

// Start runs the operator. It does not wait for anything.
func (s *Skep) Start() error {
	s.cmd = exec.Command(s.lab.Bin, "run", "--config", s.Config)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.end = make(chan error, 1)
	go func(cmd *exec.Cmd, end chan error) { end <- cmd.Wait() }(s.cmd, s.end)
	return nil
}

// Output is everything that the operator printed so far, over restarts.
func (s *Skep) Output() string { return s.out.String() }

// Pid is the running process.
func (s *Skep) Pid() int { return s.cmd.Process.Pid }

// Signal sends a signal.
func (s *Skep) Signal(sig syscall.Signal) error { return s.cmd.Process.Signal(sig) }

// Ended is closed or filled when the process is gone.
func (s *Skep) Ended() <-chan error { return s.end }

// Stop ends the operator with SIGTERM and waits.
func (s *Skep) Stop() error { return s.finish(syscall.SIGTERM) }

// Kill ends the operator with SIGKILL and waits.
func (s *Skep) Kill() error { return s.finish(syscall.SIGKILL) }

func (s *Skep) finish(sig syscall.Signal) error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.end:
	case <-time.After(30 * time.Second):
		s.cmd.Process.Kill()
		<-s.end
		s.cmd = nil
		return fmt.Errorf("skep did not end within 30 s of %s", sig)
	}
	s.cmd = nil
	return nil
}

// Get reads one path of the API from the socket.
func (s *Skep) Get(ctx context.Context, path string) ([]byte, error) {
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", s.Socket)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://skep"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return b, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return b, nil
}

// Stack is one element of GET /api/v1/stacks, as other tools read it.
type Stack struct {
	Tenant, Stack, Commit, Sync, Health, Reason, Cause, Message, Deployed, Attempted string
	LastLook                                                                         time.Time `json:"last_look"`
	NextLook                                                                         time.Time `json:"next_look"`
	Warnings                                                                         []string
	Services                                                                         []struct {
		Name, Error      string
		Running, Desired int
	}
}

// String is for the words of a test that fails.
func (s Stack) String() string {
	return fmt.Sprintf("%s/%s commit=%.7s sync=%s health=%s reason=%s cause=%s deployed=%.7s attempted=%.7s services=%v message=%q",
		s.Tenant, s.Stack, s.Commit, s.Sync, s.Health, s.Reason, s.Cause, s.Deployed, s.Attempted, s.Services, s.Message)
}

// Stacks reads GET /api/v1/stacks.
func (s *Skep) Stacks(ctx context.Context) ([]Stack, error) {
	b, err := s.Get(ctx, "/api/v1/stacks")
	if err != nil {
		return nil, err
	}
	var list []Stack
	return list, json.Unmarshal(b, &list)
}

// Wait waits until the stack (with name "": the tenant's own element) is as f says.
func (s *Skep) Wait(ctx context.Context, limit time.Duration, name string, f func(Stack) bool) (Stack, error) {
	var last Stack
	err := Poll(ctx, limit, func() (bool, string) {
		list, err := s.Stacks(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, st := range list {
			if st.Stack == name {
				last = st
				return f(st), st.String()
			}
		}
		return false, fmt.Sprintf("no stack %q among %v", name, list)
	})
	if err != nil {
		err = fmt.Errorf("stack %q: %w", name, err)
	}
	return last, err
}

// Run runs another verb of the binary with this operator's folder as the
// working directory; it gives output and exit code.
func (s *Skep) Run(ctx context.Context, args ...string) (string, int, error) {
	cmd := exec.CommandContext(ctx, s.lab.Bin, args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Dir = filepath.Dir(s.Config)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode(), nil
	}
	return string(out), 0, err
}
