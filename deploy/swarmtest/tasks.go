package swarmtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Outcome is what becomes of a task.
type Outcome struct {
	State swarm.TaskState // running, complete, failed, rejected or starting
	Err   string          // the task's own words
	Exit  int             // exit code
	Start time.Duration   // until it runs; a task without an end of its own runs on
	Run   time.Duration   // between that and its end
}

// Runs is a task that runs, start after it was made.
func Runs(start time.Duration) Outcome { return Outcome{State: swarm.TaskStateRunning, Start: start} }

// Crashes is a task that ends with an exit code, after having run for a while.
func Crashes(exit int, run time.Duration) Outcome {
	return Outcome{State: swarm.TaskStateFailed, Err: fmt.Sprintf("task: non-zero exit (%d)", exit), Exit: exit, Run: run}
}

// Unhealthy is a task whose health check never passes: it is killed after a while.
func Unhealthy(after time.Duration) Outcome {
	return Outcome{State: swarm.TaskStateFailed, Err: "task: non-zero exit (137): dockerexec: unhealthy container", Exit: 137, Start: -1, Run: after}
}

// NoImage is a task whose image no registry has.
func NoImage(image string) Outcome {
	return Outcome{State: swarm.TaskStateRejected, Err: "No such image: " + image, Start: -1}
}

// Completes is a task that does its job and ends.
func Completes(run time.Duration) Outcome {
	return Outcome{State: swarm.TaskStateComplete, Run: run}
}

// leastRun keeps a crash loop without any delay from going on for ever in no time.
const leastRun = 10 * time.Millisecond

const (
	restartDelay = 5 * time.Second // swarm's default
	historyLimit = 5               // tasks that are kept by slot
)

// task is a task and what is to become of it.
type task struct {
	swarm.Task
	slot     string // slot number, or node of a global service
	endpoint *swarm.EndpointSpec
	moves    []move // in the order of time
	keep     bool   // a start-first update replaces it: it runs until the other one does
}

// move is what becomes of a task at some time.
type move struct {
	at      time.Time
	state   swarm.TaskState
	desired swarm.TaskState // empty: as it was
	err     string
	exit    int
	gone    bool
}

