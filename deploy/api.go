package deploy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// LowestAPI is the lowest Docker API among the ready nodes and the daemon that
// was asked: what the oldest of them does not know, it drops in silence. A node
// whose engine's version can't be read counts as the daemon does.
func (l Live) LowestAPI() string {
	lowest := apiMinor(l.API)
	if lowest == 0 {
		return l.API
	}
	for i := range l.Nodes {
		n := &l.Nodes[i]
		if n.Status.State != swarm.NodeStateReady {
			continue
		}
		if m := engineMinor(n.Description.Engine.EngineVersion); m > 0 && m < lowest {
			lowest = m
		}
	}
	return fmt.Sprintf("1.%d", lowest)
}

// apiMinor is the 51 of 1.51; 0: unknown.
func apiMinor(version string) int {
	_, minor, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(minor)
	if err != nil {
		return 0
	}
	return n
}

// engineMinor is the API that an engine's release brought (moby,
// docs/api/version-history.md); 0: unknown. Of a release that has several, the
// first counts.
func engineMinor(version string) int {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	switch n {
	case 20:
		return 41
	case 23:
		return 42
	case 24:
		return 43
	case 25:
		return 44
	case 26:
		return 45
	case 27:
		if m, err := strconv.Atoi(minor); err == nil && m >= 2 {
			return 47
		}
		return 46
	case 28:
		return 48
	case 29:
		return 52
	}
	return 0
}
