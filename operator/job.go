package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

const (
	jobTimeout  = 3 * time.Minute  // of all calls for one stack
	saveTimeout = 30 * time.Second // of one memory
)

// job is what is done for one stack, away from the loop: one after the other for
// a stack, side by side for several. It holds values only.
type job struct {
	id     stackID
	kind   jobKind
	goal   goal
	live   deploy.Live
	diff   deploy.DiffOptions
	detail bool // list the stack's configs even if nothing seems to differ
	leave  bool // what differs is drift that is left alone
	dry    bool // plan only
	drift  bool // git asks nothing else than before: what differs was changed by hand
	memory deploy.Memory
	rec    record // a copy: the job's own until it is done
	now    time.Time
	print  string // of goal and part, as the loop saw them
	tidy   tidiness
	gone   bool // nothing of the stack is left that a look can see

	auth       string // identifies the registry credentials in diff
	resolve    bool   // ask registries for the digests of references that do not run yet
	registries *resolver
}

// tidiness says what of a stack may be removed.
type tidiness struct {
	services bool // services and networks too, not only secrets and configs
}

// jobKind is what a job does.
type jobKind int

const (
	jobConverge jobKind = iota // diff, apply
	jobTidy                    // remove what the stack no longer needs
	jobRemove                  // remove the whole stack
	jobRevert                  // have Swarm put services back, where the last good commit is lost
	jobSave                    // write the memory
)

// result is what a job came to.
type result struct {
	job
	plan   deploy.Plan // what was to do
	did    bool        // the plan was carried out, perhaps in part
	forgot bool        // the stack's memory was removed, as its last object
	left   []string    // drift that was left
	err    error
	listed bool // the stack's configs were listed
	kept   []deploy.Step
	writes int
	took   time.Duration
}

// run does the job. A panic is the stack's own error.
func (j job) run(ctx context.Context, w deploy.Writer) (r result) {
	began := time.Now()
	r.job = j
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("internal error: %s", panicKind(p))
		}
		r.took = time.Since(began)
	}()
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	switch j.kind {
	case jobConverge:
		j.converge(ctx, w, &r)
	case jobTidy, jobRemove:
		j.collect(ctx, w, &r)
	case jobRevert:
		r.err = j.putBack(ctx, w, &r)
	case jobSave:
		r.save(ctx, w)
	}
	return r
}

// converge makes the stack as its goal asks: look closer, plan, apply.
func (j job) converge(ctx context.Context, w deploy.Writer, r *result) {
	plan, err := j.plan(ctx, w, r)
	r.plan, r.err = plan, err
	if err != nil || plan.Empty() || j.dry {
		return
	}
	if j.leave {
		r.left = changes(plan, j.goal.want.Taint)
		return
	}
	if rolls(plan) {
		r.rec.Attempt = j.attempt(plan)
		if !r.save(ctx, w) {
			return
		}
		if !sameHolds(j.memory, r.memory) {
			r.err = fmt.Errorf("%w: the stack was frozen or pinned meanwhile", deploy.ErrStale)
			return
		}
		j.diff.Guard = &r.memory
		if plan, err = j.replan(plan, r); err != nil {
			r.err = err
			return
		}
	}
	if !rolls(plan) && j.memory.ID != "" {
		if r.err = deploy.CheckMemory(ctx, w, j.memory); r.err != nil {
			return
		}
	}
	r.did = len(plan.Steps) > 0
	r.writes = len(plan.Steps)
	r.err = deploy.Apply(ctx, w, plan)
}

// sameHolds says that no verb froze, pinned or freed a stack between two versions of its memory.
func sameHolds(a, b deploy.Memory) bool {
	return reflect.DeepEqual(a.Frozen, b.Frozen) && reflect.DeepEqual(a.Pinned, b.Pinned)
}

// plan is the diff, with the stack's configs listed if there is anything to do.
func (j *job) plan(ctx context.Context, w deploy.Writer, r *result) (deploy.Plan, error) {
	plan, err := deploy.Diff(j.goal.want, j.live, j.diff)
	if err == nil && j.without(plan).Empty() && !j.detail {
		return j.without(plan), nil
	}
	if j.live, err = deploy.DetailByName(ctx, w, j.live, j.goal.want); err != nil {
		return deploy.Plan{}, err
	}
	r.listed = true
	if j.resolve && !j.leave {
		j.diff.Digests = digests(ctx, w, *j)
	}
	plan, err = deploy.Diff(j.goal.want, j.live, j.diff)
	return j.without(plan), err
}

// digests asks the registries, side by side, for the images that do not run yet.
// One that does not answer leaves its image as it is written: Diff notes that.
func digests(ctx context.Context, r deploy.Reader, j job) map[string]deploy.Digest {
	found := map[string]deploy.Digest{}
	var (
		mu sync.Mutex // guards found
		wg sync.WaitGroup
	)
	for _, ref := range deploy.Unresolved(j.goal.want, j.live) {
		wg.Go(func() {
			d, err := j.registries.resolve(ctx, r, ref, j.diff.Auth[deploy.RegistryHost(ref)])
			if err != nil {
				return // deployed as written, with a note; asked again when the reference changes
			}
			mu.Lock()
			defer mu.Unlock()
			found[ref] = d
		})
	}
	wg.Wait()
	return found
}

