package deploy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

// alone is a stack of one service, web.
func alone(change func(*swarm.ServiceSpec)) stack.Spec {
	want := sample()
	want.Services, want.Secrets, want.Configs = want.Services[1:], nil, nil
	w := &want.Services[0].Spec
	w.TaskTemplate.ContainerSpec.Configs = nil
	if change != nil {
		change(w)
	}
	return want
}

// health looks at the stack shop, at the swarm's own time.
func (l *lab) health() deploy.Health {
	l.Helper()
	live := l.look()
	return deploy.Check(live, "shop", deploy.CheckOptions{}, live.Taken)
}

// short is a health in one line.
func short(h deploy.Health) string {
	s := h.Services[0]
	line := fmt.Sprintf("%s %s %d/%d", h.State, h.Outcome, s.Running, s.Desired)
	if s.Passing {
		line += " passing"
	}
	return line
}

// begins fails unless a health has this beginning, and message holds text.
func begins(t *testing.T, when string, h deploy.Health, want, text string) {
	t.Helper()
	if got := short(h); got != want {
		t.Errorf("%s: %q, want %q (message %q)", when, got, want, h.Message)
	}
	if !strings.Contains(h.Message, text) || text == "" && h.Message != "" {
		t.Errorf("%s: message %q lacks %q", when, h.Message, text)
	}
	if inFlight := h.State != deploy.Healthy; inFlight == h.Again.IsZero() {
		t.Errorf("%s: %s, and looks again at %v", when, h.State, h.Again)
	}
}

func TestHealthOfNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	live := l.look()
	if h := deploy.Check(live, "shop", deploy.CheckOptions{}, live.Taken); h.State != deploy.Missing || h.Message == "" {
		t.Errorf("health of nothing is %+v", h)
	}
}

func TestServiceBecomesHealthy(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["web:1"] = swarmtest.Runs(3 * time.Second)
	l.push(alone(nil))
	begins(t, "at first", l.health(), "progressing  0/2", "0 of 2 running")
	l.Step(4 * time.Second)
	begins(t, "running, not for long", l.health(), "progressing  2/2", "2 of 2 running")
	l.Step(5 * time.Second)
	begins(t, "running for the monitor window", l.health(), "healthy  2/2", "")
}

func TestZeroReplicasAreHealthyAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(alone(func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = ptr(uint64(0)) }))
	begins(t, "at first", l.health(), "healthy  0/0", "")
}

// TestRollBackThatStopped: neither version is whole, which takes other words than an
// update that Swarm stopped.
func TestRollBackThatStopped(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(alone(nil))
	l.Step(time.Minute)
	live := l.look()
	for i := range live.Services {
		live.Services[i].UpdateStatus = &swarm.UpdateStatus{State: swarm.UpdateStateRollbackPaused, Message: "update paused due to failure"}
	}
	h := deploy.Check(live, "shop", deploy.CheckOptions{}, live.Taken)
	if h.Outcome != deploy.Paused || !strings.Contains(h.Message, "swarm rolled the update back and paused half-way") {
		t.Errorf("outcome %q, message %q", h.Outcome, h.Message)
	}
}

// TestScaledDownFailuresAreGone: what failed in a slot that is no longer asked for
// says nothing of those that are.
func TestScaledDownFailuresAreGone(t *testing.T) {
	t.Parallel()
	for desired, want := range map[uint64]string{0: "healthy  0/0", 1: "healthy  1/1"} {
		l := newLab(t)
		l.Outcomes["web:1"] = swarmtest.NoImage("web:1")
		l.push(alone(nil))
		l.Step(time.Minute)
		begins(t, "before", l.health(), "degraded failed 0/2 passing", "No such image")
		l.Outcomes["web:1"] = swarmtest.Runs(0)
		l.push(alone(func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = &desired }))
		if desired == 0 {
			begins(t, "at once", l.health(), want, "")
		}
		l.Step(6 * time.Minute)
		begins(t, "scaled down", l.health(), want, "")
	}
}

// TestOldTasksAreNoSuccess: right after an update all tasks run, but of the old spec.
func TestOldTasksAreNoSuccess(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*swarm.ServiceSpec){
		"variable": func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"KEY=2"} },
		"ports": func(s *swarm.ServiceSpec) {
			s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 80}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Outcomes["web:1"] = swarmtest.Runs(3 * time.Second)
			l.push(alone(nil))
			l.Step(time.Minute)
			begins(t, "before", l.health(), "healthy  2/2", "")
			l.push(alone(change))
			begins(t, "right after the update", l.health(), "progressing  0/2", "0 of 2 running")
			l.Step(time.Minute)
			begins(t, "afterwards", l.health(), "healthy  2/2", "")
		})
	}
}

