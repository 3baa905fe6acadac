package deploy

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// rollout is one service and its tasks at one look.
type rollout struct {
	look
	service *swarm.Service
	spec    swarm.ServiceSpec // normalised: mode, update configuration, restart policy, placement

	slots map[slot][]*swarm.Task // tasks of the current spec, newest first
	old   int                    // tasks of another spec that are still meant to run
	stale []*swarm.Task          // tasks of another spec
}

// slot is the place that tasks follow each other in: a number, or a node where
// the service is global.
type slot struct {
	number int
	node   string
}

// job says whether the service runs to completion by its mode.
func (r *rollout) job() bool { return r.spec.Mode.ReplicatedJob != nil || r.spec.Mode.GlobalJob != nil }

func (r *rollout) global() bool { return r.spec.Mode.Global != nil || r.spec.Mode.GlobalJob != nil }

// oneShot says whether a task that completed is done rather than restarted.
func (r *rollout) oneShot() bool {
	p := r.spec.TaskTemplate.RestartPolicy
	return r.job() || p != nil && p.Condition != swarm.RestartPolicyConditionAny
}

// desired is how many tasks are to run, or, for jobs, to complete.
func (r *rollout) desired() uint64 {
	switch {
	case r.spec.Mode.ReplicatedJob != nil:
		return *r.spec.Mode.ReplicatedJob.TotalCompletions
	case r.global():
		return uint64(len(r.places()))
	}
	return *r.spec.Mode.Replicated.Replicas
}

// places are the nodes on which a global service is expected. A node that can't
// run the image at all, which its pending task says, is none.
func (r *rollout) places() map[string]bool {
	nodes := map[string]bool{}
	for id, n := range r.x.nodes {
		if eligible(n, r.spec.TaskTemplate.Placement) {
			nodes[id] = true
		}
	}
	for s, tasks := range r.slots {
		if t := tasks[0]; t.Status.State == swarm.TaskStatePending && unfit(t.Status.Err) {
			delete(nodes, s.node)
		}
	}
	return nodes
}

// state is Swarm's own word on the update; empty where there is none.
func (r *rollout) state() swarm.UpdateState {
	if r.service.UpdateStatus == nil {
		return ""
	}
	return r.service.UpdateStatus.State
}

func (r *rollout) moving() bool {
	return r.state() == swarm.UpdateStateUpdating || r.state() == swarm.UpdateStateRollbackStarted
}

// back says that Swarm takes, or took, the service back to the spec before.
func (r *rollout) back() bool {
	return r.state() == swarm.UpdateStateRollbackStarted || r.state() == swarm.UpdateStateRollbackCompleted
}

func (r *rollout) failing() bool {
	return r.state() == swarm.UpdateStatePaused || r.state() == swarm.UpdateStateRollbackPaused
}

// started is when the update began, as far as Swarm says so.
func (r *rollout) started() time.Time {
	if u := r.service.UpdateStatus; u != nil && u.StartedAt != nil {
		return *u.StartedAt
	}
	return r.service.UpdatedAt
}

// monitor is how long a task has to run before it counts as stable.
func (r *rollout) monitor() time.Duration {
	switch u := r.spec.UpdateConfig; {
	case r.job():
		return 0
	case u == nil || u.Monitor == 0:
		return defaultMonitor
	default:
		return u.Monitor
	}
}

// patience is how long a rollout may stand still.
func (r *rollout) patience() time.Duration {
	if r.timeout > 0 {
		return r.timeout
	}
	d := 5 * time.Minute
	if c := r.service.Spec.TaskTemplate.ContainerSpec; c != nil && c.Healthcheck != nil {
		interval := cmp.Or(c.Healthcheck.Interval, 30*time.Second) // the engine's own defaults
		retries := cmp.Or(c.Healthcheck.Retries, 3)
		d = max(d, 2*(c.Healthcheck.StartPeriod+time.Duration(retries)*interval))
	}
	if u := r.spec.UpdateConfig; u != nil {
		d += u.Delay + u.Monitor
	}
	return d
}

// memory is how far back failures are counted.
func (r *rollout) memory() time.Duration {
	d := 15 * time.Minute
	if p := r.spec.TaskTemplate.RestartPolicy; p != nil && p.Delay != nil {
		d = max(d, 4**p.Delay)
	}
	return d
}

// sort puts each task to its slot, or among those of another spec.
func (r *rollout) sort(tasks []*swarm.Task) {
	r.slots = map[slot][]*swarm.Task{}
	current := r.currency()
	for _, t := range tasks {
		if !current(t) {
			r.stale = append(r.stale, t)
			if wanted(t) && !ended(t) {
				r.old++
			}
			continue
		}
		k := slot{number: t.Slot}
		if r.global() {
			k = slot{node: t.NodeID}
		}
		r.slots[k] = append(r.slots[k], t)
	}
	for _, l := range r.slots {
		slices.SortStableFunc(l, func(a, b *swarm.Task) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Version.Index, a.Version.Index))
		})
	}
	r.forgetSurplus()
}

