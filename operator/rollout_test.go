package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

// updatesOf counts the updates of services since the calls were last forgotten.
func (w *world) updatesOf(method string) int {
	n := 0
	for _, c := range w.swarm.Calls() {
		if c.Method == method {
			n++
		}
	}
	return n
}

func TestSupersede(t *testing.T) {
	t.Parallel()
	story(t, "a newer commit does not wait for an older one that hangs", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["web:slow"] = swarmtest.Runs(time.Hour)
		r.push(map[string]string{"a/compose.yml": web("web:slow")})
		w.start()
		w.until("on its way", func() bool { return w.stack("shop", "shop-a").Health == "progressing" })
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		if d := w.synced("shop", "shop-a", c); d > 30*time.Second {
			w.Errorf("synced after %s", d)
		}
	})
	story(t, "a stuck stack delays no other", func(w *world) {
		r := w.tenant("shop")
		w.meddle(func(ctx context.Context, c swarmtest.Call) error {
			if c.Method == "ServiceCreate" && strings.HasPrefix(c.Object, "shop-a") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		})
		c := r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("web:1")})
		w.start()
		if d := w.synced("shop", "shop-b", c); d > 20*time.Second {
			w.Errorf("synced after %s", d)
		}
	})
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	story(t, "what may pass by itself is tried again, less and less often, also after a restart", func(w *world) {
		r := w.tenant("shop")
		var broken atomic.Bool
		broken.Store(true)
		w.meddle(func(_ context.Context, c swarmtest.Call) error {
			if broken.Load() && c.Method == "ServiceCreate" {
				return errors.New("rpc error: code = Unavailable desc = try later")
			}
			return nil
		})
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a")
		if s := w.stack("shop", "shop-a"); s.Reason != ApplyFailed {
			w.Errorf("status = %+v", s)
		}
		time.Sleep(time.Hour)
		w.swarm.Forget()
		time.Sleep(time.Hour)
		w.restart()
		time.Sleep(time.Hour)
		if n := w.updatesOf("ServiceCreate"); n < 8 || n > 16 {
			w.Errorf("%d tries in two hours, want about 12", n)
		}
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		broken.Store(false)
		if d := w.synced("shop", "shop-a", c); d > time.Minute {
			w.Errorf("a newer commit waited %s", d)
		}
		w.alertsAre()
	})
	story(t, "what the daemon refuses is not sent again", func(w *world) {
		r := w.tenant("shop")
		good := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		w.meddle(func(_ context.Context, c swarmtest.Call) error {
			if c.Method == "ServiceUpdate" {
				return fmt.Errorf("invalid spec: %w", cerrdefs.ErrInvalidArgument)
			}
			return nil
		})
		r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.alertsAre("SkepStackFailed shop shop-a")
		w.swarm.Forget()
		time.Sleep(20 * time.Minute)
		w.restart()
		time.Sleep(20 * time.Minute)
		if n := w.updatesOf("ServiceUpdate"); n != 0 {
			w.Errorf("%d more tries", n)
		}
		w.meddle(nil)
		w.removeByHand("shop-a_web")
		w.until("the last good state healed", func() bool { return w.image("shop-a_web") == "web:1" })
	})
}

