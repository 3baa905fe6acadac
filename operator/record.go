package operator

import (
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

// record is what the operator remembers of one stack between two lives: the
// JSON in the label skep.state of the stack's memory. It holds no value of any
// file, only hashes, names and redacted texts.
type record struct {
	Target    string               `json:"target,omitempty"`    // commit of what was last written
	Applied   string               `json:"applied,omitempty"`   // its input hash: what differs while git asks the same is drift
	Good      string               `json:"good,omitempty"`      // commit at which what runs was last changed and healthy
	GoodHash  string               `json:"good_hash,omitempty"` // its input hash
	Born      string               `json:"born,omitempty"`      // commit that it was first written for
	Attempted string               `json:"attempted,omitempty"` // commit that was last tried
	Attempt   *attempt             `json:"attempt,omitempty"`   // a rollout that is watched
	Failed    *failure             `json:"failed,omitempty"`    // how the last try ended, if badly
	Blocked   *blocked             `json:"blocked,omitempty"`   // why the stack, gone from git, is not removed
	Leaving   string               `json:"leaving,omitempty"`   // commit at which its removal began, since it left git
	Prune     string               `json:"prune,omitempty"`     // the stack's own wish, for when its file is gone
	Auth      string               `json:"auth,omitempty"`      // keyed hash of the registry credentials that the nodes were given
	Owned     []string             `json:"owned,omitempty"`     // adopted objects that carry no label of ours, by ID
	Alerts    map[string]time.Time `json:"alerts,omitempty"`    // since when they fire, by alertname
	History   []Entry              `json:"history,omitempty"`   // oldest first
}

// attempt is one rollout on its way.
type attempt struct {
	Hash   string    `json:"hash"`
	Commit string    `json:"commit"`
	At     time.Time `json:"at"`

	// Services are those that it writes, by name, with their version before: an
	// outcome that Swarm reports of an older version is of an older rollout.
	Services map[string]uint64 `json:"services,omitempty"`
	Changes  []string          `json:"changes,omitempty"`
	Author   string            `json:"author,omitempty"`
	Subject  string            `json:"subject,omitempty"`
	Trigger  string            `json:"trigger,omitempty"`
	Told     bool              `json:"told,omitempty"` // all that it asks was written: what differs from then on is drift
}

// failure is a try that ended badly. Held means that the same input is not
// written again; otherwise it is, at Next.
type failure struct {
	Hash     string            `json:"hash"`
	Commit   string            `json:"commit"`
	Outcome  string            `json:"outcome"` // refused, failed, timed-out, rolled-back, paused, error
	Text     string            `json:"text"`    // redacted
	Held     bool              `json:"held,omitempty"`
	Whole    bool              `json:"whole,omitempty"`    // the whole stack goes back to its last good commit
	Services map[string]string `json:"services,omitempty"` // outcome by service key, of those that Swarm rolled back or paused
	Written  []string          `json:"written,omitempty"`  // names of the services that it wrote, where the whole stack goes back
	Reverted bool              `json:"reverted,omitempty"` // Swarm put each of them back, because the last good commit is lost
	Tries    int               `json:"tries,omitempty"`
	Next     time.Time         `json:"next,omitzero"`
	Since    time.Time         `json:"since"`
}

// blocked is a stack that left git and may not be removed yet.
type blocked struct {
	Commit string    `json:"commit"` // at which it was first seen to be gone
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
}

// Entry is one line of a stack's history.
type Entry struct {
	Time     time.Time     `json:"time"`
	Commit   string        `json:"commit"`
	Author   string        `json:"author,omitempty"`
	Subject  string        `json:"subject,omitempty"`
	Trigger  string        `json:"trigger"`           // git, drift, rollback, pin, restart or adopt
	Result   string        `json:"result"`            // deployed, failed, timed-out, rolled-back, paused, refused, healed, restarted
	Changes  []string      `json:"changes,omitempty"` // fields and objects, redacted
	Text     string        `json:"text,omitempty"`    // why, where it failed
	Duration time.Duration `json:"duration,omitempty"`
}

// tenantRecord is what the operator remembers of a tenant as a whole.
type tenantRecord struct {
	Commit string               `json:"commit,omitempty"` // the last whose definitions were read whole
	Alerts map[string]time.Time `json:"alerts,omitempty"`
}

// Limits of what a record keeps. The label it goes into holds at most 8 KiB.
const (
	maxRecord  = 8 << 10
	maxHistory = 20
	maxText    = 300
	maxChanges = 8
)

// parseRecord reads the state of a memory. What can't be read counts as
// nothing: losing it loses history, never a deployment.
func parseRecord[T any](m deploy.Memory) T {
	var r T
	if len(m.State) == 0 {
		return r
	}
	if err := json.Unmarshal(m.State, &r); err != nil {
		var none T
		return none
	}
	return r
}

// encode gives the record as JSON of at most 8 KiB: the oldest history goes first.
func (r record) encode() json.RawMessage {
	if n := len(r.History); n > maxHistory {
		r.History = r.History[n-maxHistory:]
	}
	for {
		b, err := json.Marshal(r)
		if err != nil || len(b) <= maxRecord || len(r.History) == 0 {
			return b
		}
		r.History = r.History[1:]
	}
}

// decided is the record without what is only told: the history, and since when
// alerts fire.
func (r record) decided() string {
	r.History, r.Alerts = nil, nil
	return string(r.encode())
}

// encode gives the tenant's record as JSON.
func (r tenantRecord) encode() json.RawMessage {
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	return b
}

// add appends an entry, bounded.
func (r *record) add(e Entry) {
	e.Text, e.Author, e.Subject = cut(e.Text, maxText), cut(e.Author, 80), cut(e.Subject, 100)
	e.Changes = bounded(e.Changes)
	history := append([]Entry{}, r.History...)
	r.History = append(history, e)
	if n := len(r.History); n > maxHistory {
		r.History = r.History[n-maxHistory:]
	}
}

// mergeHistory gives the entries of both, each once, oldest first.
func mergeHistory(a, b []Entry) []Entry {
	out := append([]Entry{}, a...)
	for _, e := range b {
		if !slices.ContainsFunc(a, func(o Entry) bool { return o.Time.Equal(e.Time) && o.Result == e.Result }) {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(x, y Entry) int { return x.Time.Compare(y.Time) })
	return out
}

// leftOut is how bounded ends a list.
var leftOut = regexp.MustCompile(`^and \d+ more$`)

// bounded gives the first few of the changes and says how many were left out; a
// list that it made already stays as it is.
func bounded(changes []string) []string {
	if len(changes) == maxChanges+1 && leftOut.MatchString(changes[maxChanges]) {
		return slices.Clone(changes)
	}
	out := make([]string, 0, min(len(changes), maxChanges+1))
	for i, c := range changes {
		if i == maxChanges {
			return append(out, "and "+itoa(len(changes)-i)+" more")
		}
		out = append(out, cut(c, 120))
	}
	return out
}

// cut gives at most n bytes of s, whole runes, and says that it was cut.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	end := n
	for end > 0 && s[end]&0xC0 == 0x80 {
		end--
	}
	return s[:end] + "…"
}
