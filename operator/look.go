package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
)

// look is one whole look at the swarm.
type look struct {
	seq  uint64
	live deploy.Live
	key  deploy.Key
	took time.Duration
	err  error
}

// startLook begins a look if one is due. One look serves all stacks.
func (l *loop) startLook(ctx context.Context, now time.Time) {
	if l.looking || now.Before(l.lookDue()) {
		return
	}
	l.looking = true
	l.seq++
	l.lookAt = now.Add(min(fullLook, max(l.config.Interval, time.Second)))
	o, seq, known := deploy.LookOptions{Instance: l.config.Instance, Tasks: l.wantsTasks()}, l.seq, l.key
	l.wg.Go(func() { send(ctx, l.looks, observe(ctx, l.o.w, o, seq, known)) })
}

// wantsTasks says whether anything is on its way or broken: the counters of the
// service list tell the rest.
func (l *loop) wantsTasks() bool {
	for _, k := range l.order {
		if k.rec.Attempt != nil || k.blind || k.health.State == deploy.Progressing || k.health.State == deploy.Degraded {
			return true
		}
		if k.newest == nil && k.judged && k.part.ours > 0 || l.extraNetworks(k) {
			return true
		}
	}
	return false
}

// extraNetworks says that a network of the stack may have to go, which takes a
// look with tasks.
func (l *loop) extraNetworks(k *kept) bool {
	own := 0
	for _, n := range k.goal.want.Networks {
		if !n.External {
			own++
		}
	}
	return k.goal.rev != nil && k.part.networks > own
}

// observe looks at the swarm, and finds the instance's key the first time.
func observe(ctx context.Context, w deploy.Writer, o deploy.LookOptions, seq uint64, key deploy.Key) (k look) {
	began := time.Now()
	k.seq, k.key = seq, key
	defer func() {
		if p := recover(); p != nil {
			k.err = fmt.Errorf("internal error while the swarm was looked at: %s", panicKind(p))
		}
		k.took = time.Since(began)
	}()
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if k.live, k.err = deploy.Observe(ctx, w, o); k.err != nil {
		return k
	}
	k.live = k.live.Indexed()
	if k.key == nil {
		k.key, k.err = deploy.FetchKey(ctx, w, o.Instance)
	}
	return k
}

// takeLook takes a look in. One that failed says nothing: what was seen before
// stays, and nothing is decided on it.
func (l *loop) takeLook(k look) {
	now := time.Now()
	l.looking, l.lookTook, l.lookEnd = false, k.took, now
	l.told = false
	if k.err != nil {
		if l.swarmErr == "" {
			l.swarmBad = now
			l.o.log.Error("swarm cannot be read", "err", k.err)
		}
		l.swarmErr = k.err.Error()
		l.lookBy(now.Add(badLook))
		return
	}
	if l.swarmErr != "" {
		l.o.log.Info("swarm can be read again")
		l.swarmErr = ""
	}
	l.counts.Cycles++
	api := k.live.LowestAPI()
	if l.seen == 0 {
		l.api.Store(&api)
		close(l.out.known)
	}
	l.live, l.key, l.seen = k.live, k.key, k.seq
	l.claimed, l.assessed = false, false
	if *l.api.Load() != api {
		l.api.Store(&api)
		l.kick("")
	}
	l.index()
}

// swarmReadable says that decisions may rest on the last look.
func (l *loop) swarmReadable() bool { return l.swarmErr == "" && l.seen > 0 && l.key != nil }

// index files the look's objects and memories under their stacks, and finds the
// stacks that are in the swarm and not in git.
func (l *loop) index() {
	l.parts = split(l.live, l.config.Instance)
	l.services = make(map[string]*swarm.Service, len(l.live.Services))
	for i := range l.live.Services {
		l.services[l.live.Services[i].Spec.Name] = &l.live.Services[i]
	}
	l.networks = make(map[string]*network.Summary, len(l.live.Networks))
	for i := range l.live.Networks {
		if n := &l.live.Networks[i]; n.Scope == "swarm" && n.Containers == nil {
			l.networks[n.Name] = n
		}
	}
	l.memories = make(map[stackID]deploy.Memory, len(l.live.Memories))
	for _, m := range l.live.Memories {
		l.memories[stackID{m.Tenant, m.Stack}] = m
		if m.Stack != "" && l.tenants[m.Tenant] != nil {
			l.stack(stackID{m.Tenant, m.Stack})
		}
	}
	for name, p := range l.parts {
		if p.ours > 0 && l.tenants[p.owner] != nil {
			l.stack(stackID{p.owner, name})
		}
	}
	l.findOrphans()
	for _, k := range l.stacks {
		l.meet(k)
	}
	for _, t := range l.tenants {
		l.meetTenant(t)
	}
}

// meet gives a stack what the last look saw of it, unless a job of its own is
// ahead of that look.
func (l *loop) meet(k *kept) {
	if k.busy || l.seen < k.fresh {
		return
	}
	k.part = part{}
	if p := l.parts[k.stack]; p != nil {
		k.part = *p
	}
	first := !k.met
	k.met = l.seen > 0
	k.adopt(l.memories[k.stackID])
	if f := k.rec.Failed; first && f != nil {
		k.retry, k.tries = f.Next, f.Tries
	}
}

// meetTenant gives a tenant its own memory.
func (l *loop) meetTenant(t *followed) {
	if t.saving || l.seen < t.fresh {
		return
	}
	t.memory = l.memories[stackID{tenant: t.Name}]
	if string(t.memory.State) != t.saved {
		t.rec = parseRecord[tenantRecord](t.memory)
		t.saved = string(t.memory.State)
	}
	t.present = l.seen > 0
}

// findOrphans lists the stacks of ours whose tenant is not configured.
func (l *loop) findOrphans() {
	l.orphans = nil
	for name, p := range l.parts {
		if p.ours > 0 && l.tenants[p.owner] == nil {
			l.orphans = append(l.orphans, Orphan{Tenant: p.owner, Stack: name})
		}
	}
	sortOrphans(l.orphans)
}
