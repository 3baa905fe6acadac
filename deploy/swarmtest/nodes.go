package swarmtest

import (
	"context"
	"strings"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
)

// AddNode adds a ready node and gives its ID.
func (s *Swarm) AddNode(hostname string, role swarm.NodeRole, labels map[string]string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := &swarm.Node{ID: s.id("node"), Meta: s.meta()}
	n.Spec = swarm.NodeSpec{Annotations: swarm.Annotations{Labels: notNil(labels)}, Role: role, Availability: swarm.NodeAvailabilityActive}
	n.Description = swarm.NodeDescription{
		Hostname: hostname, Platform: swarm.Platform{Architecture: "x86_64", OS: "linux"},
		Engine: swarm.EngineDescription{EngineVersion: "28.5.2"},
	}
	n.Status = swarm.NodeStatus{State: swarm.NodeStateReady, Addr: "198.51.100.1"}
	if role == swarm.NodeRoleManager {
		n.ManagerStatus = &swarm.ManagerStatus{Leader: len(s.nodes) == 0, Reachability: swarm.ReachabilityReachable, Addr: "198.51.100.1:2377"}
	}
	s.nodes[n.ID] = n
	s.tell(events.NodeEventType, events.ActionCreate, n.ID, hostname)
	s.replace()
	return n.ID
}

// ChangeNode changes a node (its state, availability, labels) and lets the swarm
// answer: tasks move off a node that is down or drained.
func (s *Swarm) ChangeNode(id string, change func(*swarm.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	was := *n
	change(n)
	n.Version, n.UpdatedAt = s.next(), s.now()
	var pairs []string
	if was.Status.State != n.Status.State {
		pairs = append(pairs, "state.old", string(was.Status.State), "state.new", string(n.Status.State))
	}
	if was.Spec.Availability != n.Spec.Availability {
		pairs = append(pairs, "availability.old", string(was.Spec.Availability), "availability.new", string(n.Spec.Availability))
	}
	s.tell(events.NodeEventType, events.ActionUpdate, n.ID, n.Description.Hostname, pairs...)
	s.replace()
}

// replace lets each service answer a change of the nodes.
func (s *Swarm) replace() {
	for _, v := range sorted(s.services) {
		s.reconcile(v)
	}
	s.settle()
}

// NodeList lists the nodes.
func (s *Swarm) NodeList(ctx context.Context, o swarm.NodeListOptions) ([]swarm.Node, error) {
	list := []swarm.Node{}
	err := s.call(ctx, "NodeList", "", query, func() error {
		for _, n := range sorted(s.nodes) {
			if labelled(n.Spec.Labels, o.Filters.Get("label")) && prefixed(n.ID, o.Filters.Get("id")) &&
				prefixed(n.Description.Hostname, o.Filters.Get("name")) && oneOf(string(n.Spec.Role), o.Filters.Get("role")) {
				list = append(list, clone(*n))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// usable says that a node takes new tasks; available, that it keeps those it has.
func usable(n *swarm.Node) bool {
	return n.Status.State == swarm.NodeStateReady && n.Spec.Availability == swarm.NodeAvailabilityActive
}

func available(n *swarm.Node) bool {
	return n.Status.State == swarm.NodeStateReady && n.Spec.Availability != swarm.NodeAvailabilityDrain
}

// eligible says whether a node satisfies the constraints, of the kinds that are
// known here: node.id, node.hostname, node.role and node.labels.*.
func eligible(n *swarm.Node, p *swarm.Placement) bool {
	if p == nil {
		return true
	}
	for _, c := range p.Constraints {
		key, value, equal := strings.Cut(c, "==")
		if !equal {
			key, value, _ = strings.Cut(c, "!=")
		}
		if (fact(n, strings.TrimSpace(key)) == strings.TrimSpace(value)) != equal {
			return false
		}
	}
	return true
}

func fact(n *swarm.Node, key string) string {
	switch key {
	case "node.id":
		return n.ID
	case "node.hostname":
		return n.Description.Hostname
	case "node.role":
		return string(n.Spec.Role)
	case "node.platform.os":
		return n.Description.Platform.OS
	case "node.platform.arch":
		return n.Description.Platform.Architecture
	}
	if label, ok := strings.CutPrefix(key, "node.labels."); ok {
		return n.Spec.Labels[label]
	}
	return ""
}
