package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestTimes prints how long things take, and asserts nothing of it. It runs
// beside no other test. The repository is looked at each second, so that the
// times from a push hold half a second of waiting in the mean.
func TestTimes(t *testing.T) {
	tn := newTenant(t, options{})
	version := func(v string) map[string]string {
		return map[string]string{"web/stack.yml": plain("environment: {V: '" + v + "'}")}
	}
	first := tn.push("first", version("0"))
	tn.start()
	tn.live("web", first)
	var write, healthy, healed, told []time.Duration
	for i := range 3 {
		v := fmt.Sprint("v", i)
		pushed := time.Now()
		commit := tn.push(v, version(v))
		tn.soon("the first write", func() bool { return slices.Equal(tn.env(), []string{"V=" + v}) })
		written := time.Now()
		tn.soon("healthy", func() bool { return tn.deployed(commit) })
		write, healthy = append(write, written.Sub(pushed)), append(healthy, time.Since(written)-tn.ownStart())

		s := tn.service("web", "web")
		c := s.Spec.TaskTemplate.ContainerSpec
		c.Env = append(c.Env, fmt.Sprintf("EVIL%d=1", i)) // the same one each time would be a fight
		_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
		tn.must(err)
		changed := time.Now()
		tn.soon("healed", func() bool { return slices.Equal(tn.env(), []string{"V=" + v}) })
		healed = append(healed, time.Since(changed))
		tn.live("web", commit)

		broken := time.Now()
		tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})
		tn.soon("the alert", func() bool { return len(tn.alerts()) == 1 })
		told = append(told, time.Since(broken))
		tn.live("web", tn.push("fixed", version(v)))
		tn.quiet()
	}
	for _, m := range []struct {
		what  string
		times []time.Duration
	}{
		{"push to first write", write},
		{"first write to healthy, less the container's own start (a monitor of 1 s is in it)", healthy},
		{"drift to healed", healed},
		{"failure to alert, from the push", told},
	} {
		for i := range m.times {
			m.times[i] = m.times[i].Round(10 * time.Millisecond)
		}
		t.Logf("measured: %s: %v", m.what, m.times)
	}
}

// soon is eventually at a finer grain.
func (tn *tenant) soon(what string, f func() bool) {
	tn.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			tn.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// env is the environment of the service web of the stack web.
func (tn *tenant) env() []string {
	tn.Helper()
	return tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env
}

// deployed says that the stack web runs as a commit asks.
func (tn *tenant) deployed(commit string) bool {
	tn.Helper()
	list, err := tn.skep.Stacks(tn.Context())
	tn.must(err)
	return slices.ContainsFunc(list, func(s lab.Stack) bool {
		return s.Stack == tn.stack("web") && s.Deployed == commit && s.Health == "healthy"
	})
}

// ownStart is how long the newest task of the stack web took until it ran.
func (tn *tenant) ownStart() time.Duration {
	tn.Helper()
	all, err := tn.Tasks(tn.Context(), tn.stack("web"))
	tn.must(err)
	var newest swarm.Task
	for _, t := range all[tn.service("web", "web").ID] {
		if t.CreatedAt.After(newest.CreatedAt) {
			newest = t
		}
	}
	return newest.Status.Timestamp.Sub(newest.CreatedAt)
}
