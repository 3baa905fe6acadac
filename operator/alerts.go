package operator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
)

// AlertRule is one alert that the operator may raise.
type AlertRule struct {
	Name     string
	Severity string        // critical, warning, info or none
	For      time.Duration // how long the cause must last before it fires
	Keep     time.Duration // how long it goes on firing when the cause is gone, against flapping
	Summary  string        // what it means, for people
}

// The names of the alerts.
const (
	alertSource      = "SkepSourceFailed"
	alertStack       = "SkepStackFailed"
	alertDegraded    = "SkepStackDegraded"
	alertPrune       = "SkepPruneBlocked"
	alertConflict    = "SkepConflict"
	alertConfig      = "SkepConfigInvalid"
	alertSwarm       = "SkepSwarmUnreachable"
	alertDrift       = "SkepDrift"
	alertDriftFight  = "SkepDriftFight"
	alertFrozen      = "SkepFrozenTooLong"
	alertPinned      = "SkepPinnedTooLong"
	alertWatchdog    = "SkepWatchdog"
	severityCritical = "critical"
	severityWarning  = "warning"
	severityInfo     = "info"
)

// How long a freeze and a pin may last before that is told.
const (
	frozenLimit = 24 * time.Hour
	pinnedLimit = 7 * 24 * time.Hour
)

// AlertRules is the catalogue of all alerts, in the order of the documentation.
func AlertRules() []AlertRule {
	return []AlertRule{
		{alertSource, severityWarning, 0, 0, "a tenant's repository cannot be read: what runs stays, nothing is deployed or removed"},
		{alertStack, severityCritical, 0, 0, "a stack is not as git asks; the reason is in the description"},
		{alertDegraded, severityCritical, 30 * time.Second, time.Minute, "a stack was deployed and does not run as specified any more"},
		{alertPrune, severityWarning, 0, 0, "a stack left git and is kept, until a person confirms or it comes back"},
		{alertConflict, severityWarning, 0, 0, "a stack needs a name or an object that belongs to somebody else"},
		{alertConfig, severityWarning, 0, 0, "a newer configuration was refused; the one before is in force"},
		{alertSwarm, severityCritical, time.Minute, 0, "the swarm cannot be read: nothing is written meanwhile"},
		{alertDrift, severityInfo, 0, 0, "a stack was changed by hand and drift: warn leaves it so"},
		{alertDriftFight, severityWarning, 0, 5 * time.Minute, "somebody keeps changing what is healed: healing pauses"},
		{alertFrozen, severityInfo, 0, 0, "a stack is frozen for more than a day"},
		{alertPinned, severityInfo, 0, 0, "a stack is pinned for more than a week"},
		{alertWatchdog, "none", 0, 0, "always fires: when it stops, the operator or the way to Alertmanager is broken"},
	}
}

// ruleOf finds a rule of the catalogue.
func ruleOf(name string) AlertRule {
	for _, r := range AlertRules() {
		if r.Name == name {
			return r
		}
	}
	return AlertRule{Name: name}
}

// condition is one thing that is wrong at this moment.
type condition struct {
	rule          AlertRule
	tenant, stack string
	description   string
	commit        string
	since         time.Time
	known         time.Time // since when it fires, from an earlier life; zero: it did not
}

func (c condition) id() string { return c.rule.Name + "\x00" + c.tenant + "\x00" + c.stack }

// conditions says what is wrong in a status. One problem gives one condition: a
// stack that failed is not degraded on top of it, and a stack that waits for
// another is not told where that one is.
func conditions(s Status, c Config) []condition {
	out := []condition{{rule: ruleOf(alertWatchdog), description: "skep " + s.Version + " works", since: s.Started, known: s.Started}}
	if s.Config != "" {
		out = append(out, condition{rule: ruleOf(alertConfig), description: s.Config, since: s.configSince})
	}
	if s.Swarm != "" {
		out = append(out, condition{rule: ruleOf(alertSwarm), description: s.Swarm, since: s.swarmSince})
	}
	for _, t := range s.Tenants {
		if t.Reason == "" {
			continue
		}
		rule := ruleOf(alertSource)
		if passing(t.Cause) {
			rule.For = sourceFor(c)
		}
		out = append(out, condition{rule: rule, tenant: t.Tenant, description: describeReason(t.Reason, t.Message), commit: t.Commit, since: t.Since, known: t.alerted[rule.Name]})
	}
	for _, k := range s.Stacks {
		if k.Stack != "" {
			out = append(out, stackConditions(k, s)...)
		}
	}
	return out
}

