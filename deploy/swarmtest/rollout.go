package swarmtest

import (
	"cmp"
	"slices"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
)

// monitor is how long swarm watches a replaced task unless told otherwise.
const monitor = 5 * time.Second

// update is a rollout that is under way.
type update struct {
	config   swarm.UpdateConfig
	back     bool // it rolls back
	queue    []string
	total    int
	pending  map[string]*task     // by slot: the replacements that do not run yet
	replaced map[string]time.Time // when the replacements were made, by task
	failures int
	wake     time.Time // when to go on; zero: when a task moves
	done     time.Time // when the last replacement ran; zero: not yet
}

// startUpdate begins to replace the tasks that were made from an older spec. A
// service without any has no update status.
func (s *Swarm) startUpdate(v *service) {
	if job(v.Spec) {
		return
	}
	u := &update{config: configOf(v.Spec.UpdateConfig), pending: map[string]*task{}, replaced: map[string]time.Time{}}
	if u.queue = s.stale(v); len(u.queue) == 0 {
		return
	}
	u.total = len(u.queue)
	now := s.now()
	v.update = u
	s.mark(v, swarm.UpdateStateUpdating, "update in progress", now)
	s.pump(v, now)
}

// stale lists the slots without a task of the present spec. A task that ended
// for good counts as one, but not in a rollback, which always converges.
func (s *Swarm) stale(v *service) []string {
	clean, newest := map[string]bool{}, map[string]*task{}
	for _, t := range s.of(v.ID) {
		newest[t.slot] = t
		if wanted(t) && !s.dirty(t) {
			clean[t.slot] = true
		}
	}
	back := v.update != nil && v.update.back
	for slot, t := range newest {
		if ended(t) && !s.dirty(t) && !back {
			clean[slot] = true
		}
	}
	var slots []string
	for _, slot := range s.slots(v) {
		if !clean[slot] {
			slots = append(slots, slot)
		}
	}
	return slots
}

func configOf(c *swarm.UpdateConfig) swarm.UpdateConfig {
	if c == nil {
		c = &swarm.UpdateConfig{Parallelism: 1}
	}
	got := *c
	got.Monitor = cmp.Or(got.Monitor, monitor)
	got.FailureAction = cmp.Or(got.FailureAction, swarm.UpdateFailureActionPause)
	return got
}

// pump replaces as many tasks as the rollout may at a time, and ends it.
func (s *Swarm) pump(v *service, at time.Time) {
	u := v.update
	u.wake = time.Time{}
	for len(u.queue) > 0 && (u.config.Parallelism == 0 || len(u.pending) < int(u.config.Parallelism)) {
		slot := u.queue[0]
		u.queue = u.queue[1:]
		s.swap(v, slot, at)
	}
	if len(u.queue)+len(u.pending) > 0 {
		return
	}
	if u.done.IsZero() {
		u.done = at
	}
	end := u.done
	if u.config.FailureAction != swarm.UpdateFailureActionContinue {
		end = end.Add(u.config.Monitor)
	}
	if at.Before(end) {
		u.wake = end
		return
	}
	v.update = nil
	if u.back {
		s.mark(v, swarm.UpdateStateRollbackCompleted, "rollback completed", at)
		return
	}
	s.mark(v, swarm.UpdateStateCompleted, "update completed", at)
}

// swap replaces the tasks of a slot by one of the present spec.
func (s *Swarm) swap(v *service, slot string, at time.Time) {
	first := v.update.config.Order == swarm.UpdateOrderStartFirst
	delay := time.Duration(0)
	for _, t := range s.of(v.ID) {
		switch {
		case t.slot != slot || !wanted(t):
		case first:
			t.keep = true
		default:
			s.halt(t, at, true)
			delay = s.Stop
		}
	}
	t := s.start(v, slot, at, delay)
	s.forget(v, slot)
	v.update.pending[slot] = t
	v.update.replaced[t.ID] = at
}

