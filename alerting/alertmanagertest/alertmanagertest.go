// Package alertmanagertest runs a real Alertmanager for a test: the program of
// Debian's package prometheus-alertmanager, one process alone, on a loopback
// port, with its files in a folder of the test's.
package alertmanagertest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	api "github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
)

// startTimeout is long, because the machine may be busy.
const startTimeout = 60 * time.Second

// Options choose how an Alertmanager runs. The zero value suits most tests.
type Options struct {
	Host    string // to listen on; default 127.0.0.1
	Webhook string // URL that is told of all notifications; empty: none
	Prefix  string // of the URL's path; default none
	Config  string // the whole alertmanager.yml; replaces what Webhook says
}

// Server is one Alertmanager. It ends with the test.
type Server struct {
	URL string

	tb      testing.TB
	options Options
	listen  string
	dir     string
	cmd     *exec.Cmd
	out     *output
}

// Start runs an Alertmanager and waits until it is ready.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	s := &Server{tb: tb, options: o, dir: tb.TempDir(), listen: freeAddress(tb, o.Host)}
	s.URL = "http://" + s.listen + o.Prefix
	if err := os.WriteFile(filepath.Join(s.dir, "alertmanager.yml"), []byte(s.config()), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.Restart()
	tb.Cleanup(s.Stop)
	return s
}

// Stop ends the process, as a service is ended. Its address stays its own.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	timer := time.AfterFunc(startTimeout, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	_ = s.cmd.Wait() // ended by a signal
	s.cmd = nil
}

// Restart stops the process if it runs and starts it at the same address. An
// Alertmanager forgets its alerts when it ends.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.out = &output{}
	s.cmd = exec.Command(program(s.tb),
		"--config.file="+filepath.Join(s.dir, "alertmanager.yml"),
		"--storage.path="+filepath.Join(s.dir, "data"),
		"--web.listen-address="+s.listen,
		"--web.external-url="+s.URL,
		"--cluster.listen-address=")
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		s.tb.Fatalf("start Alertmanager: %v", err)
	}
	s.waitReady()
}

func (s *Server) waitReady() {
	s.tb.Helper()
	client := &http.Client{Timeout: time.Second}
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		resp, err := client.Get(s.URL + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			s.tb.Fatalf("Alertmanager at %s is not ready after %v:\n%s", s.URL, startTimeout, s.out)
		}
	}
}

// Alerts are all that fire as the Alertmanager sees it.
func (s *Server) Alerts() []*models.GettableAlert {
	s.tb.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		s.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	transport := openapi.New(u.Host, s.options.Prefix+"/api/v2", []string{u.Scheme})
	ok, err := api.New(transport, strfmt.Default).GetAlerts(api.NewGetAlertsParamsWithContext(ctx))
	if err != nil {
		s.tb.Fatalf("list alerts: %v\n%s", err, s.out)
	}
	return ok.Payload
}

func (s *Server) config() string {
	if s.options.Config != "" {
		return s.options.Config
	}
	receiver := "- name: test\n"
	if s.options.Webhook != "" {
		receiver += fmt.Sprintf("  webhook_configs: [{url: %q, send_resolved: true}]\n", s.options.Webhook)
	}
	return "route: {receiver: test, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\nreceivers:\n" + receiver
}

func program(tb testing.TB) string {
	tb.Helper()
	for _, name := range []string{"prometheus-alertmanager", "alertmanager"} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	tb.Fatal("no Alertmanager on this machine: install Debian's package prometheus-alertmanager (apt-get install prometheus-alertmanager)")
	return ""
}

func freeAddress(tb testing.TB, host string) string {
	tb.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// output is what the process wrote.
type output struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
