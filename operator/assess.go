package operator

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

func asError[T error](err error, target *T) bool { return errors.As(err, target) }

// assess tells every stack's health from the last look, and how the rollouts
// that are watched came out.
func (l *loop) assess(now time.Time) {
	if l.assessed {
		return
	}
	l.assessed = true
	for _, k := range l.order {
		if k.busy || l.seen < k.fresh {
			continue
		}
		k.goal = l.goalOf(k)
		l.examine(k, now)
		l.conclude(k, now)
	}
}

// examine asks Check, unless nothing moved since a look that found all well.
func (l *loop) examine(k *kept, now time.Time) {
	if k.checked == k.part.health && k.health.State == deploy.Healthy && k.health.Again.IsZero() && !k.blind && k.rec.Attempt == nil {
		return
	}
	h := deploy.Check(l.live, k.stack, deploy.CheckOptions{Timeout: k.goal.want.Wishes.Timeout}, now)
	k.checked = k.part.health
	if k.blind = h.State == ""; k.blind {
		l.lookBy(now) // with tasks
		if k.health.State != "" {
			return
		}
	}
	k.health = h
	l.told = false
	switch {
	case !h.Again.IsZero():
		l.lookBy(later(h.Again, now.Add(flightLook/2)))
	case k.rec.Attempt != nil, k.pending != "":
		l.lookBy(now.Add(flightLook))
	case h.State == deploy.Progressing:
		l.lookBy(now.Add(flightLook))
	}
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// conclude ends the rollout that is watched, if it came to an end.
func (l *loop) conclude(k *kept, now time.Time) {
	if k.blind || k.goal.rev == nil {
		return
	}
	a := k.rec.Attempt
	if a == nil {
		l.firstGood(k)
		return
	}
	if a.Hash != k.goal.rev.hash {
		return
	}
	if outcome, services := l.outcomeOf(k.health, a); outcome != "" {
		l.rolloutFailed(k, outcome, services, now)
		return
	}
	written := len(k.drift) == 0 || k.rec.Applied == a.Hash // else a freeze came before the rollout's first write
	if written && k.health.State == deploy.Healthy && k.clean == k.print() && k.pending == "" {
		l.rolloutDone(k, now)
	}
}

// firstGood notes a stack that runs as git asks though no rollout was watched:
// its memory was lost, or it was adopted as it is.
func (l *loop) firstGood(k *kept) {
	g := k.goal
	if k.health.State != deploy.Healthy || k.clean != k.print() || g.reason != "" || len(k.drift) > 0 {
		return
	}
	if k.rec.Failed != nil && k.rec.Failed.Hash != g.rev.hash || k.rec.Failed != nil && !k.rec.Failed.Held {
		k.rec.Failed = nil
		k.changed = true
	}
	if k.rec.GoodHash == g.rev.hash {
		return
	}
	if k.rec.Good == "" {
		k.rec.Good = g.rev.commit
	}
	k.rec.GoodHash = g.rev.hash
	k.changed = true
}

// rolloutDone: all runs as the revision says.
func (l *loop) rolloutDone(k *kept, now time.Time) {
	a := k.rec.Attempt
	k.rec.Attempt, k.changed = nil, true
	if a.Trigger == triggerDrift {
		return
	}
	k.rec.Good, k.rec.GoodHash = a.Commit, a.Hash
	if f := k.rec.Failed; f != nil && (!f.Held || f.Hash == a.Hash) {
		k.rec.Failed = nil
	}
	k.rec.add(Entry{Time: now, Commit: a.Commit, Author: a.Author, Subject: a.Subject, Trigger: a.Trigger, Result: "deployed", Changes: a.Changes, Duration: now.Sub(a.At).Round(time.Millisecond)})
	l.o.log.Info("deployed", "tenant", k.tenant, "stack", k.stack, "commit", a.Commit)
}

// rolloutFailed: the revision does not run. Swarm may have gone back already; the
// whole stack goes back where it wishes so.
func (l *loop) rolloutFailed(k *kept, outcome string, services map[string]string, now time.Time) {
	a := k.rec.Attempt
	old := k.rec.Failed
	text := k.redact(k.health.Message)
	if old != nil && old.Hash == a.Hash && old.Outcome == outcome {
		return // known; the status shows what the tasks say meanwhile
	}
	f := &failure{Hash: a.Hash, Commit: a.Commit, Outcome: outcome, Text: cut(text, maxText), Services: services, Since: now}
	f.Whole = k.goal.want.Wishes.Rollback && !k.goal.revert && k.rec.Good != "" && k.rec.GoodHash != a.Hash
	if f.Whole {
		f.Written = slices.Sorted(maps.Keys(a.Services))
	}
	f.Held = f.Whole || outcome == outcomeRolledBack || outcome == outcomePaused
	if k.goal.revert { // going back failed too: nothing further to go back to
		f = old
	} else {
		k.rec.Failed = f
	}
	if f != nil && f.Held {
		k.rec.Attempt = nil
	}
	k.rec.add(Entry{Time: now, Commit: a.Commit, Author: a.Author, Subject: a.Subject, Trigger: a.Trigger, Result: outcome, Changes: a.Changes, Text: text, Duration: now.Sub(a.At).Round(time.Millisecond)})
	k.changed = true
	k.goal = l.goalOf(k)
	l.o.log.Warn("rollout failed", "tenant", k.tenant, "stack", k.stack, "commit", a.Commit, "err", text)
}

// outcomeOf is how the services that the rollout wrote came out, the worst first,
// and which of them Swarm rolled back or paused. What Swarm reports of a version
// from before the rollout is of another one.
func (l *loop) outcomeOf(h deploy.Health, a *attempt) (string, map[string]string) {
	worst := ""
	held := map[string]string{}
	for _, s := range h.Services {
		before, written := a.Services[s.Name]
		live := l.services[s.Name]
		if !written || s.Outcome == deploy.None || live == nil || live.Version.Index <= before {
			continue
		}
		if s.Outcome == deploy.RolledBack || s.Outcome == deploy.Paused {
			held[s.Key] = string(s.Outcome)
		}
		if rank(string(s.Outcome)) > rank(worst) {
			worst = string(s.Outcome)
		}
	}
	if len(held) == 0 {
		held = nil
	}
	return worst, held
}

// rank orders outcomes: what decides what happens next comes first.
func rank(outcome string) int {
	return slices.Index([]string{"", outcomeTimedOut, outcomeFailed, outcomePaused, outcomeRolledBack}, outcome)
}

// redact takes the values of every revision that may have been written out of a text.
func (k *kept) redact(text string) string {
	for _, r := range []*revision{k.newest, k.accepted, k.goal.rev} {
		if r != nil {
			text = r.spec.Taint.Redact(text)
		}
	}
	for _, r := range k.past {
		text = r.spec.Taint.Redact(text)
	}
	return k.goal.want.Taint.Redact(text)
}
