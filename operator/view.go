package operator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
)

// show assembles the status where something changed, and tells the alerts that
// follow from it.
func (l *loop) show(now time.Time) {
	if due := l.alerts.next(now); !due.IsZero() && !due.After(now) {
		l.told = false
	}
	if l.told || now.Before(l.toldAt.Add(l.tellEvery)) {
		return
	}
	began := time.Now()
	l.told, l.toldAt = true, now
	s := l.status(now)
	before := l.alerts
	l.alerts = before.advance(conditions(s, l.config), now)
	s.Alerts = l.alerts.firing(l.config)
	ended := l.rememberAlerts(before)
	l.o.shown.Store(&s)
	l.tellers.set(s.Alerts, ended.firing(l.config))
	l.once.saw(s)
	l.tellEvery = max(publishDelay, 5*time.Since(began)) // leave more time for work than for telling
}

// status is how things are, as a value that shares nothing with the loop.
func (l *loop) status(now time.Time) Status {
	s := Status{
		Cluster: l.config.Cluster, Instance: l.config.Instance, Version: l.config.Version,
		Started: l.began, Ready: true, Config: l.refused, Swarm: l.swarmErr,
		Tenants: []TenantStatus{}, Stacks: []StackStatus{}, Orphans: append([]Orphan{}, l.orphans...), Counts: l.counts,
		at: now, configSince: l.refuseAt, swarmSince: l.swarmBad,
	}
	if l.seen > 0 {
		s.LastLook, s.LookTook = l.live.Taken, l.lookTook.Seconds()
	}
	for _, name := range slices.Sorted(maps.Keys(l.tenants)) {
		t := l.tenants[name]
		ts := l.tenantStatus(t)
		s.Tenants = append(s.Tenants, ts)
		if ts.Reason != "" {
			s.Stacks = append(s.Stacks, wholeTenant(ts))
		}
	}
	for _, k := range l.order {
		if st, ok := l.stackStatus(k, now); ok {
			s.Stacks = append(s.Stacks, st)
			continue
		}
		if k.newest == nil && k.part.ours > 0 && l.tenants[k.tenant].good != nil && l.pruneOf(k) == "never" {
			s.Orphans = append(s.Orphans, Orphan{Tenant: k.tenant, Stack: k.stack})
		}
	}
	sortOrphans(s.Orphans)
	slices.SortStableFunc(s.Stacks, func(a, b StackStatus) int {
		if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
			return c
		}
		return strings.Compare(a.Stack, b.Stack)
	})
	return s
}

func sortOrphans(list []Orphan) {
	slices.SortFunc(list, func(a, b Orphan) int {
		if c := strings.Compare(a.Tenant, b.Tenant); c != 0 {
			return c
		}
		return strings.Compare(a.Stack, b.Stack)
	})
}

// tenantStatus is how a tenant's repository is.
func (l *loop) tenantStatus(t *followed) TenantStatus {
	s := TenantStatus{Tenant: t.Name, Repo: withoutCredentials(t.Repo), Ref: refOf(t.Tenant), alerted: t.rec.Alerts}
	if t.good != nil {
		s.Commit, s.Subject = t.good.commit, t.good.subject
	}
	r := t.last
	if r == nil {
		return s
	}
	if r.commit != "" {
		s.Commit, s.Subject = r.commit, r.subject
	}
	s.LastLook, s.NextLook = r.at, r.next
	s.Reason, s.Cause, s.Message = r.reason, r.cause, r.message
	if r.reason != "" {
		s.Since = t.since
	}
	return s
}

// wholeTenant is the element of a tenant whose repository can't be read or
// rendered at all.
func wholeTenant(t TenantStatus) StackStatus {
	return StackStatus{
		Tenant: t.Tenant, Commit: t.Commit, Sync: SyncUnknown, Health: string(deploy.Missing),
		Reason: t.Reason, Cause: t.Cause, Message: t.Message,
		LastLook: t.LastLook, NextLook: t.NextLook, Since: t.Since, Services: []ServiceStatus{},
	}
}

