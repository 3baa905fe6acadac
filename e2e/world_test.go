// Package e2e tries skep from outside: the built binary against a real swarm,
// real git servers and a real Alertmanager.
package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// patience is how long a test waits for what must happen. It is long because
// the machine may be slow and busy; nothing is measured by it.
const patience = 4 * time.Minute

// noImage is nowhere, and nothing listens where it should be. noRegistry is in what
// any engine says of it: No such image, or later engines of 29 why the pull failed.
const (
	noImage    = noRegistry + "none:1"
	noRegistry = "127.0.0.1:1/"
)

// world is what all cases share.
type world struct {
	*lab.Lab
	git *lab.Git
	am  *lab.Alertmanager
	err error
}

var shared world

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "skep-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.err = shared.open(dir)
	code := m.Run()
	shared.close()
	os.RemoveAll(dir)
	os.Exit(code)
}

func (w *world) open(dir string) (err error) {
	ctx := context.Background()
	if w.Lab, err = lab.New(ctx, dir); err != nil {
		return err
	}
	repos := filepath.Join(dir, "git")
	if err := os.MkdirAll(repos, 0o755); err != nil {
		return err
	}
	if w.git, err = lab.NewGit(repos, "127.0.0.1:0"); err != nil {
		return err
	}
	w.am, err = lab.NewAlertmanager(filepath.Join(dir, "alertmanager"), "127.0.0.1:0")
	return err
}

func (w *world) close() {
	if w.am != nil {
		w.am.Stop()
	}
	if w.git != nil {
		w.git.Close()
	}
}

// tenant is one case's tenant: a name that is also its instance and its
// cluster, a repository, and an operator of its own.
type tenant struct {
	*testing.T
	*world
	name string
	repo *lab.Repo
	skep *lab.Skep
	opts options
}

// options are what differs from the usual skep.yml.
type options struct {
	tenant string   // more lines for the tenant, each indented by four
	global string   // more top-level lines
	env    []string // of the operator
	repo   string   // instead of the case's own repository
	am     string   // instead of the shared Alertmanager
}

// newTenant makes a tenant; its operator is not started yet.
func newTenant(t *testing.T, o options) *tenant {
	t.Helper()
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	ctx := context.Background()
	tn := &tenant{T: t, world: &shared, name: unique(), opts: o}
	repo, err := shared.git.Repo(ctx, tn.name)
	tn.must(err)
	tn.repo = repo
	tn.skep, err = shared.Skep(tn.name, tn.config(o), o.env...)
	tn.must(err)
	t.Cleanup(func() {
		if err := tn.skep.Stop(); err != nil {
			t.Error(err)
		}
		if err := tn.RemoveInstance(ctx, tn.name); err != nil {
			t.Errorf("clean up: %v", err)
		}
		if t.Failed() {
			t.Logf("skep said:\n%s", tail(tn.skep.Output(), 20000))
		}
	})
	return tn
}

