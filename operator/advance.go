package operator

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
)

// goalOf chooses a stack's goal and what it uses of the swarm.
func (l *loop) goalOf(k *kept) goal {
	g := k.choose()
	if g.rev != nil {
		g.outer = externals(g.want, l.networks)
		if t := l.tenants[k.tenant]; t.good != nil && len(t.good.auth) > 0 {
			g.outer += mix(l.authSum(t.good.auth), 2)
		}
	}
	return g
}

// advance starts what is to be done for each stack, a few at a time and the one
// that waited longest first, so that no stack keeps the others from their turn.
func (l *loop) advance(ctx context.Context, now time.Time) {
	n := len(l.order)
	for i := range n {
		k := l.order[(l.cursor+i)%n]
		if k.busy || l.seen < k.fresh {
			continue
		}
		k.goal = l.goalOf(k)
		l.ask(k, now)
		j, ok := l.next(k, now)
		if !ok {
			continue
		}
		if j.kind == jobRemove && l.removing >= parallel || j.kind != jobRemove && l.running >= parallel {
			l.cursor = (l.cursor + i) % n
			if l.running >= parallel {
				return
			}
			continue
		}
		l.start(ctx, k, j)
	}
}

// superseded says that git asks something else than what is waiting to be tried
// again: a newer commit never waits for an older one's backoff.
func (l *loop) superseded(k *kept) bool {
	return k.newest.usable() && k.tried != "" && k.newest.hash != k.tried && k.pinned() == nil
}

// start begins a job.
func (l *loop) start(ctx context.Context, k *kept, j job) {
	k.busy = true
	if j.goal.rev != nil {
		k.tried = j.goal.rev.hash
	}
	if j.kind == jobRemove {
		l.removing++
	} else {
		l.running++
	}
	w := l.o.w
	l.wg.Go(func() {
		r := j.run(ctx, w)
		send(ctx, l.results, r)
	})
}

// ask has an older commit read that the stack's goal needs.
func (l *loop) ask(k *kept, now time.Time) {
	commit := k.goal.need
	if commit == "" {
		return
	}
	if until, waiting := k.asked[commit]; waiting && now.Before(until) {
		return
	}
	for _, f := range l.followers {
		for _, t := range f.tenants {
			if t.Name != k.tenant {
				continue
			}
			select {
			case f.asks <- ask{k.tenant, k.stack, commit}:
				k.asked[commit] = now.Add(pastRetry)
			default: // as many as can wait do; the next turn asks again
			}
		}
	}
}

// next is the job that a stack needs, if any.
func (l *loop) next(k *kept, now time.Time) (job, bool) {
	if k.met && k.newest != nil && k.rec.Leaving != "" && !now.Before(k.saveAt) {
		k.rec.Leaving, k.changed = "", true
		return l.job(k, jobSave, now), true // before anything else: see removal
	}
	if !now.Before(k.retry) || l.superseded(k) {
		if j, ok := l.work(k, now); ok {
			return j, true
		}
	}
	if k.conflict == "" && k.met && !now.Before(k.saveAt) && k.dirty() {
		return l.job(k, jobSave, now), true
	}
	return job{}, false
}

// removal is the job that removes a stack which left git. What is to happen is
// written into the memory first, and every deletion rests on that version of it:
// another operator that finds the stack in git again writes a newer one, which
// ends this one's deletions.
func (l *loop) removal(k *kept, now time.Time) (job, bool) {
	if !l.mayGo(k, now) {
		return job{}, false
	}
	gone := k.part.ours == 0
	if !gone && k.rec.Leaving == "" {
		t := l.tenants[k.tenant]
		if t.last.at.Before(l.live.Taken) {
			l.kick(k.tenant) // git is asked once more, after the look that says what there is to remove
			return job{}, false
		}
		k.rec.Leaving, k.changed = t.good.commit, true
	}
	if !gone && k.dirty() {
		return l.job(k, jobSave, now), !now.Before(k.saveAt)
	}
	j := l.job(k, jobRemove, now)
	j.gone = gone
	return j, true
}

// work is the job that brings a stack nearer to its goal.
func (l *loop) work(k *kept, now time.Time) (job, bool) {
	if k.conflict != "" || !k.met || !l.settledDown(now) {
		return job{}, false
	}
	if k.newest == nil {
		return l.removal(k, now)
	}
	if k.goal.rev == nil {
		return l.job(k, jobRevert, now), k.putBackDue() && k.frozen(now) == nil
	}
	print := k.print()
	if l.swarmActs(k) {
		return job{}, false
	}
	if k.clean != print || l.detailDue(k, now) || k.pending != "" || len(k.drift) > 0 && !l.leaves(k, now) {
		j := l.job(k, jobConverge, now)
		j.print = print
		j.detail = l.detailDue(k, now) || len(k.goal.want.Configs) > 0 && k.rec.Applied != k.goal.rev.hash
		j.leave, j.drift = l.leaves(k, now), l.drifts(k)
		j.resolve = firstOf(k.goal.want.Wishes.Resolve, l.tenants[k.tenant].Resolve) == "once"
		if !j.leave && k.rec.Applied != k.goal.rev.hash && l.waiting(k) != "" {
			return job{}, false
		}
		return j, true
	}
	if l.tidyDue(k, now) && k.tidy != print+tidyMode(l.mayTidy(k)) && (l.live.Listed || !l.extraNetworks(k)) {
		j := l.job(k, jobTidy, now)
		j.print = print
		j.tidy = tidiness{services: l.mayTidy(k)}
		return j, true
	}
	return job{}, false
}

