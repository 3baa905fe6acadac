// Package swarmtest is a Docker Swarm in memory, for tests.
//
// A Swarm keeps services, networks, secrets, configs, nodes and tasks as the
// daemon does: versions, conflicts, objects in use, normalised specs, rolling
// updates with their pauses and roll-backs. Tasks come to the end that the test
// gives their image. It moves only when it is called or stepped, by a clock that
// the test may set, so that a story gives the same result each time.
//
// Contract is the suite that holds a Swarm and a real engine to the same
// behaviour. Nothing here is meant for use outside tests.
package swarmtest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"github.com/skep-gitops/skep/deploy"
)

// Swarm is a swarm in memory. Make one with New and set its fields before the
// first call; the methods are safe for use by several goroutines.
type Swarm struct {
	Now  func() time.Time // the clock; time.Now unless set
	API  string           // the negotiated API version; 1.51 unless set
	Stop time.Duration    // how long a task takes to stop

	// Outcomes says by image what becomes of a task; an image without one runs.
	Outcomes map[string]Outcome
	// Registry is what DistributionInspect answers, by image as it is asked for.
	Registry map[string]registry.DistributionInspect

	// Before is called before each call does its work, outside any lock: an error
	// it returns is the call's, and the call does nothing. It may block until ctx ends.
	Before func(ctx context.Context, c Call) error
	// After is called once the call has done its work: an error it returns is a
	// lost reply. Nothing else the call had to say gets through.
	After func(ctx context.Context, c Call) error

	mu        sync.Mutex // guards all below
	offset    time.Duration
	index     uint64 // the raft index: the version of what is written next
	ids       int
	services  map[string]*service
	secrets   map[string]*swarm.Secret
	configs   map[string]*swarm.Config
	networks  map[string]*network.Summary
	zombies   map[string]zombie // by name
	nodes     map[string]*swarm.Node
	tasks     map[string]*task
	byService map[string][]*task // oldest first
	moving    map[string]*task   // those that something becomes of yet
	mode      Mode
	hidden    bool
	linger    time.Duration
	calls     []Call
	writes    int
	watchers  []*watcher
}

var _ deploy.Writer = (*Swarm)(nil)

// Call is one call of the API.
type Call struct {
	N      int    // counts all calls from 1
	Write  int    // counts the writes from 1; 0: a read
	Method string // such as ServiceUpdate
	Object string // the name or ID it is about; empty for lists
}

// Mode is the state of the manager that is asked.
type Mode string

// The modes. A manager without a leader and a worker answer a network list
// without the swarm's networks and refuse the rest.
const (
	Manager  Mode = ""
	NoLeader Mode = "no leader"
	Worker   Mode = "worker"
)

// New gives a swarm of one manager, with the networks that each engine has.
func New() *Swarm {
	s := &Swarm{
		index:     10,
		services:  map[string]*service{},
		secrets:   map[string]*swarm.Secret{},
		configs:   map[string]*swarm.Config{},
		networks:  map[string]*network.Summary{},
		zombies:   map[string]zombie{},
		nodes:     map[string]*swarm.Node{},
		tasks:     map[string]*task{},
		byService: map[string][]*task{},
		moving:    map[string]*task{},
		Outcomes:  map[string]Outcome{},
		Registry:  map[string]registry.DistributionInspect{},
	}
	s.predefine()
	s.AddNode("node1", swarm.NodeRoleManager, nil)
	return s
}

// Step lets d pass and carries out what falls due meanwhile.
func (s *Swarm) Step(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
	s.settle()
}

// Set puts the manager into a mode.
func (s *Swarm) Set(m Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = m
}

// Hide makes network lists lack the swarm's networks while all other calls are
// answered, as when the leader is lost and found between two calls.
func (s *Swarm) Hide(networks bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden = networks
}

// Linger lets a removed network live on, on its node, for d: its name is taken
// and a service cannot use it.
func (s *Swarm) Linger(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.linger = d
}

// Calls lists the calls so far.
func (s *Swarm) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Writes counts the writes so far.
func (s *Swarm) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// Forget starts the count of calls and writes again.
func (s *Swarm) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls, s.writes = nil, 0
}

// Auth gives the encoded registry credentials that a service was last sent.
func (s *Swarm) Auth(service string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.service(service); v != nil {
		return v.auth
	}
	return ""
}