// TaskList lists tasks. Its label filter sees the service's labels as they were
// when the task was made; an unknown service in the filter is an error.
func (s *Swarm) TaskList(ctx context.Context, o swarm.TaskListOptions) ([]swarm.Task, error) {
	list := []swarm.Task{}
	err := s.call(ctx, "TaskList", "", query, func() error {
		var ids []string
		for _, name := range o.Filters.Get("service") {
			v := s.service(name)
			if v == nil {
				return missing("service %s not found", name)
			}
			ids = append(ids, v.ID)
		}
		for _, t := range sorted(s.tasks) {
			if !oneOf(t.ServiceID, ids) || !labelled(t.Labels, o.Filters.Get("label")) || !oneOf(t.NodeID, o.Filters.Get("node")) ||
				!prefixed(t.ID, o.Filters.Get("id")) || !oneOf(string(t.DesiredState), o.Filters.Get("desired-state")) {
				continue
			}
			if o.Filters.Contains("_up-to-date") && s.dirty(t) {
				continue
			}
			got := clone(t.Task)
			got.Labels = nil
			list = append(list, got)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// of lists the tasks of a service, oldest first.
func (s *Swarm) of(serviceID string) []*task {
	return slices.Clone(s.byService[serviceID])
}

// delete forgets a task.
func (s *Swarm) delete(t *task) {
	delete(s.tasks, t.ID)
	delete(s.moving, t.ID)
	left := slices.DeleteFunc(s.byService[t.ServiceID], func(x *task) bool { return x == t })
	if s.byService[t.ServiceID] = left; len(left) == 0 {
		delete(s.byService, t.ServiceID)
	}
}

// wanted says that the manager wants a task to be there.
func wanted(t *task) bool {
	switch t.DesiredState {
	case swarm.TaskStateRunning, swarm.TaskStateReady, swarm.TaskStateAccepted, swarm.TaskStateComplete:
		return !ended(t)
	}
	return false
}

// ended says that a task's container is gone.
func ended(t *task) bool {
	switch t.Status.State {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}

// uses says that a task keeps its networks from being removed.
func (t *task) uses() bool {
	return wanted(t)
}

// settle carries out, in the order of time, all that is due.
func (s *Swarm) settle() {
	now := s.now()
	for range 100000 {
		t, v := s.due(now)
		switch {
		case t != nil:
			s.move(t)
		case v != nil:
			s.pump(v, v.update.wake)
		default:
			return
		}
	}
	panic("swarmtest: the swarm does not come to rest")
}

// due gives the task or the rollout that is to move next, if its time has come.
func (s *Swarm) due(now time.Time) (*task, *service) {
	var next *task
	var rollout *service
	first := now.Add(1)
	for id, t := range s.moving {
		if len(t.moves) == 0 {
			delete(s.moving, id)
			continue
		}
		if d := t.moves[0].at.Compare(first); d < 0 || d == 0 && next != nil && t.ID < next.ID {
			next, first = t, t.moves[0].at
		}
	}
	for _, v := range s.services {
		if v.update == nil || v.update.wake.IsZero() {
			continue
		}
		if d := v.update.wake.Compare(first); d < 0 || d == 0 && rollout != nil && v.ID < rollout.ID {
			next, rollout, first = nil, v, v.update.wake
		}
	}
	return next, rollout
}

// move takes a task's next step.
func (s *Swarm) move(t *task) {
	m := t.moves[0]
	t.moves = t.moves[1:]
	if m.gone {
		s.delete(t)
		return
	}
	if m.desired != "" {
		t.DesiredState = m.desired
	}
	t.Status.State, t.Status.Err, t.Status.Timestamp = m.state, m.err, m.at
	t.Status.Message = string(m.state)
	t.Version, t.UpdatedAt = s.next(), m.at
	if m.exit != 0 || m.state == swarm.TaskStateRunning || m.state == swarm.TaskStateComplete {
		t.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c" + t.ID, PID: 1, ExitCode: m.exit}
	}
	v := s.services[t.ServiceID]
	if v == nil {
		return
	}
	if ended(t) && (t.DesiredState == swarm.TaskStateRunning || t.DesiredState == swarm.TaskStateComplete) {
		s.over(v, t, m.at)
	}
	if v.update != nil {
		s.rolled(v, t, m.at)
	}
}

// over answers the end of a task that should have run on: it is started again
// as the restart policy says.
func (s *Swarm) over(v *service, t *task, at time.Time) {
	failed := t.Status.State != swarm.TaskStateComplete
	if !job(v.Spec) || failed {
		t.DesiredState = swarm.TaskStateShutdown
	}
	if job(v.Spec) && !failed {
		s.fill(v, at)
		return
	}
	p := cmp.Or(v.Spec.TaskTemplate.RestartPolicy, &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny})
	if p.Condition == swarm.RestartPolicyConditionNone || p.Condition == swarm.RestartPolicyConditionOnFailure && !failed {
		return
	}
	if p.MaxAttempts != nil && *p.MaxAttempts > 0 && v.attempts[t.slot] >= *p.MaxAttempts {
		return
	}
	v.attempts[t.slot]++
	delay := restartDelay
	if p.Delay != nil {
		delay = *p.Delay
	}
	s.start(v, t.slot, at, delay)
	s.forget(v, t.slot)
}

// forget drops the oldest ended tasks of a slot.
func (s *Swarm) forget(v *service, slot string) {
	if job(v.Spec) {
		return // jobs keep theirs
	}
	var old []*task
	for _, t := range s.of(v.ID) {
		if t.slot == slot && ended(t) {
			old = append(old, t)
		}
	}
	for len(old) > historyLimit-1 {
		s.delete(old[0])
		old = old[1:]
	}
}

// reconcile makes and drops tasks until there are as many as the spec asks for.
func (s *Swarm) reconcile(v *service) {
	now := s.now()
	if v.JobStatus != nil {
		for _, t := range s.of(v.ID) {
			if t.JobIteration == nil || *t.JobIteration != v.JobStatus.JobIteration {
				s.drop(t)
			}
		}
	}
	slots := s.slots(v)
	for _, t := range s.of(v.ID) {
		switch {
		case slices.Contains(slots, t.slot):
		case ended(t) && v.Spec.Mode.Replicated != nil: // Swarm keeps the history of slots that go
			t.DesiredState, t.moves = swarm.TaskStateShutdown, nil
			v.gone[t.slot] = true
		default:
			s.drop(t)
		}
	}
	s.fill(v, now)
	s.place(v, now)
}

// fill makes a task for each slot that never had one.
func (s *Swarm) fill(v *service, at time.Time) {
	busy, limit := 0, -1
	if j := v.Spec.Mode.ReplicatedJob; j != nil {
		limit = int(*j.MaxConcurrent)
	}
	known := map[string]bool{}
	for _, t := range s.of(v.ID) {
		if t.DesiredState == swarm.TaskStateRemove || v.gone[t.slot] {
			continue
		}
		known[t.slot] = true
		if wanted(t) {
			busy++
		}
	}
	for _, slot := range s.slots(v) {
		if known[slot] || limit >= 0 && busy >= limit {
			continue
		}
		delete(v.gone, slot)
		s.start(v, slot, at, 0)
		busy++
	}
}

// slots lists where a service has a task: its numbers, or the nodes that it may run on.
func (s *Swarm) slots(v *service) []string {
	var slots []string
	if v.Spec.Mode.Global != nil || v.Spec.Mode.GlobalJob != nil {
		for _, n := range sorted(s.nodes) {
			if usable(n) && eligible(n, v.Spec.TaskTemplate.Placement) {
				slots = append(slots, n.ID)
			}
		}
		return slots
	}
	from := 1
	if job(v.Spec) {
		from = 0
	}
	for i := range int(replicas(v.Spec)) {
		slots = append(slots, itoa(i+from))
	}
	return slots
}

// start makes a task in a slot. With a delay it waits, ready, until then.
func (s *Swarm) start(v *service, slot string, at time.Time, delay time.Duration) *task {
	t := &task{slot: slot, endpoint: clone(v.Spec.EndpointSpec)}
	t.ID, t.ServiceID = s.id("task"), v.ID
	t.Version, t.CreatedAt, t.UpdatedAt = s.next(), at, at
	t.Labels = labelsOf(v)
	t.Spec = clone(v.Spec.TaskTemplate)
	t.DesiredState = swarm.TaskStateRunning
	if v.JobStatus != nil {
		it := v.JobStatus.JobIteration
		t.JobIteration, t.DesiredState = &it, swarm.TaskStateComplete
	}
	if v.Spec.Mode.Global != nil || v.Spec.Mode.GlobalJob != nil {
		t.NodeID = slot
	} else {
		fmt.Sscan(slot, &t.Slot)
	}
	t.Status = swarm.TaskStatus{State: swarm.TaskStatePending, Timestamp: at, Message: "pending task scheduling"}
	s.tasks[t.ID] = t
	s.byService[v.ID] = append(s.byService[v.ID], t)
	s.assign(t, at, delay)
	return t
}

// assign finds a node for a task and lays out what becomes of it there.
func (s *Swarm) assign(t *task, at time.Time, delay time.Duration) {
	node, why := s.node(t)
	if node == nil {
		t.Status.Err = why
		return
	}
	t.NodeID, t.Status.Err = node.ID, ""
	s.moving[t.ID] = t
	want := t.DesiredState
	if delay > 0 {
		t.DesiredState, t.Status.State = swarm.TaskStateReady, swarm.TaskStateReady
	}
	start := at.Add(delay)
	o, ok := s.Outcomes[t.Spec.ContainerSpec.Image]
	if !ok {
		o = Runs(0)
	}
	t.moves = append(t.moves, move{at: start, state: swarm.TaskStateStarting, desired: want})
	if o.Start >= 0 && o.State != swarm.TaskStateStarting {
		start = start.Add(o.Start)
		t.moves = append(t.moves, move{at: start, state: swarm.TaskStateRunning})
	}
	switch o.State {
	case swarm.TaskStateRunning, swarm.TaskStateStarting:
	default:
		t.moves = append(t.moves, move{at: start.Add(max(o.Run, leastRun)), state: o.State, err: o.Err, exit: o.Exit})
	}
}

// node picks the usable node with the fewest tasks, or says why there is none.
func (s *Swarm) node(t *task) (*swarm.Node, string) {
	load := map[string]int{}
	for _, x := range s.tasks {
		if wanted(x) {
			load[x.NodeID]++
		}
	}
	var best *swarm.Node
	var down, unfit int
	for _, n := range sorted(s.nodes) {
		switch {
		case t.NodeID != "" && n.ID != t.NodeID:
		case !usable(n):
			down++
		case !eligible(n, t.Spec.Placement):
			unfit++
		case best == nil || load[n.ID] < load[best.ID]:
			best = n
		}
	}
	if best != nil {
		return best, ""
	}
	var why []string
	if down > 0 {
		why = append(why, count(down, "not available for new tasks"))
	}
	if unfit > 0 {
		why = append(why, "scheduling constraints not satisfied on "+plural(unfit))
	}
	return nil, "no suitable node (" + strings.Join(why, "; ") + ")"
}

func count(n int, what string) string { return plural(n) + " " + what }

func plural(n int) string {
	if n == 1 {
		return "1 node"
	}
	return itoa(n) + " nodes"
}

// place gives waiting tasks another chance and moves tasks off nodes that are
// down or drained.
func (s *Swarm) place(v *service, at time.Time) {
	for _, t := range s.of(v.ID) {
		if !wanted(t) {
			continue
		}
		if t.Status.State == swarm.TaskStatePending {
			if len(t.moves) == 0 {
				s.assign(t, at, 0)
			}
			continue
		}
		n := s.nodes[t.NodeID]
		if n == nil || !available(n) || !eligible(n, v.Spec.TaskTemplate.Placement) {
			s.halt(t, at, n != nil && n.Status.State == swarm.NodeStateReady)
			if v.Spec.Mode.Global == nil && v.Spec.Mode.GlobalJob == nil {
				s.start(v, t.slot, at, 0)
			}
		}
	}
}

// halt tells a task to stop; on a node that is down nobody hears it.
func (s *Swarm) halt(t *task, at time.Time, heard bool) {
	t.DesiredState, t.moves = swarm.TaskStateShutdown, nil
	t.Version = s.next()
	if heard && !ended(t) {
		t.moves = []move{{at: at.Add(s.Stop), state: swarm.TaskStateShutdown}}
		s.moving[t.ID] = t
	}
}

// drop tells a task to stop and be forgotten.
func (s *Swarm) drop(t *task) {
	if t.DesiredState == swarm.TaskStateRemove {
		return
	}
	t.DesiredState = swarm.TaskStateRemove
	t.Version = s.next()
	at := s.now()
	if !ended(t) {
		at = at.Add(s.Stop)
	}
	t.moves = []move{{at: at, gone: true}}
	s.moving[t.ID] = t
}

// dirty says that a task was made from another spec than its service has:
// placement counts only where the node does not satisfy it any more.
func (s *Swarm) dirty(t *task) bool {
	v := s.services[t.ServiceID]
	if v == nil {
		return true
	}
	was, is := t.Spec, v.Spec.TaskTemplate
	if n := s.nodes[t.NodeID]; n != nil && eligible(n, is.Placement) {
		was.Placement, is.Placement = nil, nil
	}
	return !same(was, is) || !same(t.endpoint, v.Spec.EndpointSpec)
}
