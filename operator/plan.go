package operator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

// TenantPlan is what would be done for one tenant.
type TenantPlan struct {
	Tenant  string      `json:"tenant"`
	Commit  string      `json:"commit"`
	Reason  Reason      `json:"reason,omitempty"` // why the repository can't be used; then there are no stacks
	Cause   string      `json:"cause,omitempty"`
	Message string      `json:"message,omitempty"`
	Stacks  []StackPlan `json:"stacks"`
}

// StackPlan is what would be done for one stack.
type StackPlan struct {
	Stack    string      `json:"stack"`
	Commit   string      `json:"commit,omitempty"`   // of what it would be driven to
	Plan     deploy.Plan `json:"plan"`               // create, update, replace
	Leftover deploy.Plan `json:"leftover"`           // removed once the rest runs; of a stack that left git, all of it
	Removed  bool        `json:"removed,omitempty"`  // the stack left git
	Drift    bool        `json:"drift,omitempty"`    // git asks nothing else than before: what differs was changed by hand
	Held     string      `json:"held,omitempty"`     // why nothing would be written although something differs
	Reason   Reason      `json:"reason,omitempty"`   // why what git asks can't be used
	Message  string      `json:"message,omitempty"`  // to Reason
	Warnings []string    `json:"warnings,omitempty"` // with file and line
}

// Empty says that nothing would be written.
func (p StackPlan) Empty() bool {
	return p.Held != "" || len(p.Plan.Steps) == 0 && len(p.Leftover.Steps) == 0
}

// Plan says what Once would do at this moment, for each tenant. It only reads:
// neither the swarm nor its memories are written, and no key is created. Steps
// hold no value that came from an encrypted file.
func (o *Operator) Plan(ctx context.Context) ([]TenantPlan, error) {
	o.mu.Lock()
	c := o.current
	o.mu.Unlock()
	l := newLoop(o, c)
	key, err := deploy.FindKey(ctx, o.w, c.Instance)
	if err != nil {
		return nil, err
	}
	if key == nil {
		key = deploy.Key{}
	}
	l.seq = 1
	seen := observe(ctx, o.w, deploy.LookOptions{Instance: c.Instance, Tasks: true}, 1, key)
	if seen.err != nil {
		return nil, seen.err
	}
	l.keepTenants()
	l.began = time.Now().Add(-settleTime)
	l.takeLook(seen)
	followers := l.readAll(ctx)
	defer closeAll(followers)
	for _, k := range l.stacks {
		k.fresh = 0
		l.meet(k)
	}
	now := time.Now()
	l.sortStacks()
	l.assess(now)
	l.claim()
	l.judgeLeavers(now)
	return l.plans(ctx, followers, now), ctx.Err()
}

// readAll looks at every repository once, side by side.
func (l *loop) readAll(ctx context.Context) []*follower {
	groups := map[string][]Tenant{}
	for _, t := range l.config.Tenants {
		groups[remoteKey(t)] = append(groups[remoteKey(t)], t)
	}
	var (
		followers []*follower
		mu        sync.Mutex // guards readings
		readings  []reading
		wg        sync.WaitGroup
	)
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		f := l.newFollower(key, groups[key])
		followers = append(followers, f)
		wg.Go(func() {
			got := f.readings(ctx, *l.api.Load())
			mu.Lock()
			defer mu.Unlock()
			readings = append(readings, got...)
		})
	}
	wg.Wait()
	l.takeReadings(readings)
	return followers
}

func closeAll(followers []*follower) {
	for _, f := range followers {
		if f.mirror != nil {
			f.mirror.Close()
		}
	}
}

// plans puts together what would be done.
func (l *loop) plans(ctx context.Context, followers []*follower, now time.Time) []TenantPlan {
	var out []TenantPlan
	for _, t := range l.config.Tenants {
		r := l.tenants[t.Name].last
		p := TenantPlan{Tenant: t.Name, Commit: r.commit, Reason: r.reason, Cause: r.cause, Message: r.message, Stacks: []StackPlan{}}
		for _, k := range l.order {
			if k.tenant != t.Name {
				continue
			}
			l.readPast(ctx, followers, k)
			if s, ok := l.planOf(ctx, k, now); ok {
				p.Stacks = append(p.Stacks, s)
			}
		}
		out = append(out, p)
	}
	return out
}

// readPast reads the older commits that a stack's goal needs.
func (l *loop) readPast(ctx context.Context, followers []*follower, k *kept) {
	for range 2 { // a pin that can't be used leads to the last good commit
		k.goal = l.goalOf(k)
		if k.goal.need == "" {
			return
		}
		for _, f := range followers {
			if slices.ContainsFunc(f.tenants, func(t Tenant) bool { return t.Name == k.tenant }) {
				k.past[k.goal.need] = f.at(ctx, ask{k.tenant, k.stack, k.goal.need}, *l.api.Load())
			}
		}
	}
}

// planOf says what would be done for one stack; false: nothing is to be said.
func (l *loop) planOf(ctx context.Context, k *kept, now time.Time) (StackPlan, bool) {
	v := l.verdictOf(k)
	s := StackPlan{Stack: k.stack, Reason: v.reason, Message: v.message}
	if k.newest != nil {
		s.Warnings = k.newest.warnings
	}
	switch {
	case k.newest == nil:
		s.Removed = true
		if l.tenants[k.tenant].good == nil || k.part.ours == 0 || !l.mayGo(k, now) {
			return s, v.reason != ""
		}
	case k.conflict != "" || k.goal.rev == nil:
		return s, true
	default:
		s.Commit, s.Drift = k.goal.rev.commit, l.drifts(k)
		s.Held = l.heldBack(k, now)
	}
	l.fillPlan(ctx, k, &s, now)
	return s, true
}

// heldBack says why what differs would not be written; "" is that it would.
func (l *loop) heldBack(k *kept, now time.Time) string {
	switch {
	case k.frozen(now) != nil:
		return fmt.Sprintf("frozen by %s: %s", k.memory.Frozen.By, k.memory.Frozen.Reason)
	case l.drifts(k) && l.driftOf(k) != "heal":
		return "drift: " + l.driftOf(k)
	}
	return ""
}

// fillPlan makes the plans of a stack, away from its errors: those are its reason.
func (l *loop) fillPlan(ctx context.Context, k *kept, s *StackPlan, now time.Time) {
	j := l.job(k, jobConverge, now)
	j.dry, j.detail, j.tidy.services = true, true, true
	var r result
	if s.Removed {
		j.kind = jobRemove
	} else {
		r = j.run(ctx, l.o.w)
		s.Plan = r.plan
		j.kind = jobTidy
	}
	if r.err == nil {
		left := j.run(ctx, l.o.w)
		s.Leftover, r.err = left.plan, left.err
	}
	if r.err != nil && s.Reason == "" {
		s.Reason, s.Message = ApplyFailed, k.redact(r.err.Error())
		if kindOf(r.err) == errConflict {
			s.Reason = Conflict
		}
	}
}
