package operator

import (
	"context"
	"time"

	"github.com/skep-gitops/skep/source"
)

// For each tenant: snapshot → definitions → specs → plan → apply → status.
//
// The first half of the way is look and read: each repository goes it for its
// own tenants and at its own pace. The second half is turn: one look at the
// swarm serves all stacks, and each stack's plan is carried out beside the others'.

// look fetches and tells every tenant's reading, unless the tenants' credentials
// changed: then they have to be grouped again. False is the end.
func (f *follower) look(ctx context.Context, out outlet) bool {
	if f.changed() {
		return send(ctx, out.regroup, struct{}{}) // it is stopped then, unless they changed back
	}
	readings := f.readings(ctx, out.api())
	if ctx.Err() != nil {
		return false
	}
	for i := range readings {
		readings[i].next = f.next
	}
	return send(ctx, out.readings, readings)
}

// readings fetches, and reads what was fetched for each tenant.
func (f *follower) readings(ctx context.Context, api string) []reading {
	snap, err := f.fetch(ctx)
	readings := make([]reading, 0, len(f.readers))
	for _, r := range f.readers {
		var got reading
		if err != nil {
			got = reading{tenant: r.tenant.Name, verdict: judge(err, FetchFailed)}
		} else {
			got = r.read(snap, api)
		}
		got.at = time.Now()
		readings = append(readings, got)
	}
	return readings
}

// read gives every stack that the snapshot asks for.
func (r *reader) read(snap source.Snapshot, api string) reading {
	out := reading{tenant: r.tenant.Name, commit: snap.Commit, author: snap.Author, subject: snap.Subject}
	var err error
	if out.auth, err = r.registries(); err != nil {
		out.verdict = verdict{FetchFailed, "registry-credentials", err.Error()}
		return out
	}
	tree, err := r.open(snap)
	if err != nil {
		out.verdict = judge(err, RenderFailed)
		return out
	}
	options := r.options(api)
	definitions, err := discover(tree, options)
	if err != nil {
		out.verdict = judge(err, RenderFailed)
		return out
	}
	out.revisions, out.renders = r.renderAll(tree, snap, definitions, options)
	for _, d := range definitions {
		if d.Err != nil {
			out.unclear = append(out.unclear, d.Dir)
		}
	}
	checkOrder(out.revisions, r.tenant.Prefix)
	return out
}

// turn decides what follows from what is known: it starts looks and jobs, which
// report back, and shows how things are.
func (l *loop) turn(ctx context.Context, now time.Time) {
	l.sortStacks()
	l.startLook(ctx, now)
	if l.swarmReadable() {
		l.assess(now)       // live → health: what became of each rollout
		l.claim()           // names that two tenants want
		l.judgeLeavers(now) // stacks that left git: may they go?
		l.advance(ctx, now) // specs → plan → apply
		l.rememberTenants(ctx, now)
	}
	l.show(now) // → status → alerts
}
