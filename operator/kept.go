package operator

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

// stackID names a stack of a tenant.
type stackID struct{ tenant, stack string }

// kept is everything that the loop knows of one stack. Only the loop touches it.
type kept struct {
	stackID
	newest   *revision            // what git asks; nil: not in git, or git couldn't be read
	accepted *revision            // the last revision that the stack was driven to
	past     map[string]*revision // older commits that were read for this stack
	asked    map[string]time.Time // older commits that are being read, since when

	memory deploy.Memory
	saved  string // the state in memory
	rec    record

	part    part          // what of the swarm is the stack's
	health  deploy.Health // of it
	checked uint64        // the part that health was told from
	goal    goal          // as last chosen

	met       bool      // a look has told of its memory
	blind     bool      // the last look could not tell its health without tasks
	changed   bool      // rec may differ from what is saved
	busy      bool      // a job is at work
	fresh     uint64    // the first look that may be decided on
	clean     string    // goal and part at the last diff that found nothing to do
	tidy      string    // goal and part at the last search for garbage that found none
	detailed  time.Time // when its configs were last listed
	pending   string    // services wait for others, in words; empty: none
	problem   verdict   // how the last job ended
	retry     time.Time // no job before
	tries     int
	again     int // whole writes of the same goal in a row, each found wanting
	stale     int // jobs in a row that came too late
	drift     []string
	unequal   map[string]bool // secrets that proved to differ from git when they were adopted
	notes     []string
	saveAt    time.Time // no saving before
	saveTries int
	tried     string   // input hash that a job last worked for
	stays     []string // objects that left git and that prune: never keeps
	judged    bool     // it was decided whether it may leave
	conflict  string   // another tenant claims the name or a service of it

	looked  StackStatus // as last shown, for Since and for the log
	leaving *blocked    // the stack left git: why it is not removed; nil: it may be
}

// part is what of the swarm belongs to one stack's namespace.
type part struct {
	owner    string // the tenant that the labels of our instance name
	ours     int    // objects with our instance's label, and services that lost it
	foreign  int    // objects without
	bare     int    // services without a label of skep, whoever's they are
	networks int
	versions uint64 // changes when Diff may come to another result
	health   uint64 // changes when Check may
}

func (p part) empty() bool { return p.ours+p.foreign == 0 }

// split files every object of a look under its stack.
func split(live deploy.Live, instance string) map[string]*part {
	parts := map[string]*part{}
	of := func(labels map[string]string, id string, version uint64) *part {
		name := labels[deploy.LabelNamespace]
		if name == "" {
			return nil
		}
		p := parts[name]
		if p == nil {
			p = &part{}
			parts[name] = p
		}
		if labels[deploy.LabelInstance] == instance {
			p.ours++
			if t := labels[deploy.LabelTenant]; t != "" {
				p.owner = t
			}
		} else {
			p.foreign++
		}
		p.versions += mix(id, version)
		return p
	}
	for i := range live.Services {
		s := &live.Services[i]
		if p := of(deploy.OwnerLabels(s), s.ID, s.Version.Index); p != nil {
			p.health += mix(s.ID, s.Version.Index) + running(s)
			if bare(s) {
				p.bare++
			}
		}
	}
	for i := range live.Networks {
		n := &live.Networks[i]
		if n.Scope == "swarm" && n.Containers == nil {
			if p := of(n.Labels, n.ID, 0); p != nil {
				p.networks++
			}
		}
	}
	for i := range live.Secrets {
		of(live.Secrets[i].Spec.Labels, live.Secrets[i].ID, live.Secrets[i].Version.Index)
	}
	return parts
}

// running is the part of a service's state that has no version.
func running(s *swarm.Service) uint64 {
	if s.ServiceStatus == nil {
		return 0
	}
	st := s.ServiceStatus
	return mix("status", st.RunningTasks*1_000_003+st.DesiredTasks*1009+st.CompletedTasks)
}

// mix is FNV-1a of an object's ID and version. Sums of it do not depend on the
// order of a list.
func mix(id string, version uint64) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	for range 8 {
		h = (h ^ version&0xff) * 1099511628211
		version >>= 8
	}
	return h
}

// externals is the part of a look that a stack uses and does not own: external
// networks, whose ID is in its services.
func externals(s stack.Spec, networks map[string]*network.Summary) uint64 {
	var sum uint64
	for _, n := range s.Networks {
		if !n.External {
			continue
		}
		if live := networks[n.Name]; live != nil {
			sum += mix(live.ID, 1)
		}
	}
	return sum
}

// print identifies what a diff is made of: the goal and the stack's objects.
func (k *kept) print() string {
	return k.goal.hash + "@" + strconv.FormatUint(k.part.versions+k.goal.outer, 36)
}

// dirty says that the record differs from what the memory holds.
func (k *kept) dirty() bool {
	if !k.changed {
		return false
	}
	state := string(k.rec.encode())
	k.changed = state != k.saved && (k.memory.ID != "" || state != "{}")
	return k.changed
}

// adopt takes the memory that a look found. Where a verb added to the history, or
// alerts were noted, what is not saved yet of ours stays; where another operator
// decided something, that counts, so that two of them never write in turns and one
// that was stopped for a while loses nothing of what happened since. Both
// histories are kept.
func (k *kept) adopt(m deploy.Memory) {
	k.memory = m
	if string(m.State) == k.saved {
		return
	}
	theirs, before := parseRecord[record](m), parseRecord[record](deploy.Memory{State: json.RawMessage(k.saved)})
	if k.changed {
		history := mergeHistory(k.rec.History, theirs.History)
		if theirs.decided() != before.decided() {
			k.rec = theirs
		}
		k.rec.History = history
	} else {
		k.rec = theirs
	}
	k.saved = string(m.State)
}

// frozen is the freeze in force, if any.
func (k *kept) frozen(now time.Time) *deploy.Frozen {
	f := k.memory.Frozen
	if f == nil || !f.Until.IsZero() && !now.Before(f.Until) {
		return nil
	}
	return f
}

// pinned is the pin in force, if any. One until the next commit ends when git
// asks for another commit than it did then.
func (k *kept) pinned() *deploy.Pinned {
	p := k.memory.Pinned
	if p == nil || p.Commit == "" {
		return nil
	}
	if p.UntilNext != "" && k.newest != nil && k.newest.commit != p.UntilNext {
		return nil
	}
	return p
}

func itoa(n int) string { return strconv.Itoa(n) }
