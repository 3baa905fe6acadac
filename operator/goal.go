package operator

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/skep-gitops/skep/stack"
)

// goal is what a stack is driven to: the newest revision that was read, rendered,
// allowed and is not held. Drift is healed towards it also while a newer
// revision is refused.
type goal struct {
	rev     *revision  // nil: not known, so nothing is written
	want    stack.Spec // rev's, or a blend with the last good revision's services
	hash    string     // tells goals apart
	outer   uint64     // what it uses of the swarm without owning it
	need    string     // a commit that has to be read first
	verdict            // why it is not what git asks
	skip    []string   // keys of services that are left alone: Swarm paused their update
	lost    bool       // the commit that it should be is no longer to be had
	revert  bool       // the whole stack goes back to its last good commit
	trigger string     // git, pin or rollback
}

// choose decides what the stack is driven to.
func (k *kept) choose() goal {
	base, trigger := k.newest, "git"
	if p := k.pinned(); p != nil {
		base, trigger = k.past[p.Commit], "pin"
		switch {
		case base == nil:
			return goal{need: p.Commit}
		case !base.usable():
			g := k.fallback()
			g.verdict = base.verdict
			return g
		}
	}
	switch {
	case base == nil:
		return goal{}
	case !base.usable():
		g := k.fallback()
		g.verdict = base.verdict
		return g
	}
	f := k.rec.Failed
	if f == nil || !f.Held || f.Hash != base.hash {
		return goal{rev: base, want: base.spec, hash: base.hash, trigger: trigger}
	}
	return k.held(base, f)
}

// held is the goal while a revision is not to be written again.
func (k *kept) held(base *revision, f *failure) goal {
	why := verdict{reason: heldReason(f.Outcome), cause: f.Outcome, message: f.Text}
	if f.Whole || f.Outcome == outcomeRefused {
		g := k.goodOr(f)
		if f.Whole {
			why.reason = RolledBack
		}
		g.verdict = why
		g.revert = f.Whole
		if g.trigger != "" && f.Whole {
			g.trigger = "rollback"
		}
		return g
	}
	return k.blend(base, f, why)
}

// heldReason is the word for a held revision.
func heldReason(outcome string) Reason {
	switch outcome {
	case outcomeRefused:
		return ApplyFailed
	case outcomeRolledBack:
		return RolledBack
	}
	return RolloutFailed
}

// fallback is the goal while what git asks can't be used: the revision that was
// accepted last, from memory or read again by its commit.
func (k *kept) fallback() goal {
	if a := k.accepted; a.usable() {
		if f := k.rec.Failed; f == nil || !f.Held || f.Hash != a.hash {
			return of(a)
		}
		return k.held(a, k.rec.Failed)
	}
	if f := k.rec.Failed; f != nil && f.Held && f.Commit == k.rec.Target {
		return k.goodOr(f)
	}
	return k.older(k.rec.Target)
}

// goodOr is the last good revision, unless it is the one that failed.
func (k *kept) goodOr(f *failure) goal {
	if k.rec.GoodHash == f.Hash {
		return goal{}
	}
	return k.older(k.rec.Good)
}

// older is a goal at an older commit, which may have to be read first.
func (k *kept) older(commit string) goal {
	if commit == "" {
		return goal{}
	}
	if a := k.accepted; a.usable() && a.commit == commit {
		return of(a)
	}
	rev := k.past[commit]
	switch {
	case rev == nil:
		return goal{need: commit}
	case !rev.usable():
		return goal{verdict: rev.verdict, lost: rev.cause == "missing-commit"}
	}
	return of(rev)
}

func of(r *revision) goal { return goal{rev: r, want: r.spec, hash: r.hash, trigger: "git"} }