// replan is the diff once more, resting on the memory that was just written.
func (j job) replan(old deploy.Plan, r *result) (deploy.Plan, error) {
	plan, err := deploy.Diff(j.goal.want, j.live, j.diff)
	if err != nil {
		return old, err
	}
	r.plan = j.without(plan)
	return r.plan, nil
}

// without drops the steps of services that are to be left alone.
func (j job) without(p deploy.Plan) deploy.Plan {
	if len(j.goal.skip) == 0 {
		return p
	}
	kept := p.Steps[:0:0]
	for _, s := range p.Steps {
		if s.Kind == deploy.KindService && slices.Contains(j.goal.skip, s.Service) {
			continue
		}
		kept = append(kept, s)
	}
	if !slices.ContainsFunc(kept, func(s deploy.Step) bool { return s.Kind == deploy.KindService }) && len(kept) < len(p.Steps) {
		kept = nil // the rest only served the services that are left alone
	}
	p.Steps = kept
	return p
}

// rolls says that the plan updates a service: what Swarm may roll back, and what
// must be remembered before it is tried.
func rolls(p deploy.Plan) bool {
	return slices.ContainsFunc(p.Steps, func(s deploy.Step) bool {
		return s.Kind == deploy.KindService && s.Action == deploy.Update && s.Restarts
	})
}

// triggerDrift marks a rollout that heals drift: its history is told by the healing.
const triggerDrift = "drift"

// attempt describes the rollout that the plan begins.
func (j job) attempt(p deploy.Plan) *attempt {
	a := &attempt{
		Hash: j.goal.rev.hash, Commit: j.goal.rev.commit, At: j.now,
		Author: cut(j.goal.rev.author, 80), Subject: cut(j.goal.rev.subject, 100),
		Trigger: j.goal.trigger, Changes: bounded(changes(p, j.goal.want.Taint)),
	}
	if j.drift {
		a.Trigger = triggerDrift
	}
	if old := j.rec.Attempt; old != nil && old.Hash == a.Hash {
		a.At, a.Services, a.Told, a.Trigger = old.At, old.Services, old.Told, old.Trigger // the next part of the same rollout
		if len(old.Changes) > 0 {
			a.Changes = old.Changes
		}
	}
	written := maps.Clone(a.Services)
	if written == nil {
		written = map[string]uint64{}
	}
	for _, s := range p.Steps {
		if s.Kind == deploy.KindService && s.Action != deploy.Remove {
			written[s.Name] = versionOf(j.live, s.ID)
		}
	}
	a.Services = written
	return a
}

// versionOf is a live service's version; 0: it is not there.
func versionOf(live deploy.Live, id string) uint64 {
	for i := range live.Services {
		if live.Services[i].ID == id {
			return live.Services[i].Version.Index
		}
	}
	return 0
}

// collect removes what the goal does not need: all of the stack, for jobRemove.
func (j job) collect(ctx context.Context, w deploy.Writer, r *result) {
	want := j.goal.want
	if j.kind == jobRemove {
		want = stack.Spec{Tenant: j.id.tenant, Name: j.id.stack}
	}
	live, err := deploy.Detail(ctx, w, j.live, want)
	if err != nil {
		r.err = err
		return
	}
	r.listed = true
	plan, err := deploy.Garbage(want, live, j.diff)
	if err != nil {
		r.err = err
		return
	}
	if !j.tidy.services && j.kind == jobTidy {
		plan.Steps, r.kept = partition(plan.Steps)
	}
	r.plan = plan
	if j.dry {
		return
	}
	if len(plan.Steps) == 0 {
		if j.kind == jobRemove && j.gone {
			r.err = deploy.DeleteMemory(ctx, w, j.memory)
			r.forgot = r.err == nil
		}
		return
	}
	r.did, r.writes = true, len(plan.Steps)
	r.err = deploy.Apply(ctx, w, plan)
}

