package swarmtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy/swarmtest"
)

// still gives a swarm whose clock moves by Step alone.
func still() *swarmtest.Swarm {
	s := swarmtest.New()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Now = func() time.Time { return start }
	return s
}

func replicated(image string, n uint64) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: "web"},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: image}, Placement: &swarm.Placement{}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}},
	}
}

func create(t *testing.T, s *swarmtest.Swarm, spec swarm.ServiceSpec) {
	t.Helper()
	if _, err := s.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func update(t *testing.T, s *swarmtest.Swarm, change func(*swarm.ServiceSpec)) {
	t.Helper()
	v := get(t, s)
	change(&v.Spec)
	if _, err := s.ServiceUpdate(t.Context(), v.ID, v.Version, v.Spec, swarm.ServiceUpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s *swarmtest.Swarm) swarm.Service {
	t.Helper()
	v, _, err := s.ServiceInspectWithRaw(t.Context(), "web", swarm.ServiceInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// tasks tells all tasks in one line each, oldest first: slot, image, wanted and actual state.
func tasks(t *testing.T, s *swarmtest.Swarm) string {
	t.Helper()
	list, err := s.TaskList(t.Context(), swarm.TaskListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range list {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%d %s %s/%s %s", x.Slot, x.Spec.ContainerSpec.Image, x.DesiredState, x.Status.State, x.Status.Err)))
	}
	return strings.Join(out, "\n")
}

func state(t *testing.T, s *swarmtest.Swarm) string {
	t.Helper()
	if v := get(t, s); v.UpdateStatus != nil {
		return string(v.UpdateStatus.State)
	}
	return ""
}

func want(t *testing.T, what, got string, lines ...string) {
	t.Helper()
	if w := strings.Join(lines, "\n"); got != w {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, w)
	}
}

func TestTasksMoveWithTheClock(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["slow:1"] = swarmtest.Runs(3 * time.Second)
	create(t, s, replicated("slow:1", 1))
	want(t, "at once", tasks(t, s), "1 slow:1 running/starting")
	s.Step(2 * time.Second)
	want(t, "after 2 s", tasks(t, s), "1 slow:1 running/starting")
	s.Step(time.Second)
	want(t, "after 3 s", tasks(t, s), "1 slow:1 running/running")
}

func TestCrashLoopWaitsBetweenTasks(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["bad:1"] = swarmtest.Crashes(1, time.Second)
	create(t, s, replicated("bad:1", 1))
	s.Step(time.Second)
	want(t, "after the first end", tasks(t, s), "1 bad:1 shutdown/failed task: non-zero exit (1)", "1 bad:1 ready/ready")
	s.Step(5 * time.Second)
	want(t, "after the delay", tasks(t, s), "1 bad:1 shutdown/failed task: non-zero exit (1)", "1 bad:1 running/running")
	s.Step(time.Minute)
	if n := strings.Count(tasks(t, s), "\n") + 1; n != 5 {
		t.Errorf("got %d tasks in the slot, want the history's limit of 5", n)
	}
}

func TestOneShotThatFailedStaysDown(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["once:1"] = swarmtest.Crashes(1, 0)
	spec := replicated("once:1", 1)
	two, zero := uint64(2), time.Duration(0)
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure, MaxAttempts: &two, Delay: &zero}
	create(t, s, spec)
	s.Step(time.Minute)
	failed := "1 once:1 shutdown/failed task: non-zero exit (1)"
	want(t, "after all attempts", tasks(t, s), failed, failed, failed)
	update(t, s, func(v *swarm.ServiceSpec) { v.Labels["a"] = "b" })
	s.Step(time.Minute)
	want(t, "after a label", tasks(t, s), failed, failed, failed)
}

func TestRolloutGoesSlotBySlot(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["web:2"] = swarmtest.Runs(2 * time.Second)
	spec := replicated("web:1", 2)
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrderStartFirst, Delay: time.Second}
	create(t, s, spec)
	update(t, s, func(v *swarm.ServiceSpec) { v.TaskTemplate.ContainerSpec.Image = "web:2" })
	want(t, "at once", tasks(t, s), "1 web:1 running/running", "2 web:1 running/running", "1 web:2 running/starting")
	s.Step(2 * time.Second)
	want(t, "when the first runs", tasks(t, s), "1 web:1 shutdown/shutdown", "2 web:1 running/running", "1 web:2 running/running")
	s.Step(time.Second)
	s.Step(2 * time.Second)
	want(t, "when the second runs", tasks(t, s), "1 web:1 shutdown/shutdown", "2 web:1 shutdown/shutdown", "1 web:2 running/running", "2 web:2 running/running")
	want(t, "state", state(t, s), "updating")
	s.Step(7 * time.Second)
	want(t, "state when it was watched", state(t, s), "completed")
}

func TestRollbackStartsFromTheOldTask(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["web:2"] = swarmtest.Unhealthy(2 * time.Second)
	spec := replicated("web:1", 1)
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: swarm.UpdateOrderStartFirst, FailureAction: swarm.UpdateFailureActionRollback}
	create(t, s, spec)
	update(t, s, func(v *swarm.ServiceSpec) { v.TaskTemplate.ContainerSpec.Image = "web:2" })
	s.Step(2 * time.Second)
	v := get(t, s)
	if v.Spec.TaskTemplate.ContainerSpec.Image != "web:1" || v.PreviousSpec != nil || !strings.Contains(v.UpdateStatus.Message, "update rolled back due to failure") {
		t.Errorf("got %+v with %+v, want the old spec", v.Spec.TaskTemplate.ContainerSpec, v.UpdateStatus)
	}
	want(t, "tasks", strings.Join(strings.Split(tasks(t, s), "\n")[:2], "\n"), "1 web:1 running/running", "1 web:2 shutdown/failed task: non-zero exit (137): dockerexec: unhealthy container")
	s.Step(10 * time.Second)
	want(t, "state", state(t, s), "rollback_completed")
}

func TestTasksLeaveNodes(t *testing.T) {
	t.Parallel()
	s := still()
	second := s.AddNode("node2", swarm.NodeRoleWorker, map[string]string{"disk": "ssd"})
	spec := replicated("web:1", 1)
	spec.TaskTemplate.Placement.Constraints = []string{"node.labels.disk == ssd"}
	create(t, s, spec)
	want(t, "at once", tasks(t, s), "1 web:1 running/running")
	s.ChangeNode(second, func(n *swarm.Node) { n.Status.State = swarm.NodeStateDown })
	want(t, "node down", tasks(t, s), "1 web:1 shutdown/running",
		"1 web:1 running/pending no suitable node (1 node not available for new tasks; scheduling constraints not satisfied on 1 node)")
	s.ChangeNode(second, func(n *swarm.Node) { n.Status.State = swarm.NodeStateReady })
	if got := tasks(t, s); !strings.HasSuffix(got, "1 web:1 running/running") {
		t.Errorf("node back: got\n%s", got)
	}
}

func TestGlobalServicesFollowTheNodes(t *testing.T) {
	t.Parallel()
	s := still()
	spec := replicated("web:1", 1)
	spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	create(t, s, spec)
	want(t, "one node", tasks(t, s), "0 web:1 running/running")
	second := s.AddNode("node2", swarm.NodeRoleWorker, nil)
	want(t, "two nodes", tasks(t, s), "0 web:1 running/running", "0 web:1 running/running")
	s.ChangeNode(second, func(n *swarm.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
	want(t, "one drained", tasks(t, s), "0 web:1 running/running")
}

func TestJobsRunAsManyAtATimeAsTheyMay(t *testing.T) {
	t.Parallel()
	s := still()
	s.Outcomes["job:1"] = swarmtest.Completes(time.Second)
	spec := replicated("job:1", 1)
	total, one := uint64(2), uint64(1)
	spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &total, MaxConcurrent: &one}}
	create(t, s, spec)
	want(t, "at once", tasks(t, s), "0 job:1 complete/running")
	s.Step(time.Second)
	want(t, "after the first", tasks(t, s), "0 job:1 complete/complete", "1 job:1 complete/running")
	s.Step(time.Second)
	want(t, "after both", tasks(t, s), "0 job:1 complete/complete", "1 job:1 complete/complete")
}

func TestHooksStandAroundEachCall(t *testing.T) {
	t.Parallel()
	s := still()
	broken := errors.New("broken")
	var seen []string
	s.Before = func(_ context.Context, c swarmtest.Call) error {
		seen = append(seen, fmt.Sprintf("%d/%d %s %s", c.N, c.Write, c.Method, c.Object))
		if c.Object == "never" {
			return broken
		}
		return nil
	}
	s.After = func(_ context.Context, c swarmtest.Call) error {
		if c.Object == "lost" {
			return broken
		}
		return nil
	}
	for _, name := range []string{"never", "lost"} {
		_, err := s.SecretCreate(t.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte(name)})
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v, want the hook's error", name, err)
		}
	}
	list, err := s.SecretList(t.Context(), swarm.SecretListOptions{})
	if err != nil || len(list) != 1 || list[0].Spec.Name != "lost" {
		t.Errorf("got %+v, %v; want the one whose reply was lost", list, err)
	}
	want(t, "calls", strings.Join(seen, "\n"), "1/1 SecretCreate never", "2/2 SecretCreate lost", "3/0 SecretList ")
	if s.Writes() != 2 || len(s.Calls()) != 3 {
		t.Errorf("got %d writes and %d calls, want 2 and 3", s.Writes(), len(s.Calls()))
	}
}