func TestRollback(t *testing.T) {
	t.Parallel()
	two := func(a, b, more string) map[string]string {
		return map[string]string{"a/compose.yml": "services:\n  one:\n    image: " + a + "\n" + rollsBack + "  two:\n    image: " + b + "\n" + rollsBack + more}
	}
	story(t, "without a wish each service stays as Swarm left it, and drift is healed", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["one:bad"] = swarmtest.NoImage("one:bad")
		r.push(two("one:1", "two:1", ""))
		w.start()
		w.quiet()
		r.push(two("one:bad", "two:2", ""))
		w.alertsAre("SkepStackFailed shop shop-a")
		w.quiet()
		if one, two := w.image("shop-a_one"), w.image("shop-a_two"); one != "one:1" || two != "two:2" {
			w.Errorf("images = %s, %s", one, two)
		}
		w.removeByHand("shop-a_one")
		w.removeByHand("shop-a_two")
		w.until("healed", func() bool { return w.image("shop-a_one") == "one:1" && w.image("shop-a_two") == "two:2" })
		w.quiet()
		w.restart()
		w.quiet()
		w.removeByHand("shop-a_one")
		w.until("healed", func() bool { return w.image("shop-a_one") == "one:1" && w.image("shop-a_two") == "two:2" })
		if s := w.stack("shop", "shop-a"); s.Reason != RolledBack {
			w.Errorf("status = %+v", s)
		}
	})
	story(t, "x-skep rollback returns the whole stack to the last good commit", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["one:bad"] = swarmtest.Crashes(1, time.Second)
		wish := "x-skep: {rollback: true}\n"
		good := r.push(two("one:1", "two:1", wish))
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		bad := r.push(two("one:bad", "two:2", wish))
		w.until("back", func() bool {
			return w.stack("shop", "shop-a").Reason == RolledBack && w.image("shop-a_one") == "one:1" && w.image("shop-a_two") == "two:1"
		})
		w.quiet()
		w.restart()
		w.quiet()
		s := w.stack("shop", "shop-a")
		if s.Reason != RolledBack || s.Sync != OutOfSync || s.Health != "healthy" || s.Deployed != good || s.Commit != bad {
			w.Errorf("status = %+v", s)
		}
		if w.image("shop-a_two") != "two:1" {
			w.Errorf("image = %s", w.image("shop-a_two"))
		}
		c := r.push(two("one:3", "two:3", wish))
		w.synced("shop", "shop-a", c)
		w.alertsAre()
	})
	story(t, "where the last good commit is lost, Swarm puts each service back", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["one:bad"] = swarmtest.Crashes(1, time.Second)
		wish := "x-skep: {rollback: true}\n"
		file := func(one, two string) map[string]string {
			return map[string]string{"a/compose.yml": wish + "services:\n  one: {image: '" + one + "'}\n  two: {image: '" + two + "'}\n"}
		}
		good := r.push(file("one:1", "two:1"))
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		bad := r.push(file("one:bad", "two:2"))
		r.lose(good)
		w.until("rolling", func() bool { return w.image("shop-a_two") == "two:2" })
		w.restart()
		w.until("back", func() bool { return w.image("shop-a_one") == "one:1" && w.image("shop-a_two") == "two:1" })
		w.quiet()
		if s := w.stack("shop", "shop-a"); s.Reason != RolledBack || s.Commit != bad || !strings.Contains(s.Message, "no longer to be had") {
			w.Errorf("status = %+v", s)
		}
		w.swarm.Forget()
		time.Sleep(10 * time.Minute)
		if n := w.swarm.Writes(); n != 0 {
			w.Errorf("%d more writes", n)
		}
		w.synced("shop", "shop-a", r.push(file("one:3", "two:3")))
	})
	story(t, "what went back already stays when its good commit is lost later", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["one:bad"] = swarmtest.Crashes(1, time.Second)
		wish := "x-skep: {rollback: true}\n"
		good := r.push(two("one:1", "two:1", wish))
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		bad := r.push(two("one:bad", "two:2", wish))
		w.until("back", func() bool {
			return w.stack("shop", "shop-a").Reason == RolledBack && w.image("shop-a_one") == "one:1" && w.image("shop-a_two") == "two:1"
		})
		w.quiet()
		r.lose(good)
		w.swarm.Forget()
		w.restart()
		time.Sleep(10 * time.Minute)
		if n := w.updatesOf("ServiceUpdate"); n != 0 || w.image("shop-a_one") != "one:1" || w.image("shop-a_two") != "two:1" {
			w.Errorf("%d updates; images %s and %s", n, w.image("shop-a_one"), w.image("shop-a_two"))
		}
		if s := w.stack("shop", "shop-a"); s.Reason != RolledBack || s.Commit != bad || s.Deployed != good {
			w.Errorf("status = %+v", s)
		}
		w.synced("shop", "shop-a", r.push(two("one:3", "two:3", wish)))
	})
	story(t, "a paused update is not resumed", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["web:bad"] = swarmtest.NoImage("web:bad")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		r.push(map[string]string{"a/compose.yml": web("web:bad")})
		w.alertsAre("SkepStackFailed shop shop-a")
		w.swarm.Forget()
		time.Sleep(20 * time.Minute)
		if n := w.updatesOf("ServiceUpdate"); n != 0 {
			w.Errorf("%d updates", n)
		}
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.synced("shop", "shop-a", c)
	})
}

