package alerting

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	maxBatch   = 256
	firstRetry = time.Second
	lastRetry  = 5 * time.Second
)

// loop keeps one peer told. Its goroutine alone touches known, said and down.
type loop struct {
	client *client
	poster poster
	wake   chan struct{} // of one: look again
	failed func()        // told of each failed post; may be nil
	known  map[string]*item
	said   string // what the log was last told to be wrong; empty: nothing
	down   bool   // it does not answer as it should

	mu sync.Mutex // guards st, whose URL never changes
	st PeerStatus
}

// item is one alert as the peer knows it.
type item struct {
	*entry
	waiting   bool      // to be sent as soon as can be
	sent      time.Time // last time
	delivered time.Time // first time as resolved
}

func (c *client) newLoop(t target, failed func()) *loop {
	return &loop{
		client: c,
		poster: newPoster(t, c.options),
		wake:   make(chan struct{}, 1),
		failed: failed,
		known:  make(map[string]*item),
		st:     PeerStatus{URL: t.shown()},
	}
}

// look wakes the loop; it never blocks.
func (l *loop) look() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *loop) run(ctx context.Context) {
	defer l.poster.close()
	retry := firstRetry
	for ctx.Err() == nil {
		now := time.Now()
		l.merge(l.client.snapshot(), now)
		batch, next := l.due(now)
		if len(batch) == 0 {
			l.rest(ctx, next.Sub(now))
			continue
		}
		if err := l.deliver(ctx, batch); err == nil {
			retry = firstRetry
			continue
		}
		pause(ctx, retry/2+rand.N(retry/2))
		retry = min(2*retry, lastRetry)
	}
}

// rest waits until something is due or was changed.
func (l *loop) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-l.wake:
	case <-timer.C:
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// merge takes over what is new in the table. What the table has forgotten stays
// until the peer has heard of its end for long enough.
func (l *loop) merge(t table, now time.Time) {
	repeat := l.client.options.Repeat
	for key, e := range t {
		k := l.known[key]
		if k == nil && !e.resolved.IsZero() && now.Sub(e.resolved) >= repeat {
			continue
		}
		if k == nil || k.entry != e {
			l.known[key] = &item{entry: e, waiting: true}
		}
	}
	for key, k := range l.known {
		if k.resolved.IsZero() && t[key] == nil {
			*k = item{entry: &entry{k.alert, now}, waiting: true}
		}
		if !k.delivered.IsZero() && now.Sub(k.delivered) >= repeat {
			delete(l.known, key)
		}
	}
}

// due gives the next batch, oldest change first, and when to look again.
func (l *loop) due(now time.Time) ([]*item, time.Time) {
	resend := l.client.options.Resend
	next := now.Add(resend)
	var all []*item
	for _, k := range l.known {
		if !k.waiting && now.Sub(k.sent) < resend {
			next = earlier(next, k.sent.Add(resend))
			continue
		}
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *item) int { return a.changed().Compare(b.changed()) })
	all = l.limit(all, now)
	return all[:min(len(all), maxBatch)], next
}

// limit drops the oldest of more than a queue's worth. They get their turn with
// the next sending of all.
func (l *loop) limit(all []*item, now time.Time) []*item {
	over := len(all) - l.client.options.Queue
	if over <= 0 {
		return all
	}
	for _, k := range all[:over] {
		k.waiting, k.sent = false, now
		if !k.resolved.IsZero() && k.delivered.IsZero() {
			k.delivered = now
		}
	}
	l.note(func(s *PeerStatus) { s.Dropped += uint64(over) })
	return all[over:]
}

func (k *item) changed() time.Time {
	if k.resolved.IsZero() {
		return k.alert.StartsAt
	}
	return k.resolved
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// deliver posts the items. Where the peer refuses some of them it halves the
// batch until it knows which; the error says that the peer as a whole does not
// answer as it should, and what is undelivered still waits.
func (l *loop) deliver(ctx context.Context, items []*item) error {
	now := time.Now()
	err := l.poster.post(ctx, l.client.payload(items, now))
	var refused *refusedError
	switch {
	case err == nil:
		l.done(items, now)
		l.note(func(s *PeerStatus) { s.LastOK, s.LastError, s.Sent = now, "", s.Sent+uint64(len(items)) })
		if l.down {
			l.client.options.Log.Info("Alertmanager takes alerts again", "url", l.st.URL)
		}
		l.down, l.said = false, ""
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &refused) && len(items) > 1:
		half := len(items) / 2
		if err := l.deliver(ctx, items[:half]); err != nil {
			return err
		}
		return l.deliver(ctx, items[half:])
	case errors.As(err, &refused):
		l.done(items, now)
		name := items[0].alert.Labels["alertname"]
		text := "alert " + name + ": " + err.Error()
		l.note(func(s *PeerStatus) { s.LastError, s.Failed = text, s.Failed+1 })
		l.say("Alertmanager does not take an alert", text)
		return nil
	}
	l.note(func(s *PeerStatus) { s.LastError, s.Failed = err.Error(), s.Failed+uint64(len(items)) })
	l.say("Alertmanager does not take alerts", err.Error())
	l.down = true
	if l.failed != nil {
		l.failed()
	}
	return err
}

func (l *loop) done(items []*item, now time.Time) {
	for _, k := range items {
		k.waiting, k.sent = false, now
		if !k.resolved.IsZero() && k.delivered.IsZero() {
			k.delivered = now
		}
	}
}

// say tells the log what is wrong, once for as long as it is the same.
func (l *loop) say(what, text string) {
	if l.said != text {
		l.client.options.Log.Warn(what, "url", l.st.URL, "err", text)
	}
	l.said = text
}

func (l *loop) note(change func(*PeerStatus)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.st)
}

func (l *loop) status() PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.st
}
