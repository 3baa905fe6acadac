package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// at looks for a commit here, then by its hash on the server, then in the
// followed ref's history.
func (m *mirror) at(ctx context.Context, commit string) (Snapshot, error) {
	if !plumbing.IsHash(commit) {
		return Snapshot{}, faultf(CauseMissingCommit, "give all 40 digits", "not a full commit hash: "+clean(commit, 60))
	}
	h := plumbing.NewHash(commit)
	if s, err := m.found(ctx, h); err == nil {
		return s, nil
	}
	unlock, err := m.store.lock(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer unlock()
	m.store.load(m.limits)
	if s, err := m.found(ctx, h); err == nil {
		return s, nil
	}
	if s, err := m.byHash(ctx, h); err == nil || !tryDeeper(ctx, err) {
		return s, err
	}
	for _, depth := range []int{50, 500} {
		s, err := m.deeper(ctx, h, depth)
		if err == nil || !errors.Is(err, errGone) {
			return s, err
		}
	}
	return Snapshot{}, faultf(CauseMissingCommit, "push it again, or choose a newer one",
		fmt.Sprintf("commit %s is neither given out by the server nor among the newest 500", commit))
}

// found gives a commit that is in the folder, however it came there.
func (m *mirror) found(ctx context.Context, h plumbing.Hash) (Snapshot, error) {
	if !m.store.usable() {
		return Snapshot{}, errGone
	}
	err := m.store.with(-1, func(f *folder) error {
		ok, err := f.has(h)
		if err == nil && !ok {
			return errGone
		}
		if err != nil {
			return err
		}
		return f.complete(ctx, h)
	})
	if err != nil {
		return Snapshot{}, err
	}
	return m.snapshot(ctx, h)
}

// byHash asks the server for the commit itself.
func (m *mirror) byHash(ctx context.Context, h plumbing.Hash) (Snapshot, error) {
	l, err := m.look(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer l.session.close()
	if !offers(l.refs, h) {
		return Snapshot{}, errGone
	}
	if err := m.obtain(ctx, l, target{want: h, commit: h}, 1); err != nil {
		return Snapshot{}, err
	}
	return m.snapshot(ctx, h)
}

// offers says whether asking for h is allowed.
func offers(adv *packp.AdvRefs, h plumbing.Hash) bool {
	for _, c := range []capability.Capability{capability.AllowReachableSHA1InWant, capability.AllowTipSHA1InWant, "allow-any-sha1-in-want"} {
		if adv.Capabilities.Supports(c) {
			return true
		}
	}
	for _, tip := range adv.References {
		if tip == h {
			return true
		}
	}
	return false
}

// obtain adds to the folder that is there, or makes one.
func (m *mirror) obtain(ctx context.Context, l look, t target, depth int) error {
	done, err := m.extend(ctx, l, t, depth)
	if done {
		return err
	}
	return m.clone(ctx, l, t, depth)
}

// tryDeeper says whether the history may hold what asking by hash did not give:
// not where the server cannot be reached at all.
func tryDeeper(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch classify(ctx, err).cause {
	case CauseServer, CauseNotFound, CauseNetwork:
		return true // "not our ref", in the words of each server, or a connection that is cut
	}
	return false
}

// deeper fetches that many commits of the followed ref; errGone where h is not
// among them.
func (m *mirror) deeper(ctx context.Context, h plumbing.Hash, depth int) (Snapshot, error) {
	l, err := m.look(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer l.session.close()
	if err := m.obtain(ctx, l, l.target, depth); err != nil {
		return Snapshot{}, err
	}
	return m.found(ctx, h)
}
