package gittest

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// HTTP is a git server over http or https.
type HTTP struct {
	URL string // http(s)://host:port, without a slash at the end
	CA  []byte // PEM, with TLS only

	served   atomic.Int64
	requests atomic.Int64
	packs    atomic.Int64
	server   *httptest.Server
}

// HTTPOptions are set before a server starts. Without user and token, everybody may read.
type HTTPOptions struct {
	Addr     string // host:port; empty: a free port of the loopback
	TLS      bool
	User     string // basic authentication
	Password string
	Token    string                          // bearer authentication
	Wrap     func(http.Handler) http.Handler // around everything else, for faults; may be nil
}

// ServeHTTP serves root's repositories until the test ends.
func ServeHTTP(tb TB, root *Root, o HTTPOptions) *HTTP {
	tb.Helper()
	h := &HTTP{}
	handler := h.count(authorize(o, backend(tb, root)))
	if o.Wrap != nil {
		handler = o.Wrap(handler)
	}
	h.server = httptest.NewUnstartedServer(handler)
	h.server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that leave are part of tests
	listen(tb, h.server, o.Addr)
	h.start(o)
	tb.Cleanup(h.Close)
	return h
}

func listen(tb TB, s *httptest.Server, addr string) {
	tb.Helper()
	if addr == "" {
		return
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		tb.Fatalf("gittest: %v", err)
	}
	_ = s.Listener.Close() // the one that httptest opened for nothing
	s.Listener = l
}

func (h *HTTP) start(o HTTPOptions) {
	if !o.TLS {
		h.server.Start()
		h.URL = h.server.URL
		return
	}
	h.server.StartTLS()
	h.URL = h.server.URL
	h.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.server.Certificate().Raw})
}

// Close stops the server and cuts its connections.
func (h *HTTP) Close() {
	h.server.CloseClientConnections()
	h.server.Close()
}

// Served counts the bytes of all responses' bodies.
func (h *HTTP) Served() int64 { return h.served.Load() }

// Requests counts all requests.
func (h *HTTP) Requests() int64 { return h.requests.Load() }

// Packs counts the requests for objects.
func (h *HTTP) Packs() int64 { return h.packs.Load() }

func (h *HTTP) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.requests.Add(1)
		if r.Method == http.MethodPost {
			h.packs.Add(1)
		}
		next.ServeHTTP(&counter{ResponseWriter: w, n: &h.served}, r)
	})
}

type counter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func authorize(o HTTPOptions, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, basic := r.BasicAuth()
		switch {
		case o.User == "" && o.Token == "":
		case o.User != "" && basic && user == o.User && password == o.Password:
		case o.Token != "" && r.Header.Get("Authorization") == "Bearer "+o.Token:
		default:
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "authorization "+r.Header.Get("Authorization")+" refused", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// backend runs git http-backend for each request.
func backend(tb TB, root *Root) http.Handler {
	tb.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		tb.Fatalf("gittest: git --exec-path: %v", err)
	}
	return &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:    append(environment(), "GIT_PROJECT_ROOT="+root.Dir, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard,
		Logger: log.New(io.Discard, "", 0),
	}
}
