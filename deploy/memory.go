package deploy

import (
	"encoding/json"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Memory is what skep remembers of one stack, or of one tenant, in the swarm
// itself: a config object of one byte whose labels hold it. It never holds a
// secret. Frozen and Pinned belong to the verbs, State to the operator.
type Memory struct {
	ID       string // empty: not written yet
	Version  swarm.Version
	Instance string
	Tenant   string
	Stack    string // empty: the tenant's own memory
	Frozen   *Frozen
	Pinned   *Pinned
	State    json.RawMessage // the operator's; at most 8 KiB

	raw map[string]string // the labels as they were read
}

// Frozen says that a stack is not to be changed.
type Frozen struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until unfreeze
}

// Pinned says at which commit a stack is held.
type Pinned struct {
	Commit    string    `json:"commit"`
	By        string    `json:"by"`
	Reason    string    `json:"reason"`
	Since     time.Time `json:"since"`
	UntilNext string    `json:"until_next,omitempty"` // the commit that git asked then: another one ends the pin; empty: until unpin
}
