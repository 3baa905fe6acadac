package deploy

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

func TestLowestAPI(t *testing.T) {
	t.Parallel()
	node := func(version string, state swarm.NodeState) swarm.Node {
		return swarm.Node{Status: swarm.NodeStatus{State: state}, Description: swarm.NodeDescription{Engine: swarm.EngineDescription{EngineVersion: version}}}
	}
	for _, c := range []struct {
		name  string
		api   string
		nodes []swarm.Node
		want  string
	}{
		{"the daemon alone", "1.51", nil, "1.51"},
		{"an older ready node", "1.51", []swarm.Node{node("28.5.2", swarm.NodeStateReady), node("20.10.24+dfsg1", swarm.NodeStateReady)}, "1.41"},
		{"an older node that is down", "1.51", []swarm.Node{node("20.10.24", swarm.NodeStateDown)}, "1.51"},
		{"27.1 and 27.5", "1.51", []swarm.Node{node("27.5.0", swarm.NodeStateReady), node("27.1.1", swarm.NodeStateReady)}, "1.46"},
		{"a version that nobody knows", "1.47", []swarm.Node{node("master", swarm.NodeStateReady), node("31.0", swarm.NodeStateReady)}, "1.47"},
		{"a newer node than the daemon", "1.41", []swarm.Node{node("29.0.0", swarm.NodeStateReady)}, "1.41"},
		{"no version", "", []swarm.Node{node("20.10.1", swarm.NodeStateReady)}, ""},
	} {
		if got := (Live{API: c.api, Nodes: c.nodes}).LowestAPI(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
