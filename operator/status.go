package operator

import (
	"time"

	"github.com/skep-gitops/skep/alerting"
)

// Sync says whether what git asks is what the swarm was told.
type Sync string

// The values of Sync. Unknown: the target cannot be read, nothing is written.
const (
	Synced      Sync = "synced"
	OutOfSync   Sync = "out-of-sync"
	SyncUnknown Sync = "unknown"
)

// Reason is why a stack is not as git asks, in one word of the API.
type Reason string

// The reasons, in the order in which they dominate.
const (
	FetchFailed        Reason = "FetchFailed"
	VerifyFailed       Reason = "VerifyFailed"
	DecryptFailed      Reason = "DecryptFailed"
	RenderFailed       Reason = "RenderFailed"
	PolicyDenied       Reason = "PolicyDenied"
	Conflict           Reason = "Conflict"
	DependencyNotReady Reason = "DependencyNotReady"
	ApplyFailed        Reason = "ApplyFailed"
	RolloutFailed      Reason = "RolloutFailed"
	RolledBack         Reason = "RolledBack"
	PruneBlocked       Reason = "PruneBlocked"
	PruneFailed        Reason = "PruneFailed"
)

// Status is everything that can be known of the operator from outside. It holds
// no spec and no secret, so no view of it can show one.
type Status struct {
	Cluster  string                `json:"cluster"`
	Instance string                `json:"instance"`
	Version  string                `json:"version"`
	Started  time.Time             `json:"started"`
	Ready    bool                  `json:"ready"`                   // the configuration is loaded and the loop runs
	Config   string                `json:"config_error"`            // why the newest configuration was refused; empty: it was not
	Swarm    string                `json:"swarm_error"`             // why the swarm cannot be read; empty: it can
	LastLook time.Time             `json:"last_swarm_look"`         // of the last whole look at the swarm
	LookTook float64               `json:"last_swarm_look_seconds"` // how long it took
	Tenants  []TenantStatus        `json:"tenants"`
	Stacks   []StackStatus         `json:"stacks"`
	Orphans  []Orphan              `json:"orphans"`
	Alerts   []alerting.Alert      `json:"alerts"`
	Peers    []alerting.PeerStatus `json:"alertmanagers"`
	Counts   Counts                `json:"counts"`

	at                      time.Time // when it was made
	configSince, swarmSince time.Time // of Config and Swarm
}

// Counts grow from the start of the process.
type Counts struct {
	Cycles      uint64 `json:"cycles"`
	Writes      uint64 `json:"writes"`
	Renders     uint64 `json:"renders"`
	Healed      uint64 `json:"healed"`
	Pruned      uint64 `json:"pruned"`
	WriteErrors uint64 `json:"write_errors"`
	FetchErrors uint64 `json:"fetch_errors"`
}

// TenantStatus is one tenant's repository.
type TenantStatus struct {
	Tenant   string    `json:"tenant"`
	Repo     string    `json:"repo"` // without credentials
	Ref      string    `json:"ref"`
	Commit   string    `json:"commit"`  // the last that was fetched
	Subject  string    `json:"subject"` // of it
	LastLook time.Time `json:"last_look,omitzero"`
	NextLook time.Time `json:"next_look,omitzero"`
	Reason   Reason    `json:"reason"`
	Cause    string    `json:"cause"`
	Message  string    `json:"message"`
	Since    time.Time `json:"since,omitzero"` // of this reason

	alerted map[string]time.Time // since when alerts fire, as remembered
}

// StackStatus is one element of GET /api/v1/stacks.
type StackStatus struct {
	Tenant    string          `json:"tenant"`
	Stack     string          `json:"stack"`  // empty: the tenant's repository as a whole
	Commit    string          `json:"commit"` // what git asks now
	Sync      Sync            `json:"sync"`
	Health    string          `json:"health"` // healthy, progressing, degraded, missing
	Reason    Reason          `json:"reason"`
	Cause     string          `json:"cause"`
	Message   string          `json:"message"`
	Deployed  string          `json:"deployed"`  // the commit at which what runs was last changed and healthy
	Attempted string          `json:"attempted"` // the commit that was last tried
	LastLook  time.Time       `json:"last_look,omitzero"`
	NextLook  time.Time       `json:"next_look,omitzero"`
	Since     time.Time       `json:"since,omitzero"`
	Services  []ServiceStatus `json:"services"`
	Warnings  []string        `json:"warnings,omitempty"`
	Drift     []string        `json:"drift,omitempty"`  // fields that differ and are left, by drift: warn
	Frozen    *Hold           `json:"frozen,omitempty"` //
	Pinned    *Hold           `json:"pinned,omitempty"`
	Fought    bool            `json:"drift_fight,omitempty"` // somebody keeps changing what is healed

	alerted map[string]time.Time // since when alerts fire, as remembered
}

// Hold is a freeze or a pin as it is shown.
type Hold struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"`
	Commit string    `json:"commit,omitempty"`
}

// ServiceStatus is one service of a stack.
type ServiceStatus struct {
	Name    string `json:"name"`
	Running uint64 `json:"running"`
	Desired uint64 `json:"desired"`
	Error   string `json:"error"`
}

// Orphan is a stack of ours whose tenant is no longer configured.
type Orphan struct {
	Tenant string `json:"tenant"`
	Stack  string `json:"stack"`
}
