package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

// once is one pass over the tenants instead of a service: it ends when nothing
// is left to do.
type once struct {
	wait     bool // until what was written runs, or failed to
	progress func(StackStatus)
	shown    map[stackID]StackStatus
	last     Status
	done     bool
	err      error
}

// Once brings the tenants' stacks to what git asks, one time, and gives how
// things are then; an empty tenant stands for all. With wait it ends when what was
// written runs, or failed to. progress is called for each stack whose status
// changed, from one goroutine; it may be nil. The error says why the pass could
// not be made; what is wrong with a stack is in its status.
func (o *Operator) Once(ctx context.Context, tenant string, wait bool, progress func(StackStatus)) (Status, error) {
	o.mu.Lock()
	c := o.current
	o.mu.Unlock()
	if tenant != "" {
		i := slices.IndexFunc(c.Tenants, func(t Tenant) bool { return t.Name == tenant })
		if i < 0 {
			return Status{}, fmt.Errorf("tenant %q is not configured", tenant)
		}
		c.Tenants = c.Tenants[i : i+1]
	}
	l := newLoop(o, c)
	l.once = &once{wait: wait, progress: progress, shown: map[stackID]StackStatus{}}
	err := l.run(ctx)
	return l.once.last.clone(), errors.Join(err, l.once.err, l.once.interrupted(ctx))
}

// interrupted says that the pass was ended before it was over.
func (o *once) interrupted(ctx context.Context) error {
	if o.done {
		return nil
	}
	return fmt.Errorf("interrupted: %w", context.Cause(ctx))
}

// over says that the pass is at its end; never for a service.
func (o *once) over() bool { return o != nil && o.done }

// saw takes a status in and passes on what changed.
func (o *once) saw(s Status) {
	if o == nil {
		return
	}
	o.last = s
	for _, k := range s.Stacks {
		id := stackID{k.Tenant, k.Stack}
		old := o.shown[id]
		if o.progress != nil && !sameProgress(old, k) {
			o.progress(k)
		}
		o.shown[id] = k
	}
}

// sameProgress says that nothing changed that a person would want to see.
func sameProgress(a, b StackStatus) bool {
	return a.Commit == b.Commit && a.Sync == b.Sync && a.Health == b.Health && a.Reason == b.Reason &&
		a.Message == b.Message && slices.Equal(a.Services, b.Services)
}

// end ends the pass when nothing is left to do, or nothing can be done.
func (o *once) end(l *loop, now time.Time) {
	if o == nil || o.done || !l.told {
		return
	}
	if l.swarmErr != "" && !l.looking {
		o.done, o.err = true, fmt.Errorf("the swarm cannot be read: %s", l.swarmErr)
		return
	}
	o.done = l.idle(o.wait, now)
}

// idle says that nothing is left to do at this moment.
func (l *loop) idle(wait bool, now time.Time) bool {
	if l.seen == 0 || l.running+l.removing > 0 || !l.settledDown(now) {
		return false
	}
	for _, t := range l.tenants {
		if t.last == nil || t.saving || t.changed {
			return false
		}
	}
	for _, k := range l.order {
		if k.busy || l.seen < k.fresh || k.dirty() && k.conflict == "" || !l.through(k, wait, now) {
			return false
		}
	}
	return true
}

// through says that one pass can do nothing further for a stack.
func (l *loop) through(k *kept, wait bool, now time.Time) bool {
	switch {
	case k.newest == nil:
		return !l.mayGo(k, now)
	case k.conflict != "", k.newest.reason != "" && k.goal.need == "" && k.goal.rev == nil:
		return true
	case k.goal.need != "":
		return false
	case k.goal.rev == nil:
		return true
	case k.problem.reason != "":
		return k.tries == 0 || k.tries >= onceTries
	case l.brokenDependency(k) != "":
		return true
	case k.clean != k.print() || k.pending != "":
		return false
	case !wait || k.frozen(now) != nil || len(k.drift) > 0:
		return true
	case k.rec.Attempt != nil:
		return k.rec.Failed != nil && k.rec.Failed.Hash == k.rec.Attempt.Hash
	case k.blind || k.health.State == deploy.Progressing:
		return false
	}
	return !l.tidyDue(k, now) || k.tidy == k.print()+tidyMode(l.mayTidy(k))
}

// onceTries is how often one pass tries what may pass by itself.
const onceTries = 3