func TestRolloutsThatFail(t *testing.T) {
	t.Parallel()
	update := func(action string) func(*swarm.ServiceSpec) {
		return func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image = "bad:1"
			s.Labels[deploy.LabelImage] = "bad:1"
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, FailureAction: action, Monitor: 5 * time.Second}
		}
	}
	for _, c := range []struct {
		name    string
		bad     swarmtest.Outcome
		action  string
		want    string
		message string
	}{
		{"rolled back", swarmtest.Crashes(3, time.Second), "rollback", "healthy rolled-back 2/2",
			`service "web": swarm rolled the update back: task: non-zero exit (3), on node node1; see the logs with: docker service logs shop_web`},
		{"paused", swarmtest.Crashes(3, time.Second), "pause", "degraded paused 0/2",
			`service "web": swarm paused the update: task: non-zero exit (3), on node node1`},
		{"goes on crashing", swarmtest.Crashes(3, time.Second), "continue", "degraded failed 0/2",
			`service "web": failed, 0 of 2 running: task: non-zero exit (3)`},
		{"no image", swarmtest.NoImage("bad:1"), "continue", "degraded failed 0/2 passing",
			`service "web": failed, 0 of 2 running: No such image: bad:1, on node node1; check the image's name and tag`},
		{"unhealthy", swarmtest.Unhealthy(time.Second), "continue", "degraded failed 0/2",
			`task: non-zero exit (137): dockerexec: unhealthy container, on node node1; the health check fails`},
		{"ends by itself", swarmtest.Completes(time.Second), "continue", "degraded failed 0/2",
			`the container ends by itself`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.push(alone(nil))
			l.Step(time.Minute)
			l.Outcomes["bad:1"] = c.bad
			l.push(alone(update(c.action)))
			for range 25 {
				l.Step(2 * time.Second)
				if h := l.health(); h.State == deploy.Healthy && h.Outcome == deploy.None {
					t.Fatalf("a false success: %+v", h)
				}
			}
			h := l.health()
			for range 5 { // a task may just be up for a moment
				if short(h) == c.want {
					break
				}
				l.Step(time.Second)
				h = l.health()
			}
			begins(t, "in the end", h, c.want, c.message)
		})
	}
}

// TestRollBackTellsWhatTheUpdateDiedOf: not what the version before it, or an
// update before it, died of a while ago.
func TestRollBackTellsWhatTheUpdateDiedOf(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["web:1"] = swarmtest.Outcome{State: swarm.TaskStateRejected, Start: -1,
		Err: "invalid pool request: Pool overlaps with other one on this address space"}
	l.push(alone(nil))
	l.Step(8 * time.Second)
	begins(t, "at first", l.health(), "progressing  0/2 passing", "Pool overlaps")
	delete(l.Outcomes, "web:1")
	l.Step(time.Minute)
	begins(t, "then", l.health(), "healthy  2/2", "")
	for i, image := range []string{"early:1", "none:1"} {
		l.Outcomes[image] = swarmtest.NoImage(image)
		l.push(alone(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.ContainerSpec.Image, s.Labels[deploy.LabelImage] = image, image
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, FailureAction: "rollback", Monitor: 5 * time.Second}
		}))
		l.Step(time.Minute)
		begins(t, fmt.Sprint("update ", i), l.health(), "healthy rolled-back 2/2 passing", "rolled the update back: No such image: "+image)
	}
}

// TestTasksThatAreNeverAllocated: the manager says nothing of why, so what the
// objects show has to do.
func TestTasksThatAreNeverAllocated(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		network func(*network.Summary)
		text    string
	}{
		"network": {func(n *network.Summary) { n.Driver, n.Options, n.IPAM = "", nil, network.IPAM{} },
			`network "shop_default" has no addresses`},
		"addresses of the network": {func(*network.Summary) {}, "the task is not allocated: the network's subnet may be exhausted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.push(alone(nil))
			live := l.look()
			for i := range live.Networks {
				if live.Networks[i].Name == "shop_default" {
					c.network(&live.Networks[i])
				}
			}
			for i := range live.Tasks {
				live.Tasks[i].Status = swarm.TaskStatus{State: swarm.TaskStateNew, Timestamp: live.Tasks[i].CreatedAt}
			}
			h := deploy.Check(live, "shop", deploy.CheckOptions{}, live.Taken.Add(time.Minute))
			begins(t, "after a minute", h, "progressing  0/2 passing", c.text)
			if strings.Contains(h.Message, "docker service logs") || !strings.Contains(h.Message, "the log of the leader's engine") {
				t.Errorf("message %q points to the wrong log", h.Message)
			}
		})
	}
}

