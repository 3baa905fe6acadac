package deploy

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

func TestMeetsConstraints(t *testing.T) {
	t.Parallel()
	node := &swarm.Node{ID: "n1"}
	node.Description.Hostname = "alpha"
	node.Description.Platform = swarm.Platform{OS: "linux", Architecture: "x86_64"}
	node.Description.Engine.Labels = map[string]string{"disk": "ssd"}
	node.Spec.Role = swarm.NodeRoleManager
	node.Spec.Labels = map[string]string{"Zone": "eu-1"}
	for c, want := range map[string]bool{
		"node.id==n1":                 true,
		"node.hostname == ALPHA":      true,
		"node.hostname!=alpha":        false,
		"node.role==manager":          true,
		"node.role != worker":         true,
		"node.labels.Zone==eu-1":      true,
		"node.labels.zone==eu-1":      false,
		"node.labels.none!=x":         true,
		"engine.labels.disk == ssd":   true,
		"node.platform.os==linux":     true,
		"node.platform.arch==amd64":   true,
		"node.platform.arch==aarch64": false,
		"what.is.this==x":             false,
		"node.role":                   false,
	} {
		if got := meets(node, &swarm.Placement{Constraints: []string{c}}); got != want {
			t.Errorf("node meets %q: %v, want %v", c, got, want)
		}
	}
	if meets(node, &swarm.Placement{Constraints: []string{"node.role==manager", "node.id==n2"}}) {
		t.Error("one constraint of two is enough")
	}
	if !meets(node, nil) {
		t.Error("no placement is met by no node")
	}
}
