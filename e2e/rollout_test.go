package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/e2e/lab"
)

const quick = "deploy: {restart_policy: {delay: 1s}, update_config: {order: start-first, failure_action: pause, monitor: 1s}}"

// healthy is a health check that the app answers.
const healthy = "healthcheck: {test: [CMD, /app, health], interval: 1s, timeout: 2s, retries: 2}"

// TestRolloutsThatFail starts one stack for each way in which a service does
// not run, and then mends them all with one push.
func TestRolloutsThatFail(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	cases := []struct {
		name, file string
		says       []string
	}{
		{"crash", plain("command: [crash]", strings.Replace(quick, "monitor: 1s", "monitor: 15s", 1)), []string{"web", "3"}},
		{"unhealthy", plain("command: [unhealthy]", healthy, quick), []string{"web", "unhealthy"}},
		{"image", strings.Replace(plain(quick), lab.AppImage, noImage, 1), []string{"web", noRegistry}},
		{"mount", plain("volumes: ['/not/there:/x']", quick), []string{"web", "/not/there"}},
		{"job", plain("command: [fail]", "deploy: {mode: replicated-job, restart_policy: {condition: none}}"), []string{"web", "1"}},
		{"nowhere", "x-skep: {timeout: 5s}\n" + plain("deploy: {placement: {constraints: ['node.labels.not == there']}}"), []string{"web", "no suitable node"}},
	}
	files, mended := map[string]string{}, map[string]string{}
	for _, c := range cases {
		files[c.name+"/stack.yml"] = c.file
		mended[c.name+"/stack.yml"] = plain()
		if c.name == "job" {
			mended[c.name+"/stack.yml"] = plain("command: [job]", "deploy: {mode: replicated-job, restart_policy: {condition: none}}")
		}
	}
	first := tn.push("all fail", files)
	tn.start()
	for _, c := range cases {
		st := tn.wait(tn.stack(c.name), func(s lab.Stack) bool { return s.Reason == "RolloutFailed" && s.Health == "degraded" })
		for _, want := range c.says {
			if !strings.Contains(st.Message, want) {
				t.Errorf("%s: message lacks %q: %s", c.name, want, st.Message)
			}
		}
		if st.Deployed == first {
			t.Errorf("%s: counts as deployed: %s", c.name, st)
		}
	}
	tn.eventually("one alert for each", func() (bool, string) {
		seen := map[string]int{}
		for _, a := range tn.alerts() {
			seen[a.Labels["stack"]]++
		}
		for _, c := range cases {
			if seen[tn.stack(c.name)] != 1 {
				return false, fmt.Sprint(seen)
			}
		}
		return true, ""
	})
	fixed := tn.push("mended", mended)
	for _, c := range cases {
		tn.live(c.name, fixed)
	}
	tn.quiet()
}

// TestSlowStartIsNoFailure and a newer commit does not wait for an older one.
func TestSlowStartIsNoFailure(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	slow := "healthcheck: {test: [CMD, /app, health], interval: 1s, timeout: 2s, retries: 3, start_period: 60s}"
	first := tn.push("slow", map[string]string{"web/stack.yml": plain("command: [slow, 8s]", slow)})
	tn.start()
	seen := false
	tn.wait(tn.stack("web"), func(s lab.Stack) bool {
		if s.Reason != "" {
			t.Errorf("a slow start fails: %s", s)
		}
		seen = seen || s.Health == "progressing"
		return s.Commit == first && s.Health == "healthy" && s.Deployed == first
	})
	if !seen {
		t.Error("a slow start was never progressing")
	}
	stuck := tn.push("stuck", map[string]string{"web/stack.yml": plain("command: [slow, 1000h]", slow)})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Attempted == stuck && s.Health == "progressing" })
	good := tn.push("good", map[string]string{"web/stack.yml": plain("command: [slow, 1s]", slow)})
	tn.live("web", good)
	tn.quiet()
}

