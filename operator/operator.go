// Package operator follows its tenants: for each, snapshot → definitions →
// specs → plan → apply → status. Status is its only output.
//
// It holds no state that cannot be read again from git or the swarm, deletes
// nothing on doubt, and writes nothing when nothing changed.
package operator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/source"
	"github.com/skep-gitops/skep/stack"
)

// Operator follows the tenants of its Config. Its methods may be called from
// any goroutine, before, while and after Run works.
type Operator struct {
	w   deploy.Writer
	log *slog.Logger

	// The seams: where repositories and alerts come from and go to.
	open   func(dir string, r source.Remote, l source.Limits) repository
	notify func(alerting.Options) (notifier, error)
	policy func(Tenant, stack.Spec) error // nil: unrestricted

	config  chan Config // a newer one; holds at most one
	refusal chan string // why a newer one was refused
	trigger chan string // tenants to look at soon
	shown   atomic.Pointer[Status]
	peers   atomic.Pointer[peerList]

	mu      sync.Mutex // guards current
	current Config
}

// notifier is what the loop asks of an alerting.Client; tests give their own.
type notifier interface {
	Set(firing []alerting.Alert)
	Run(ctx context.Context) error
	Peers() []alerting.PeerStatus
}

var _ notifier = (*alerting.Client)(nil)

// New makes an Operator; Run does the work. The error says what is wrong with
// the configuration.
func New(c Config, w deploy.Writer, log *slog.Logger) (*Operator, error) {
	if err := check(c); err != nil {
		return nil, err
	}
	o := &Operator{
		w: w, log: log,
		open: func(dir string, r source.Remote, l source.Limits) repository { return source.Open(dir, r, l) },
		notify: func(a alerting.Options) (notifier, error) {
			return alerting.New(a)
		},
		config:  make(chan Config, 1),
		refusal: make(chan string, 1),
		trigger: make(chan string, 64),
		current: c,
	}
	if _, err := o.notify(c.Alerts); err != nil {
		return nil, fmt.Errorf("alertmanagers: %w", err)
	}
	o.shown.Store(&Status{Cluster: c.Cluster, Instance: c.Instance, Version: c.Version})
	return o, nil
}

// check says what an Operator can't work with. cmd knows the file and its lines;
// this is the last door.
func check(c Config) error {
	if c.Instance == "" {
		return errors.New("instance: must be set")
	}
	if c.Interval <= 0 {
		return errors.New("interval: must be above zero")
	}
	seen := map[string]bool{}
	for _, t := range c.Tenants {
		switch {
		case t.Name == "":
			return errors.New("tenants: one has no name")
		case seen[t.Name]:
			return fmt.Errorf("tenants: %q is there twice", t.Name)
		case t.Repo == "":
			return fmt.Errorf("tenant %q: repo: must be set", t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

// Run works until ctx ends and returns when all its goroutines are gone.
func (o *Operator) Run(ctx context.Context) error {
	o.mu.Lock()
	c := o.current
	o.mu.Unlock()
	return newLoop(o, c).run(ctx)
}

// Reload replaces the configuration; what did not change is not disturbed. The
// error says what is wrong with it; then the running one stays.
func (o *Operator) Reload(c Config) error {
	if err := check(c); err != nil {
		return err
	}
	if _, err := o.notify(c.Alerts); err != nil {
		return fmt.Errorf("alertmanagers: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.current = c
	replace(o.config, c)
	return nil
}

// Refuse records that a newer configuration was refused, and why; "" clears it.
func (o *Operator) Refuse(why string) { replace(o.refusal, why) }

// replace puts v into a channel of one place, over what waits there.
func replace[T any](ch chan T, v T) {
	for {
		select {
		case ch <- v:
			return
		default:
		}
		select {
		case <-ch:
		default:
		}
	}
}

// Trigger says: look at this tenant's repository soon ("" for all). It carries no
// data and never waits; too many at a time come to one look.
func (o *Operator) Trigger(tenant string) {
	select {
	case o.trigger <- tenant:
	default: // the looks that wait already cover it, or the next interval does
	}
}

// Status is how things are. The value is the caller's.
func (o *Operator) Status() Status {
	s := o.shown.Load().clone()
	if p := o.peers.Load(); p != nil {
		s.Peers = p.client.Peers()
	}
	return s
}
