package operator

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
)

// leaver is a stack that runs and is no longer in its tenant's repository.
type leaver struct {
	name     string
	prune    string            // auto, confirm or never
	blocked  *blocked          // as decided before; it stays so until confirmed
	services map[string]string // image by service key
}

// tenantView is what the guards have to know of a tenant.
type tenantView struct {
	commit    string                       // of the reading
	stays     int                          // stacks that git holds
	newcomers map[string]map[string]string // image by service key of the stacks that appeared with this commit
	confirmed string                       // the commit whose deletions a person allowed
}

// judge says for each leaver why it may not be removed; those that may are not in
// the answer. The guards are against mistakes that look like deletions.
func (v tenantView) judge(leavers []leaver, now time.Time) map[string]*blocked {
	out := map[string]*blocked{}
	for _, s := range leavers {
		b := s.blocked
		if b == nil {
			if why := v.guard(s, leavers); why != "" {
				b = &blocked{Commit: v.commit, Why: why, Since: now}
			}
		}
		if b != nil && !confirms(v.confirmed, b.Commit) {
			out[s.name] = b
		}
	}
	return out
}

// guard says why a stack may not be removed without a person's word; "" is that it may.
func (v tenantView) guard(s leaver, all []leaver) string {
	if s.prune == "confirm" {
		return "prune: confirm asks for a person's word"
	}
	if v.stays == 0 {
		return "the repository holds no stack any more"
	}
	if n := len(all); n >= 3 && 2*n > n+v.stays-len(v.newcomers) {
		return fmt.Sprintf("%d of %d stacks left git at once", n, n+v.stays-len(v.newcomers))
	}
	for name, services := range v.newcomers {
		for key, image := range s.services {
			if image != "" && services[key] == image {
				return fmt.Sprintf("it looks as if it was renamed to %q (service %q, image %s): volumes of the old name are not carried over; set name: to keep the old name, or confirm", name, key, image)
			}
		}
	}
	return ""
}

// confirms says that a confirmation means this commit; it may be shortened.
func confirms(confirmed, commit string) bool {
	return len(confirmed) >= 7 && strings.HasPrefix(commit, confirmed)
}

// judgeLeavers decides which of the stacks that left git may be removed. Nothing
// is decided unless the newest reading of the tenant is whole.
func (l *loop) judgeLeavers(now time.Time) {
	leaving := map[string][]*kept{}
	for _, k := range l.order {
		if k.newest == nil && k.met && !k.busy && l.seen >= k.fresh {
			leaving[k.tenant] = append(leaving[k.tenant], k)
		}
	}
	for tenant, list := range leaving {
		t := l.tenants[tenant]
		if t.good == nil || t.last != t.good || !t.present {
			continue
		}
		l.judgeTenant(t, list, now)
	}
}

func (l *loop) judgeTenant(t *followed, list []*kept, now time.Time) {
	view := tenantView{commit: t.good.commit, stays: len(t.good.revisions), newcomers: l.newcomers(t)}
	if c := t.memory.Pinned; c != nil {
		view.confirmed = c.Commit
	}
	var leavers []leaver
	for _, k := range list {
		if k.part.ours > 0 && l.pruneOf(k) != "never" {
			leavers = append(leavers, leaver{name: k.stack, prune: l.pruneOf(k), blocked: k.rec.Blocked, services: l.images(k.stack)})
		}
	}
	blocked := view.judge(leavers, now)
	for _, k := range list {
		b := blocked[k.stack]
		if len(t.good.unclear) > 0 && b == nil {
			continue // a folder that can't be told apart may be this stack
		}
		k.judged = true
		l.block(k, b)
	}
}

// block notes why a stack is not removed, or that it may be.
func (l *loop) block(k *kept, b *blocked) {
	k.leaving = b
	if b == nil || k.rec.Blocked != nil {
		return
	}
	k.rec.Blocked = b
	k.changed, l.told = true, false
	l.o.log.Warn("stack is not removed", "tenant", k.tenant, "stack", k.stack, "commit", b.Commit, "err", b.Why)
}

// newcomers are the stacks that appeared with the tenant's commit.
func (l *loop) newcomers(t *followed) map[string]map[string]string {
	out := map[string]map[string]string{}
	for _, r := range t.good.revisions {
		k := l.stacks[stackID{t.Name, r.name}]
		if k == nil || !r.usable() || !k.part.empty() && k.rec.Born != r.commit {
			continue
		}
		services := map[string]string{}
		for _, s := range r.spec.Services {
			services[s.Key] = imageOf(s.Spec)
		}
		out[r.name] = services
	}
	return out
}

// images are those of a stack's live services, by service key.
func (l *loop) images(name string) map[string]string {
	out := map[string]string{}
	for i := range l.live.Services {
		s := &l.live.Services[i]
		if deploy.OwnerLabels(s)[deploy.LabelNamespace] == name {
			out[strings.TrimPrefix(s.Spec.Name, name+"_")] = imageOf(s.Spec)
		}
	}
	return out
}

// imageOf is a service's image as git gives it, in its familiar form.
func imageOf(s swarm.ServiceSpec) string {
	c := s.TaskTemplate.ContainerSpec
	if c == nil {
		return ""
	}
	image, _, _ := strings.Cut(c.Image, "@")
	return deploy.Familiar(image)
}

// mayGo says that a stack which left git may be removed at this moment.
func (l *loop) mayGo(k *kept, now time.Time) bool {
	t := l.tenants[k.tenant]
	if t.good == nil || t.last != t.good || !k.judged || k.leaving != nil || k.part.ours > 0 && l.pruneOf(k) == "never" {
		return false
	}
	if k.frozen(now) != nil || k.memory.Pinned != nil {
		return false // a person holds it
	}
	return k.part.owner == "" || k.part.owner == k.tenant
}

// leaveCommand is what a person types to allow a deletion.
func leaveCommand(tenant string, b *blocked) string {
	return fmt.Sprintf("skep prune confirm %s --commit %s", tenant, short(b.Commit))
}

// tenantSaved is the answer to the writing of a tenant's memory.
type tenantSaved struct {
	tenant string
	memory deploy.Memory
	rec    tenantRecord
	err    error
}

// rememberTenants writes the tenants' own memories where they changed.
func (l *loop) rememberTenants(ctx context.Context, now time.Time) {
	for _, t := range l.tenants {
		if t.good != nil && len(t.good.unclear) == 0 && t.rec.Commit != t.good.commit {
			t.rec.Commit, t.changed = t.good.commit, true
		}
		if !t.changed || t.saving || !t.present || now.Before(t.saveAt) {
			continue
		}
		t.changed = false
		state := t.rec.encode()
		if string(state) == t.saved {
			continue
		}
		m := t.memory
		m.Instance, m.Tenant, m.State = l.config.Instance, t.Name, state
		t.saving = true
		w, rec := l.o.w, t.rec
		l.wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, saveTimeout)
			defer cancel()
			written, err := deploy.WriteMemory(ctx, w, m)
			send(ctx, l.saved, tenantSaved{m.Tenant, written, rec, err})
		})
	}
}

// takeSaved takes in that a tenant's memory was written.
func (l *loop) takeSaved(s tenantSaved) {
	t := l.tenants[s.tenant]
	if t == nil {
		return
	}
	t.saving = false
	t.fresh = l.nextSeq()
	if s.err != nil {
		t.changed = true
		t.saveAt = time.Now().Add(jitter(backoffFirst))
		l.lookBy(time.Now().Add(eventDelay))
		return
	}
	l.counts.Writes++
	t.memory, t.saved = s.memory, string(s.memory.State)
}
