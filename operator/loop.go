package operator

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/source"
)

const (
	fullLook     = 30 * time.Second       // between two looks at the swarm, at the latest
	flightLook   = time.Second            // while something is on its way
	badLook      = 5 * time.Second        // while something is broken
	memoryDelay  = time.Second            // for our own writes of memories to come together
	eventDelay   = 150 * time.Millisecond // for events to come together
	publishDelay = 50 * time.Millisecond  // for changes of status to come together
	settleTime   = 3 * time.Second        // for all tenants' first readings, before the first write
	lookLimit    = 70 * time.Second       // of one look at the swarm
	detailEvery  = 10 * time.Minute       // between two lists of a stack's configs
	parallel     = 8                      // stacks that are worked on at a time
)

// loop is the one owner of all that the operator knows. Followers, looks and jobs
// work beside it and send it what they found out; it decides.
type loop struct {
	o       *Operator
	config  Config
	tenants map[string]*followed
	stacks  map[stackID]*kept
	order   []*kept // of stacks, by tenant and name

	out        outlet
	looks      chan look
	results    chan result
	events     chan deploy.Look
	saved      chan tenantSaved
	followers  map[string]*follower
	registries *resolver
	wg         sync.WaitGroup
	api        atomic.Pointer[string] // the API to render for

	live     deploy.Live
	services map[string]*swarm.Service   // by name
	networks map[string]*network.Summary // external ones are found here by name
	parts    map[string]*part
	memories map[stackID]deploy.Memory // a tenant's own under an empty stack
	key      deploy.Key
	orphans  []Orphan

	seq      uint64 // of the last look that began
	seen     uint64 // of the last look that succeeded
	looking  bool
	lookAt   time.Time // when the next look is due
	lookTook time.Duration
	lookEnd  time.Time
	swarmErr string
	swarmBad time.Time
	running  int
	removing int
	cursor   int // where the search for the next job begins
	began    time.Time
	claimed  bool // claims are up to date
	assessed bool // health is up to date
	refused  string
	refuseAt time.Time
	counts   Counts

	told      bool // status is as shown
	toldAt    time.Time
	tellEvery time.Duration // between two statuses
	alerts    table
	tellers   *teller
	once      *once // not nil: one pass, then the end
}

// followed is one tenant as the loop knows it.
type followed struct {
	Tenant
	last    *reading // the last look
	good    *reading // the last that read every definition; its revisions are the stacks' newest
	since   time.Time
	memory  deploy.Memory
	saved   string
	rec     tenantRecord
	changed bool // rec may differ from what is saved
	saving  bool
	fresh   uint64 // the first look that knows of the last saving
	present bool   // memory was looked for
	saveAt  time.Time
}

func newLoop(o *Operator, c Config) *loop {
	l := &loop{
		o: o, config: c,
		tenants: map[string]*followed{}, stacks: map[stackID]*kept{},
		looks: make(chan look), results: make(chan result), events: make(chan deploy.Look), saved: make(chan tenantSaved),
		followers: map[string]*follower{}, registries: newResolver(), parts: map[string]*part{}, memories: map[stackID]deploy.Memory{},
		alerts: table{},
	}
	l.out = outlet{
		readings: make(chan []reading), pasts: make(chan past), regroup: make(chan struct{}),
		api: func() string { return *l.api.Load() }, known: make(chan struct{}),
	}
	l.api.Store(new(string))
	return l
}

// run is the loop: it takes in what was found out, decides, and shows.
func (l *loop) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer l.wg.Wait()
	defer cancel()
	l.began = time.Now()
	l.lookAt = l.began
	if err := l.startTelling(ctx); err != nil {
		return err
	}
	l.follow(ctx)
	if l.once == nil {
		l.wg.Go(func() { watch(ctx, l.o.w, l.events) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.turn(ctx, time.Now())
		l.once.end(l, time.Now())
		if l.once.over() {
			return nil
		}
		timer.Reset(time.Until(l.nextTurn(time.Now())))
		if !l.take(ctx, timer.C) {
			l.flush(ctx)
			return nil
		}
	}
}

// take waits for one piece of news and takes it in; false: the end.
func (l *loop) take(ctx context.Context, timer <-chan time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-timer:
	case rs := <-l.out.readings:
		l.takeReadings(rs)
	case p := <-l.out.pasts:
		l.takePast(p)
	case <-l.out.regroup:
		l.follow(ctx)
	case k := <-l.looks:
		l.takeLook(k)
	case r := <-l.results:
		l.takeResult(r)
	case s := <-l.saved:
		l.takeSaved(s)
	case e := <-l.events:
		l.takeEvent(e)
	case c := <-l.o.config:
		l.reload(ctx, c)
	case why := <-l.o.refusal:
		l.refuse(why)
	case t := <-l.o.trigger:
		l.kick(t)
	}
	return true
}

// nextTurn is when the loop has something to do even if nothing happens.
func (l *loop) nextTurn(now time.Time) time.Time {
	next := l.began.Add(settleTime)
	if !now.Before(next) {
		next = now.Add(fullLook)
	}
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if !l.looking {
		earlier(l.lookDue())
	}
	if !l.told {
		earlier(l.toldAt.Add(l.tellEvery))
	} else {
		earlier(l.alerts.next(now))
	}
	for _, k := range l.order {
		if !k.busy && k.retry.After(now) {
			earlier(k.retry)
		}
		if !k.busy && k.saveAt.After(now) {
			earlier(k.saveAt)
		}
	}
	return next
}

