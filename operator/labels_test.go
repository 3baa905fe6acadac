package operator

import (
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

// unlabel takes skep's labels off a service, as docker stack deploy by hand does.
func unlabel(s *swarm.ServiceSpec) {
	delete(s.Labels, deploy.LabelTenant)
	delete(s.Labels, deploy.LabelInstance)
}

func TestLostLabels(t *testing.T) {
	t.Parallel()
	story(t, "labels that were taken off come back, and no alert is raised", func(w *world) {
		r := w.tenant("shop")
		c := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		w.byHand("shop-a_web", unlabel)
		labelled := func() bool { return w.services()["shop-a_web"].Spec.Labels[deploy.LabelTenant] == "shop" }
		if d := w.until("healed", labelled); d > 2*time.Second {
			w.Errorf("healed after %s", d)
		}
		w.synced("shop", "shop-a", c)
		w.alertsAre()
		w.quiet()
		history := History(w.memory("shop", "shop-a"))
		if last := history[len(history)-1]; last.Result != "healed" || !slices.Contains(last.Changes, "services.web.deploy.labels.skep.tenant") {
			w.Errorf("last entry = %+v", last)
		}
	})
	story(t, "a stack goes with its folder although its only service lost its labels", func(w *world) {
		r := w.tenant("shop", func(t *Tenant) { t.Drift = "warn" })
		r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("other:1")})
		w.start()
		w.quiet()
		w.byHand("shop-a_web", unlabel)
		w.quiet()
		r.push(map[string]string{"b/compose.yml": web("other:1")})
		w.until("gone", func() bool { return len(w.leftOf("shop-a")) == 0 })
		w.quiet()
		w.alertsAre()
	})
	story(t, "a job that lost its labels is ours for good, and does not run again", func(w *world) {
		r := w.tenant("shop")
		job := web("web:1") + "  migrate:\n    image: job:1\n    deploy: {mode: replicated-job}\n"
		c := r.push(map[string]string{"a/compose.yml": job, "b/compose.yml": web("other:1")})
		w.swarm.Outcomes["job:1"] = swarmtest.Completes(time.Second)
		w.start()
		w.synced("shop", "shop-a", c)
		w.quiet()
		for range 3 {
			w.byHand("shop-a_migrate", unlabel)
			w.quiet()
		}
		w.synced("shop", "shop-a", c)
		w.restart()
		w.synced("shop", "shop-a", c)
		if n := w.services()["shop-a_migrate"].JobStatus.JobIteration.Index; n != 3 {
			w.Errorf("the job ran %d times more, want the 3 by hand", n)
		}
		w.alertsAre()
		r.push(map[string]string{"b/compose.yml": web("other:1")})
		w.until("gone", func() bool { return len(w.leftOf("shop-a")) == 0 })
	})
	story(t, "a service that nothing shows to be ours stays when its stack leaves git", func(w *world) {
		r := w.tenant("shop", func(t *Tenant) { t.Drift = "warn" })
		r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("other:1")})
		w.start()
		w.quiet()
		w.byHand("shop-a_web", unlabel)
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.Labels["x"] = "y" })
		w.quiet()
		r.push(map[string]string{"b/compose.yml": web("other:1")})
		w.quiet()
		if w.image("shop-a_web") != "web:1" {
			w.Error("the service is gone")
		}
	})
}
