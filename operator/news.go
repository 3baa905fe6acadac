package operator

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

// takeReadings takes in what a look at a repository gave for its tenants.
func (l *loop) takeReadings(rs []reading) {
	for i := range rs {
		r := &rs[i]
		t := l.tenants[r.tenant]
		if t == nil {
			continue
		}
		l.counts.Renders += uint64(r.renders)
		l.noteReading(t, r)
		t.last = r
		if r.reason == "" {
			t.good = r
			l.want(t, r)
		}
	}
	l.claimed, l.told = false, false
}

// noteReading logs and counts how a tenant's repository did, where that changed.
func (l *loop) noteReading(t *followed, r *reading) {
	if r.reason == FetchFailed {
		l.counts.FetchErrors++
	}
	var was verdict
	if t.last != nil {
		was = t.last.verdict
	}
	if t.last == nil || was.reason != r.reason || was.cause != r.cause {
		t.since = r.at
	}
	log := l.o.log.With("tenant", r.tenant)
	switch {
	case r.verdict == was:
	case r.reason == FetchFailed && was.reason == FetchFailed && r.cause == was.cause: // in other words, it may be
	case r.reason != "":
		log.Warn("repository cannot be used", "commit", r.commit, "reason", string(r.reason), "err", r.message)
	default:
		log.Info("repository can be used again", "commit", r.commit)
	}
	if r.reason == "" && (t.good == nil || t.good.commit != r.commit) {
		log.Info("commit read", "commit", r.commit, slog.Int("stacks", len(r.revisions)), slog.Int("rendered", r.renders))
	}
}

// want makes the reading's revisions what git asks of the tenant's stacks.
func (l *loop) want(t *followed, r *reading) {
	asked := map[string]bool{}
	for _, rev := range r.revisions {
		if asked[rev.name] && rev.usable() {
			continue // two folders of one name: the error is what counts
		}
		asked[rev.name] = true
		k := l.stack(stackID{t.Name, rev.name})
		if k.newest == nil || k.newest.hash != rev.hash || k.newest.verdict != rev.verdict {
			k.fresh = max(k.fresh, l.nextSeq()) // decide on a look that is newer than the reading
			l.lookBy(time.Now())
		}
		k.newest = rev
		if k.leaving != nil && !k.busy {
			k.rec.Blocked = nil
			k.changed = true
		}
		k.leaving, k.judged = nil, false
	}
	for id, k := range l.stacks {
		if id.tenant == t.Name && !asked[id.stack] && k.newest != nil {
			k.newest = nil
			l.lookBy(time.Now())
		}
	}
}

// nextSeq is the first look that begins after this moment.
func (l *loop) nextSeq() uint64 { return l.seq + 1 }

// takePast takes in one stack as an older commit has it.
func (l *loop) takePast(p past) {
	k := l.stacks[stackID{p.tenant, p.stack}]
	if k == nil {
		return
	}
	delete(k.asked, p.commit)
	if len(k.past) > 3 {
		clear(k.past)
	}
	if p.rev.reason == FetchFailed && p.rev.cause != "missing-commit" {
		k.asked[p.commit] = time.Now().Add(pastRetry) // it may be readable later
	} else {
		k.past[p.commit] = p.rev
	}
	l.told = false
}

const pastRetry = time.Minute

// takeResult takes in what a job did, and decides what that means.
func (l *loop) takeResult(r result) {
	now := time.Now()
	if r.kind == jobRemove {
		l.removing--
	} else {
		l.running--
	}
	l.counts.Writes += uint64(r.writes)
	k := l.stacks[r.id]
	if k == nil { // its tenant left meanwhile
		return
	}
	k.busy = false
	l.told = false
	if r.listed {
		k.detailed = now
	}
	if r.writes > 0 || r.err != nil {
		k.fresh = l.nextSeq()
		l.lookBy(now.Add(eventDelay))
	}
	k.memory, k.saved = r.memory, string(r.memory.State)
	k.rec = r.rec
	k.changed = true
	switch r.kind {
	case jobConverge:
		l.converged(k, r, now)
	case jobTidy:
		l.tidied(k, r, now)
	case jobRemove:
		l.removed(k, r, now)
	case jobRevert:
		l.reverted(k, r, now)
	case jobSave:
		l.saveDone(k, r, now)
	}
}