// TestPortOfAnother: two services made in the same moment may get one published
// port from the manager, which then never allocates the second.
func TestPortOfAnother(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"shop_web", "other_web"} {
		l := newLab(t)
		l.push(alone(nil))
		live := l.look()
		port := swarm.PortConfig{TargetPort: 80, PublishedPort: 8080, Protocol: swarm.PortConfigProtocolTCP, PublishMode: swarm.PortConfigPublishModeIngress}
		mine := live.Services[0]
		mine.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{port}}
		other := mine
		other.ID, other.Spec.Name, other.Spec.Labels = "other", "other_web", nil
		other.Endpoint.Ports = []swarm.PortConfig{port}
		live.Services = []swarm.Service{mine, other}
		if first == "other_web" {
			live.Services = []swarm.Service{other, mine}
		}
		for i := range live.Tasks {
			live.Tasks[i].Status = swarm.TaskStatus{State: swarm.TaskStateNew, Timestamp: live.Tasks[i].CreatedAt}
		}
		h := deploy.Check(live.Indexed(), "shop", deploy.CheckOptions{}, live.Taken.Add(time.Minute))
		begins(t, first+" is listed first", h, "progressing  0/2 passing", `published port 8080/tcp is held by service "other_web"`)
		if !strings.Contains(h.Message, "choose another port") || strings.Contains(h.Message, "docker service logs") {
			t.Errorf("message %q does not say what to do", h.Message)
		}
	}
}

func TestCrashLoopOfAFirstDeployIsSeen(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["web:1"] = swarmtest.Crashes(1, 8*time.Second) // longer than the monitor window
	l.push(alone(nil))
	healthy := 0
	for range 40 {
		l.Step(2 * time.Second)
		if l.health().State == deploy.Healthy {
			healthy++
		}
	}
	if healthy > 3 { // the first life looks well, until its end
		t.Errorf("healthy in %d of 40 looks", healthy)
	}
	begins(t, "in the end", l.health(), short(l.health()), "non-zero exit (1)")
	if h := l.health(); h.Outcome != deploy.Failed || h.Services[0].Exit != 1 {
		t.Errorf("in the end: %+v", h)
	}
}

func TestUnschedulableIsToldAtOnceAndFailsAtTheDeadline(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(alone(func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints = []string{"node.labels.none==x"} }))
	begins(t, "at first", l.health(), "progressing  0/2 passing", "no suitable node (scheduling constraints not satisfied on 1 node); no node fits deploy.placement.constraints")
	l.Step(4 * time.Minute)
	begins(t, "before the deadline", l.health(), "progressing  0/2 passing", "no suitable node")
	l.Step(2 * time.Minute)
	begins(t, "after the deadline", l.health(), "degraded timed-out 0/2 passing", "no progress in time, 0 of 2 running: no suitable node")
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout time.Duration
		check   *container.HealthConfig
		after   time.Duration
	}{
		"the default":       {0, nil, 5 * time.Minute},
		"a short timeout":   {time.Minute, nil, time.Minute},
		"from health check": {0, &container.HealthConfig{StartPeriod: 4 * time.Minute, Interval: time.Minute, Retries: 2}, 12 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.Outcomes["web:1"] = swarmtest.Outcome{State: swarm.TaskStateStarting}
			l.push(alone(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Healthcheck = c.check }))
			state := func(after time.Duration) deploy.Outcome {
				live := l.look()
				return deploy.Check(live, "shop", deploy.CheckOptions{Timeout: c.timeout}, live.Taken.Add(after)).Outcome
			}
			if got := state(c.after - 10*time.Second); got != deploy.None {
				t.Errorf("before %s: %q", c.after, got)
			}
			if got := state(c.after + 10*time.Second); got != deploy.TimedOut {
				t.Errorf("after %s: %q", c.after, got)
			}
		})
	}
}

func TestOneShot(t *testing.T) {
	t.Parallel()
	once := func(s *swarm.ServiceSpec) {
		s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "none"}
		s.Mode.Replicated.Replicas = ptr(uint64(1))
	}
	l := newLab(t)
	l.Outcomes["web:1"] = swarmtest.Completes(20 * time.Second)
	l.push(alone(once))
	l.Step(time.Minute)
	begins(t, "after it ended well", l.health(), "healthy  1/1", "")

	l = newLab(t)
	l.Outcomes["web:1"] = swarmtest.Crashes(2, time.Second)
	l.push(alone(once))
	l.Step(time.Minute)
	begins(t, "after it failed", l.health(), "degraded failed 0/1", "non-zero exit (2)")
}

