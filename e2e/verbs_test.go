package e2e

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// verb runs skep with arguments and this tenant's skep.yml; the exit code must be 0.
func (tn *tenant) verb(args ...string) string {
	tn.Helper()
	out, code := tn.try(args...)
	if code != 0 {
		tn.Fatalf("skep %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

func (tn *tenant) try(args ...string) (string, int) {
	tn.Helper()
	out, code, err := tn.skep.Run(tn.Context(), append(args, "--config", tn.skep.Config)...)
	tn.must(err)
	return out, code
}

// TestFreeze stops changes, keeps watching, and ends.
func TestFreeze(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	tn.verb("freeze", tn.stack("web"), "--reason", "a demo", "--for", "2h")
	version := tn.service("web", "web").Version
	second := tn.push("second", map[string]string{"web/stack.yml": plain("environment: {V: '2'}")})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == second && s.Sync == "out-of-sync" && s.Health == "healthy" })
	tn.eventually("skep status tells why the stack is frozen", func() (bool, string) {
		out := tn.verb("status")
		return strings.Contains(out, "a demo"), out
	})
	if now := tn.service("web", "web").Version; now != version {
		t.Errorf("a frozen stack was written: version %v, want %v", now, version)
	}
	tn.verb("unfreeze", tn.stack("web"))
	tn.live("web", second)
}

// TestRollbackAndUnpin goes back to an earlier commit, also while the operator is down.
func TestRollbackAndUnpin(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	env := func() string {
		return strings.Join(tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env, " ")
	}
	first := tn.push("one", map[string]string{"web/stack.yml": plain("environment: {V: '1'}")})
	tn.start()
	tn.live("web", first)
	second := tn.push("two", map[string]string{"web/stack.yml": plain("environment: {V: '2'}")})
	tn.live("web", second)
	tn.eventually("the history shows both", func() (bool, string) {
		out := tn.verb("history", tn.stack("web"))
		return strings.Contains(out, first[:7]) && strings.Contains(out, second[:7]) && strings.Contains(out, "Ada"), out
	})
	tn.must(tn.skep.Stop())
	tn.verb("rollback", tn.stack("web"), first, "--reason", "two is slow")
	tn.start()
	tn.eventually("the first version runs", func() (bool, string) { return env() == "V=1", env() })
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Deployed == first && s.Health == "healthy" })
	third := tn.push("three", map[string]string{"web/stack.yml": plain("environment: {V: '3'}")})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == third })
	if env() != "V=1" {
		t.Errorf("a pinned stack followed git: %s", env())
	}
	tn.verb("unpin", tn.stack("web"))
	tn.live("web", third)
	if env() != "V=3" {
		t.Errorf("after unpin: %s", env())
	}
}

// TestRestart raises ForceUpdate once; drift does not take it back.
func TestRestart(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": "services:\n" + service("web") + service("api")})
	tn.start()
	tn.live("web", first)
	web, api := tn.tasks("web", "web"), tn.tasks("web", "api")
	tn.verb("restart", tn.stack("web")+"/web", "--reason", "a leak")
	tn.eventually("a new task runs", func() (bool, string) {
		now := tn.tasks("web", "web")
		return now != web && now != "" && !strings.Contains(now, " "), now
	})
	tn.live("web", first)
	if n := tn.service("web", "web").Spec.TaskTemplate.ForceUpdate; n != 1 {
		t.Errorf("ForceUpdate: %d, want 1", n)
	}
	if now := tn.tasks("web", "api"); now != api {
		t.Errorf("the other service's task: %s, want %s", now, api)
	}
	tn.eventually("the history tells it", func() (bool, string) {
		out := tn.verb("history", tn.stack("web"))
		return strings.Contains(out, "a leak"), out
	})
}

// TestDriftThatIsLeft: drift: warn tells, ignore keeps a path that others own.
func TestDriftThatIsLeft(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{
		"warn/stack.yml":  "x-skep: {drift: warn}\n" + plain(),
		"auto/stack.yml":  "x-skep: {ignore: [services.web.deploy.replicas]}\n" + plain(),
		"wrong/stack.yml": "x-skep:\n  ignore:\n    - services.web.deploy.replicsa\n" + plain(),
	})
	tn.start()
	tn.live("warn", first)
	tn.live("auto", first)
	if st := tn.fails("wrong", "RenderFailed"); !strings.Contains(st.Message, "wrong/stack.yml:3") || !strings.Contains(st.Message, "replicsa") {
		t.Errorf("message of an unknown path: %s", st.Message)
	}
	scale := func(stack string) {
		t.Helper()
		s := tn.service(stack, "web")
		*s.Spec.Mode.Replicated.Replicas = 2
		_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
		tn.must(err)
	}
	scale("warn")
	scale("auto")
	tn.eventually("the drift is told", func() (bool, string) {
		out := tn.verb("status")
		return strings.Contains(out, "services.web.deploy.replicas"), out
	})
	second := tn.push("second", map[string]string{
		"warn/stack.yml":  "x-skep: {drift: warn}\n" + plain("environment: {V: '2'}"),
		"auto/stack.yml":  "x-skep: {ignore: [services.web.deploy.replicas]}\n" + plain("environment: {V: '2'}"),
		"wrong/stack.yml": plain(),
	})
	tn.live("warn", second)
	tn.live("auto", second)
	if n := *tn.service("warn", "web").Spec.Mode.Replicated.Replicas; n != 1 {
		t.Errorf("replicas of drift: warn after a new commit: %d, want 1", n)
	}
	if n := *tn.service("auto", "web").Spec.Mode.Replicated.Replicas; n != 2 {
		t.Errorf("replicas that others own after a new commit: %d, want 2", n)
	}
}

// TestSyncOnce deploys without a service running.
func TestSyncOnce(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	tn.push("first", map[string]string{"web/stack.yml": plain()})
	out := tn.verb("sync", "--once", "--wait")
	if !strings.Contains(out, tn.stack("web")) {
		t.Errorf("skep sync --once does not tell what it did:\n%s", out)
	}
	if got := tn.tasks("web", "web"); got == "" {
		t.Error("no task runs after skep sync --once --wait")
	}
	version := tn.service("web", "web").Version
	tn.verb("sync", "--once", "--wait")
	if now := tn.service("web", "web").Version; now != version {
		t.Errorf("a second sync wrote the service: version %v, want %v", now, version)
	}
	if out, code := tn.try("plan"); code != 0 {
		t.Errorf("skep plan after a sync: exit code %d\n%s", code, out)
	}
	tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})
	if out, code := tn.try("sync", "--once", "--wait"); code == 0 || !strings.Contains(out, "web/stack.yml:") {
		t.Errorf("skep sync of a broken push: exit code %d\n%s", code, out)
	}
	tn.push("changed", map[string]string{"web/stack.yml": plain("hostname: x")})
	if out, code := tn.try("plan"); code != 3 || !strings.Contains(out, "services.web.hostname") {
		t.Errorf("skep plan before a change: exit code %d, want 3\n%s", code, out)
	}
}
