package deploy

import (
	"context"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/system"
)

// KindNode is a node, in a Look.
const KindNode Kind = "node"

// Look says: look at the swarm again. What it names is a hint and never all that
// changed; an empty Kind means that anything may have, as after a lost connection.
type Look struct {
	Kind Kind
	ID   string // of the object
	Name string
}

// How long Watch waits before it connects again: as long as it last did, twice,
// between these bounds.
const (
	leastWait = time.Second
	mostWait  = 30 * time.Second
)

// Watch calls look each time the swarm says that something changed, and once
// each time that it has connected, until ctx ends. It connects again by itself.
// look must not block for long: a slow reader loses events.
func Watch(ctx context.Context, r Reader, look func(Look)) {
	wait := leastWait
	for ctx.Err() == nil {
		if stream(ctx, r, look) {
			wait = leastWait
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, mostWait)
	}
}

// stream passes on one connection's events until it ends, and says whether
// there was one. The client reads its API version without a lock when it opens
// the stream: the call before it makes sure that nobody negotiates any more.
func stream(ctx context.Context, r Reader, look func(Look)) bool {
	if _, err := within(ctx, func(ctx context.Context) (system.Info, error) { return r.Info(ctx) }); err != nil {
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := r.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("scope", "swarm"),
		filters.Arg("type", string(events.ServiceEventType)), filters.Arg("type", string(events.ConfigEventType)),
		filters.Arg("type", string(events.SecretEventType)), filters.Arg("type", string(events.NetworkEventType)),
		filters.Arg("type", string(events.NodeEventType)),
	)})
	select {
	case <-errs:
		return false
	default:
		look(Look{})
	}
	for {
		select {
		case m := <-messages:
			if concerns(m) {
				look(Look{Kind: Kind(m.Type), ID: m.Actor.ID, Name: m.Actor.Attributes["name"]})
			}
		case <-errs:
			return true
		}
	}
}

// concerns leaves out the noise: a node is updated each time a task comes or
// goes on one of its networks, and says nothing then.
func concerns(m events.Message) bool {
	if m.Type != events.NodeEventType || m.Action != events.ActionUpdate {
		return true
	}
	for k := range m.Actor.Attributes {
		for _, p := range []string{"state.", "availability.", "role."} {
			if strings.HasPrefix(k, p) {
				return true
			}
		}
	}
	return false
}