// forgetSurplus drops the slots that were scaled away: Swarm keeps the history of
// their tasks, which says nothing of the service any more.
func (r *rollout) forgetSurplus() {
	if r.spec.Mode.Replicated == nil {
		return
	}
	var live uint64
	idle := map[slot]bool{}
	for k, tasks := range r.slots {
		if _, done := r.done(tasks); done || slices.ContainsFunc(tasks, wanted) {
			live++
		} else {
			idle[k] = true
		}
	}
	if live >= r.desired() {
		maps.DeleteFunc(r.slots, func(k slot, _ []*swarm.Task) bool { return idle[k] })
	}
}

// currency says which tasks are of the service's current spec, as swarmkit's own
// IsTaskDirty does: a task whose placement alone is another one is current as long
// as its node fits. A task does not tell its ports, so a change of ports is told
// by time.
func (r *rollout) currency() func(*swarm.Task) bool {
	s := r.service
	if r.job() && s.JobStatus != nil {
		return func(t *swarm.Task) bool {
			return t.JobIteration != nil && t.JobIteration.Index == s.JobStatus.JobIteration.Index
		}
	}
	var normal *swarm.TaskSpec // of the service; made when the first task needs it
	since := r.portsSince()
	return func(t *swarm.Task) bool {
		if t.CreatedAt.Before(since) {
			return false
		}
		if reflect.DeepEqual(t.Spec, s.Spec.TaskTemplate) {
			return true
		}
		if n := r.x.nodes[t.NodeID]; n != nil && !meets(n, s.Spec.TaskTemplate.Placement) {
			return false
		}
		if normal == nil {
			v := comparableTask(s.Spec.TaskTemplate)
			normal = &v
		}
		return reflect.DeepEqual(comparableTask(t.Spec), *normal)
	}
}

// comparableTask is a task spec without its placement, normalised.
func comparableTask(t swarm.TaskSpec) swarm.TaskSpec {
	t = cloneTask(t)
	t.Placement = nil
	normalizeTask(&t, "")
	return t
}

// portsSince is when the last update changed the ports, so that older tasks are
// of another spec; zero if it did not.
func (r *rollout) portsSince() time.Time {
	s := r.service
	if back := r.state(); back == swarm.UpdateStateRollbackStarted || back == swarm.UpdateStateRollbackPaused || back == swarm.UpdateStateRollbackCompleted {
		return time.Time{} // tasks that were never updated have the right ports
	}
	if s.PreviousSpec == nil || equalEndpoints(s.PreviousSpec.EndpointSpec, s.Spec.EndpointSpec) {
		return time.Time{}
	}
	if s.UpdateStatus != nil && s.UpdateStatus.StartedAt != nil {
		return *s.UpdateStatus.StartedAt
	}
	if r.now.Sub(s.UpdatedAt) < settle {
		return s.UpdatedAt
	}
	return time.Time{}
}

func equalEndpoints(a, b *swarm.EndpointSpec) bool {
	x := cloneSpec(swarm.ServiceSpec{EndpointSpec: a})
	y := cloneSpec(swarm.ServiceSpec{EndpointSpec: b})
	return reflect.DeepEqual(normalEndpoint(x.EndpointSpec), normalEndpoint(y.EndpointSpec))
}

// wanted says that Swarm still means the task to run.
func wanted(t *swarm.Task) bool {
	switch t.DesiredState {
	case swarm.TaskStateShutdown, swarm.TaskStateRemove, swarm.TaskStateComplete:
		return false
	}
	return true
}

// ended says that the task will never run again.
func ended(t *swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}

// failed says that the task ended otherwise than as asked. One that completed
// failed where the service is meant to go on for ever.
func (r *rollout) failed(t *swarm.Task) bool {
	switch t.Status.State {
	case swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateOrphaned:
		return !causeOf(t.Status.Err).moved
	case swarm.TaskStateComplete:
		return !r.oneShot()
	}
	return false
}

// done says that a slot is as asked: since when, and whether at all.
func (r *rollout) done(tasks []*swarm.Task) (time.Time, bool) {
	for _, t := range tasks {
		if r.oneShot() && t.Status.State == swarm.TaskStateComplete {
			return time.Time{}, true
		}
		if !r.job() && t.Status.State == swarm.TaskStateRunning && wanted(t) {
			return entered(t), true
		}
	}
	return time.Time{}, false
}