// stackStatus is how one stack is; false: there is nothing to show of it.
func (l *loop) stackStatus(k *kept, now time.Time) (StackStatus, bool) {
	if k.newest == nil && (k.part.ours == 0 || l.tenants[k.tenant].good != nil && l.pruneOf(k) == "never") {
		return StackStatus{}, false
	}
	s := StackStatus{
		Tenant: k.tenant, Stack: k.stack, Sync: l.syncOf(k, now), Health: healthOf(k),
		Deployed: k.rec.Good, Attempted: k.rec.Attempted, Services: k.services(),
		Frozen: frozenHold(k.frozen(now)), Pinned: pinnedHold(k.pinned()), alerted: k.rec.Alerts,
	}
	if k.newest != nil {
		s.Commit = k.newest.commit
		s.Warnings = append(slices.Clone(k.newest.warnings), k.notes...)
	}
	if s.Attempted == "" {
		s.Attempted = s.Deployed
	}
	if t := l.tenants[k.tenant]; t.last != nil {
		s.LastLook, s.NextLook = t.last.at, t.last.next
	}
	v := l.verdictOf(k)
	s.Reason, s.Cause, s.Message = v.reason, v.cause, v.message
	if s.Message == "" {
		s.Message = l.remark(k, now)
	}
	if l.driftOf(k) != "ignore" || s.Frozen != nil {
		s.Drift = slices.Clone(k.drift)
	}
	s.Fought = len(k.drift) > 0 && l.fought(k, now)
	s.Since = now
	if was := k.looked; was.Sync == s.Sync && was.Health == s.Health && was.Reason == s.Reason && was.Cause == s.Cause {
		s.Since = was.Since
	}
	l.logChange(k, s)
	k.looked = s
	return s, true
}

// verdictOf is why the stack is not as git asks; the first that applies.
func (l *loop) verdictOf(k *kept) verdict {
	switch {
	case k.newest == nil:
		return l.leavingVerdict(k)
	case k.newest.reason != "":
		return k.newest.verdict
	case k.conflict != "":
		return verdict{Conflict, "name", k.conflict}
	case k.goal.reason != "":
		return withText(k.goal.verdict, k)
	case k.problem.reason != "":
		return k.problem
	case k.rec.Failed != nil && k.newest.hash == k.rec.Failed.Hash:
		return l.failureVerdict(k)
	}
	if text := l.brokenDependency(k); text != "" {
		return verdict{DependencyNotReady, "stack", text}
	}
	if len(k.stays) > 0 && k.rec.Blocked != nil {
		return verdict{PruneBlocked, "confirm", fmt.Sprintf("left the stack's file and is kept: %s; to remove it: %s", strings.Join(bounded(k.stays), ", "), leaveCommand(k.tenant, k.rec.Blocked))}
	}
	return verdict{}
}

// withText says at a held revision what its tasks said.
func withText(v verdict, k *kept) verdict {
	if v.message == "" {
		v.message = k.redact(k.health.Message)
	}
	return v
}

// leavingVerdict is why a stack that left git is still there.
func (l *loop) leavingVerdict(k *kept) verdict {
	switch {
	case k.leaving != nil:
		return verdict{PruneBlocked, "", fmt.Sprintf("left git at %s and is kept: %s; to remove it: %s", short(k.leaving.Commit), k.leaving.Why, leaveCommand(k.tenant, k.leaving))}
	case k.problem.reason != "":
		return k.problem
	}
	return verdict{}
}

// failureVerdict is a rollout that failed and is left to Swarm.
func (l *loop) failureVerdict(k *kept) verdict {
	f := k.rec.Failed
	switch f.Outcome {
	case outcomeError:
		return verdict{ApplyFailed, f.Outcome, f.Text}
	case outcomeFailed, outcomeTimedOut:
		if k.health.State == deploy.Healthy && !k.blind {
			return verdict{}
		}
		text := f.Text
		if k.health.Message != "" && k.health.State == deploy.Degraded {
			text = k.redact(k.health.Message)
		}
		return verdict{RolloutFailed, f.Outcome, text}
	}
	return verdict{heldReason(f.Outcome), f.Outcome, f.Text}
}

// brokenDependency says that a stack waits for one that will not get ready by itself.
func (l *loop) brokenDependency(k *kept) string {
	if k.goal.rev == nil || k.rec.Applied == k.goal.rev.hash {
		return ""
	}
	for _, d := range k.goal.want.Wishes.DependsOn {
		if dep := l.dependency(k, d); dep != nil && !l.ready(dep) && l.broken(dep) {
			return fmt.Sprintf("waits for stack %q, which is not as git asks: mend that one first", dep.stack)
		}
	}
	return ""
}

// leaverRemark is what becomes of a stack that left git and that no guard holds back.
func (l *loop) leaverRemark(k *kept, now time.Time) string {
	t := l.tenants[k.tenant]
	switch {
	case k.frozen(now) != nil || k.memory.Pinned != nil:
		return "left git and is kept as long as it is frozen or pinned"
	case t.last != t.good:
		return "left git and is kept until the repository can be read again"
	case len(t.good.unclear) > 0:
		return fmt.Sprintf("left git and is kept, because folder %s can't be used and might be this stack: mend it", strings.Join(bounded(t.good.unclear), ", "))
	}
	return "left git and is being removed"
}

