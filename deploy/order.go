package deploy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// The conditions of depends_on (compose-spec, services: depends_on), and ours for
// a service that waits until another one gave its port up.
const (
	started   = "service_started"
	healthy   = "service_healthy"
	completed = "service_completed_successfully"
	portFree  = "port_free"
)

// remove plans the removal of a service that makes room for something.
func (d *differ) remove(s *swarm.Service, why string) {
	if slices.ContainsFunc(d.before, func(st Step) bool { return st.ID == s.ID }) {
		return
	}
	d.before = append(d.before, Step{Action: Remove, Kind: KindService, Name: s.Spec.Name, ID: s.ID, Why: why,
		do: payload{labels: maps.Clone(OwnerLabels(s)), version: s.Version}})
}

// detach takes the services off the networks that are replaced: they are removed
// before and created again after, which is the only way.
func (d *differ) detach(changes map[string]*change) {
	byName := map[string]*change{}
	for _, c := range changes {
		byName[c.want.Spec.Name] = c
	}
	for _, name := range slices.Sorted(maps.Keys(d.replaced)) {
		for _, live := range d.x.attached[d.x.networks[name].ID] {
			why := fmt.Sprintf("its network %q is replaced", name)
			d.remove(live, why)
			c := byName[live.Spec.Name]
			if c == nil {
				continue
			}
			spec := d.final(c.want, live)
			keepIgnored(&spec, &live.Spec, c.want.Key, d.want.Wishes.Ignore)
			c.step = d.create(c.want, spec)
			c.step.Restarts, c.step.Why = true, why
		}
	}
}

// ports finds who holds the published ports that services are about to take. What
// left git gives way; a service that stays but gives the port up goes first; the
// result lists those, by the key that waits for them.
func (d *differ) ports(changes map[string]*change) map[string][]string {
	after := map[string][]string{}
	keys := map[string]string{}
	for k, c := range changes {
		keys[c.want.Spec.Name] = k
	}
	for _, k := range slices.Sorted(maps.Keys(changes)) {
		c := changes[k]
		if c.step == nil || c.step.do.service == nil {
			continue
		}
		for _, p := range ingressPorts(&swarm.Service{Spec: *c.step.do.service}) {
			d.takePort(c, p, d.x.ports[p], keys, after)
			for _, holder := range d.x.hosted[p] {
				d.takePort(c, p, holder, keys, after)
			}
		}
		for _, p := range hostPorts(c.step.do.service) {
			d.takePort(c, p, d.x.ports[p], keys, after)
		}
		d.takeHostPorts(c, keys)
	}
	return after
}

// takePort has the holder of a port that a service needs give way, or refuses the
// service. Swarm has no ingress port beside a node's port of the same number.
func (d *differ) takePort(c *change, p port, holder *swarm.Service, keys map[string]string, after map[string][]string) {
	if holder == nil || c.live != nil && holder.ID == c.live.ID {
		return
	}
	key, stays := keys[holder.Spec.Name]
	switch {
	case stays:
		after[c.want.Key] = append(after[c.want.Key], key)
	case d.who.ours(holder.ID, OwnerLabels(holder)):
		d.remove(holder, fmt.Sprintf("it left git and holds the published port %d, which service %q needs", p.number, c.want.Key))
	default:
		d.waitFor(KindService, c.want.Spec.Name, c.want.Key, fmt.Sprintf("published port %d/%s is held by service %q: choose another port or remove that service", p.number, p.protocol, holder.Spec.Name))
	}
}

// takeHostPorts lets services of the stack that left git give way where they hold
// a port of the nodes that is needed.
func (d *differ) takeHostPorts(c *change, keys map[string]string) {
	needed := hostPorts(c.step.do.service)
	if len(needed) == 0 {
		return
	}
	for _, s := range d.x.members[d.who.stack] {
		if _, stays := keys[s.Spec.Name]; stays || !d.who.ours(s.ID, OwnerLabels(s)) {
			continue
		}
		for _, p := range hostPorts(&s.Spec) {
			if slices.Contains(needed, p) {
				d.remove(s, fmt.Sprintf("it left git and holds port %d of its nodes, which service %q needs", p.number, c.want.Key))
			}
		}
	}
}

