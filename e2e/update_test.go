package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// trio is a stack of three services: a with deployA in its deploy section, and what more each has.
func trio(deployA, moreA, moreB, moreC string) string {
	one := func(name, deploy, more string) string {
		return service(name, more, "deploy: {restart_policy: {delay: 1s}, "+deploy+"}")
	}
	return "services:\n" + one("a", deployA, moreA) + one("b", "update_config: {monitor: 1s}", moreB) +
		one("c", "update_config: {monitor: 1s}", "configs: [{source: c, target: /c}]\n    "+moreC)
}

// TestWhatAnUpdateRestarts changes one thing after the other: what a task does
// not see restarts none, what one service sees restarts that one.
func TestWhatAnUpdateRestarts(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	const once, changed, two = "update_config: {monitor: 1s}", "environment: {V: '2'}", "configs: {c: {content: two"
	config := "configs: {c: {content: one}}\n"
	// labels, replicas, the way of updating, and a placement that still holds
	beside := "update_config: {monitor: 2s, parallelism: 3, delay: 1s}, rollback_config: {parallelism: 0}, labels: {team: shop}, " +
		"replicas: 2, placement: {constraints: [node.role == manager]}"
	steps := []struct {
		name, file string
		restarts   string
	}{
		{"the first version", trio(once, "", "", "") + config, "abc"},
		{"what no task sees", trio(beside, "", "", "") + config, ""},
		{"a variable of one service", trio(beside, "", changed, "") + config, "b"},
		{"a container's label", trio(beside, "labels: {l: x}", changed, "") + config, "a"},
		{"a config", trio(beside, "labels: {l: x}", changed, "") + two + "}}\n", "c"},
		{"a config that is a template", trio(beside, "labels: {l: x}", changed, "") + two + ", template_driver: golang}}\n", "c"},
		{"nothing but a comment", "# a comment\n" + trio(beside, "labels: {l: x}", changed, "") + two + ", template_driver: golang}}\n", ""},
	}
	started := false
	before := map[string]string{}
	for _, step := range steps {
		commit := tn.push(step.name, map[string]string{"web/stack.yml": step.file})
		if !started {
			tn.start()
			started = true
		}
		tn.live("web", commit)
		for _, key := range []string{"a", "b", "c"} {
			now := tn.tasks("web", key)
			first, _, _ := strings.Cut(before[key], " ")
			if restarted := first == "" || !strings.Contains(now, first); restarted != strings.Contains(step.restarts, key) {
				t.Errorf("%s: service %s restarted: %t; tasks %s, before %s", step.name, key, restarted, now, before[key])
			}
			before[key] = now
		}
	}
}

// TestServiceRollbackAfterRotation goes back by hand after a secret changed: the
// old secret is there for it, and both old ones go with the next change.
func TestServiceRollbackAfterRotation(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := "x-skep: {drift: warn}\n" + plain("secrets: [s]") + "secrets: {s: {file: s.txt}}\n"
	first := tn.push("first", map[string]string{"web/stack.yml": file, "web/s.txt": "hunter2hunter2"})
	tn.start()
	tn.live("web", first)
	of := func(s swarm.Service) string { return s.Spec.TaskTemplate.ContainerSpec.Secrets[0].SecretName }
	old := of(tn.service("web", "web"))
	second := tn.push("rotated", map[string]string{"web/s.txt": "correct-horse-battery"})
	tn.live("web", second)
	s := tn.service("web", "web")
	if of(s) == old {
		t.Fatalf("the secret did not rotate: %s", old)
	}
	_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	tn.must(err)
	tn.eventually("the old secret runs again", func() (bool, string) {
		now := tn.service("web", "web")
		st := now.UpdateStatus
		return of(now) == old && st != nil && st.State == swarm.UpdateStateRollbackCompleted && now.ServiceStatus.RunningTasks == 1, fmt.Sprintf("%+v", st)
	})
	third := tn.push("rotated again", map[string]string{"web/s.txt": "another-horse-battery"})
	tn.live("web", third)
	tn.eventually("two secrets are left", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("web"))
		return err == nil && len(o.Secrets) == 2, fmt.Sprint(o.Secrets, err)
	})
}