// converged: a plan was made, and carried out unless there was nothing to do.
func (l *loop) converged(k *kept, r result, now time.Time) {
	l.noteWarnings(k, r)
	if r.err != nil {
		l.failed(k, r, now)
		return
	}
	if k.part.bare > 0 {
		k.rec.Owned = r.owned()
	}
	k.problem, k.retry, k.tries, k.stale = verdict{}, time.Time{}, 0, 0
	if f := k.rec.Failed; f != nil && f.Outcome == outcomeError {
		k.rec.Failed = nil
	}
	k.drift, k.pending = nil, ""
	if r.left == nil && k.rec.Auth != r.auth {
		k.rec.Auth = r.auth
	}
	text, inVain := waits(r.plan)
	switch {
	case r.left != nil:
		k.drift, k.clean = r.left, r.print
		return
	case r.plan.Empty():
		k.clean = r.print
		l.settled(k, r)
		return
	case inVain:
		k.problem = verdict{DependencyNotReady, "depends-on", text}
	}
	k.pending = text
	if !r.did { // a later look shows whether the wait is over
		k.fresh = l.nextSeq()
		l.lookBy(now.Add(flightLook))
		return
	}
	l.applied(k, r, now)
}

// noteWarnings keeps what a plan warns of, until the stack is written again.
func (l *loop) noteWarnings(k *kept, r result) {
	notes := redacted(r.plan.Notes, r.goal)
	if len(notes) == 0 && r.plan.Empty() {
		return
	}
	if !slices.Equal(notes, k.notes) && len(notes) > 0 {
		l.o.log.Warn("deployed with a warning", "tenant", k.tenant, "stack", k.stack, "commit", r.goal.rev.commit, "err", strings.Join(notes, "; "))
	}
	k.notes = notes
}

// settled: the swarm was told all that the goal asks.
func (l *loop) settled(k *kept, r result) {
	k.again = 0
	if r.goal.revert || len(r.goal.skip) > 0 || r.goal.rev != k.newest && k.pinned() == nil {
		return
	}
	k.accepted = r.goal.rev
	if a := k.rec.Attempt; a != nil {
		same := *a // with the same in other words, it may be, while it rolls out
		same.Hash, same.Commit, same.Told = r.goal.rev.hash, r.goal.rev.commit, len(r.plan.Deferred) == 0
		k.rec.Attempt = &same
	}
	if k.rec.Applied != r.goal.rev.hash {
		k.rec.Applied, k.rec.Target = r.goal.rev.hash, r.goal.rev.commit
	}
}

// applied: something was written.
func (l *loop) applied(k *kept, r result, now time.Time) {
	rev := r.goal.rev
	lines := changes(r.plan, r.goal.want.Taint)
	log := l.o.log.With("tenant", k.tenant, "stack", k.stack, "commit", rev.commit)
	if r.drift {
		l.counts.Healed++
		k.rec.add(Entry{Time: now, Commit: rev.commit, Trigger: triggerDrift, Result: "healed", Changes: lines, Duration: r.took})
		log.Info("drift healed", "changes", bounded(lines))
	} else {
		log.Info("applied", "changes", bounded(lines))
	}
	if !r.drift && k.rec.Attempt == nil || k.rec.Attempt != nil && k.rec.Attempt.Hash != rev.hash {
		k.rec.Attempt = r.attempt(r.plan)
	}
	k.rewritten(r)
	k.rec.Applied = rev.hash
	k.rec.Prune = r.goal.want.Wishes.Prune
	if !r.goal.revert {
		k.rec.Attempted = rev.commit
		k.rec.Target = rev.commit
		k.accepted = rev
	}
	if r.diff.Adopt && k.part.foreign > 0 {
		k.rec.Owned = r.owned()
	}
	if f := k.rec.Failed; f != nil && !r.goal.revert && f.Hash != rev.hash {
		k.rec.Failed = nil
	}
}

// rewriteMost is how often in a row the same goal is written as a whole before
// what still differs counts as drift.
const rewriteMost = 3