func hostPorts(s *swarm.ServiceSpec) []port {
	var out []port
	if s.EndpointSpec == nil {
		return nil
	}
	for _, p := range s.EndpointSpec.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			out = append(out, port{p.PublishedPort, protocol(p.Protocol)})
		}
	}
	return out
}

// order sorts the stack's services so that each comes after those that it depends
// on and those that it takes a port from, else by key. False: it is a circle.
func (d *differ) order(after map[string][]string) ([]string, bool) {
	needs := map[string][]string{}
	for _, s := range d.want.Services {
		n := slices.Clone(after[s.Key])
		for _, dep := range s.DependsOn {
			n = append(n, dep.Service)
		}
		needs[s.Key] = n
	}
	const visiting, visited = 1, 2
	state := map[string]int{}
	var order []string
	var visit func(k string) bool
	visit = func(k string) bool {
		needed, known := needs[k]
		if !known || state[k] == visited {
			return true
		}
		if state[k] == visiting {
			return false
		}
		state[k] = visiting
		for _, n := range needed {
			if !visit(n) {
				return false
			}
		}
		state[k] = visited
		order = append(order, k)
		return true
	}
	for _, k := range slices.Sorted(maps.Keys(needs)) {
		if !visit(k) {
			return nil, false
		}
	}
	d.afterPorts = after
	return order, true
}

// release puts the services' steps in order and holds back those whose
// dependencies are not ready. What starts no container waits for nobody.
func (d *differ) release(changes map[string]*change, order []string) {
	for _, k := range order {
		c := changes[k]
		if c.step == nil {
			continue
		}
		if starts(c.step) {
			if w, waits := d.waits(c, changes); waits {
				d.deferred = append(d.deferred, w)
				continue
			}
		}
		d.late = append(d.late, *c.step)
	}
}

func starts(s *Step) bool { return s.Action != Update || s.Restarts }

// waits says what a service waits for, if it does: the first dependency that is
// not ready, one that failed for good before all others.
func (d *differ) waits(c *change, changes map[string]*change) (Deferred, bool) {
	var first *Deferred
	for _, k := range d.afterPorts[c.want.Key] {
		if changes[k].step != nil {
			first = &Deferred{Service: c.want.Key, On: k, Condition: portFree}
		}
	}
	for _, dep := range c.want.DependsOn {
		on := changes[dep.Service]
		if on == nil {
			continue
		}
		ready, failed := d.ready(dep, on)
		if ready || failed && dep.Optional {
			continue
		}
		if first == nil || failed && !first.Failed {
			first = &Deferred{Service: c.want.Key, On: dep.Service, Condition: dep.Condition, Failed: failed}
		}
	}
	if first == nil {
		return Deferred{}, false
	}
	return *first, true
}

// ready says whether a dependency has what it was waited for, and whether it
// failed for good. One that is still to be written itself is neither.
func (d *differ) ready(dep stack.Dependency, on *change) (ready, failed bool) {
	if on.step != nil || on.live == nil {
		return false, false
	}
	l := look{x: d.x, listed: d.live.Listed, timeout: d.want.Wishes.Timeout, now: d.live.Taken}
	h, _ := l.service(on.live)
	failed = h.State == Degraded || h.Outcome == RolledBack || h.Outcome == Paused
	switch dep.Condition {
	case healthy:
		return h.State == Healthy && h.Outcome == None, failed
	case completed:
		return h.State == Healthy && l.completed(on.live), failed
	}
	return h.State == Healthy || h.Running > 0 || h.Desired == 0 && h.State != "", failed && h.Running == 0
}
