package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// options bound a run.
type options struct{ stacks, pushes, drifts, touched int }

// name is the tenant, the instance and the cluster of a run.
const name = "skep-bench"

// run is one operator, its tenant's repository and the engine.
type run struct {
	*lab.Lab
	options
	repo *lab.Repo
	skep *lab.Skep
	am   *lab.Alertmanager
	out  io.Writer
}

// measure prints all figures.
func measure(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "skep-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := lab.New(ctx, dir)
	if err != nil {
		return err
	}
	g, err := lab.NewGit(dir, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer g.Close()
	am, err := lab.NewAlertmanager(filepath.Join(dir, "alertmanager"), "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer am.Stop()
	r := &run{Lab: l, options: o, am: am, out: out}
	if r.repo, err = g.Repo(ctx, name); err != nil {
		return err
	}
	config := fmt.Sprintf("cluster: %[1]s\ninstance: %[1]s\ninterval: 1s\nalertmanagers: [{url: %[3]s}]\ntenants:\n  - {name: %[1]s, repo: %[2]s, branch: main, policy: unrestricted, resolve: never}\n", name, r.repo.URL, am.URL)
	if r.skep, err = l.Skep(name, config); err != nil {
		return err
	}
	clean := func() error { return l.RemoveInstance(context.WithoutCancel(ctx), name) }
	if err := clean(); err != nil { // of a run that was killed
		return err
	}
	err = r.all(ctx)
	return errors.Join(err, r.skep.Stop(), clean())
}

func (r *run) all(ctx context.Context) error {
	figures := []func(context.Context) error{r.fill, r.idle, r.memory, r.push, r.drift, r.alert, r.many}
	if err := r.skep.Start(); err != nil {
		return err
	}
	for _, f := range figures {
		if err := f(ctx); err != nil {
			return fmt.Errorf("%w\nskep said: %s", err, last(r.skep.Output(), 2000))
		}
	}
	return nil
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// file is the stack file of one of the many stacks.
func file(version string) string {
	svc := "{image: " + lab.AppImage + ", command: [serve], environment: {V: '" + version + "'}, networks: [n], configs: [c], secrets: [s], deploy: {replicas: 0}}"
	return "services: {a: " + svc + ", b: " + svc + "}\nnetworks: {n: {driver_opts: {}}}\nconfigs: {c: {content: hello}}\nsecrets: {s: {file: s.txt}}\n"
}

// fill pushes all stacks in one commit and waits until they are in sync.
func (r *run) fill(ctx context.Context) error {
	files := map[string]string{"live/stack.yml": running("0")}
	for i := range r.stacks {
		dir := fmt.Sprintf("s%04d/", i)
		files[dir+"stack.yml"], files[dir+"s.txt"] = file("0"), "hunter2hunter2"
	}
	begin := time.Now()
	commit, err := r.repo.Push(ctx, "all stacks", files)
	if err != nil {
		return err
	}
	if err := r.synced(ctx, commit, time.Hour); err != nil {
		return err
	}
	fmt.Fprintf(r.out, "first deployment of %d stacks: %.1f s\n", r.stacks, time.Since(begin).Seconds())
	return nil
}

// running is the stack file of the one stack that has a container.
func running(version string) string {
	return "services: {web: {image: " + lab.AppImage + ", command: [serve], stop_grace_period: 1s, environment: {V: '" + version + "'}, deploy: {restart_policy: {delay: 1s}, update_config: {order: start-first, monitor: 1s}}}}\n"
}

// synced waits until every stack is as the commit asks.
func (r *run) synced(ctx context.Context, commit string, limit time.Duration) error {
	return lab.Poll(ctx, limit, func() (bool, string) {
		list, err := r.skep.Stacks(ctx)
		if err != nil {
			return false, err.Error()
		}
		n := 0
		for _, s := range list {
			if s.Commit == commit && s.Sync == "synced" && s.Health == "healthy" {
				n++
			}
		}
		return n == r.stacks+1, fmt.Sprintf("%d of %d stacks", n, r.stacks+1)
	})
}

// status is what the figures need of GET /api/v1/status.
type status struct {
	Counts struct{ Cycles, Writes uint64 }
	Took   float64 `json:"last_swarm_look_seconds"`
}

func (r *run) status(ctx context.Context) (status, error) {
	b, err := r.skep.Get(ctx, "/api/v1/status")
	if err != nil {
		return status{}, err
	}
	var s status
	return s, json.Unmarshal(b, &s)
}

// idle compares cycles in which nothing changed with the bare list calls.
func (r *run) idle(ctx context.Context) error {
	before, err := r.quiet(ctx)
	if err != nil {
		return err
	}
	var cycles, lists []float64
	seen := before.Counts.Cycles
	err = lab.Poll(ctx, 5*time.Minute, func() (bool, string) {
		s, err := r.status(ctx)
		if err != nil {
			return false, err.Error()
		}
		if s.Counts.Cycles > seen {
			seen = s.Counts.Cycles
			cycles = append(cycles, s.Took)
			begin := time.Now()
			if err := r.lists(ctx); err != nil {
				return false, err.Error()
			}
			lists = append(lists, time.Since(begin).Seconds())
		}
		return len(cycles) >= 10, "cycles"
	})
	if err != nil {
		return err
	}
	after, err := r.status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "no-op cycle, %d stacks: median %.3f s; bare lists %.3f s; ratio %.2f (goal 1.5); writes %d\n",
		r.stacks, median(cycles), median(lists), median(cycles)/median(lists), after.Counts.Writes-before.Counts.Writes)
	return nil
}

// quiet waits until the operator has written down what it did, and nothing more
// for some cycles.
func (r *run) quiet(ctx context.Context) (status, error) {
	var last status
	err := lab.Poll(ctx, 5*time.Minute, func() (bool, string) {
		s, err := r.status(ctx)
		switch {
		case err != nil:
			return false, err.Error()
		case s.Counts.Writes != last.Counts.Writes:
			last = s
		}
		return s.Counts.Cycles > last.Counts.Cycles+3, "it still writes"
	})
	return last, err
}

// lists are the calls that a look cannot do without.
func (r *run) lists(ctx context.Context) error {
	_, err1 := r.Docker.ServiceList(ctx, swarm.ServiceListOptions{Status: true})
	_, err2 := r.Docker.NetworkList(ctx, network.ListOptions{})
	_, err3 := r.Docker.SecretList(ctx, swarm.SecretListOptions{})
	_, err4 := r.Docker.ConfigList(ctx, swarm.ConfigListOptions{Filters: filters.NewArgs(filters.Arg("label", "skep.kind=memory"))})
	return errors.Join(err1, err2, err3, err4)
}

// memory prints the operator's resident memory and its peak.
func (r *run) memory(context.Context) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.skep.Pid()))
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "memory, %d stacks: resident %d MiB, peak %d MiB (goal 150)\n", r.stacks, kib(string(b), "VmRSS:")/1024, kib(string(b), "VmHWM:")/1024)
	return nil
}

