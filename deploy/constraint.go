package deploy

import (
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// eligible says whether a global service is expected to run on a node.
func eligible(n *swarm.Node, p *swarm.Placement) bool {
	return n.Status.State == swarm.NodeStateReady && n.Spec.Availability == swarm.NodeAvailabilityActive && meets(n, p)
}

// meets says whether a node meets all constraints of a placement.
func meets(n *swarm.Node, p *swarm.Placement) bool {
	if p == nil {
		return true
	}
	for _, c := range p.Constraints {
		if !meetsOne(n, c) {
			return false
		}
	}
	return true
}

// meetsOne evaluates one constraint as swarmkit does (manager/constraint):
// values compare without regard to case. A constraint that it does not know is
// met by no node.
func meetsOne(n *swarm.Node, constraint string) bool {
	key, value, equal := cutConstraint(constraint)
	key = strings.TrimSpace(key)
	value = strings.TrimSpace(value)
	lower := strings.ToLower(key)
	switch {
	case lower == "node.id":
		return strings.EqualFold(n.ID, value) == equal
	case lower == "node.hostname":
		return strings.EqualFold(n.Description.Hostname, value) == equal
	case lower == "node.role":
		return strings.EqualFold(string(n.Spec.Role), value) == equal
	case lower == "node.ip":
		return strings.EqualFold(n.Status.Addr, value) == equal
	case lower == "node.platform.os":
		return strings.EqualFold(n.Description.Platform.OS, value) == equal
	case lower == "node.platform.arch":
		return strings.EqualFold(arch(n.Description.Platform.Architecture), arch(value)) == equal
	case strings.HasPrefix(lower, "node.labels."):
		return strings.EqualFold(n.Spec.Labels[key[len("node.labels."):]], value) == equal
	case strings.HasPrefix(lower, "engine.labels."):
		return strings.EqualFold(n.Description.Engine.Labels[key[len("engine.labels."):]], value) == equal
	}
	return false
}

func cutConstraint(c string) (key, value string, equal bool) {
	if key, value, ok := strings.Cut(c, "!="); ok {
		return key, value, false
	}
	key, value, ok := strings.Cut(c, "==")
	if !ok {
		return "", "", false
	}
	return key, value, true
}

// arch gives one word for the names that one architecture goes by.
func arch(a string) string {
	switch strings.ToLower(a) {
	case "x86_64", "amd64":
		return "amd64"
	case "aarch64", "arm64":
		return "arm64"
	}
	return a
}
