package operator

import "github.com/skep-gitops/skep/deploy"

// The verbs read and write what the operator remembers through these functions,
// so that nobody else has to know its form.

// History is what a stack's memory tells of its past, oldest first.
func History(m deploy.Memory) []Entry { return parseRecord[record](m).History }

// Remembered is a stack's memory with one more entry in its history.
func Remembered(m deploy.Memory, e Entry) deploy.Memory {
	r := parseRecord[record](m)
	r.add(e)
	m.State = r.encode()
	return m
}

// Good is the commit at which what runs of a stack was last changed and healthy.
func Good(m deploy.Memory) string { return parseRecord[record](m).Good }

// Runs is the commit that was written last: that of a rollout which has not ended
// well yet, else the good one.
func Runs(m deploy.Memory) string {
	r := parseRecord[record](m)
	if a := r.Attempt; a != nil {
		return a.Commit
	}
	return r.Good
}

// Blocked is the commit at which a stack left git that may not be removed yet,
// and why; empty: it is not blocked.
func Blocked(m deploy.Memory) (commit, why string) {
	b := parseRecord[record](m).Blocked
	if b == nil {
		return "", ""
	}
	return b.Commit, b.Why
}

// Asked is the commit that a tenant's repository asked for when it was last
// read whole, from the tenant's own memory.
func Asked(m deploy.Memory) string { return parseRecord[tenantRecord](m).Commit }
