package operator

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/source"
)

// BenchmarkQuietLook is what the loop itself does for one look at a swarm of many
// stacks where nothing changed, without the calls.
func BenchmarkQuietLook(b *testing.B) {
	for _, n := range []int{100, 400} {
		b.Run(fmt.Sprintf("%d stacks", n), func(b *testing.B) {
			l, w := loopWith(b, n)
			live, err := deploy.Observe(b.Context(), w, deploy.LookOptions{Instance: "test"})
			if err != nil {
				b.Fatal(err)
			}
			writes := w.Writes()
			b.ReportAllocs()
			for b.Loop() {
				l.seq++
				l.looking = true
				l.takeLook(look{seq: l.seq, live: live, key: l.key})
				l.lookAt = time.Now().Add(time.Hour)
				l.toldAt = time.Time{}
				l.turn(b.Context(), time.Now())
			}
			if l.running+l.removing > 0 || w.Writes() != writes {
				b.Errorf("%d jobs, %d writes", l.running+l.removing, w.Writes()-writes)
			}
		})
	}
}

// loopWith gives a loop that has deployed n stacks.
func loopWith(b *testing.B, n int) (*loop, *swarmtest.Swarm) {
	b.Helper()
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("s%d/compose.yml", i)] = "services:\n  web: {image: 'web:1', deploy: {replicas: 0}}\n  db: {image: 'db:1', deploy: {replicas: 0}}\nnetworks: {default: {}}\n"
	}
	r := &repo{commits: map[string]source.Snapshot{}}
	r.push(files)
	w := swarmtest.New()
	c := Config{Instance: "test", Interval: time.Minute, Tenants: []Tenant{{Name: "t", Repo: "r", Path: ".", Resolve: "never"}}}
	o, err := New(c, w, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	o.open = func(string, source.Remote, source.Limits) repository { return r }
	o.notify = func(alerting.Options) (notifier, error) { return &bell{}, nil }
	l := newLoop(o, c)
	l.once = &once{wait: true, shown: map[stackID]StackStatus{}}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	if err := l.run(ctx); err != nil || !l.once.done {
		b.Fatal(err, l.once.done)
	}
	l.once = nil
	return l, w
}
