package deploy

import "time"

// State is how what runs is doing, apart from what git asks.
type State string

// The states of a stack or service. Unknown means that tasks had to be listed to tell.
const (
	Healthy     State = "healthy"
	Progressing State = "progressing"
	Degraded    State = "degraded"
	Missing     State = "missing"
)

// Outcome is how a rollout ended, as far as one look can tell.
type Outcome string

// The outcomes. None means that nothing ended badly.
const (
	None       Outcome = ""
	Failed     Outcome = "failed"      // crash loop, image missing, unschedulable past the deadline, …
	TimedOut   Outcome = "timed-out"   // no progress until the deadline
	RolledBack Outcome = "rolled-back" // Swarm went back to the previous spec by itself
	Paused     Outcome = "paused"      // Swarm stopped the update
)

// ServiceHealth is one service as it runs.
type ServiceHealth struct {
	Key     string // in the compose file: the name without "<stack>_"
	Name    string
	ID      string
	State   State
	Outcome Outcome
	Running uint64 // tasks of the current spec that run (jobs: that completed)
	Desired uint64
	Error   string // the task's own words, the most frequent one; not redacted
	Node    string // hostname where it happened
	Exit    int    // exit code, where there was one
	Passing bool   // the cause may pass by itself: node, registry, port
	Updated time.Time

	halfBack bool // Paused is Swarm's roll-back, not the update
}

// Health is one stack as it runs.
type Health struct {
	State    State
	Outcome  Outcome // the worst of its services
	Services []ServiceHealth
	Message  string    // one line: which service, and why; not redacted
	Again    time.Time // when to look again at the latest, if something is in flight; zero: nothing is
}

// CheckOptions bound a rollout.
type CheckOptions struct {
	Timeout time.Duration // zero: from the services' own update_config and health checks
}