// rolled takes notice of a task that moved during a rollout.
func (s *Swarm) rolled(v *service, t *task, at time.Time) {
	u := v.update
	made, ours := u.replaced[t.ID]
	if !ours {
		return
	}
	if u.pending[t.slot] == t && (t.Status.State == swarm.TaskStateRunning || ended(t)) {
		delete(u.pending, t.slot)
		s.relieve(v, t, at)
		u.wake = at.Add(u.config.Delay)
	}
	if !ended(t) || u.config.FailureAction == swarm.UpdateFailureActionContinue || at.Sub(made) > u.config.Monitor && !started(t) {
		return
	}
	u.failures++
	if float32(u.failures)/float32(u.total) > u.config.MaxFailureRatio {
		s.fail(v, t, at)
	}
}

// started says that a task never came to run: its failure counts however late.
func started(t *task) bool {
	return t.Status.ContainerStatus == nil || t.Status.ContainerStatus.PID == 0
}

// relieve stops the task that a start-first update kept until its successor ran.
func (s *Swarm) relieve(v *service, t *task, at time.Time) {
	if t.Status.State != swarm.TaskStateRunning {
		return
	}
	for _, old := range s.of(v.ID) {
		if old.slot == t.slot && old.keep && old != t && wanted(old) {
			s.halt(old, at, true)
		}
	}
}

// fail does what the update's failure action says.
func (s *Swarm) fail(v *service, t *task, at time.Time) {
	u := v.update
	v.update = nil
	cause := "due to failure or early termination of task " + t.ID
	switch {
	case u.back:
		s.mark(v, swarm.UpdateStateRollbackPaused, "rollback paused "+cause, at)
	case u.config.FailureAction == swarm.UpdateFailureActionRollback && v.PreviousSpec != nil:
		s.rollBack(v, cause, at)
	default:
		s.mark(v, swarm.UpdateStatePaused, "update paused "+cause, at)
	}
}

// rollBack takes the service back to the spec it had before.
func (s *Swarm) rollBack(v *service, cause string, at time.Time) {
	v.Spec, v.PreviousSpec = *v.PreviousSpec, nil
	v.attempts = map[string]uint64{}
	s.mark(v, swarm.UpdateStateRollbackStarted, "update rolled back "+cause, at)
	u := &update{back: true, config: configOf(v.Spec.RollbackConfig), pending: map[string]*task{}, replaced: map[string]time.Time{}}
	v.update = u
	u.queue = s.stale(v)
	u.total = len(u.queue)
	s.sweep(v, u.queue, at)
	s.pump(v, at)
}

// sweep stops the tasks of the spec that failed where one of the older spec still runs.
func (s *Swarm) sweep(v *service, queue []string, at time.Time) {
	for _, t := range s.of(v.ID) {
		t.keep = false
		if wanted(t) && s.dirty(t) && !slices.Contains(queue, t.slot) {
			s.halt(t, at, true)
		}
	}
}

// mark sets the update status, which is a write to the service.
func (s *Swarm) mark(v *service, state swarm.UpdateState, message string, at time.Time) {
	old := swarm.UpdateState("")
	st := swarm.UpdateStatus{}
	if v.UpdateStatus != nil {
		old, st = v.UpdateStatus.State, *v.UpdateStatus
	}
	st.State, st.Message = state, message
	switch state {
	case swarm.UpdateStateUpdating: // a roll-back goes on with it
		st.StartedAt, st.CompletedAt = &at, nil
	case swarm.UpdateStateCompleted, swarm.UpdateStateRollbackCompleted:
		st.CompletedAt = &at
	}
	v.UpdateStatus = &st
	v.Version, v.UpdatedAt = s.next(), at
	s.tell(events.ServiceEventType, events.ActionUpdate, v.ID, v.Spec.Name, "updatestate.old", string(old), "updatestate.new", string(state))
}