// rewritten notes that a goal was written as a whole that had been written
// before. Where somebody is faster than the next look, or the engine does not
// keep what it is told, that would go on for ever: it is a fight, as with drift.
func (k *kept) rewritten(r result) {
	if r.drift || len(r.plan.Deferred) > 0 || k.rec.Applied != r.goal.rev.hash {
		k.again = 0
		return
	}
	if k.again++; k.again >= rewriteMost && k.rec.Attempt != nil {
		told := *k.rec.Attempt
		told.Told = true
		k.rec.Attempt = &told
	}
}

// failed: a plan could not be made or carried out.
func (l *loop) failed(k *kept, r result, now time.Time) {
	text := r.goal.want.Taint.Redact(r.err.Error())
	rev := r.goal.rev
	was := k.problem
	switch kindOf(r.err) {
	case errEnd:
		return
	case errUnequal:
		l.noteUnequal(k, r.err)
		return
	case errUnsure:
		l.lookBy(now)
		k.retry = now.Add(badLook)
		return
	case errStale:
		if k.stale++; k.stale <= 5 {
			k.retry = now.Add(jitter(eventDelay))
			return
		}
		k.problem = verdict{ApplyFailed, "stale", text}
		k.retry = now.Add(jitter(backoff(k.stale - 5)))
	case errConflict:
		k.problem = verdict{Conflict, "foreign-object", text}
		k.retry = now.Add(jitter(fullLook))
	case errWaiting:
		k.problem = verdict{ApplyFailed, "waiting", text}
		k.retry = now.Add(jitter(fullLook))
		k.rec.Attempted = rev.commit
	case errRefused:
		k.problem = verdict{ApplyFailed, outcomeRefused, text}
		k.rec.Attempted = rev.commit
		l.hold(k, r, text, now)
	default:
		k.tries++
		k.problem = verdict{ApplyFailed, outcomeError, text}
		k.retry = now.Add(jitter(backoff(k.tries)))
		k.rec.Attempted = rev.commit
		if f := k.rec.Failed; f == nil || !f.Held {
			k.rec.Failed = &failure{Hash: rev.hash, Commit: rev.commit, Outcome: outcomeError, Text: cut(text, maxText), Tries: k.tries, Next: k.retry, Since: now}
		}
	}
	l.counts.WriteErrors++
	if was != k.problem {
		l.o.log.Warn("stack cannot be applied", "tenant", k.tenant, "stack", k.stack, "commit", rev.commit, "err", text)
	}
}

// hold keeps a refused revision from being written again. While an older goal is
// being healed there is nothing newer to hold; then it is tried again later.
func (l *loop) hold(k *kept, r result, text string, now time.Time) {
	rev := r.goal.rev
	if r.goal.revert || r.goal.reason != "" {
		k.tries++
		k.retry = now.Add(jitter(backoff(k.tries)))
		return
	}
	k.rec.Failed = &failure{Hash: rev.hash, Commit: rev.commit, Outcome: outcomeRefused, Text: cut(text, maxText), Held: true, Since: now}
	k.rec.Attempt = nil
	k.rec.add(Entry{Time: now, Commit: rev.commit, Author: rev.author, Subject: rev.subject, Trigger: r.goal.trigger, Result: outcomeRefused, Text: text})
}

// noteUnequal remembers which secrets differ from git, for the next plan.
func (l *loop) noteUnequal(k *kept, err error) {
	if k.unequal == nil {
		k.unequal = map[string]bool{}
	}
	for _, e := range flatten(err) {
		if u := unequalOf(e); u != nil {
			k.unequal[u.ID] = true
		}
	}
}

// tidied: what the stack no longer needs was removed.
func (l *loop) tidied(k *kept, r result, now time.Time) {
	l.noteStays(k, r, now)
	if r.err != nil {
		l.notRemoved(k, r, now)
		return
	}
	k.problem, k.retry, k.tries = verdict{}, time.Time{}, 0
	if !r.did {
		k.tidy = r.print + tidyMode(r.tidy.services)
		return
	}
	l.counts.Pruned += uint64(len(r.plan.Steps))
	l.o.log.Info("leftovers removed", "tenant", k.tenant, "stack", k.stack, "changes", bounded(changes(r.plan, r.goal.want.Taint)))
}