// remark is what is worth saying of a stack with which nothing is wrong.
func (l *loop) remark(k *kept, now time.Time) string {
	switch {
	case k.newest == nil && l.tenants[k.tenant].good != nil:
		return l.leaverRemark(k, now)
	case k.pending != "":
		return k.pending
	case k.goal.rev != nil && k.rec.Applied != k.goal.rev.hash && l.waiting(k) != "":
		return l.waiting(k)
	case k.health.State == deploy.Degraded, k.health.State == deploy.Progressing:
		return k.redact(k.health.Message)
	case len(k.drift) > 0:
		return "differs from git and is left: " + strings.Join(bounded(k.drift), ", ")
	}
	return ""
}

// syncOf says whether the swarm was told what git asks.
func (l *loop) syncOf(k *kept, now time.Time) Sync {
	switch {
	case !k.met || l.swarmErr != "" && k.clean == "":
		return SyncUnknown
	case k.newest == nil && l.tenants[k.tenant].good == nil:
		return SyncUnknown
	case k.goal.need != "":
		return SyncUnknown
	case k.newest == nil || k.newest.reason != "" || k.conflict != "" || k.goal.reason != "":
		return OutOfSync
	case k.goal.rev == nil:
		return SyncUnknown
	case k.goal.rev.hash != k.newest.hash: // pinned
		return OutOfSync
	case len(k.drift) > 0 && (k.frozen(now) != nil || l.driftOf(k) != "ignore"):
		return OutOfSync
	case k.clean == "" && k.problem.reason == "" && k.rec.Applied == k.goal.rev.hash:
		return SyncUnknown // not compared yet
	case k.clean != k.print() || k.pending != "":
		return OutOfSync
	}
	return Synced
}

// healthOf is the word for what runs. What could not be told yet is on its way.
func healthOf(k *kept) string {
	if k.health.State == "" {
		if k.part.empty() {
			return string(deploy.Missing)
		}
		return string(deploy.Progressing)
	}
	return string(k.health.State)
}

// services are the stack's as they run.
func (k *kept) services() []ServiceStatus {
	list := make([]ServiceStatus, 0, len(k.health.Services))
	for _, s := range k.health.Services {
		list = append(list, ServiceStatus{Name: s.Key, Running: s.Running, Desired: s.Desired, Error: k.redact(s.Error)})
	}
	return list
}

func frozenHold(f *deploy.Frozen) *Hold {
	if f == nil {
		return nil
	}
	return &Hold{By: f.By, Reason: f.Reason, Since: f.Since, Until: f.Until}
}

func pinnedHold(p *deploy.Pinned) *Hold {
	if p == nil {
		return nil
	}
	return &Hold{By: p.By, Reason: p.Reason, Since: p.Since, Commit: p.Commit}
}

// logChange tells the log when a stack begins or ends to be wrong.
func (l *loop) logChange(k *kept, s StackStatus) {
	was := k.looked
	log := l.o.log.With("tenant", s.Tenant, "stack", s.Stack, "commit", s.Commit)
	switch {
	case s.Reason != was.Reason && s.Reason != "":
		log.Warn("stack is not as git asks", "reason", string(s.Reason), "err", s.Message)
	case was.Reason != "" && s.Reason == "":
		log.Info("stack is as git asks again", "reason", string(was.Reason))
	}
	degraded := string(deploy.Degraded)
	switch {
	case s.Health == degraded && was.Health != degraded:
		log.Warn("stack is degraded", "err", s.Message)
	case was.Health == degraded && s.Health == string(deploy.Healthy):
		log.Info("stack is healthy again")
	}
}

// clone gives a status that shares nothing with s.
func (s Status) clone() Status {
	s.Tenants = append([]TenantStatus{}, s.Tenants...)
	s.Orphans = append([]Orphan{}, s.Orphans...)
	s.Peers = append([]alerting.PeerStatus{}, s.Peers...)
	s.Stacks = append([]StackStatus{}, s.Stacks...)
	for i := range s.Stacks {
		t := &s.Stacks[i]
		t.Services = append([]ServiceStatus{}, t.Services...)
		t.Warnings, t.Drift = slices.Clone(t.Warnings), slices.Clone(t.Drift)
		t.Frozen, t.Pinned = copyHold(t.Frozen), copyHold(t.Pinned)
		t.alerted = nil
	}
	for i := range s.Tenants {
		s.Tenants[i].alerted = nil
	}
	s.Alerts = append([]alerting.Alert{}, s.Alerts...)
	for i := range s.Alerts {
		s.Alerts[i].Labels = maps.Clone(s.Alerts[i].Labels)
		s.Alerts[i].Annotations = maps.Clone(s.Alerts[i].Annotations)
	}
	return s
}

func copyHold(h *Hold) *Hold {
	if h == nil {
		return nil
	}
	c := *h
	return &c
}