// TestNamesThatFilesGive honours name: and external:, and explains why an object
// with a name of its own can't change, and what an external one misses.
func TestNamesThatFilesGive(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	name := tn.name + "-own"
	file := func(content string, more ...string) string {
		return plain("configs: [{source: c, target: /c}]", "networks: [n]") + "configs: {c: {name: " + name + ".conf, content: " + content + "}}\n" +
			"networks: {n: {name: " + name + "-net}}\n" + strings.Join(more, "")
	}
	first := tn.push("first", map[string]string{"web/stack.yml": file("one")})
	tn.start()
	tn.live("web", first)
	if o := tn.state("web"); !strings.Contains(fmt.Sprint(o), "T-own.conf") || !strings.Contains(fmt.Sprint(o), "T-own-net") {
		t.Errorf("literal names are not there: %v", o)
	}
	ran := tn.tasks("web", "web")
	tn.push("its content changes", map[string]string{"web/stack.yml": file("two")})
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason != "" })
	if !strings.Contains(st.Message, name+".conf") || !strings.Contains(st.Message, "name:") || st.Health != "healthy" {
		t.Errorf("status of a named config that changed: %s", st)
	}
	renamed := strings.Replace(file("two"), name+".conf", name+"2.conf", 1)
	second := tn.push("under another name", map[string]string{"web/stack.yml": renamed})
	tn.live("web", second)
	if tn.tasks("web", "web") == ran {
		t.Error("the renamed config does not reach the task")
	}

	outer := plain("secrets: [s]", "networks: [n]") + "secrets: {s: {external: true, name: " + tn.name + "-outer}}\nnetworks: {n: {external: true, name: " + name + "-net}}\n"
	tn.push("a secret of others, not there yet", map[string]string{"ext/stack.yml": outer})
	st = tn.wait(tn.stack("ext"), func(s lab.Stack) bool { return s.Reason != "" })
	if !strings.Contains(st.Message, tn.name+"-outer") {
		t.Errorf("message about an external secret that is missing: %s", st.Message)
	}
	made, err := tn.Docker.SecretCreate(t.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: tn.name + "-outer"}, Data: []byte("x")})
	tn.must(err)
	defer func() {
		if err := tn.RemoveStack(context.WithoutCancel(t.Context()), tn.stack("ext")); err != nil {
			t.Error(err)
		}
		if err := tn.Docker.SecretRemove(context.WithoutCancel(t.Context()), made.ID); err != nil {
			t.Error(err)
		}
	}()
	tn.wait(tn.stack("ext"), func(s lab.Stack) bool { return s.Sync == "synced" && s.Health == "healthy" && s.Reason == "" })
	tn.push("ext leaves", nil, "ext")
	tn.eventually("ext is gone", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("ext"))
		return err == nil && o.Empty(), fmt.Sprint(o, err)
	})
	if _, _, err := tn.Docker.SecretInspectWithRaw(t.Context(), made.ID); err != nil {
		t.Errorf("the secret of others: %v", err)
	}
	if _, err := tn.Docker.NetworkInspect(t.Context(), name+"-net", network.InspectOptions{}); err != nil {
		t.Errorf("the network of the other stack: %v", err)
	}
}

// TestJobsRunOncePerContent counts the runs of jobs over everything that is no
// new content, and after one that is.
func TestJobsRunOncePerContent(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := func(env, label string) string {
		job := func(name, mode string) string {
			return service(name, "command: [job]", "environment: {V: '"+env+"'}",
				"deploy: {mode: "+mode+", labels: {l: '"+label+"'}, restart_policy: {condition: on-failure, delay: 1s}}")
		}
		return "services:\n" + job("migrate", "replicated-job") + job("sweep", "global-job")
	}
	runs := func() string {
		tn.Helper()
		var out []string
		for _, key := range []string{"migrate", "sweep"} {
			s := tn.service("jobs", key)
			list, err := tn.Docker.TaskList(t.Context(), swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", s.ID))})
			tn.must(err)
			out = append(out, fmt.Sprintf("%s: iteration %d, %d tasks", key, s.JobStatus.JobIteration.Index, len(list)))
		}
		return strings.Join(out, "; ")
	}
	commit := tn.push("first", map[string]string{"jobs/stack.yml": file("1", "1")})
	tn.start()
	tn.live("jobs", commit)
	first := runs()
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"another commit", func() { tn.push("nothing", map[string]string{"README.md": "x"}) }},
		{"a comment", func() { commit = tn.push("a comment", map[string]string{"jobs/stack.yml": "# x\n" + file("1", "1")}) }},
		{"a label", func() { commit = tn.push("a label", map[string]string{"jobs/stack.yml": file("1", "2")}) }},
		{"a restart", func() { tn.must(tn.skep.Stop()); tn.start() }},
	} {
		step.do()
		tn.wait(tn.stack("jobs"), func(s lab.Stack) bool { return s.Health == "healthy" })
		cycles := tn.counts().Cycles
		tn.eventually("two cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+2, "" })
		if now := runs(); now != first {
			t.Errorf("%s ran a job: %s, before %s", step.name, now, first)
		}
	}
	commit = tn.push("new content", map[string]string{"jobs/stack.yml": file("2", "2")})
	tn.live("jobs", commit)
	if now := runs(); now == first {
		t.Errorf("new content ran no job: %s", now)
	}
}

