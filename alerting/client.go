package alerting

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	defaultResend   = time.Minute
	defaultValidity = 4 * time.Minute
	defaultRepeat   = 15 * time.Minute
	defaultTimeout  = 10 * time.Second
	defaultQueue    = 10_000
)

// client is what a Client holds. Each peer has a loop of its own that looks at
// the table when it is woken or something is due; nothing waits for a loop.
type client struct {
	options   Options
	generator string // options.URL if it is absolute
	targets   []target
	resolve   func(ctx context.Context, host string) ([]string, error)

	mu    sync.Mutex // guards table, loops and names
	table table
	loops map[*loop]bool
	names map[string]string // what is wrong with the lookup, by target URL
}

// New makes a Client; Run does the sending. It fails on a peer's URL that is not
// one; the error shows no credentials.
func New(o Options) (*Client, error) {
	o.Resend = cmp.Or(o.Resend, defaultResend)
	o.Validity = cmp.Or(o.Validity, defaultValidity)
	o.Repeat = cmp.Or(o.Repeat, defaultRepeat)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Queue = cmp.Or(o.Queue, defaultQueue)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	c := &Client{client{
		options: o,
		resolve: net.DefaultResolver.LookupHost,
		table:   table{},
		loops:   make(map[*loop]bool),
		names:   make(map[string]string),
	}}
	if u, err := url.Parse(o.URL); err == nil && u.IsAbs() && u.Host != "" {
		c.generator = o.URL
	}
	for _, p := range o.Peers {
		t, err := newTarget(p)
		if err != nil {
			return nil, err
		}
		c.targets = append(c.targets, t)
	}
	return c, nil
}

// Set gives the whole list of what fires. What was in the former list and is
// not in this one is resolved, and told at once. Safe from any goroutine; never
// blocks. StartsAt of an alert that fires already is kept. Names of labels are
// made valid, empty values dropped, long ones cut; an alert without a label is
// left out.
func (c *Client) Set(firing []Alert) {
	now := time.Now()
	list := make([]Alert, 0, len(firing))
	for _, a := range firing {
		if a, ok := clean(a, c.options.External, now); ok {
			list = append(list, a)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.table = c.table.after(list, now, c.options.Repeat)
	for l := range c.loops {
		l.look()
	}
}

// Run sends until ctx ends; then it leaves what fires as it is, so that the
// next process takes over. It is called once.
func (c *Client) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, t := range c.targets {
		wg.Go(func() { c.follow(ctx, t) })
	}
	<-ctx.Done()
	return nil
}

// follow runs one loop for a target with a fixed address, and one per address
// of a target with a name.
func (c *client) follow(ctx context.Context, t target) {
	if t.dns != "" {
		c.followName(ctx, t)
		return
	}
	c.run(ctx, c.newLoop(t, nil))
}

func (c *client) run(ctx context.Context, l *loop) {
	c.mu.Lock()
	c.loops[l] = true
	c.mu.Unlock()
	l.run(ctx)
	c.mu.Lock()
	delete(c.loops, l)
	c.mu.Unlock()
}

// snapshot is the table as of now. Do not write to it.
func (c *client) snapshot() table {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.table
}

// Peers tells how each peer does, sorted by URL. A name that cannot be looked up
// stands there too.
func (c *Client) Peers() []PeerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]PeerStatus, 0, len(c.loops)+len(c.names))
	for l := range c.loops {
		all = append(all, l.status())
	}
	for u, text := range c.names {
		all = append(all, PeerStatus{URL: u, LastError: text})
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.URL, b.URL) })
	return all
}
