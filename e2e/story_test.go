package e2e

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestPushBecomesRunningStacks is the main job as one story: push, update,
// drift, a broken push, its repair, a deleted folder; a second stack is left
// alone throughout.
func TestPushBecomesRunningStacks(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	web := "services:\n" + service("web", "environment: {VERSION: '${V}'}", "configs: [motd]", "networks: [front]") +
		"configs: {motd: {file: motd.txt}}\nnetworks: {front: {}}\n"
	first := tn.push("first", map[string]string{
		"web/stack.yml": web, "web/.env": "V=1\n", "web/motd.txt": "hello\n",
		"other/compose.yaml": plain(),
	})
	tn.start()
	st := tn.live("web", first)
	if st.Deployed != first || len(st.Services) != 1 || st.Services[0].Running != 1 {
		t.Errorf("status of a fresh stack: %s", st)
	}
	tn.live("other", first)
	other := tn.service("other", "web")

	second := tn.push("second", map[string]string{"web/.env": "V=2\n"})
	tn.live("web", second)
	if env := tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env; len(env) != 1 || env[0] != "VERSION=2" {
		t.Errorf("environment after the second push: %v", env)
	}

	id := tn.service("web", "web").ID
	tn.must(tn.Docker.ServiceRemove(t.Context(), id))
	tn.eventually("the removed service is back", func() (bool, string) {
		list, err := tn.Services(t.Context(), tn.stack("web"))
		s, ok := list[tn.stack("web")+"_web"]
		return err == nil && ok && s.ID != id, "not yet"
	})
	tn.live("web", second)

	broken := tn.push("broken", map[string]string{"web/stack.yml": web + "services: oops: [\n"})
	st = tn.fails("web", "RenderFailed")
	if st.Commit != broken || st.Health != "healthy" || !strings.Contains(st.Message, "web/stack.yml:") {
		t.Errorf("status of a broken push: %s", st)
	}
	one := tn.fires("SkepStackFailed", tn.stack("web"))
	for i := range 2 {
		hash := tn.push("broken again", map[string]string{"web/stack.yml": web + strings.Repeat("x", i+1) + "services: oops: [\n"})
		tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == hash })
		if again := tn.fires("SkepStackFailed", tn.stack("web")); again.Fingerprint != one.Fingerprint {
			t.Errorf("fingerprint of the same problem: got %s, want %s", again.Fingerprint, one.Fingerprint)
		}
	}
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": web})
	tn.live("web", fixed)
	tn.quiet()

	tn.push("web leaves", nil, "web")
	tn.eventually("the stack is gone", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("web"))
		return err == nil && o.Empty(), "objects are left"
	})
	if now := tn.service("other", "web"); now.Version != other.Version {
		t.Errorf("the other stack was written: version %v, want %v", now.Version, other.Version)
	}
	tn.quiet()
}

// TestRestartWritesNothing looks again after a restart: no object may change.
func TestRestartWritesNothing(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain("configs: [c]", "secrets: [s]") +
		"configs: {c: {content: hello}}\nsecrets: {s: {file: ./s.txt}}\n", "web/s.txt": "hunter2hunter2"})
	tn.start()
	tn.live("web", commit)
	before := tn.service("web", "web")
	tn.must(tn.skep.Stop())
	tn.start()
	tn.live("web", commit)
	if now := tn.service("web", "web"); now.Version != before.Version {
		t.Errorf("service written by a restart: version %v, want %v", now.Version, before.Version)
	}
}

// TestDrift changes what runs by hand, in every way that docker offers.
func TestDrift(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain("networks: [n]") + "networks: {n: {}}\n"})
	tn.start()
	tn.live("web", commit)
	change := func(what string, f func(*swarm.ServiceSpec), healed func(swarm.ServiceSpec) bool) {
		t.Helper()
		s := tn.service("web", "web")
		f(&s.Spec)
		_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
		tn.must(err)
		tn.eventually(what+" is healed", func() (bool, string) {
			now := tn.service("web", "web")
			return now.Version.Index > s.Version.Index && healed(now.Spec), "not yet"
		})
		tn.live("web", commit)
	}
	change("a scaled service", func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 3 },
		func(s swarm.ServiceSpec) bool { return *s.Mode.Replicated.Replicas == 1 })
	change("an edited environment", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"EVIL=1"} },
		func(s swarm.ServiceSpec) bool { return len(s.TaskTemplate.ContainerSpec.Env) == 0 })
	change("a label", func(s *swarm.ServiceSpec) { s.Labels["evil"] = "1" },
		func(s swarm.ServiceSpec) bool { return s.Labels["evil"] == "" })
}
