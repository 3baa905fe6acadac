package operator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/source"
)

// world is a swarm, repositories and an Alertmanager in memory, with one
// operator at work. Its clock is the bubble's: hours pass in no time.
type world struct {
	*testing.T
	swarm *swarmtest.Swarm
	repos map[string]*repo
	bell  *bell
	log   *lockedBuffer
	conf  Config
	op    *Operator
	stop  func()

	before, after atomic.Pointer[meddler] // what happens around each call of the swarm's API
}

// meddler is told of a call and may answer it.
type meddler func(ctx context.Context, c swarmtest.Call) error

func (m *meddler) call(ctx context.Context, c swarmtest.Call) error {
	if m == nil || *m == nil {
		return nil
	}
	return (*m)(ctx, c)
}

// meddle has each call of the swarm's API answered by m, where that is an error.
func (w *world) meddle(m meddler) { w.before.Store(&m) }

// story runs a test in a bubble of its own.
func story(t *testing.T, name string, tell func(w *world)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer func() {
				w.halt()
				if t.Failed() {
					t.Log(w.log.String())
				}
			}()
			tell(w)
		})
	})
}

func newWorld(t *testing.T) *world {
	w := &world{
		T: t, swarm: swarmtest.New(), repos: map[string]*repo{}, bell: &bell{}, log: &lockedBuffer{},
		conf: Config{Cluster: "test", Instance: "test", Version: "1", Interval: 10 * time.Second},
	}
	w.swarm.Before = func(ctx context.Context, c swarmtest.Call) error { return w.before.Load().call(ctx, c) }
	w.swarm.After = func(ctx context.Context, c swarmtest.Call) error { return w.after.Load().call(ctx, c) }
	return w
}

// tenant adds a tenant with a repository of its own.
func (w *world) tenant(name string, change ...func(*Tenant)) *repo {
	t := Tenant{Name: name, Repo: "https://git.example.com/" + name, Path: ".", Prefix: name + "-", Stacks: []string{"*"}, Prune: "auto", Drift: "heal", Resolve: "never"}
	for _, c := range change {
		c(&t)
	}
	w.conf.Tenants = append(w.conf.Tenants, t)
	if w.repos[t.Repo] == nil {
		w.repos[t.Repo] = &repo{commits: map[string]source.Snapshot{}}
	}
	return w.repos[t.Repo]
}

// start lets an operator work.
func (w *world) start() {
	w.Helper()
	op := w.operator()
	ctx, cancel := context.WithCancel(w.Context())
	done := make(chan error, 1)
	go func() { done <- op.Run(ctx) }()
	w.op = op
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			w.Error("Run:", err)
		}
	}
	synctest.Wait()
}

func (w *world) operator() *Operator {
	w.Helper()
	op, err := New(w.conf, w.swarm, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		w.Fatal(err)
	}
	op.open = func(dir string, r source.Remote, l source.Limits) repository { return w.repos[r.URL] }
	op.notify = func(alerting.Options) (notifier, error) { return w.bell, nil }
	return op
}

// halt ends the operator, as a SIGTERM does.
func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// restart ends the operator and starts another one.
func (w *world) restart() {
	w.halt()
	w.start()
}