// follow starts a follower for each repository that has none and stops those
// that nobody needs. Tenants whose repository did not change keep theirs.
func (l *loop) follow(ctx context.Context) {
	l.keepTenants()
	groups := map[string][]Tenant{}
	for _, t := range l.config.Tenants {
		key := remoteKey(t)
		groups[key] = append(groups[key], t)
	}
	gone := map[string]<-chan struct{}{}
	for key, f := range l.followers {
		if reflect.DeepEqual(f.tenants, groups[key]) && f.interval == l.config.Interval {
			continue
		}
		f.stop()
		gone[key] = f.done
		delete(l.followers, key)
	}
	for key, tenants := range groups {
		if l.followers[key] == nil {
			l.startFollower(ctx, key, tenants, gone[key])
		}
	}
}

// startFollower follows one repository for its tenants, once the former follower
// of it is gone.
func (l *loop) startFollower(ctx context.Context, key string, tenants []Tenant, after <-chan struct{}) {
	f := l.newFollower(key, tenants)
	if after == nil {
		ready := make(chan struct{})
		close(ready)
		after = ready
	}
	fctx, stop := context.WithCancel(ctx)
	f.stop = stop
	l.followers[key] = f
	l.wg.Go(func() {
		defer stop()
		f.run(fctx, after, l.out)
	})
}

// newFollower prepares to follow one repository; it touches nothing yet.
func (l *loop) newFollower(key string, tenants []Tenant) *follower {
	f := &follower{
		key: key, tenants: tenants, interval: l.config.Interval,
		kick: make(chan struct{}, 1), asks: make(chan ask, 1024), done: make(chan struct{}),
	}
	for _, t := range tenants {
		f.readers = append(f.readers, &reader{tenant: t, policy: l.o.policy})
	}
	f.remote, f.trouble = remoteOf(tenants[0])
	if f.trouble == nil {
		f.mirror = l.o.open(filepath.Join(l.config.Cache, "mirrors"), f.remote, source.Limits{})
	}
	return f
}

// keepTenants makes the tenants those of the configuration.
func (l *loop) keepTenants() {
	want := map[string]bool{}
	for _, t := range l.config.Tenants {
		want[t.Name] = true
		if f := l.tenants[t.Name]; f != nil {
			f.Tenant = t
			continue
		}
		l.tenants[t.Name] = &followed{Tenant: t, since: time.Now()}
	}
	for name := range l.tenants {
		if !want[name] {
			l.dropTenant(name)
		}
	}
}

// dropTenant forgets a tenant. Its stacks keep running, as orphans.
func (l *loop) dropTenant(name string) {
	delete(l.tenants, name)
	for id := range l.stacks {
		if id.tenant == name {
			delete(l.stacks, id)
		}
	}
	l.order = nil
	l.claimed, l.told = false, false
}

// reload takes a newer configuration.
func (l *loop) reload(ctx context.Context, c Config) {
	l.config = c
	l.refuse("")
	l.follow(ctx)
	if err := l.startTelling(ctx); err != nil {
		l.refuse("alertmanagers: " + err.Error())
	}
	for _, k := range l.order {
		clear(k.past)
	}
	l.lookAt = time.Now()
	l.told = false
	l.o.log.Info("configuration reloaded")
}

// refuse notes that a newer configuration was refused.
func (l *loop) refuse(why string) {
	if why == l.refused {
		return
	}
	l.refused, l.refuseAt, l.told = why, time.Now(), false
	if why != "" {
		l.o.log.Error("configuration refused", "err", why)
	}
}

// kick has a tenant's repository looked at soon, or all.
func (l *loop) kick(tenant string) {
	for _, f := range l.followers {
		if tenant == "" || slices.ContainsFunc(f.tenants, func(t Tenant) bool { return t.Name == tenant }) {
			f.soon()
		}
	}
}

// takeEvent: something changed in the swarm, so look soon. No look lists configs,
// so one that went or changed has its stack looked at closer.
func (l *loop) takeEvent(h deploy.Look) {
	if ownMemory(h) {
		l.lookBy(time.Now().Add(memoryDelay))
		return
	}
	for _, k := range l.order {
		if k.concerns(h) && l.seen >= k.fresh {
			k.detailed = time.Time{}
		}
	}
	l.lookBy(time.Now().Add(eventDelay))
}

// lookBy has the swarm looked at by then.
func (l *loop) lookBy(t time.Time) {
	if l.lookAt.IsZero() || t.Before(l.lookAt) {
		l.lookAt = t
	}
}

// lookDue is when the next look begins: looks leave the swarm more time than
// they take.
func (l *loop) lookDue() time.Time {
	earliest := l.lookEnd.Add(max(eventDelay, 2*l.lookTook))
	if l.lookAt.Before(earliest) {
		return earliest
	}
	return l.lookAt
}

// stack gives the loop's knowledge of a stack, made if there is none.
func (l *loop) stack(id stackID) *kept {
	k := l.stacks[id]
	if k == nil {
		k = &kept{stackID: id, past: map[string]*revision{}, asked: map[string]time.Time{}}
		k.fresh = l.seq
		l.stacks[id] = k
		l.order = nil
		l.meet(k)
	}
	return k
}

// sortStacks lists the stacks by tenant and name, once some came or went.
func (l *loop) sortStacks() {
	if len(l.order) == len(l.stacks) && l.order != nil {
		return
	}
	l.order = make([]*kept, 0, len(l.stacks))
	for _, k := range l.stacks {
		l.order = append(l.order, k)
	}
	slices.SortFunc(l.order, func(a, b *kept) int {
		if c := strings.Compare(a.tenant, b.tenant); c != 0 {
			return c
		}
		return strings.Compare(a.stack, b.stack)
	})
}
