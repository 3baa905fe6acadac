package source

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// stream is a session with a git-upload-pack program, here or behind ssh.
type stream struct {
	in   io.WriteCloser
	out  io.Reader
	said *head        // the program's stderr
	wait func() error // until the program has ended and said is complete
	stop func()       // cuts the connection or ends the program
	done bool         // the program has got all it needs to end by itself
}

func (s *stream) refs(context.Context) (*packp.AdvRefs, error) {
	adv, err := readRefs(s.out)
	if errors.Is(err, packp.ErrEmptyInput) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, s.ended()
	}
	return adv, err
}

// ended is why the program ended without an answer.
func (s *stream) ended() error {
	_ = s.in.Close() // it has ended
	err := s.wait()
	if text := s.said.String(); text != "" {
		return answered(firstLine(text))
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *stream) pack(_ context.Context, request []byte) (io.ReadCloser, error) {
	s.done = true
	if _, err := s.in.Write(request); err != nil {
		return nil, err
	}
	return io.NopCloser(s.out), nil
}

func (s *stream) close() {
	if !s.done {
		_, _ = s.in.Write(pktline.FlushPkt) // a polite end: nothing wanted
	}
	_ = s.in.Close()
	s.stop()
}

// dialFile runs the git binary on a repository of this machine.
func (m *mirror) dialFile(ctx context.Context) (session, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, faultf(CauseUnsupported, "serve the repository over https or ssh", "file:// needs a git binary, and there is none here")
	}
	if _, err := os.Stat(m.address.path); errors.Is(err, os.ErrNotExist) {
		return nil, faultf(CauseNotFound, "see that the path is right", "no such repository")
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, git, "upload-pack", m.address.path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	said := &head{max: 4 << 10}
	cmd.Stderr = said
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	wait := sync.OnceValue(cmd.Wait)
	return &stream{in: in, out: out, said: said, wait: wait, stop: func() { cancel(); _ = wait() }}, nil
}

// head keeps the first bytes that are written to it.
type head struct {
	max int
	mu  sync.Mutex // guards buf: ssh and exec write from goroutines of their own
	buf []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, p[:min(len(p), h.max-len(h.buf))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.buf)
}