// putBack has Swarm put back each service that the failed revision wrote.
func (j job) putBack(ctx context.Context, w deploy.Writer, r *result) error {
	if err := deploy.CheckMemory(ctx, w, j.memory); err != nil {
		return err
	}
	var errs []error
	for i := range j.live.Services {
		s := &j.live.Services[i]
		if !slices.Contains(j.rec.Failed.Written, s.Spec.Name) || rolledBack(s) {
			continue
		}
		done, err := deploy.Revert(ctx, w, *s)
		if done {
			r.writes++
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	f := *j.rec.Failed
	f.Reverted = true
	f.Text = cut(fmt.Sprintf("%s; the last good commit %s is no longer to be had, so Swarm put each service back", f.Text, short(j.rec.Good)), maxText)
	r.rec.Failed = &f
	return nil
}

// rolledBack says that Swarm put a service back by itself.
func rolledBack(s *swarm.Service) bool {
	u := s.UpdateStatus
	return u != nil && (u.State == swarm.UpdateStateRollbackCompleted || u.State == swarm.UpdateStateRollbackStarted)
}

// partition splits off the services and networks, which prune: never keeps.
func partition(steps []deploy.Step) (goes, stays []deploy.Step) {
	for _, s := range steps {
		if s.Kind == deploy.KindService || s.Kind == deploy.KindNetwork {
			stays = append(stays, s)
		} else {
			goes = append(goes, s)
		}
	}
	return goes, stays
}

// save writes the record into the stack's memory.
func (r *result) save(ctx context.Context, w deploy.Writer) bool {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	m := r.memory
	m.Instance, m.Tenant, m.Stack = r.diff.Instance, r.id.tenant, r.id.stack
	m.State = r.rec.encode()
	written, err := deploy.WriteMemory(ctx, w, m)
	if err != nil {
		r.err = fmt.Errorf("memory: %w", err)
		return false
	}
	r.writes++
	r.memory = written
	return true
}

// changes puts a plan's steps into short lines without any value that is tainted.
func changes(p deploy.Plan, t stack.Taint) []string {
	var lines []string
	for _, s := range p.Steps {
		if len(s.Changes) == 0 {
			lines = append(lines, t.Redact(fmt.Sprintf("%s %s %s", s.Action, s.Kind, s.Name)))
			continue
		}
		for _, c := range s.Changes {
			line := c.Field
			if c.From != "" || c.To != "" {
				line += ": " + c.From + " → " + c.To
			}
			lines = append(lines, t.Redact(line))
		}
	}
	return lines
}

// owned lists what is the stack's and can't be given our labels: networks that were
// adopted, and jobs, which would run again, adopted ones and those that lost theirs.
func (j job) owned() []string {
	var ids []string
	for _, n := range j.live.Networks {
		if n.Scope == "swarm" && n.Labels[deploy.LabelNamespace] == j.id.stack && n.Labels[deploy.LabelInstance] == "" && (j.diff.Adopt || j.diff.Owned[n.ID]) {
			ids = append(ids, n.ID)
		}
	}
	for i := range j.live.Services {
		s := &j.live.Services[i]
		labels := deploy.OwnerLabels(s)
		if labels[deploy.LabelNamespace] == j.id.stack && bare(s) && isJob(s.Spec.Mode) &&
			(j.diff.Adopt || j.diff.Owned[s.ID] || labels[deploy.LabelInstance] == j.diff.Instance && labels[deploy.LabelTenant] == j.id.tenant) {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// bare says that a service carries no label of an instance itself.
func bare(s *swarm.Service) bool { return s.Spec.Labels[deploy.LabelInstance] == "" }

func isJob(m swarm.ServiceMode) bool { return m.ReplicatedJob != nil || m.GlobalJob != nil }

// kindOf sorts an apply error: what the loop does next depends on it.
func kindOf(err error) errorKind {
	var (
		conflict *deploy.ConflictError
		unequal  *deploy.UnequalError
	)
	switch {
	case err == nil:
		return errNone
	case errors.Is(err, context.Canceled):
		return errEnd
	case errors.As(err, &unequal):
		return errUnequal
	case errors.Is(err, deploy.ErrUnsure):
		return errUnsure
	case errors.As(err, &conflict):
		return errConflict
	case anyRefused(err, false):
		return errRefused
	case anyRefused(err, true):
		return errWaiting
	case errors.Is(err, deploy.ErrStale):
		return errStale
	}
	return errPassing
}

// errorKind is what follows from an error.
type errorKind int

const (
	errNone     errorKind = iota
	errEnd                // the operator ends
	errUnequal            // plan again, knowing more
	errUnsure             // the swarm can't be read
	errConflict           // an object is not ours
	errRefused            // the same would be refused again
	errWaiting            // something outside the stack stands in the way
	errStale              // look again
	errPassing            // may pass by itself
)

// anyRefused looks through joined errors for a change that was refused: for good,
// or for as long as something outside the stack stands in the way.
func anyRefused(err error, passing bool) bool {
	for _, e := range flatten(err) {
		var (
			step    *deploy.StepError
			refused *deploy.RefusedError
		)
		if errors.As(e, &step) && step.Refused && !passing || errors.As(e, &refused) && refused.Passing == passing {
			return true
		}
	}
	return false
}

// flatten gives the leaves of joined errors.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// waits puts the services that wait into words; failed says that one waits in vain.
func waits(p deploy.Plan) (text string, failed bool) {
	var lines []string
	for _, d := range p.Deferred {
		lines = append(lines, fmt.Sprintf("service %q waits for %q (%s)", d.Service, d.On, d.Condition))
		if d.Failed {
			failed = true
			lines[len(lines)-1] = fmt.Sprintf("service %q waits for %q (%s), which failed", d.Service, d.On, d.Condition)
		}
	}
	return strings.Join(lines, "; "), failed
}