func TestOrder(t *testing.T) {
	t.Parallel()
	story(t, "a stack waits until the one that it depends on is healthy", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["db:1"] = swarmtest.Runs(2 * time.Minute)
		c := r.push(map[string]string{"a/compose.yml": "x-skep: {depends_on: [db]}\n" + web("web:1"), "db/compose.yml": web("db:1")})
		w.start()
		w.until("db on its way", func() bool { return w.image("shop-db_web") != "" })
		time.Sleep(time.Minute)
		if w.image("shop-a_web") != "" {
			w.Error("a did not wait")
		}
		if s := w.stack("shop", "shop-a"); s.Reason != "" || s.Sync != OutOfSync || !strings.Contains(s.Message, "waits for") {
			w.Errorf("status = %+v", s)
		}
		w.synced("shop", "shop-a", c)
		w.quiet()
		c = r.push(map[string]string{"a/compose.yml": "x-skep: {depends_on: [db]}\n" + web("web:2"), "db/compose.yml": web("db:1")})
		if d := w.synced("shop", "shop-a", c); d > time.Minute {
			w.Errorf("an unchanged dependency delayed %s", d)
		}
	})
	story(t, "a circle and an unknown stack are errors", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{
			"a/compose.yml": "x-skep: {depends_on: [b]}\n" + web("web:1"),
			"b/compose.yml": "x-skep: {depends_on: [a]}\n" + web("web:1"),
			"c/compose.yml": "x-skep: {depends_on: [nope]}\n" + web("web:1"),
			"d/compose.yml": web("web:1"),
		})
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a", "SkepStackFailed shop shop-b", "SkepStackFailed shop shop-c")
		w.until("d runs", func() bool { return w.image("shop-d_web") != "" })
		if s := w.stack("shop", "shop-a"); s.Reason != RenderFailed || !strings.Contains(s.Message, "circle") || !strings.HasPrefix(s.Message, "a/compose.yml:1: ") {
			w.Errorf("status = %+v", s)
		}
	})
	story(t, "a failing dependency is one alert", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["db:1"] = swarmtest.Crashes(1, time.Second)
		r.push(map[string]string{"a/compose.yml": "x-skep: {depends_on: [db]}\n" + web("web:1"), "db/compose.yml": web("db:1")})
		w.start()
		w.until("not ready", func() bool { return w.stack("shop", "shop-a").Reason == DependencyNotReady })
		w.alertsAre("SkepStackFailed shop shop-db")
	})
	story(t, "a migration that fails blocks the app", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["migrate:1"] = swarmtest.Crashes(3, time.Second)
		w.swarm.Outcomes["migrate:2"] = swarmtest.Completes(time.Second)
		file := func(migrate string) string {
			return "services:\n  migrate:\n    image: " + migrate + "\n    deploy: {mode: replicated-job, restart_policy: {condition: none}}\n" +
				"  app:\n    image: app:1\n    depends_on: {migrate: {condition: service_completed_successfully}}\n"
		}
		r.push(map[string]string{"a/compose.yml": file("migrate:1")})
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a")
		w.always("app not there", time.Minute, func() bool { return w.image("shop-a_app") == "" })
		c := r.push(map[string]string{"a/compose.yml": file("migrate:2")})
		w.synced("shop", "shop-a", c)
		w.alertsAre()
	})
}

