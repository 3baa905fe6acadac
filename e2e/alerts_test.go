package e2e

import (
	"fmt"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestAlertLabels: the watchdog fires, a tenant's labels come along and never
// stand over skep's own, the required labels and annotations are there.
func TestAlertLabels(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{tenant: "    labels: {team: shop}\n", global: "labels: {region: eu-1}\n"})
	commit := tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})
	tn.start()
	a := tn.fires("SkepStackFailed", tn.stack("web"))
	want := map[string]string{"cluster": tn.name, "tenant": tn.name, "stack": tn.stack("web"), "severity": "critical", "team": "shop", "region": "eu-1"}
	for k, v := range want {
		if a.Labels[k] != v {
			t.Errorf("label %s: %q, want %q", k, a.Labels[k], v)
		}
	}
	if a.Annotations["commit"] != commit || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
		t.Errorf("annotations: %v", a.Annotations)
	}
	tn.eventually("the watchdog fires", func() (bool, string) {
		list, err := lab.Alerts(t.Context(), tn.am.URL, tn.name)
		for _, a := range list {
			if a.Labels["alertname"] == "SkepWatchdog" {
				return true, ""
			}
		}
		return false, fmt.Sprint(list, err)
	})
}

// TestEveryPeerIsTold: one of two Alertmanagers is away, the other is told; when
// it is back it is told too, over a restart of the operator.
func TestEveryPeerIsTold(t *testing.T) {
	t.Parallel()
	one, err := lab.NewAlertmanager(t.TempDir(), "127.0.0.1:0")
	check(t, err)
	t.Cleanup(one.Stop)
	two, err := lab.NewAlertmanager(t.TempDir(), "127.0.0.1:0")
	check(t, err)
	t.Cleanup(two.Stop)
	tn := newTenant(t, options{am: one.URL + "\n  - url: " + two.URL})
	two.Stop()
	tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})
	tn.start()
	told := func(am *lab.Alertmanager, n int) lab.Alert {
		t.Helper()
		var last lab.Alert
		tn.eventually(fmt.Sprintf("%d alerts", n), func() (bool, string) {
			list, err := lab.Firing(t.Context(), am.URL, tn.name)
			if len(list) > 0 {
				last = list[0]
			}
			return err == nil && len(list) == n, fmt.Sprint(list, err)
		})
		return last
	}
	a := told(one, 1)
	tn.must(tn.skep.Stop())
	check(t, two.Start())
	tn.start()
	b := told(two, 1)
	if a.Fingerprint != b.Fingerprint || !a.StartsAt.Equal(b.StartsAt) {
		t.Errorf("the peers were told different things: %v %v, %v %v", a.Fingerprint, a.StartsAt, b.Fingerprint, b.StartsAt)
	}
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain()})
	tn.live("web", fixed)
	told(one, 0)
	told(two, 0)
}

// TestDriftFight changes the same field again and again: healing pauses, one
// alert says so, and it goes on when that ends.
func TestDriftFight(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain("deploy: {replicas: 0}")})
	tn.start()
	tn.live("web", commit)
	fought := func() bool {
		for _, a := range tn.alerts() {
			if a.Labels["alertname"] == "SkepDriftFight" && a.Labels["stack"] == tn.stack("web") {
				return true
			}
		}
		return false
	}
	writes := uint64(0)
	tn.eventually("the fight is noticed", func() (bool, string) {
		s := tn.service("web", "web")
		if env := s.Spec.TaskTemplate.ContainerSpec.Env; len(env) == 0 {
			s.Spec.TaskTemplate.ContainerSpec.Env = []string{"EVIL=1"}
			// The operator may be faster: then the next try sees the newer version.
			_, _ = tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
			writes++
		}
		return fought(), fmt.Sprintf("after %d changes", writes)
	})
	before := tn.service("web", "web").Version
	cycles := tn.counts().Cycles
	tn.eventually("five cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+5, "" })
	if now := tn.service("web", "web").Version; now != before {
		t.Errorf("the fight goes on: version %v, want %v", now, before)
	}
	next := tn.push("git has another wish", map[string]string{"web/stack.yml": plain("deploy: {replicas: 0}", "hostname: x")})
	tn.live("web", next)
}