// until lets time pass until the claim holds, ten minutes at most.
func (w *world) until(claim string, holds func() bool) time.Duration {
	w.Helper()
	began := time.Now()
	for time.Since(began) < 10*time.Minute {
		synctest.Wait()
		if holds() {
			return time.Since(began)
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.dump()
	w.Fatalf("after ten minutes: not %s", claim)
	return 0
}

// always fails if the claim is ever broken while d passes.
func (w *world) always(claim string, d time.Duration, holds func() bool) {
	w.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		synctest.Wait()
		if !holds() {
			w.dump()
			w.Fatalf("not always %s", claim)
		}
	}
}

func (w *world) dump() {
	w.Helper()
	b, err := json.MarshalIndent(w.op.Status().Stacks, "", " ")
	if err != nil {
		w.Fatal(err)
	}
	w.Log(string(b))
}

// stack is a stack's status; the zero value where there is none.
func (w *world) stack(tenant, stack string) StackStatus {
	for _, s := range w.op.Status().Stacks {
		if s.Tenant == tenant && s.Stack == stack {
			return s
		}
	}
	return StackStatus{}
}

// synced waits until a stack runs as its commit asks.
func (w *world) synced(tenant, stack, commit string) time.Duration {
	w.Helper()
	return w.until(fmt.Sprintf("%s synced and healthy at %s", stack, short(commit)), func() bool {
		s := w.stack(tenant, stack)
		return s.Sync == Synced && s.Health == "healthy" && s.Reason == "" && s.Commit == commit
	})
}

// quiet waits until nothing is written for a minute.
func (w *world) quiet() {
	w.Helper()
	writes, since := w.swarm.Writes(), time.Now()
	w.until("quiet", func() bool {
		if n := w.swarm.Writes(); n != writes {
			writes, since = n, time.Now()
		}
		return time.Since(since) > time.Minute
	})
}

// firing lists the alerts that fire, but for the watchdog.
func (w *world) firing() []string {
	var list []string
	for _, a := range w.bell.alerts() {
		if a.Labels["alertname"] != alertWatchdog {
			list = append(list, strings.TrimRight(strings.Join([]string{a.Labels["alertname"], a.Labels["tenant"], a.Labels["stack"]}, " "), " "))
		}
	}
	return list
}

// alertsAre waits until exactly these fire.
func (w *world) alertsAre(want ...string) {
	w.Helper()
	sort.Strings(want)
	w.until(fmt.Sprintf("%q firing", want), func() bool { return slices.Equal(w.firing(), want) })
}

// services lists the live services by name.
func (w *world) services() map[string]swarm.Service {
	w.Helper()
	list, err := w.swarm.ServiceList(w.Context(), swarm.ServiceListOptions{Status: true})
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]swarm.Service{}
	for _, s := range list {
		out[s.Spec.Name] = s
	}
	return out
}

func (w *world) image(service string) string {
	s, ok := w.services()[service]
	if !ok {
		return ""
	}
	return s.Spec.TaskTemplate.ContainerSpec.Image
}

// byHand changes a live service as a person would.
func (w *world) byHand(service string, change func(*swarm.ServiceSpec)) {
	w.Helper()
	s, ok := w.services()[service]
	if !ok {
		w.Fatalf("there is no service %s", service)
	}
	spec := s.Spec
	change(&spec)
	if _, err := w.swarm.ServiceUpdate(w.Context(), s.ID, s.Version, spec, swarm.ServiceUpdateOptions{}); err != nil {
		w.Fatal(err)
	}
}

func (w *world) removeByHand(service string) {
	w.Helper()
	if err := w.swarm.ServiceRemove(w.Context(), service); err != nil {
		w.Fatal(err)
	}
}

// memory is a stack's memory, or with an empty stack the tenant's.
func (w *world) memory(tenant, stack string) deploy.Memory {
	w.Helper()
	list, err := deploy.ReadMemories(w.Context(), w.swarm, w.conf.Instance)
	if err != nil {
		w.Fatal(err)
	}
	for _, m := range list {
		if m.Tenant == tenant && m.Stack == stack {
			return m
		}
	}
	return deploy.Memory{Instance: w.conf.Instance, Tenant: tenant, Stack: stack}
}

// holds writes what a verb would write.
func (w *world) holds(tenant, stack string, change func(*deploy.Memory)) {
	w.Helper()
	m := w.memory(tenant, stack)
	change(&m)
	if _, err := deploy.WriteHolds(w.Context(), w.swarm, m); err != nil {
		w.Fatal(err)
	}
}

// repo is a repository in memory.
type repo struct {
	mu      sync.Mutex // guards all below
	head    string
	commits map[string]source.Snapshot
	err     error
	hang    bool
	looks   int
}

// push makes a commit of exactly these files.
func (r *repo) push(files map[string]string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	tree := fstest.MapFS{}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		tree[name] = &fstest.MapFile{Data: []byte(files[name]), Mode: 0o644}
		fmt.Fprintf(sum, "%s\x00%s\x00", name, files[name])
	}
	fmt.Fprintf(sum, "%s", r.head)
	r.head = hex.EncodeToString(sum.Sum(nil))[:40]
	r.commits[r.head] = source.Snapshot{Commit: r.head, Time: time.Now(), Author: "Ann <ann@example.com>", Subject: "commit", FS: treeFS{tree}}
	return r.head
}