func TestDriftPolicies(t *testing.T) {
	t.Parallel()
	scale := func(w *world, n uint64) {
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = &n })
	}
	replicas := func(w *world) uint64 { return *w.services()["shop-a_web"].Spec.Mode.Replicated.Replicas }
	for _, policy := range []string{"warn", "ignore"} {
		story(t, "drift: "+policy+" leaves a difference until git changes", func(w *world) {
			r := w.tenant("shop", func(t *Tenant) { t.Drift = policy })
			r.push(map[string]string{"a/compose.yml": web("web:1")})
			w.start()
			w.quiet()
			scale(w, 4)
			if policy == "warn" {
				w.alertsAre("SkepDrift shop shop-a")
			}
			w.always("left", 30*time.Minute, func() bool { return replicas(w) == 4 })
			s := w.stack("shop", "shop-a")
			if warned := len(s.Drift) > 0; warned != (policy == "warn") {
				w.Errorf("drift = %q", s.Drift)
			}
			w.restart()
			w.quiet()
			if replicas(w) != 4 {
				w.Error("healed after a restart")
			}
			c := r.push(map[string]string{"a/compose.yml": web("web:2")})
			w.synced("shop", "shop-a", c)
			if replicas(w) != 1 {
				w.Error("a commit writes the whole spec")
			}
			w.alertsAre()
		})
	}
	story(t, "somebody who keeps changing the same field is noticed, not fought for ever", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		w.swarm.Forget()
		fought := false
		for range 600 {
			if replicas(w) == 1 {
				scale(w, 4)
			}
			time.Sleep(time.Second)
			for _, a := range w.firing() {
				fought = fought || a == "SkepDriftFight shop shop-a"
			}
		}
		if n := w.op.Status().Counts.Healed; n > 10 || !fought {
			w.Errorf("healed %d times in ten minutes, noticed: %v", n, fought)
		}
		w.until("healed in the end", func() bool { return replicas(w) == 1 })
	})
}

// TestDriftDuringARollout: what is changed by hand before the rollout ends.
func TestDriftDuringARollout(t *testing.T) {
	t.Parallel()
	story(t, "somebody who is faster than every look is noticed too", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.until("there", func() bool { return w.image("shop-a_web") == "web:1" })
		four := uint64(4)
		w.swarm.Forget()
		fought := false
		for i := range 60000 {
			if *w.services()["shop-a_web"].Spec.Mode.Replicated.Replicas == 1 {
				w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = &four })
			}
			time.Sleep(10 * time.Millisecond)
			if i%100 == 0 {
				for _, a := range w.firing() {
					fought = fought || a == "SkepDriftFight shop shop-a"
				}
			}
		}
		if n := w.updatesOf("ServiceUpdate"); n > 40 || !fought {
			w.Errorf("%d updates in ten minutes, those by hand among them; noticed: %v", n, fought)
		}
	})
	story(t, "a rollout during which drift is healed ends as the commit's", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["web:2"] = swarmtest.Runs(30 * time.Second)
		w.start()
		w.synced("shop", "shop-a", r.push(map[string]string{"a/compose.yml": web("web:1")}))
		w.quiet()
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.until("rolling", func() bool { return w.image("shop-a_web") == "web:2" })
		time.Sleep(5 * time.Second)
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"EVIL=1"} })
		w.until("deployed", func() bool { return w.stack("shop", "shop-a").Deployed == c })
		w.until("the history tells it", func() bool {
			h := History(w.memory("shop", "shop-a"))
			last := h[len(h)-1]
			return last.Commit == c && last.Result == "deployed" && last.Trigger == "git"
		})
		w.alertsAre()
	})
}