// entered is when a task came to its state, by its node's clock. Where that can't
// be, it is when the manager wrote it last.
func entered(t *swarm.Task) time.Time {
	at := t.Status.Timestamp
	if at.Before(t.CreatedAt) || !t.UpdatedAt.IsZero() && at.After(t.UpdatedAt) {
		return t.UpdatedAt
	}
	return at
}

// final says that a slot's newest task failed and Swarm starts no other.
func (r *rollout) final(tasks []*swarm.Task) bool {
	t := tasks[0]
	p := r.spec.TaskTemplate.RestartPolicy
	limited := p != nil && (p.Condition == swarm.RestartPolicyConditionNone || p.MaxAttempts != nil)
	return limited && r.failed(t) && !wanted(t)
}

// failures are a slot's failed tasks that still count.
func (r *rollout) failures(tasks []*swarm.Task) []*swarm.Task {
	var out []*swarm.Task
	for _, t := range tasks {
		if r.failed(t) && r.now.Sub(entered(t)) < r.memory() {
			out = append(out, t)
		}
	}
	return out
}

// looping says that a slot failed so often that it is no accident. Where the
// stack limits the attempts of what runs once, they are its own to use up.
func (r *rollout) looping(tasks []*swarm.Task) bool {
	if p := r.spec.TaskTemplate.RestartPolicy; r.oneShot() && p != nil && p.MaxAttempts != nil {
		return false
	}
	count := map[int]int{}
	total := 0
	for _, t := range r.failures(tasks) {
		total++
		c := causeOf(t.Status.Err)
		count[c.fatal]++
		if count[c.fatal] >= c.fatal {
			return true
		}
	}
	return total >= crashes
}

// longest is the longest of a slot's failed lives: what runs again has to outlive
// it before it counts as stable.
func (r *rollout) longest(tasks []*swarm.Task) time.Duration {
	var d time.Duration
	for _, t := range r.failures(tasks) {
		d = max(d, entered(t).Sub(t.CreatedAt))
	}
	return d
}

// maxProof bounds how long a task that failed before must run to be trusted.
const maxProof = 5 * time.Minute

// judge is the state machine of a service whose tasks are known.
func (r *rollout) judge(h ServiceHealth) (ServiceHealth, time.Time) {
	h.Desired = r.desired()
	stableAt, broken := r.count(&h)
	r.explain(&h)
	if r.failing() {
		h.Outcome, h.State = Paused, Degraded
		h.halfBack = r.state() == swarm.UpdateStateRollbackPaused
		h.Error = cmp.Or(h.Error, r.service.UpdateStatus.Message)
		return h, r.now.Add(later)
	}
	if r.state() == swarm.UpdateStateRollbackCompleted {
		h.Outcome = RolledBack
		h.Error = cmp.Or(h.Error, r.service.UpdateStatus.Message)
	}
	whole := h.Running >= h.Desired && r.old == 0 && !r.moving()
	switch {
	case broken && (!r.moving() || r.now.Sub(r.started()) >= r.patience()):
		return r.broke(h, Failed), r.now.Add(later)
	case whole && !stableAt.After(r.now):
		h.State = Healthy
		if h.Outcome == None {
			h.Error, h.Node, h.Exit, h.Passing = "", "", 0, false
		}
		return h, time.Time{}
	case !whole && r.now.Sub(r.progress()) >= r.patience():
		return r.broke(h, TimedOut), r.now.Add(later)
	}
	h.State = Progressing
	again := r.now.Add(soon)
	if whole && stableAt.Before(again) {
		again = stableAt
	}
	return h, again
}

// broke gives h as a failure; that Swarm rolled back before says more.
func (r *rollout) broke(h ServiceHealth, o Outcome) ServiceHealth {
	h.State = Degraded
	if h.Outcome == None {
		h.Outcome = o
	}
	return h
}

// count counts the slots that are as asked. stableAt is when they will have been
// so for long enough; broken says that a slot failed for good or in a loop.
func (r *rollout) count(h *ServiceHealth) (stableAt time.Time, broken bool) {
	var places map[string]bool
	if r.global() {
		places = r.places()
	}
	for k, tasks := range r.slots {
		if r.global() && !places[k.node] {
			continue
		}
		since, ok := r.done(tasks)
		if !ok {
			broken = broken || r.final(tasks) || r.looping(tasks)
			continue
		}
		h.Running++
		if since.IsZero() {
			continue
		}
		proof := max(r.monitor(), min(2*r.longest(tasks), maxProof))
		if at := since.Add(proof); at.After(stableAt) {
			stableAt = at
		}
		// It runs for the moment, yet it has failed again and again.
		broken = broken || r.now.Before(since.Add(proof)) && r.looping(tasks)
	}
	return stableAt, broken
}