func kib(text, key string) int {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == key {
			n, _ := strconv.Atoi(f[1])
			return n
		}
	}
	return 0
}

// push measures one stack among all: push until its spec is in the swarm.
func (r *run) push(ctx context.Context) error {
	var times, told []float64
	for i := range r.pushes {
		version := fmt.Sprint("push", i)
		commit, err := r.repo.Push(ctx, version, map[string]string{"live/stack.yml": running(version)})
		if err != nil {
			return err
		}
		pushed := time.Now()
		if err := r.has(ctx, version); err != nil {
			return err
		}
		times = append(times, time.Since(pushed).Seconds())
		if err := r.synced(ctx, commit, 5*time.Minute); err != nil {
			return err
		}
		now := time.Now()
		started, err := r.started(ctx)
		if err != nil {
			return err
		}
		told = append(told, now.Sub(started).Seconds())
	}
	fmt.Fprintf(r.out, "container runs until the stack is told healthy: p50 %.2f s, p95 %.2f s (the monitor of 1 s included)\n", median(told), p95(told))
	fmt.Fprintf(r.out, "push until the new spec is in the swarm, one stack among %d: p50 %.2f s, p95 %.2f s (polled each second; goal 1 s after a webhook)\n", r.stacks, median(times), p95(times))
	return nil
}