// TestHeldRevisionSurvivesRestart: exactly one attempt, one alert with one
// start, over a restart of the operator.
func TestHeldRevisionSurvivesRestart(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	good := tn.push("good", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", good)
	bad := tn.push("bad", map[string]string{"web/stack.yml": strings.Replace(plain(), lab.AppImage, noImage, 1)})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Attempted == bad && s.Reason == "RolledBack" && s.Health == "healthy" })
	a := tn.fires("SkepStackFailed", tn.stack("web"))
	version := tn.service("web", "web").Version
	tn.must(tn.skep.Stop())
	tn.start()
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason == "RolledBack" && s.Health == "healthy" })
	if !strings.Contains(st.Message, noRegistry) {
		t.Errorf("message after a restart: %s", st.Message)
	}
	cycles := tn.counts().Cycles
	tn.eventually("three cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+3, "" })
	if now := tn.service("web", "web").Version; now != version {
		t.Errorf("the held revision was tried again after a restart: version %v, want %v", now, version)
	}
	if again := tn.fires("SkepStackFailed", tn.stack("web")); again.Fingerprint != a.Fingerprint || !again.StartsAt.Equal(a.StartsAt) {
		t.Errorf("the alert began anew: %v %v, want %v %v", again.Fingerprint, again.StartsAt, a.Fingerprint, a.StartsAt)
	}
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain("environment: {V: '2'}")})
	tn.live("web", fixed)
	tn.quiet()
}

// TestRollbackOfTheWholeStack: one of two services fails, both go back.
func TestRollbackOfTheWholeStack(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := func(version, image string) string {
		return "x-skep: {rollback: true}\nservices:\n" + service("web", "environment: {VERSION: '"+version+"'}", "configs: [c]") +
			strings.Replace(service("api", quick), lab.AppImage, image, 1) + "configs: {c: {content: 'version " + version + "'}}\n"
	}
	good := tn.push("good", map[string]string{"web/stack.yml": file("1", lab.AppImage)})
	tn.start()
	tn.live("web", good)
	bad := tn.push("bad", map[string]string{"web/stack.yml": file("2", noImage)})
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool {
		return s.Attempted == bad && s.Reason == "RolledBack" && s.Health == "healthy"
	})
	if st.Deployed != good || !strings.Contains(st.Message, noRegistry) {
		t.Errorf("status after a rollback: %s", st)
	}
	tn.eventually("both services are as the good commit asks", func() (bool, string) {
		env := tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env
		image := tn.service("web", "api").Spec.TaskTemplate.ContainerSpec.Image
		return len(env) == 1 && env[0] == "VERSION=1" && image == lab.AppImage, fmt.Sprint(env, image)
	})
	tn.fires("SkepStackFailed", tn.stack("web"))
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": file("3", lab.AppImage)})
	tn.live("web", fixed)
	tn.quiet()
}

// TestOrder: a migration runs before the app, blocks it when it fails, and runs
// once per content; a stack waits for another one.
func TestOrder(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := func(job string) string {
		return "services:\n" + service("migrate", "command: ["+job+"]", "deploy: {mode: replicated-job, restart_policy: {condition: none}}") +
			service("web", "depends_on: {migrate: {condition: service_completed_successfully}}")
	}
	blocked := tn.push("the migration fails", map[string]string{
		"web/stack.yml":   file("fail, 1s"),
		"after/stack.yml": "x-skep: {depends_on: [web]}\n" + plain(),
	})
	tn.start()
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason == "RolloutFailed" || s.Reason == "DependencyNotReady" })
	if !strings.Contains(st.Message, "migrate") {
		t.Errorf("message of a failed migration: %s", st.Message)
	}
	list, err := tn.Services(t.Context(), tn.stack("web"))
	tn.must(err)
	if _, ok := list[tn.stack("web")+"_web"]; ok {
		t.Error("the app started although its migration failed")
	}
	tn.wait(tn.stack("after"), func(s lab.Stack) bool { return s.Commit == blocked && s.Reason == "DependencyNotReady" })
	if o, err := tn.Stack(t.Context(), tn.stack("after")); err != nil || len(o.Services) > 0 {
		t.Errorf("a stack started before the one it depends on: %v %v", o, err)
	}
	fixed := tn.push("the migration succeeds", map[string]string{"web/stack.yml": file("job, 1s")})
	tn.live("web", fixed)
	tn.live("after", fixed)
	tn.quiet()
	job := tn.service("web", "migrate")
	tn.must(tn.skep.Stop())
	tn.start()
	label := tn.push("the app changes, the migration does not", map[string]string{"web/stack.yml": file("job, 1s") + "    hostname: x\n"})
	tn.live("web", label)
	if now := tn.service("web", "migrate"); now.JobStatus.JobIteration.Index != job.JobStatus.JobIteration.Index {
		t.Errorf("the migration ran again: iteration %d, want %d", now.JobStatus.JobIteration.Index, job.JobStatus.JobIteration.Index)
	}
}