func TestModesOfAManager(t *testing.T) {
	t.Parallel()
	for mode, words := range map[swarmtest.Mode]string{swarmtest.NoLeader: "does not have a leader", swarmtest.Worker: "not a swarm manager"} {
		s := still()
		if _, err := s.NetworkCreate(t.Context(), "x", network.CreateOptions{Driver: "overlay"}); err != nil {
			t.Fatal(err)
		}
		s.Set(mode)
		if _, err := s.ServiceList(t.Context(), swarm.ServiceListOptions{}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: got %v, want %q", mode, err, words)
		}
		list, err := s.NetworkList(t.Context(), network.ListOptions{})
		if err != nil {
			t.Errorf("%s: got %v, want that a network list always succeeds", mode, err)
		}
		for _, n := range list {
			if n.Name == "x" {
				t.Errorf("%s: got a network of the swarm in the list", mode)
			}
		}
	}
}

func TestLingeringNetwork(t *testing.T) {
	t.Parallel()
	s := still()
	s.Linger(10 * time.Second)
	made, err := s.NetworkCreate(t.Context(), "x", network.CreateOptions{Driver: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.NetworkRemove(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.NetworkCreate(t.Context(), "x", network.CreateOptions{Driver: "overlay"}); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("got %v, want that the name is taken", err)
	}
	spec := replicated("web:1", 1)
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "x"}}
	if _, err := s.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{}); err == nil || !strings.Contains(err.Error(), "network x not found") {
		t.Errorf("got %v, want that services can't use it", err)
	}
	s.Step(10 * time.Second)
	if _, err := s.NetworkCreate(t.Context(), "x", network.CreateOptions{Driver: "overlay"}); err != nil {
		t.Errorf("got %v, want the name free again", err)
	}
}

func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	s := still()
	_, errs := s.Events(t.Context(), events.ListOptions{})
	s.Disconnect()
	if err := <-errs; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want the end of a daemon", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, errs = s.Events(ctx, events.ListOptions{})
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error", err)
	}
}