func TestHolds(t *testing.T) {
	t.Parallel()
	story(t, "a frozen stack is watched and not changed", func(w *world) {
		r := w.tenant("shop")
		c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c1)
		w.quiet()
		w.holds("shop", "shop-a", func(m *deploy.Memory) {
			m.Frozen = &deploy.Frozen{By: "ann", Reason: "audit", Since: time.Now(), Until: time.Now().Add(2 * time.Hour)}
		})
		w.until("frozen", func() bool { return w.stack("shop", "shop-a").Frozen != nil })
		c2 := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.until("seen", func() bool { s := w.stack("shop", "shop-a"); return s.Commit == c2 && s.Sync == OutOfSync })
		w.restart()
		w.always("as it was", time.Hour, func() bool { return w.image("shop-a_web") == "web:1" })
		time.Sleep(time.Hour)
		w.synced("shop", "shop-a", c2)
	})
	for _, hold := range []struct {
		name   string
		change func(*deploy.Memory)
	}{
		{"a freeze", func(m *deploy.Memory) { m.Frozen = &deploy.Frozen{By: "ann", Reason: "audit", Since: time.Now()} }},
		{"a pin", func(m *deploy.Memory) { m.Pinned = &deploy.Pinned{Commit: Good(*m), By: "ann", Since: time.Now()} }},
	} {
		story(t, hold.name+" that comes between a rollout's plan and its first write stops it", func(w *world) {
			r := w.tenant("shop")
			c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
			w.start()
			w.synced("shop", "shop-a", c1)
			w.quiet()
			var once atomic.Bool
			w.meddle(func(_ context.Context, c swarmtest.Call) error {
				if c.Method == "ConfigUpdate" && once.CompareAndSwap(false, true) {
					w.holds("shop", "shop-a", hold.change)
				}
				return nil
			})
			c2 := r.push(map[string]string{"a/compose.yml": web("web:2")})
			w.until("seen", func() bool { return w.stack("shop", "shop-a").Commit == c2 && once.Load() })
			w.always("as it was", time.Hour, func() bool { return w.image("shop-a_web") == "web:1" })
			if s := w.stack("shop", "shop-a"); s.Sync != OutOfSync || s.Frozen == nil && s.Pinned == nil {
				w.Errorf("status: %+v", s)
			}
			w.alertsAre()
			if n := len(History(w.memory("shop", "shop-a"))); n != 1 {
				w.Errorf("history has %d entries, want only the first deployment", n)
			}
		})
	}
	for n := range int32(4) {
		story(t, fmt.Sprint("nothing is written after a freeze that comes before list ", n), func(w *world) {
			r := w.tenant("shop")
			c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
			w.start()
			w.synced("shop", "shop-a", c1)
			w.quiet()
			var lists atomic.Int32
			w.meddle(func(_ context.Context, c swarmtest.Call) error {
				switch {
				case c.Method == "ConfigList" && lists.Add(1) == n+1: // a look's or the plan's own
					w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Frozen = &deploy.Frozen{By: "ann", Since: time.Now()} })
				case c.Method == "ServiceUpdate" && lists.Load() > n:
					w.Error("the service was written after the freeze")
				}
				return nil
			})
			r.push(map[string]string{"a/compose.yml": web("web:1", "    deploy: {labels: {a: b}}\n")})
			w.until("frozen", func() bool { return w.stack("shop", "shop-a").Frozen != nil })
			time.Sleep(time.Minute)
			w.alertsAre()
		})
	}
	story(t, "frozen for more than a day is told", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		w.holds("shop", "shop-a", func(m *deploy.Memory) {
			m.Frozen = &deploy.Frozen{By: "ann", Reason: "audit", Since: time.Now().Add(10*time.Minute - frozenLimit)}
		})
		w.always("not told", 9*time.Minute, func() bool { return len(w.firing()) == 0 })
		w.alertsAre("SkepFrozenTooLong shop shop-a")
	})
	story(t, "a pinned stack stays at its commit until the pin ends", func(w *world) {
		r := w.tenant("shop")
		c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c1)
		c2 := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.synced("shop", "shop-a", c2)
		w.quiet()
		w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Pinned = &deploy.Pinned{Commit: c1, By: "ann", Since: time.Now()} })
		w.until("back", func() bool { return w.image("shop-a_web") == "web:1" })
		w.quiet()
		r.push(map[string]string{"a/compose.yml": web("web:3")})
		w.restart()
		w.always("pinned", 10*time.Minute, func() bool { return w.image("shop-a_web") == "web:1" })
		w.removeByHand("shop-a_web")
		w.until("healed", func() bool { return w.image("shop-a_web") == "web:1" })
		w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Pinned = nil })
		w.until("follows git", func() bool { return w.image("shop-a_web") == "web:3" })
	})
	story(t, "a pin until the next commit ends with it", func(w *world) {
		r := w.tenant("shop")
		c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c1)
		c2 := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.synced("shop", "shop-a", c2)
		w.quiet()
		w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Pinned = &deploy.Pinned{Commit: c1, UntilNext: c2, Since: time.Now()} })
		w.until("back", func() bool { return w.image("shop-a_web") == "web:1" })
		w.quiet()
		c3 := r.push(map[string]string{"a/compose.yml": web("web:3")})
		w.synced("shop", "shop-a", c3)
	})
	story(t, "what a verb writes into the history while the operator has something to write is kept, as is the operator's", func(w *world) {
		r := w.tenant("shop")
		c1 := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c1)
		w.quiet()
		var once atomic.Bool
		w.meddle(func(_ context.Context, c swarmtest.Call) error {
			if c.Method == "ConfigUpdate" && w.image("shop-a_web") == "web:2" && once.CompareAndSwap(false, true) {
				m := Remembered(w.memory("shop", "shop-a"), Entry{Time: time.Now(), Result: "restarted", Trigger: "restart"})
				if _, err := deploy.WriteMemory(w.Context(), w.swarm, m); err != nil {
					w.Error(err)
				}
			}
			return nil
		})
		c2 := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.synced("shop", "shop-a", c2)
		w.quiet()
		var results []string
		for _, e := range History(w.memory("shop", "shop-a")) {
			results = append(results, e.Result)
		}
		if got := strings.Join(results, " "); got != "deployed restarted deployed" && got != "deployed deployed restarted" {
			w.Errorf("history = %s", got)
		}
		if got := Good(w.memory("shop", "shop-a")); got != c2 {
			w.Errorf("good = %s", got)
		}
	})
	story(t, "a restart by hand is not drift", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
		w.quiet()
		if n := w.op.Status().Counts.Healed; n != 0 || w.services()["shop-a_web"].Spec.TaskTemplate.ForceUpdate != 1 {
			w.Errorf("healed %d times", n)
		}
	})
}

func TestDegraded(t *testing.T) {
	t.Parallel()
	story(t, "what ran and no longer runs is degraded, told, and resolved by itself", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		var node string
		for id := range nodesOf(w) {
			node = id
		}
		w.swarm.ChangeNode(node, func(n *swarm.Node) { n.Spec.Availability = swarm.NodeAvailabilityDrain })
		w.until("degraded", func() bool { return w.stack("shop", "shop-a").Health == "degraded" })
		w.alertsAre("SkepStackDegraded shop shop-a")
		if s := w.stack("shop", "shop-a"); s.Sync != Synced || s.Reason != "" || !strings.Contains(s.Message, "no suitable node") {
			w.Errorf("status = %+v", s)
		}
		w.swarm.ChangeNode(node, func(n *swarm.Node) { n.Spec.Availability = swarm.NodeAvailabilityActive })
		w.until("healthy", func() bool { return w.stack("shop", "shop-a").Health == "healthy" })
		w.alertsAre()
	})
}

func nodesOf(w *world) map[string]swarm.Node {
	w.Helper()
	list, err := w.swarm.NodeList(w.Context(), swarm.NodeListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]swarm.Node{}
	for _, n := range list {
		out[n.ID] = n
	}
	return out
}