func TestAttemptsAreTheStacksToUseUp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["web:1"] = swarmtest.Crashes(2, time.Second)
	l.push(alone(func(s *swarm.ServiceSpec) {
		s.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(1)), TotalCompletions: ptr(uint64(1))}}
		s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "on-failure", MaxAttempts: ptr(uint64(4)), Delay: ptr(5 * time.Second)}
	}))
	l.Step(20 * time.Second) // three or four failures
	begins(t, "before the last attempt", l.health(), "progressing  0/1", "non-zero exit (2)")
	l.Step(time.Minute)
	begins(t, "after the last attempt", l.health(), "degraded failed 0/1", "non-zero exit (2)")
}

func TestJobs(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]swarm.ServiceMode{
		"replicated": {ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(1)), TotalCompletions: ptr(uint64(2))}},
		"global":     {GlobalJob: &swarm.GlobalJob{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.AddNode("node2", swarm.NodeRoleWorker, nil)
			l.Outcomes["web:1"] = swarmtest.Completes(10 * time.Second)
			want := alone(func(s *swarm.ServiceSpec) { s.Mode = mode })
			l.push(want)
			l.Step(5 * time.Second)
			begins(t, "while it runs", l.health(), "progressing  0/2", "0 of 2")
			l.Step(20 * time.Second)
			begins(t, "when it is done", l.health(), "healthy  2/2", "")
			want.Services[0].Spec.TaskTemplate.ContainerSpec.Env = []string{"RUN=2"}
			l.push(want)
			l.Step(5 * time.Second)
			begins(t, "when it runs again", l.health(), "progressing  0/2", "0 of 2")
		})
	}
}

func TestGlobalCountsTheNodesThatCount(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	second := l.AddNode("node2", swarm.NodeRoleWorker, nil)
	l.AddNode("node3", swarm.NodeRoleWorker, map[string]string{"skip": "yes"})
	l.push(alone(func(s *swarm.ServiceSpec) {
		s.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
		s.TaskTemplate.Placement.Constraints = []string{"node.labels.skip!=yes"}
	}))
	l.Step(time.Minute)
	begins(t, "on two nodes", l.health(), "healthy  2/2", "")
	l.ChangeNode(second, func(n *swarm.Node) { n.Status.State = swarm.NodeStateDown })
	l.Step(time.Minute)
	begins(t, "with one down", l.health(), "healthy  1/1", "")
	l.ChangeNode(second, func(n *swarm.Node) {
		n.Status.State, n.Spec.Availability = swarm.NodeStateReady, swarm.NodeAvailabilityDrain
	})
	l.Step(time.Minute)
	begins(t, "with one drained", l.health(), "healthy  1/1", "")
}

// TestGlance: what the service list alone proves, and what it does not.
func TestGlance(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(alone(nil))
	glance := func() deploy.Health {
		t.Helper()
		live, err := deploy.Observe(context.Background(), l.Swarm, deploy.LookOptions{Instance: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return deploy.Check(live, "shop", deploy.CheckOptions{}, live.Taken.Add(l.ahead))
	}
	if h := glance(); h.State != "" || h.Again.IsZero() {
		t.Errorf("right after the push a glance says %+v", h)
	}
	l.Step(time.Minute)
	if h := glance(); h.State != deploy.Healthy || h.Services[0].Running != 2 {
		t.Errorf("later a glance says %+v", h)
	}
	l.Outcomes["web:2"] = swarmtest.Crashes(1, time.Second)
	l.push(alone(func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Image = "web:2"
		s.Labels[deploy.LabelImage] = "web:2"
	}))
	l.Step(time.Minute)
	if h := glance(); h.State != "" {
		t.Errorf("of a paused update a glance says %+v", h)
	}
}

func TestMovedTaskIsNoFailure(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	node := l.AddNode("node2", swarm.NodeRoleWorker, nil)
	l.push(alone(nil))
	l.Step(time.Minute)
	for range 5 { // five moves, no crash loop
		l.ChangeNode(node, func(n *swarm.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		l.Step(time.Minute)
		begins(t, "drained", l.health(), "healthy  2/2", "")
		l.ChangeNode(node, func(n *swarm.Node) { n.Spec.Availability = swarm.NodeAvailabilityActive })
		l.Step(time.Minute)
	}
}

func TestWorstServiceGivesTheMessage(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["api:1"] = swarmtest.Runs(time.Hour)
	l.Outcomes["web:1"] = swarmtest.NoImage("web:1")
	l.push(sample())
	l.Step(time.Minute)
	h := l.health()
	if h.State != deploy.Degraded || h.Outcome != deploy.Failed || !strings.HasPrefix(h.Message, `service "web": failed`) {
		t.Errorf("health is %+v", h)
	}
	if len(h.Services) != 2 || h.Services[0].Key != "api" || h.Services[0].State != deploy.Progressing {
		t.Errorf("services are %+v", h.Services)
	}
}