func unique() string {
	b := make([]byte, 3)
	rand.Read(b)
	return "e" + hex.EncodeToString(b)
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

func (tn *tenant) config(o options) string {
	repo, am := o.repo, o.am
	if repo == "" {
		repo = tn.git.URL + "/" + tn.name + ".git"
	}
	if am == "" {
		am = tn.am.URL
	}
	return fmt.Sprintf(`cluster: %[1]s
instance: %[1]s
interval: 1s
alertmanagers:
  - url: %[3]s
%[4]stenants:
  - name: %[1]s
    repo: %[2]s
    branch: main
    policy: unrestricted
%[5]s`, tn.name, repo, am, o.global, o.tenant)
}

// start runs the operator.
func (tn *tenant) start() {
	tn.Helper()
	tn.must(tn.skep.Start())
}

// push commits files and pushes; it gives the commit.
func (tn *tenant) push(message string, files map[string]string, remove ...string) string {
	tn.Helper()
	hash, err := tn.repo.Push(tn.Context(), message, files, remove...)
	tn.must(err)
	return hash
}

func (tn *tenant) must(err error) {
	tn.Helper()
	if err != nil {
		tn.Fatal(err)
	}
}

// stack is a stack's name in the swarm.
func (tn *tenant) stack(name string) string { return tn.name + "-" + name }

// wait waits until a stack's status is as f says.
func (tn *tenant) wait(name string, f func(lab.Stack) bool) lab.Stack {
	tn.Helper()
	st, err := tn.skep.Wait(tn.Context(), patience, name, f)
	tn.must(err)
	return st
}

// live waits until the stack runs as this commit asks.
func (tn *tenant) live(name, commit string) lab.Stack {
	tn.Helper()
	return tn.wait(tn.stack(name), func(s lab.Stack) bool {
		return s.Commit == commit && s.Sync == "synced" && s.Health == "healthy" && s.Reason == ""
	})
}

// fails waits until the stack fails for this reason.
func (tn *tenant) fails(name, reason string) lab.Stack {
	tn.Helper()
	return tn.wait(tn.stack(name), func(s lab.Stack) bool { return s.Reason == reason })
}

// eventually waits until f says true.
func (tn *tenant) eventually(what string, f func() (bool, string)) {
	tn.Helper()
	if err := lab.Poll(tn.Context(), patience, f); err != nil {
		tn.Fatalf("%s: %v", what, err)
	}
}

// service is one live service, which must be there.
func (tn *tenant) service(stack, key string) swarm.Service {
	tn.Helper()
	list, err := tn.Services(tn.Context(), tn.stack(stack))
	tn.must(err)
	s, ok := list[tn.stack(stack)+"_"+key]
	if !ok {
		tn.Fatalf("no service %s in stack %s", key, tn.stack(stack))
	}
	return s
}

// tasks are the IDs of a service's running tasks.
func (tn *tenant) tasks(stack, key string) string {
	tn.Helper()
	id := tn.service(stack, key).ID
	all, err := tn.Tasks(tn.Context(), tn.stack(stack))
	tn.must(err)
	var ids []string
	for _, t := range all[id] {
		ids = append(ids, t.ID)
	}
	return strings.Join(ids, " ")
}

// alerts are those that fire for this case, without the watchdog.
func (tn *tenant) alerts() []lab.Alert {
	tn.Helper()
	list, err := lab.Firing(tn.Context(), tn.am.URL, tn.name)
	tn.must(err)
	return list
}

// fires waits until exactly one alert fires, and it is this one.
func (tn *tenant) fires(name, stack string) lab.Alert {
	tn.Helper()
	var found lab.Alert
	tn.eventually("alert "+name, func() (bool, string) {
		list := tn.alerts()
		if len(list) == 1 && list[0].Labels["alertname"] == name && list[0].Labels["stack"] == stack {
			found = list[0]
			return true, ""
		}
		return false, fmt.Sprintf("firing: %v", list)
	})
	return found
}

// quiet waits until no alert fires.
func (tn *tenant) quiet() {
	tn.Helper()
	tn.eventually("no alert", func() (bool, string) {
		list := tn.alerts()
		return len(list) == 0, fmt.Sprintf("firing: %v", list)
	})
}

// plain is a stack file of one service that serves; more goes into the service.
func plain(more ...string) string {
	return "services:\n" + service("web", more...)
}

// service is one service of a stack file, made for quick tests.
func service(name string, more ...string) string {
	s := "  " + name + ":\n" +
		"    image: " + lab.AppImage + "\n" +
		"    stop_grace_period: 1s\n"
	if !strings.Contains(strings.Join(more, "\n"), "command:") {
		s += "    command: [serve]\n"
	}
	if !strings.Contains(strings.Join(more, "\n"), "deploy:") {
		s += "    deploy:\n      restart_policy: {delay: 1s}\n" +
			"      update_config: {order: start-first, failure_action: rollback, monitor: 1s}\n"
	}
	for _, m := range more {
		s += "    " + m + "\n"
	}
	return s
}

// counts are the operator's own counters.
type counts struct{ Cycles, Writes, Renders, Healed, Pruned uint64 }

func (tn *tenant) counts() counts {
	tn.Helper()
	var s struct{ Counts counts }
	b, err := tn.skep.Get(tn.Context(), "/api/v1/status")
	tn.must(err)
	tn.must(json.Unmarshal(b, &s))
	return s.Counts
}