// blend is the held revision with the services that Swarm rolled back as the last
// good commit has them: what Swarm did stays, what a hand did is healed.
func (k *kept) blend(base *revision, f *failure, why verdict) goal {
	g := goal{rev: base, want: base.spec, verdict: why, trigger: "git"}
	var back []string
	for key, outcome := range f.Services {
		if outcome == outcomeRolledBack {
			back = append(back, key)
		} else {
			g.skip = append(g.skip, key)
		}
	}
	slices.Sort(back)
	slices.Sort(g.skip)
	if len(back) > 0 {
		good := k.goodOr(f)
		if good.need != "" {
			return goal{need: good.need, verdict: why}
		}
		var apart []string
		back, apart = blendable(base.spec, good.want, back)
		g.skip = append(g.skip, apart...)
		slices.Sort(g.skip)
		if len(back) > 0 {
			g.want = mixSpecs(base.spec, good.want, back)
			g.hash = good.hash
		}
	}
	g.hash = base.hash + "~" + g.hash + "~" + strings.Join(append(back, g.skip...), ",")
	return g
}

// blendable splits services into those that can stand in base as good has them
// and those that can't: they use a secret or config that has another content under the same key.
func blendable(base, good stack.Spec, services []string) (can, cannot []string) {
	for _, key := range services {
		i := slices.IndexFunc(good.Services, func(s stack.Service) bool { return s.Key == key })
		if i >= 0 && sameContent(base, good, good.Services[i]) {
			can = append(can, key)
		} else {
			cannot = append(cannot, key)
		}
	}
	return can, cannot
}

// sameContent says that what s uses means the same in both specs.
func sameContent(base, good stack.Spec, s stack.Service) bool {
	c := s.Spec.TaskTemplate.ContainerSpec
	if c == nil {
		return true
	}
	for _, r := range c.Secrets {
		if r != nil && !bytes.Equal(secretData(base, r.SecretName), secretData(good, r.SecretName)) {
			return false
		}
	}
	for _, r := range c.Configs {
		if r != nil && !bytes.Equal(configData(base, r.ConfigName), configData(good, r.ConfigName)) {
			return false
		}
	}
	return true
}

func secretData(s stack.Spec, key string) []byte {
	for _, v := range s.Secrets {
		if v.Key == key {
			return v.Data
		}
	}
	return nil
}

func configData(s stack.Spec, key string) []byte {
	for _, v := range s.Configs {
		if v.Key == key {
			return v.Data
		}
	}
	return nil
}

// mixSpecs gives base with the named services as good has them, and with the
// networks, secrets and configs that those use.
func mixSpecs(base, good stack.Spec, services []string) stack.Spec {
	out := base
	out.Services = slices.Clone(base.Services)
	for i, s := range out.Services {
		if !slices.Contains(services, s.Key) {
			continue
		}
		for _, old := range good.Services {
			if old.Key == s.Key {
				out.Services[i] = old
			}
		}
	}
	out.Networks = union(base.Networks, good.Networks, func(n stack.Network) string { return n.Key })
	out.Secrets = union(base.Secrets, good.Secrets, func(s stack.Secret) string { return s.Key })
	out.Configs = union(base.Configs, good.Configs, func(c stack.Config) string { return c.Key })
	out.Taint = base.Taint.Join(good.Taint)
	return out
}

// union is a with those of b whose key a lacks, sorted by key as a Spec's lists are.
func union[T any](a, b []T, key func(T) string) []T {
	out := slices.Clone(a)
	for _, v := range b {
		if !slices.ContainsFunc(a, func(w T) bool { return key(w) == key(v) }) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	return out
}

// The outcomes of a failed try, as memory keeps them.
const (
	outcomeRefused    = "refused"
	outcomeRolledBack = "rolled-back"
	outcomePaused     = "paused"
	outcomeFailed     = "failed"
	outcomeTimedOut   = "timed-out"
	outcomeError      = "error"
)

const (
	backoffFirst = 10 * time.Second
	backoffMost  = 10 * time.Minute
)

// backoff is how long to wait after so many tries: 10 s, doubling to 10 min.
func backoff(tries int) time.Duration {
	d := backoffFirst
	for range tries - 1 {
		if d *= 2; d >= backoffMost {
			return backoffMost
		}
	}
	return d
}