// progress is when something last went forward.
func (r *rollout) progress() time.Time {
	last := r.service.UpdatedAt
	later := func(t time.Time) {
		if t.After(last) {
			last = t
		}
	}
	later(r.started())
	for _, tasks := range r.slots {
		if since, ok := r.done(tasks); ok {
			later(since)
			continue
		}
		if t := tasks[0]; !ended(t) {
			later(t.CreatedAt)
		}
	}
	return last
}

// explain fills in the error that most tasks give.
func (r *rollout) explain(h *ServiceHealth) {
	t := r.frequent(r.blamed(h.Running >= h.Desired))
	if t == nil {
		return
	}
	h.Error = r.text(t)
	h.Passing = causeOf(h.Error).passing
	if n := r.x.nodes[t.NodeID]; n != nil {
		h.Node = cmp.Or(n.Description.Hostname, n.ID)
	}
	if t.Status.ContainerStatus != nil {
		h.Exit = t.Status.ContainerStatus.ExitCode
	}
}

// blamed are the tasks that tell what is wrong: what is pending, and what failed.
// After a roll-back they are those that were rolled back, as long as all is whole
// without them; what failed before the update is none of its business.
func (r *rollout) blamed(whole bool) []*swarm.Task {
	var tasks []*swarm.Task
	for _, l := range r.slots {
		tasks = append(tasks, r.failures(l)...)
		if t := l[0]; !ended(t) && r.text(t) != "" {
			tasks = append(tasks, t)
		}
	}
	if !r.back() && !r.failing() {
		return tasks
	}
	old := r.failures(r.stale)
	if r.back() {
		tasks = r.fresh(tasks)
		if fresh := r.fresh(old); len(fresh) > 0 {
			old = fresh
		}
	}
	if len(old) > 0 && (len(tasks) == 0 || r.back() && whole) {
		return old
	}
	return tasks
}

// fresh are the tasks that were made since the update began.
func (r *rollout) fresh(tasks []*swarm.Task) []*swarm.Task {
	start := r.started()
	return slices.DeleteFunc(slices.Clone(tasks), func(t *swarm.Task) bool { return t.CreatedAt.Before(start) })
}

// frequent is the newest task with the error that most of them have.
func (r *rollout) frequent(tasks []*swarm.Task) *swarm.Task {
	count := map[string]int{}
	for _, t := range tasks {
		count[r.text(t)]++
	}
	var best *swarm.Task
	for _, t := range tasks {
		if best == nil || cmp.Or(cmp.Compare(count[r.text(t)], count[r.text(best)]), entered(t).Compare(entered(best)), cmp.Compare(t.ID, best.ID)) > 0 {
			best = t
		}
	}
	return best
}

// stuck is how long the allocator may take over a task.
const stuck = 30 * time.Second

// text is a task's error in words, where it has one.
func (r *rollout) text(t *swarm.Task) string {
	switch {
	case t.Status.Err != "":
		return t.Status.Err
	case t.Status.State == swarm.TaskStateComplete && r.failed(t) && probed(t):
		// Swarm says no more of a container that it stopped as unhealthy, if that ends with 0.
		return "the container ends by itself, or is stopped as unhealthy, and is started again (exit code 0): see its health check"
	case t.Status.State == swarm.TaskStateComplete && r.failed(t):
		return "the container ends by itself and is started again (exit code 0): a service has to keep running"
	case r.failed(t):
		return fmt.Sprintf("task %s", t.Status.State)
	case (t.Status.State == swarm.TaskStateNew || t.Status.State == swarm.TaskStateAllocated) && r.now.Sub(t.CreatedAt) > stuck:
		return r.unallocated()
	}
	return ""
}

// unallocated says why the leader may leave tasks as they are, which is in its log alone.
func (r *rollout) unallocated() string {
	for _, p := range ingressPorts(r.service) {
		if o := r.x.ports[p]; o != nil && o.ID != r.service.ID {
			return fmt.Sprintf("published port %d/%s is held by service %q", p.number, p.protocol, o.Spec.Name)
		}
	}
	for _, a := range r.service.Spec.TaskTemplate.Networks {
		if n := r.x.netByID[a.Target]; n != nil && unallocated(n) {
			return fmt.Sprintf("network %q has no addresses: the swarm's address pool is exhausted, its subnet is another network's, or it is an IPv6 one that the engine can't allocate", n.Name)
		}
	}
	return "the task is not allocated: the network's subnet may be exhausted"
}

// unfit says that a node can't run the service at all.
func unfit(err string) bool {
	c := causeOf(err)
	return c == causeOf("unsupported platform") || c == causeOf("missing plugin")
}

// probed says that a task's service has a health check of its own.
func probed(t *swarm.Task) bool {
	c := t.Spec.ContainerSpec
	return c != nil && c.Healthcheck != nil && len(c.Healthcheck.Test) > 0 && c.Healthcheck.Test[0] != "NONE"
}