// has waits until the live stack's service carries a version.
func (r *run) has(ctx context.Context, version string) error {
	for ctx.Err() == nil {
		s, _, err := r.Docker.ServiceInspectWithRaw(ctx, name+"-live_web", swarm.ServiceInspectOptions{})
		if err == nil && slices.Contains(s.Spec.TaskTemplate.ContainerSpec.Env, "V="+version) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// drift measures an edit by hand until it is healed.
func (r *run) drift(ctx context.Context) error {
	var times []float64
	for i := range r.drifts {
		s, _, err := r.Docker.ServiceInspectWithRaw(ctx, name+"-live_web", swarm.ServiceInspectOptions{})
		if err != nil {
			return err
		}
		// Another field each time: the same one again and again would be a fight, and healing would pause.
		c := s.Spec.TaskTemplate.ContainerSpec
		c.Env = append(c.Env, fmt.Sprintf("EVIL%d=1", i))
		if _, err := r.Docker.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{}); err != nil {
			return err
		}
		begin := time.Now()
		if err := r.clean(ctx); err != nil {
			return err
		}
		times = append(times, time.Since(begin).Seconds())
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "drift until the spec is restored: p50 %.2f s, p95 %.2f s (goal 2 s)\n", median(times), p95(times))
	return nil
}

// clean waits until the live service has nothing in its environment but V.
func (r *run) clean(ctx context.Context) error {
	for ctx.Err() == nil {
		s, _, err := r.Docker.ServiceInspectWithRaw(ctx, name+"-live_web", swarm.ServiceInspectOptions{})
		if err == nil && len(s.Spec.TaskTemplate.ContainerSpec.Env) == 1 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ctx.Err()
}

// settled waits until the live stack is healthy again.
func (r *run) settled(ctx context.Context) error {
	_, err := r.skep.Wait(ctx, 5*time.Minute, name+"-live", func(s lab.Stack) bool { return s.Sync == "synced" && s.Health == "healthy" })
	return err
}

// started is when the newest task of the live stack began to run.
func (r *run) started(ctx context.Context) (time.Time, error) {
	all, err := r.Tasks(ctx, name+"-live")
	var at time.Time
	for _, list := range all {
		for _, t := range list {
			if t.Status.State == swarm.TaskStateRunning && t.Status.Timestamp.After(at) {
				at = t.Status.Timestamp
			}
		}
	}
	return at, err
}

// alert measures a broken push until Alertmanager holds the alert, and the fix
// until it does not.
func (r *run) alert(ctx context.Context) error {
	var fired, resolved []float64
	for i := range r.pushes {
		for _, broken := range []bool{true, false} {
			file, times, want := running(fmt.Sprint("alert", i)), &resolved, 0
			if broken {
				file, times, want = "services: [\n", &fired, 1
			}
			if _, err := r.repo.Push(ctx, "alert", map[string]string{"live/stack.yml": file}); err != nil {
				return err
			}
			begin := time.Now()
			for {
				list, err := lab.Firing(ctx, r.am.URL, name)
				if err != nil {
					return err
				}
				if len(list) == want {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			*times = append(*times, time.Since(begin).Seconds())
		}
		if err := r.settled(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.out, "broken push until Alertmanager knows: p50 %.2f s, p95 %.2f s; fix until it is resolved there: p50 %.2f s, p95 %.2f s (polled each second)\n", median(fired), p95(fired), median(resolved), p95(resolved))
	return nil
}

// many compares one commit that touches many stacks with a bare loop of updates.
func (r *run) many(ctx context.Context) error {
	n := min(r.touched, r.stacks)
	loop, err := r.loop(ctx, n)
	if err != nil {
		return err
	}
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("s%04d/stack.yml", i)] = file("many")
	}
	begin := time.Now()
	commit, err := r.repo.Push(ctx, "many", files)
	if err != nil {
		return err
	}
	if err := r.synced(ctx, commit, 30*time.Minute); err != nil {
		return err
	}
	took := time.Since(begin).Seconds()
	fmt.Fprintf(r.out, "one commit, %d stacks of 2 services: %.2f s until all are in sync; bare update loop %.2f s; %.0f %% of its rate (goal 80)\n", n, took, loop, 100*loop/took)
	return nil
}

// loop updates both services of n stacks, one call after the other, by a label
// that the operator takes away again.
func (r *run) loop(ctx context.Context, n int) (float64, error) {
	if err := r.skep.Stop(); err != nil {
		return 0, err
	}
	list, err := r.Docker.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return 0, err
	}
	begin, done := time.Now(), 0
	for _, s := range list {
		if s.Spec.Labels["skep.instance"] != name || strings.HasSuffix(s.Spec.Name, "-live_web") || done == 2*n {
			continue
		}
		s.Spec.TaskTemplate.ContainerSpec.Env = []string{"V=loop"}
		if _, err := r.Docker.ServiceUpdate(ctx, s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{}); err != nil {
			return 0, err
		}
		done++
	}
	took := time.Since(begin).Seconds()
	if err := r.skep.Start(); err != nil {
		return 0, err
	}
	commit, err := r.repo.Head(ctx)
	if err != nil {
		return 0, err
	}
	return took, r.synced(ctx, commit, 30*time.Minute)
}

func median(v []float64) float64 { return quantile(v, 0.5) }
func p95(v []float64) float64    { return quantile(v, 0.95) }

func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Clone(v)
	slices.Sort(s)
	return s[min(len(s)-1, int(q*float64(len(s))))]
}