// putBackDue says that Swarm is to put the services of a failed revision back:
// the good commit is lost, and was not written before that.
func (k *kept) putBackDue() bool {
	f := k.rec.Failed
	return k.goal.lost && k.goal.revert && !f.Reverted && k.rec.Applied == f.Hash
}

// mayTidy says that services and networks which left a stack's file may go.
func (l *loop) mayTidy(k *kept) bool {
	switch l.pruneOf(k) {
	case "auto":
		return true
	case "confirm":
		c := l.tenants[k.tenant].memory.Pinned
		return c != nil && k.rec.Blocked != nil && confirms(c.Commit, k.rec.Blocked.Commit)
	}
	return false
}

// tidyMode tells two searches for garbage apart.
func tidyMode(services bool) string {
	if services {
		return " whole"
	}
	return " content"
}

// job fills in what every job needs.
func (l *loop) job(k *kept, kind jobKind, now time.Time) job {
	t := l.tenants[k.tenant]
	rec := k.rec
	rec.Alerts = maps.Clone(rec.Alerts)
	j := job{
		id: k.stackID, kind: kind, registries: l.registries, goal: k.goal, live: l.live, memory: k.memory, rec: rec, now: now,
		diff: deploy.DiffOptions{
			Instance: l.config.Instance, Key: l.key, Adopt: t.Adopt, Unequal: maps.Clone(k.unequal), Owned: set(k.rec.Owned),
		},
	}
	if k.memory.ID != "" {
		guard := k.memory
		j.diff.Guard = &guard
	}
	if t.good != nil {
		j.diff.Auth = t.good.auth
		j.auth = l.authSum(t.good.auth)
		j.diff.Resend = k.rec.Applied != "" && k.rec.Auth != j.auth
	}
	return j
}

func set(ids []string) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	out := make(map[string]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out
}

// authSum identifies registry credentials without telling them; empty: there are none.
func (l *loop) authSum(auth map[string]string) string {
	if len(auth) == 0 {
		return ""
	}
	sum := hmac.New(sha256.New, l.key)
	for _, host := range slices.Sorted(maps.Keys(auth)) {
		fmt.Fprintf(sum, "%s\x00%s\x00", host, auth[host])
	}
	return hex.EncodeToString(sum.Sum(nil))[:16]
}

// settledDown says that writing may begin: every tenant's repository was read once,
// or had its time, so that two tenants who want one name are both known.
func (l *loop) settledDown(now time.Time) bool {
	if !now.Before(l.began.Add(settleTime)) {
		return true
	}
	for _, t := range l.tenants {
		if t.last == nil {
			return false
		}
	}
	return true
}

// detailDue says that the stack's configs are to be listed again, though no other
// look says that anything differs.
func (l *loop) detailDue(k *kept, now time.Time) bool {
	return len(k.goal.want.Configs) > 0 && k.clean != "" && now.Sub(k.detailed) > detailEvery
}

// pruneOf is what is done about what left git.
func (l *loop) pruneOf(k *kept) string {
	wish := k.goal.want.Wishes.Prune
	if k.newest == nil {
		wish = k.rec.Prune
	}
	return firstOf(wish, l.tenants[k.tenant].Prune, "auto")
}

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

// swarmActs says that Swarm stopped or takes back the rollout that is watched:
// what differs meanwhile is not to be written again.
func (l *loop) swarmActs(k *kept) bool {
	a := k.rec.Attempt
	if a == nil || a.Hash != k.goal.rev.hash {
		return false
	}
	for name, before := range a.Services {
		s := l.services[name]
		if s == nil || s.UpdateStatus == nil || s.Version.Index <= before {
			continue
		}
		switch s.UpdateStatus.State {
		case swarm.UpdateStatePaused, swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackPaused, swarm.UpdateStateRollbackCompleted:
			return true
		}
	}
	return false
}

// tidyDue says that the stack's state is up, so that what it no longer needs may go.
func (l *loop) tidyDue(k *kept, now time.Time) bool {
	return k.health.State == deploy.Healthy && !k.blind && k.rec.Attempt == nil && k.pending == "" && len(k.drift) == 0 &&
		k.goal.reason == "" && k.frozen(now) == nil && k.checked == k.part.health
}
