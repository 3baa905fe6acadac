package swarmtest

import (
	"context"
	"io"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/events"
)

// watcher is one open event stream.
type watcher struct {
	filters  func(events.Message) bool
	messages chan events.Message
	errs     chan error
	closed   bool
}

// Events streams what happens from here on, until ctx ends or Disconnect. A
// reader that is 1,024 events late loses the rest, as with the daemon.
func (s *Swarm) Events(ctx context.Context, o events.ListOptions) (<-chan events.Message, <-chan error) {
	w := &watcher{messages: make(chan events.Message, 1024), errs: make(chan error, 1)}
	w.filters = func(m events.Message) bool {
		return oneOf(m.Scope, o.Filters.Get("scope")) && oneOf(string(m.Type), o.Filters.Get("type")) && len(o.Filters.Get("label")) == 0
	}
	err := s.call(ctx, "Events", "", read, func() error {
		s.watchers = append(s.watchers, w)
		return nil
	})
	if err != nil {
		w.errs <- err
		return w.messages, w.errs
	}
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(w, ctx.Err())
	})
	return w.messages, w.errs
}

// Disconnect ends all event streams as a daemon does that stops.
func (s *Swarm) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range slices.Clone(s.watchers) {
		s.end(w, io.ErrUnexpectedEOF)
	}
}

func (s *Swarm) end(w *watcher, err error) {
	if w.closed {
		return
	}
	w.closed = true
	w.errs <- err
	s.watchers = slices.DeleteFunc(s.watchers, func(x *watcher) bool { return x == w })
}

// tell sends an event; pairs are further attributes.
func (s *Swarm) tell(kind events.Type, action events.Action, id, name string, pairs ...string) {
	now := s.now()
	m := events.Message{
		Type: kind, Action: action, Scope: "swarm", Time: now.Unix(), TimeNano: now.UnixNano(),
		Actor: events.Actor{ID: id, Attributes: map[string]string{"name": name}},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.Actor.Attributes[pairs[i]] = pairs[i+1]
	}
	for _, w := range s.watchers {
		if !w.filters(m) {
			continue
		}
		select {
		case w.messages <- clone(m):
		default:
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
