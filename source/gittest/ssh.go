package gittest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSH is a git server over ssh. It knows one client key.
type SSH struct {
	Addr       string // host:port
	URL        string // ssh://git@host:port, without a slash at the end
	ClientKey  []byte // PEM, of the key that may read
	KnownHosts []byte // one line, with the server's key

	tb     TB
	root   *Root
	client ssh.PublicKey
	served atomic.Int64
	work   sync.WaitGroup
	ln     net.Listener

	mu    sync.Mutex // guards the rest
	host  ssh.Signer
	conns map[net.Conn]bool
}

// ServeSSH serves root's repositories until the test ends. An empty addr is a
// free port of the loopback.
func ServeSSH(tb TB, root *Root, addr string) *SSH {
	tb.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatalf("gittest: %v", err)
	}
	s := &SSH{Addr: ln.Addr().String(), tb: tb, root: root, ln: ln, conns: map[net.Conn]bool{}}
	s.URL = "ssh://git@" + s.Addr
	key, signer := Key(tb)
	s.ClientKey, s.client = key, signer.PublicKey()
	s.ChangeHostKey()
	s.work.Go(s.accept)
	tb.Cleanup(s.Close)
	return s
}

// Key makes an ed25519 key: PEM, as ssh-keygen writes it, and ready to sign.
func Key(tb TB) ([]byte, ssh.Signer) {
	tb.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatalf("gittest: %v", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		tb.Fatalf("gittest: %v", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		tb.Fatalf("gittest: %v", err)
	}
	return pem.EncodeToMemory(block), signer
}

// ChangeHostKey gives the server another key and writes it to KnownHosts.
func (s *SSH) ChangeHostKey() {
	s.tb.Helper()
	_, signer := Key(s.tb)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.host = signer
	s.KnownHosts = []byte(knownhosts.Line([]string{knownhosts.Normalize(s.Addr)}, signer.PublicKey()) + "\n")
}

// HostKey is the server's key.
func (s *SSH) HostKey() ssh.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.host.PublicKey()
}

// Served counts the bytes that git upload-pack sent.
func (s *SSH) Served() int64 { return s.served.Load() }

// Close stops the server, cuts its connections and waits for them.
func (s *SSH) Close() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *SSH) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.work.Go(func() { s.serve(c) })
	}
}

func (s *SSH) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	_, chans, reqs, err := ssh.NewServerConn(c, s.config())
	if err != nil {
		return // a client that was refused, or left
	}
	go ssh.DiscardRequests(reqs) // ends with the connection
	for nc := range chans {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		ch, in, err := nc.Accept()
		if err != nil {
			return
		}
		s.session(ch, in)
	}
}

func (s *SSH) config() *ssh.ServerConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(k.Marshal(), s.client.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	c.AddHostKey(s.host)
	return c
}

func (s *SSH) session(ch ssh.Channel, in <-chan *ssh.Request) {
	defer ch.Close()
	for r := range in {
		var p struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &p) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		status := s.exec(ch, p.Command)
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

// exec runs git-upload-pack '/path' below the root.
func (s *SSH) exec(ch ssh.Channel, command string) uint32 {
	name, arg, _ := strings.Cut(command, " ")
	arg = strings.Trim(arg, "'")
	if name != "git-upload-pack" || strings.Contains(arg, "..") {
		_, _ = io.WriteString(ch.Stderr(), "command not allowed\n")
		return 128
	}
	cmd := exec.Command("git", "upload-pack", filepath.Join(s.root.Dir, filepath.FromSlash(arg)))
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = &sshCounter{ch, &s.served}, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	go func() { // ends when the client closes its side, or the channel is closed
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
	}()
	if cmd.Run() != nil {
		return 128
	}
	return 0
}

type sshCounter struct {
	w io.Writer
	n *atomic.Int64
}

func (c *sshCounter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}
