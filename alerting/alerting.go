// Package alerting keeps Alertmanager told: it sends what fires again and again,
// with a stable start, and what is over at once and for a while after.
//
// It never blocks its caller, knows nothing of stacks, and shows no credential.
package alerting

import (
	"log/slog"
	"net/http"
	"sort"
	"strings"
	"time"
)

// Alert is one thing that is wrong. Its labels are its identity: no commit and
// no text that may change belongs there.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    time.Time         `json:"starts_at"`
}

// Fingerprint identifies the alert by its labels.
func (a Alert) Fingerprint() string {
	keys := make([]string, 0, len(a.Labels))
	for k := range a.Labels {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		b.WriteString(k + "\x00" + a.Labels[k] + "\x00")
	}
	return b.String()
}

// Peer is one Alertmanager, or, with DNS, all those that a name resolves to.
type Peer struct {
	URL    string       // http://alertmanager:9093, with a path prefix if it has one
	DNS    string       // host name whose addresses are the peers, such as tasks.alertmanager; URL then gives scheme, port and path
	Client *http.Client // with the peer's authentication; nil: a plain one
}

// Options are what a Client needs. Zero durations take the defaults.
type Options struct {
	Peers    []Peer
	External map[string]string // labels on every alert; an alert's own win
	URL      string            // generatorURL; empty: none
	Resend   time.Duration     // default 1m
	Validity time.Duration     // endsAt = now + this; default 4m
	Repeat   time.Duration     // how long a resolved alert is repeated; default 15m
	Timeout  time.Duration     // of one post; default 10s
	Queue    int               // alerts waiting per peer; the oldest go first; default 10,000
	Log      *slog.Logger      // told when a peer begins and ends to fail; nil: nobody
}

// PeerStatus is how one peer does.
type PeerStatus struct {
	URL       string    `json:"url"` // without credentials
	LastOK    time.Time `json:"last_ok,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	Sent      uint64    `json:"sent"`
	Failed    uint64    `json:"failed"`
	Dropped   uint64    `json:"dropped"`
}

// Client keeps every peer told of the alerts that it was last given.
type Client struct{ client }