// ClientVersion is the negotiated API version.
func (s *Swarm) ClientVersion() string { return cmp.Or(s.API, "1.51") }

// Info tells the manager's state, as /info does: it answers in every mode.
func (s *Swarm) Info(ctx context.Context) (system.Info, error) {
	var info system.Info
	err := s.call(ctx, "Info", "", read, func() error {
		info.Name = "node1"
		info.Swarm.LocalNodeState = swarm.LocalNodeStateActive
		info.Swarm.ControlAvailable = s.mode != Worker
		if s.mode == NoLeader {
			info.Swarm.Error = "rpc error: code = Unknown desc = " + noLeader
		}
		if s.mode == Manager {
			info.Swarm.Nodes = len(s.nodes)
			for _, n := range s.nodes {
				if n.Spec.Role == swarm.NodeRoleManager {
					info.Swarm.Managers++
				}
			}
		}
		return nil
	})
	return info, err
}

// DistributionInspect answers from Registry.
func (s *Swarm) DistributionInspect(ctx context.Context, image, auth string) (registry.DistributionInspect, error) {
	var got registry.DistributionInspect
	err := s.call(ctx, "DistributionInspect", image, read, func() error {
		d, ok := s.Registry[image]
		if !ok {
			return denied("Error: pull access denied for %s, repository does not exist or may require 'docker login'", image)
		}
		got = d
		return nil
	})
	return got, err
}

// Kinds of call.
const (
	read  = iota // answers in every mode
	query        // needs a leader
	write        // needs a leader and is counted
)

// call counts a call, runs the hooks and, between them, do under the lock.
func (s *Swarm) call(ctx context.Context, method, object string, kind int, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := s.count(method, object, kind)
	if s.Before != nil {
		if err := s.Before(ctx, c); err != nil {
			return err
		}
	}
	if err := s.locked(kind, do); err != nil {
		return err
	}
	if s.After != nil {
		return s.After(ctx, c)
	}
	return nil
}

func (s *Swarm) count(method, object string, kind int) Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := Call{N: len(s.calls) + 1, Method: method, Object: object}
	if kind == write {
		s.writes++
		c.Write = s.writes
	}
	s.calls = append(s.calls, c)
	return c
}

func (s *Swarm) locked(kind int, do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind != read {
		if err := s.answers(); err != nil {
			return err
		}
	}
	s.settle()
	if err := do(); err != nil {
		return err
	}
	s.settle()
	return nil
}

// answers says why the manager can't answer for the swarm.
func (s *Swarm) answers() error {
	switch s.mode {
	case NoLeader:
		return internal(noLeader)
	case Worker:
		return unavailable("This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.")
	}
	return nil
}

// now is the swarm's time.
func (s *Swarm) now() time.Time {
	if s.Now != nil {
		return s.Now().Add(s.offset)
	}
	return time.Now().Add(s.offset)
}

// next gives the version of an object that is written.
func (s *Swarm) next() swarm.Version {
	s.index++
	return swarm.Version{Index: s.index}
}

// id gives a fresh ID of 25 characters, in the order of creation.
func (s *Swarm) id(kind string) string {
	s.ids++
	return fmt.Sprintf("%s%0*d", kind, 25-len(kind), s.ids)
}

func (s *Swarm) meta() swarm.Meta {
	now := s.now()
	return swarm.Meta{Version: s.next(), CreatedAt: now, UpdatedAt: now}
}

// clone copies what the API carries as JSON, as the wire does.
func clone[T any](v T) T {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("swarmtest: %T does not marshal: %v", v, err))
	}
	var c T
	if err := json.Unmarshal(b, &c); err != nil {
		panic(fmt.Sprintf("swarmtest: %T does not unmarshal: %v", v, err))
	}
	return c
}

// same says whether two values are the same on the wire.
func same(a, b any) bool {
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(x) == string(y)
}

// sorted gives the values of m by key, which is the order of creation.
func sorted[V any](m map[string]V) []V {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	out := make([]V, 0, len(m))
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}

// labelled says whether labels satisfy filters of the form key or key=value.
func labelled(labels map[string]string, want []string) bool {
	for _, w := range want {
		k, v, valued := strings.Cut(w, "=")
		got, ok := labels[k]
		if !ok || valued && v != got {
			return false
		}
	}
	return true
}

// prefixed says whether s starts with one of the prefixes, or there are none.
func prefixed(s string, prefixes []string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