// TestUpdateOutOfSequence lets somebody else be faster at the very moment of an
// update: it is read again and done, and nothing of it is reported.
func TestUpdateOutOfSequence(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	var raced atomic.Int32
	p.Before(func(_ int, call string) {
		if !strings.HasPrefix(call, "POST /services/") || !strings.HasSuffix(call, "/update") || raced.Add(1) > 2 {
			return
		}
		s := tn.service("web", "web")
		s.Spec.Labels["by.hand"] = fmt.Sprint(raced.Load())
		if _, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{}); err != nil {
			t.Error(err)
		}
	})
	second := tn.push("second", map[string]string{"web/stack.yml": plain("environment: {V: '2'}")})
	tn.live("web", second)
	if n := raced.Load(); n < 2 {
		t.Errorf("%d updates were tried", n)
	}
	if s := tn.service("web", "web"); s.Spec.Labels["by.hand"] != "" || len(s.Spec.TaskTemplate.ContainerSpec.Env) != 1 {
		t.Errorf("service after a race: labels %v, environment %v", s.Spec.Labels, s.Spec.TaskTemplate.ContainerSpec.Env)
	}
	tn.quiet()
}

// TestPortIsHandedOver moves a published port to another service in one commit,
// and to another stack in the next.
func TestPortIsHandedOver(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	addr, err := lab.FreePort("127.0.0.1")
	tn.must(err)
	_, port, err := net.SplitHostPort(addr)
	tn.must(err)
	ports := "ports: ['" + port + ":8080']"
	first := tn.push("first", map[string]string{
		"web/stack.yml":   "services:\n" + service("old", ports, "deploy: {replicas: 0}") + service("keep", "deploy: {replicas: 0}"),
		"other/stack.yml": "services:\n" + service("web", "deploy: {replicas: 0}"),
		"third/stack.yml": "services:\n" + service("web", "deploy: {replicas: 0}"),
	})
	tn.start()
	tn.live("web", first)
	tn.live("other", first)
	second := tn.push("new has the port", map[string]string{
		"web/stack.yml": "services:\n" + service("new", ports, "deploy: {replicas: 0}") + service("keep", "deploy: {replicas: 0}"),
	})
	tn.live("web", second)
	if got := tn.service("web", "new").Endpoint.Ports; len(got) != 1 || fmt.Sprint(got[0].PublishedPort) != port {
		t.Errorf("ports of the new service: %v, want %s", got, port)
	}
	third := tn.push("the other stack has the port", map[string]string{
		"other/stack.yml": "services:\n" + service("web", ports, "deploy: {replicas: 0}"),
	}, "web")
	tn.live("other", third)
	tn.quiet()
}

// TestNetworkOptionsChange: Swarm can't, so it is explained, and done where the
// stack allows it.
func TestNetworkOptionsChange(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := func(mtu string) string {
		return plain("networks: [n]") + "networks: {n: {driver_opts: {com.docker.network.driver.mtu: '" + mtu + "'}}}\n"
	}
	first := tn.push("first", map[string]string{"web/stack.yml": file("1400")})
	tn.start()
	tn.live("web", first)
	ran := tn.tasks("web", "web")
	tn.push("another mtu", map[string]string{"web/stack.yml": file("1300")})
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason != "" })
	if !strings.Contains(st.Message, "replace: true") || !strings.Contains(st.Message, tn.stack("web")+"_n") || st.Health != "healthy" {
		t.Errorf("status of a network that changed: %s", st)
	}
	if tn.tasks("web", "web") != ran {
		t.Error("a change that was refused restarted a task")
	}
	allowed := tn.push("allowed", map[string]string{"web/stack.yml": "x-skep: {replace: true}\n" + file("1300")})
	tn.live("web", allowed)
	n, err := tn.Docker.NetworkInspect(t.Context(), tn.stack("web")+"_n", network.InspectOptions{})
	tn.must(err)
	if n.Options["com.docker.network.driver.mtu"] != "1300" {
		t.Errorf("options of the network: %v", n.Options)
	}
	tn.quiet()
}