func (r *repo) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *repo) setHang(hang bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang = hang
}

func (r *repo) Fetch(ctx context.Context) (source.Snapshot, error) {
	r.mu.Lock()
	r.looks++
	hang, err, snap := r.hang, r.err, r.commits[r.head]
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		return source.Snapshot{}, &source.Error{Cause: source.CauseTimeout, URL: "https://git.example.com", Err: ctx.Err()}
	}
	return snap, err
}

func (r *repo) At(ctx context.Context, commit string) (source.Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return source.Snapshot{}, r.err
	}
	snap, ok := r.commits[commit]
	if !ok {
		return snap, &source.Error{Cause: source.CauseMissingCommit, URL: "https://git.example.com", Err: errors.New("no such commit")}
	}
	return snap, nil
}

// lose makes the server forget a commit.
func (r *repo) lose(commit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.commits, commit)
}

func (r *repo) Close() error { return nil }

// treeFS is a tree in memory whose hashes tell contents apart.
type treeFS struct{ fstest.MapFS }

var _ source.FS = treeFS{}

func (t treeFS) Sub(dir string) (fs.FS, error) {
	if _, err := t.Stat(dir); err != nil {
		return nil, err
	}
	if dir == "." {
		return t, nil
	}
	out := fstest.MapFS{}
	for name, f := range t.MapFS {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			out[rest] = f
		}
	}
	return treeFS{out}, nil
}

func (t treeFS) Hash(name string) (string, error) {
	info, err := fs.Stat(t.MapFS, name)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if !info.IsDir() {
		sum.Write(t.MapFS[path.Clean(name)].Data)
		return hex.EncodeToString(sum.Sum(nil)), nil
	}
	for _, file := range slices.Sorted(maps.Keys(t.MapFS)) {
		if name == "." || strings.HasPrefix(file, name+"/") {
			fmt.Fprintf(sum, "%s\x00%s\x00", file, t.MapFS[file].Data)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// bell is an Alertmanager that keeps what it was last told.
type bell struct {
	mu     sync.Mutex // guards all below
	firing []alerting.Alert
	ended  []string // names of what was told and is no longer
}

func (b *bell) Set(firing []alerting.Alert) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, old := range b.firing {
		if !slices.ContainsFunc(firing, func(a alerting.Alert) bool { return maps.Equal(a.Labels, old.Labels) }) {
			b.ended = append(b.ended, old.Labels["alertname"])
		}
	}
	b.firing = slices.Clone(firing)
}

func (b *bell) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (b *bell) Peers() []alerting.PeerStatus { return nil }

func (b *bell) alerts() []alerting.Alert {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.firing
}

// one gives the alert of that name.
func (b *bell) one(name string) alerting.Alert {
	for _, a := range b.alerts() {
		if a.Labels["alertname"] == name {
			return a
		}
	}
	return alerting.Alert{}
}

// lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// web is a stack file with one service.
func web(image string, more ...string) string {
	return "services:\n  web:\n    image: " + image + "\n" + strings.Join(more, "")
}

const rollsBack = `    deploy:
      update_config: {failure_action: rollback, monitor: 5s}
`

// leftOf lists what is left of a stack in the swarm, its memory included.
func (w *world) leftOf(stack string) []string {
	w.Helper()
	var left []string
	for name := range w.services() {
		if strings.HasPrefix(name, stack+"_") {
			left = append(left, "service "+name)
		}
	}
	networks, err := w.swarm.NetworkList(w.Context(), network.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, n := range networks {
		if n.Labels[deploy.LabelNamespace] == stack {
			left = append(left, "network "+n.Name)
		}
	}
	secrets, err := w.swarm.SecretList(w.Context(), swarm.SecretListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range secrets {
		if s.Spec.Labels[deploy.LabelNamespace] == stack {
			left = append(left, "secret "+s.Spec.Name)
		}
	}
	configs, err := w.swarm.ConfigList(w.Context(), swarm.ConfigListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range configs {
		if c.Spec.Labels[deploy.LabelNamespace] == stack || c.Spec.Labels[deploy.LabelStack] == stack {
			left = append(left, "config "+c.Spec.Name)
		}
	}
	sort.Strings(left)
	return left
}

// looked counts the looks at the repository.
func (r *repo) looked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.looks
}