// passing says that a cause often passes by itself within a look or two.
func passing(cause string) bool { return cause == "timeout" || cause == "network" || cause == "server" }

// sourceFor is how long a passing failure may last: two looks, a minute at most.
func sourceFor(c Config) time.Duration { return min(2*c.Interval, time.Minute) }

// stackConditions says what is wrong with one stack.
func stackConditions(k StackStatus, s Status) []condition {
	var out []condition
	add := func(name, text string, since time.Time) {
		out = append(out, condition{rule: ruleOf(name), tenant: k.Tenant, stack: k.Stack, description: text, commit: k.Commit, since: since, known: k.alerted[name]})
	}
	text := describeReason(k.Reason, k.Message)
	switch {
	case k.Reason == Conflict:
		add(alertConflict, text, k.Since)
	case k.Reason == PruneBlocked:
		add(alertPrune, text, k.Since)
	case k.Reason == DependencyNotReady && k.Cause == "stack":
	case k.Reason != "":
		add(alertStack, text, k.Since)
	case k.Health == string(deploy.Degraded):
		add(alertDegraded, k.Message, k.Since)
	}
	switch {
	case k.Fought:
		add(alertDriftFight, "changed by hand again and again: "+strings.Join(bounded(k.Drift), ", "), k.Since)
	case len(k.Drift) > 0 && k.Frozen == nil:
		add(alertDrift, strings.Join(bounded(k.Drift), ", "), k.Since)
	}
	if h := k.Frozen; h != nil && !s.at.IsZero() && s.at.Sub(h.Since) > frozenLimit {
		add(alertFrozen, fmt.Sprintf("frozen by %s: %s; skep unfreeze %s ends it", h.By, h.Reason, k.Stack), h.Since.Add(frozenLimit))
	}
	if h := k.Pinned; h != nil && !s.at.IsZero() && s.at.Sub(h.Since) > pinnedLimit {
		add(alertPinned, fmt.Sprintf("pinned at %s by %s: %s; skep unpin %s ends it", short(h.Commit), h.By, h.Reason, k.Stack), h.Since.Add(pinnedLimit))
	}
	return out
}

// describeReason puts the reason before the message.
func describeReason(r Reason, message string) string {
	if message == "" {
		return string(r)
	}
	return string(r) + ": " + message
}

// table is what fires or is about to, by identity. It is a value: advance gives
// the next one.
type table map[string]pending

// pending is one alert on its way.
type pending struct {
	condition
	seen   time.Time // when its cause was first there, without a break
	last   time.Time // when its cause was last there
	active bool      // its cause is there
	start  time.Time // when it began to fire; zero: it doesn't yet
}

// advance takes the conditions of this moment in.
func (t table) advance(now []condition, at time.Time) table {
	next := table{}
	for _, c := range now {
		p, known := t[c.id()]
		if !known {
			p = pending{seen: c.since}
			if p.seen.IsZero() || p.seen.After(at) {
				p.seen = at
			}
		} else if !p.active && p.start.IsZero() {
			p.seen = at
		}
		p.condition, p.last, p.active = c, at, true
		if p.start.IsZero() && !at.Before(p.seen.Add(c.rule.For)) {
			p.start = at.UTC().Truncate(time.Millisecond)
		}
		if !c.known.IsZero() && (p.start.IsZero() || c.known.Before(p.start)) {
			p.start = c.known // an earlier life told it already
		}
		next[c.id()] = p
	}
	for id, p := range t {
		if _, still := next[id]; still || p.start.IsZero() || !at.Before(p.last.Add(p.rule.Keep)) {
			continue
		}
		p.active = false
		next[id] = p
	}
	return next
}