// noteStays notes what left the stack's file and is kept, because its removal
// needs a person's word or is not wanted.
func (l *loop) noteStays(k *kept, r result, now time.Time) {
	k.stays = nil
	for _, s := range r.kept {
		k.stays = append(k.stays, string(s.Kind)+" "+s.Name)
	}
	switch {
	case len(k.stays) == 0 || l.pruneOf(k) != "confirm":
		k.rec.Blocked = nil
	case k.rec.Blocked == nil:
		k.rec.Blocked = &blocked{Commit: r.goal.rev.commit, Why: "prune: confirm asks for a person's word", Since: now}
	}
}

// notRemoved: a removal failed. It is tried again, and told when that did not help.
func (l *loop) notRemoved(k *kept, r result, now time.Time) {
	switch kindOf(r.err) {
	case errEnd:
		return
	case errUnsure, errStale:
		k.retry = now.Add(badLook)
		return
	}
	k.tries++
	k.retry = now.Add(jitter(min(backoff(k.tries), time.Minute)))
	if k.tries < pruneBudget {
		return
	}
	l.counts.WriteErrors++
	text := r.goal.want.Taint.Redact(r.err.Error())
	if k.problem.reason == "" {
		l.o.log.Warn("objects cannot be removed", "tenant", k.tenant, "stack", k.stack, "err", text)
	}
	k.problem = verdict{PruneFailed, "", text}
}

// pruneBudget is how many removals may fail before that is a problem: a network
// may be in use for as long as its tasks need to stop.
const pruneBudget = 3

// removed: a stack that left git was removed, or a part of it.
func (l *loop) removed(k *kept, r result, now time.Time) {
	if r.err != nil {
		l.notRemoved(k, r, now)
		return
	}
	k.problem, k.retry, k.tries = verdict{}, time.Time{}, 0
	if r.did {
		l.counts.Pruned += uint64(len(r.plan.Steps))
		l.o.log.Info("stack removed", "tenant", k.tenant, "stack", k.stack, "changes", bounded(changes(r.plan, r.goal.want.Taint)))
		return
	}
	if r.forgot {
		delete(l.stacks, k.stackID)
		l.order = nil
		return
	}
	k.retry = now.Add(flightLook) // its tasks still stop
	l.lookBy(k.retry)
}

// reverted: Swarm put the services of a failed revision back, because the last
// good commit is lost.
func (l *loop) reverted(k *kept, r result, now time.Time) {
	if r.err != nil {
		switch kindOf(r.err) {
		case errEnd:
			return
		case errUnsure, errStale:
			k.retry = now.Add(badLook)
			return
		}
		k.tries++
		k.retry = now.Add(jitter(backoff(k.tries)))
		k.problem = verdict{ApplyFailed, outcomeError, k.redact(r.err.Error())}
		l.counts.WriteErrors++
		return
	}
	k.problem, k.retry, k.tries = verdict{}, time.Time{}, 0
	l.o.log.Warn("services put back one by one", "tenant", k.tenant, "stack", k.stack, "commit", r.rec.Failed.Commit)
}

// saveDone: the memory was written, or will be later.
func (l *loop) saveDone(k *kept, r result, now time.Time) {
	if r.err == nil {
		k.saveTries = 0
		return
	}
	if kindOf(r.err) == errEnd {
		return
	}
	k.saveTries++
	if kindOf(r.err) == errStale && k.saveTries <= 5 { // somebody else wrote: the next look shows what
		k.saveAt = now.Add(eventDelay)
		return
	}
	k.saveAt = now.Add(jitter(backoff(k.saveTries)))
	l.counts.WriteErrors++
	if k.saveTries == 1 {
		l.o.log.Error("memory cannot be written", "tenant", k.tenant, "stack", k.stack, "err", r.err)
	}
}

// redacted gives the lines without tainted values.
func redacted(lines []string, g goal) []string {
	out := slices.Clone(lines)
	for i := range out {
		out[i] = g.want.Taint.Redact(out[i])
	}
	return out
}

func unequalOf(err error) *deploy.UnequalError {
	var u *deploy.UnequalError
	if asError(err, &u) {
		return u
	}
	return nil
}