// next is when advance has to be asked again though nothing changes; zero: never.
func (t table) next(now time.Time) time.Time {
	var first time.Time
	for _, p := range t {
		var due time.Time
		switch {
		case p.start.IsZero():
			due = p.seen.Add(p.rule.For)
		case !p.active:
			due = p.last.Add(p.rule.Keep)
		default:
			continue
		}
		if first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}

// firing gives what fires as alerts, sorted by name, tenant and stack.
func (t table) firing(c Config) []alerting.Alert {
	var list []pending
	for _, p := range t {
		if !p.start.IsZero() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.rule.Name, b.rule.Name), cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.stack, b.stack))
	})
	out := make([]alerting.Alert, 0, len(list))
	for _, p := range list {
		out = append(out, p.alert(c))
	}
	return out
}

// alert is what Alertmanager is told. A tenant's own labels never replace ours.
func (p pending) alert(c Config) alerting.Alert {
	labels := map[string]string{}
	for _, t := range c.Tenants {
		if t.Name == p.tenant {
			maps.Copy(labels, t.Labels)
		}
	}
	labels["alertname"], labels["severity"], labels["cluster"] = p.rule.Name, p.rule.Severity, c.Cluster
	for name, value := range map[string]string{"tenant": p.tenant, "stack": p.stack} {
		delete(labels, name)
		if value != "" {
			labels[name] = value
		}
	}
	notes := map[string]string{"summary": p.summary(), "description": cut(p.description, 2000)}
	if p.commit != "" {
		notes["commit"] = p.commit
	}
	return alerting.Alert{Labels: labels, Annotations: notes, StartsAt: p.start}
}

// summary is one line: whom it concerns and what it means.
func (p pending) summary() string {
	switch {
	case p.stack != "":
		return fmt.Sprintf("%s/%s: %s", p.tenant, p.stack, p.rule.Summary)
	case p.tenant != "":
		return fmt.Sprintf("%s: %s", p.tenant, p.rule.Summary)
	}
	return p.rule.Summary
}

// rememberAlerts puts since when alerts fire into the memories that they belong
// to. It gives those that an earlier life told and whose cause is gone: they fire
// at Alertmanager, and only who knows them can end them there. told is what this
// life told before.
func (l *loop) rememberAlerts(told table) (ended table) {
	ended = table{}
	end := func(tenant, stack string, was, now map[string]time.Time) {
		for name, start := range was {
			p := pending{condition: condition{rule: ruleOf(name), tenant: tenant, stack: stack, description: "its cause is gone"}, start: start}
			if _, fires := now[name]; !fires && told[p.id()].start.IsZero() {
				ended[p.id()] = p
			}
		}
	}
	stacks, tenants := l.alerts.starts()
	for _, k := range l.order {
		if now := stacks[k.stackID]; k.met && !k.busy && l.seen >= k.fresh && l.certain(k) && !sameTimes(k.rec.Alerts, now) {
			end(k.tenant, k.stack, k.rec.Alerts, now)
			k.rec.Alerts, k.changed = now, true
		}
	}
	for _, t := range l.tenants {
		if now := tenants[t.Name]; t.present && !t.saving && t.last != nil && !sameTimes(t.rec.Alerts, now) {
			end(t.Name, "", t.rec.Alerts, now)
			t.rec.Alerts, t.changed = now, true
		}
	}
	return ended
}

// starts are when the alerts that fire began, by name, of each stack and tenant.
func (t table) starts() (stacks map[stackID]map[string]time.Time, tenants map[string]map[string]time.Time) {
	stacks, tenants = map[stackID]map[string]time.Time{}, map[string]map[string]time.Time{}
	for _, p := range t {
		switch {
		case p.start.IsZero() || p.tenant == "":
		case p.stack == "":
			tenants[p.tenant] = with(tenants[p.tenant], p.rule.Name, p.start)
		default:
			id := stackID{p.tenant, p.stack}
			stacks[id] = with(stacks[id], p.rule.Name, p.start)
		}
	}
	return stacks, tenants
}

// certain says that it is known how a stack is: right after a start nothing is,
// and what is remembered of its alerts stays.
func (l *loop) certain(k *kept) bool {
	if k.newest == nil {
		return k.judged
	}
	return k.clean != "" || l.verdictOf(k).reason != ""
}

func with(m map[string]time.Time, name string, at time.Time) map[string]time.Time {
	if m == nil {
		m = map[string]time.Time{}
	}
	m[name] = at
	return m
}

func sameTimes(a, b map[string]time.Time) bool {
	return maps.EqualFunc(a, b, func(x, y time.Time) bool { return x.Equal(y) })
}
