package operator

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/source"
)

func TestPush(t *testing.T) {
	t.Parallel()
	story(t, "a push becomes running stacks, and then nothing is written", func(w *world) {
		r := w.tenant("shop")
		c := r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c)
		w.synced("shop", "shop-b", c)
		w.quiet()
		w.swarm.Forget()
		logged := len(w.log.String())
		time.Sleep(20 * time.Minute)
		if n := w.swarm.Writes(); n != 0 {
			w.Errorf("%d writes without a change: %v", n, w.swarm.Calls())
		}
		if extra := w.log.String()[logged:]; extra != "" {
			w.Errorf("quiet minutes log:\n%s", extra)
		}
		if got := w.stack("shop", "shop-a").Deployed; got != c {
			w.Errorf("deployed = %q, want %q: %s", got, c, w.memory("shop", "shop-a").State)
		}
	})
	story(t, "a commit that does not concern a stack writes nothing for it", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		before := w.memory("shop", "shop-b")
		c := r.push(map[string]string{"a/compose.yml": web("web:2"), "b/compose.yml": web("web:1")})
		w.synced("shop", "shop-a", c)
		w.quiet()
		if after := w.memory("shop", "shop-b"); after.Version != before.Version {
			w.Errorf("the memory of shop-b was written: %s\n%s", before.State, after.State)
		}
		if got := w.image("shop-a_web"); got != "web:2" {
			w.Errorf("image = %q", got)
		}
	})
	story(t, "a trigger looks at once", func(w *world) {
		r := w.tenant("shop")
		w.conf.Interval = time.Hour
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.op.Trigger("shop")
		began := time.Now()
		w.until("written", func() bool { return w.image("shop-a_web") == "web:2" })
		if d := time.Since(began); d > time.Second {
			w.Errorf("first write %s after the trigger", d)
		}
		w.synced("shop", "shop-a", c)
	})
}

func TestDrift(t *testing.T) {
	t.Parallel()
	story(t, "a changed and a removed service are healed at once", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { n := uint64(5); s.Mode.Replicated.Replicas = &n })
		if d := w.until("healed", func() bool { return *w.services()["shop-a_web"].Spec.Mode.Replicated.Replicas == 1 }); d > 2*time.Second {
			w.Errorf("healed after %s", d)
		}
		w.quiet()
		w.removeByHand("shop-a_web")
		if d := w.until("healed", func() bool { return w.image("shop-a_web") == "web:1" }); d > 2*time.Second {
			w.Errorf("healed after %s", d)
		}
		w.quiet()
		healed := 0
		for _, e := range History(w.memory("shop", "shop-a")) {
			if e.Result == "healed" {
				healed++
			}
		}
		w.quiet()
		w.byHand("shop-a_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "other:1" })
		w.until("healed", func() bool { return w.image("shop-a_web") == "web:1" })
		w.quiet()
		history := History(w.memory("shop", "shop-a"))
		if last := history[len(history)-1]; last.Result != "healed" || len(last.Changes) == 0 || last.Changes[0] != "services.web.image: other:1 → web:1" {
			w.Errorf("last entry = %+v", last)
		}
		if healed != 2 {
			w.Errorf("history has %d heals, want 2: %s", healed, w.memory("shop", "shop-a").State)
		}
	})
}

func TestFailedRollout(t *testing.T) {
	t.Parallel()
	story(t, "what Swarm rolled back is tried once, told once, and survives a restart", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["web:bad"] = swarmtest.NoImage("web:bad")
		good := r.push(map[string]string{"a/compose.yml": web("web:1", rollsBack)})
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		w.swarm.Forget()
		bad := r.push(map[string]string{"a/compose.yml": web("web:bad", rollsBack)})
		w.until("rolled back", func() bool { return w.stack("shop", "shop-a").Reason == RolledBack })
		w.alertsAre("SkepStackFailed shop shop-a")
		first := w.bell.one(alertStack)
		w.quiet()
		time.Sleep(20 * time.Minute)
		w.restart()
		w.quiet()
		time.Sleep(20 * time.Minute)
		updates := 0
		for _, c := range w.swarm.Calls() {
			if c.Method == "ServiceUpdate" {
				updates++
			}
		}
		if updates != 1 {
			w.Errorf("%d updates, want 1", updates)
		}
		s := w.stack("shop", "shop-a")
		if s.Reason != RolledBack || s.Sync != OutOfSync || s.Health != "healthy" || s.Deployed != good || s.Attempted != bad {
			w.Errorf("status = %+v", s)
		}
		w.alertsAre("SkepStackFailed shop shop-a")
		if again := w.bell.one(alertStack); !again.StartsAt.Equal(first.StartsAt) || again.Fingerprint() != first.Fingerprint() {
			w.Errorf("after a restart the alert starts at %v, before at %v", again.StartsAt, first.StartsAt)
		}
		fix := r.push(map[string]string{"a/compose.yml": web("web:2", rollsBack)})
		w.synced("shop", "shop-a", fix)
		w.alertsAre()
	})
}

func TestRefusedRevisions(t *testing.T) {
	t.Parallel()
	story(t, "what cannot be rendered leaves the last good state, and drift is healed towards it", func(w *world) {
		r := w.tenant("shop")
		good := r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		bad := r.push(map[string]string{"a/compose.yml": "services: [", "b/compose.yml": web("web:2")})
		w.alertsAre("SkepStackFailed shop shop-a")
		w.synced("shop", "shop-b", bad)
		if s := w.stack("shop", "shop-a"); s.Reason != RenderFailed || s.Commit != bad || s.Deployed != good || !strings.Contains(s.Message, "a/compose.yml") {
			w.Errorf("status = %+v", s)
		}
		w.removeByHand("shop-a_web")
		w.until("healed", func() bool { return w.image("shop-a_web") == "web:1" })
		w.quiet()
		w.restart()
		w.quiet()
		w.removeByHand("shop-a_web")
		w.until("healed after a restart too", func() bool { return w.image("shop-a_web") == "web:1" })
	})
	story(t, "three broken commits are one alert with one start", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		prints, starts := map[string]bool{}, map[time.Time]bool{}
		for _, text := range []string{"services: [", "services: {web: {image: '${NOPE}'}}", "services: {web: {nope: 1}}"} {
			commit := r.push(map[string]string{"a/compose.yml": text})
			w.until("told", func() bool { return w.bell.one(alertStack).Annotations["commit"] == commit })
			a := w.bell.one(alertStack)
			prints[a.Fingerprint()], starts[a.StartsAt] = true, true
		}
		if len(prints) != 1 || len(starts) != 1 {
			w.Errorf("%d alerts with %d starts, want one", len(prints), len(starts))
		}
	})
}

func TestWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	story(t, "a stack takes the port of one that leaves git with the same commit", func(w *world) {
		r := w.tenant("shop")
		ports := "    ports: ['8080:80']\n"
		first := r.push(map[string]string{"a/compose.yml": web("web:1", ports), "b/compose.yml": web("web:1"), "c/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", first)
		second := r.push(map[string]string{"b/compose.yml": web("web:2", ports), "c/compose.yml": web("web:1")})
		if d := w.synced("shop", "shop-b", second); d > 2*time.Minute {
			w.Errorf("synced after %s", d)
		}
		w.alertsAre()
	})
	story(t, "an external network that is missing is waited for", func(w *world) {
		r := w.tenant("shop")
		commit := r.push(map[string]string{"a/compose.yml": web("web:1", "    networks: [n]\n") + "networks: {n: {external: true, name: outer}}\n"})
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a")
		if s := w.stack("shop", "shop-a"); s.Reason != ApplyFailed || !strings.Contains(s.Message, "outer") || !strings.Contains(s.Message, "docker network create") {
			w.Errorf("status = %+v", s)
		}
		if _, err := w.swarm.NetworkCreate(w.Context(), "outer", network.CreateOptions{Driver: "overlay"}); err != nil {
			w.Fatal(err)
		}
		if d := w.synced("shop", "shop-a", commit); d > 2*time.Minute {
			w.Errorf("synced after %s", d)
		}
		w.alertsAre()
	})
}

// TestConfigsThatKeepTheirNames: no look at the swarm shows what is in a config,
// and a name that says nothing of its content must not hide that git changed it.
func TestConfigsThatKeepTheirNames(t *testing.T) {
	t.Parallel()
	file := func(name, content string) string {
		return web("web:1", "    configs: [c]\n") + "configs: {c: {" + name + "content: " + content + "}}\n"
	}
	story(t, "one with a name of its own can't change, and that is told", func(w *world) {
		r := w.tenant("shop")
		first := r.push(map[string]string{"a/compose.yml": file("name: own, ", "one")})
		w.start()
		w.synced("shop", "shop-a", first)
		r.push(map[string]string{"a/compose.yml": file("name: own, ", "two")})
		w.alertsAre("SkepStackFailed shop shop-a")
		if s := w.stack("shop", "shop-a"); !strings.Contains(s.Message, "own") || !strings.Contains(s.Message, "drop name:") {
			w.Errorf("status = %+v", s)
		}
	})
	story(t, "one that was adopted rotates", func(w *world) {
		r := w.tenant("shop", func(t *Tenant) { t.Adopt = true })
		label := map[string]string{"com.docker.stack.namespace": "shop-a"}
		made, err := w.swarm.ConfigCreate(w.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "shop-a_c", Labels: label}, Data: []byte("one")})
		if err != nil {
			w.Fatal(err)
		}
		spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "shop-a_web", Labels: label}, TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "web:1", Configs: []*swarm.ConfigReference{{ConfigID: made.ID, ConfigName: "shop-a_c",
				File: &swarm.ConfigReferenceFileTarget{Name: "c", UID: "0", GID: "0", Mode: 0o444}}}}, Placement: &swarm.Placement{}}}
		if _, err := w.swarm.ServiceCreate(w.Context(), spec, swarm.ServiceCreateOptions{}); err != nil {
			w.Fatal(err)
		}
		config := func() string { return w.services()["shop-a_web"].Spec.TaskTemplate.ContainerSpec.Configs[0].ConfigName }
		first := r.push(map[string]string{"a/compose.yml": file("", "one")})
		w.start()
		w.synced("shop", "shop-a", first)
		if config() != "shop-a_c" {
			w.Errorf("adoption rotated the config to %s", config())
		}
		second := r.push(map[string]string{"a/compose.yml": file("", "two")})
		if w.synced("shop", "shop-a", second); config() == "shop-a_c" {
			w.Error("the changed config did not rotate")
		}
	})
}

func TestSources(t *testing.T) {
	t.Parallel()
	story(t, "a repository that hangs delays nobody, and one that fails deletes nothing", func(w *world) {
		a, b := w.tenant("ann"), w.tenant("bob")
		ca := a.push(map[string]string{"a/compose.yml": web("web:1")})
		b.setHang(true)
		w.start()
		if d := w.synced("ann", "ann-a", ca); d > 30*time.Second {
			w.Errorf("synced after %s", d)
		}
		w.alertsAre("SkepSourceFailed bob")
		if s := w.stack("bob", ""); s.Reason != FetchFailed || s.Cause != "timeout" || s.Sync != SyncUnknown {
			w.Errorf("status = %+v", s)
		}
		b.setHang(false)
		cb := b.push(map[string]string{"b/compose.yml": web("web:1")})
		w.synced("bob", "bob-b", cb)
		w.alertsAre()
		a.fail(&source.Error{Cause: source.CauseEmpty, URL: "https://git.example.com/ann", Err: errors.New("no commit")})
		w.alertsAre("SkepSourceFailed ann")
		w.always("running", 20*time.Minute, func() bool { return w.image("ann-a_web") == "web:1" })
		if s := w.stack("ann", "ann-a"); s.Sync != Synced || s.Reason != "" {
			w.Errorf("status = %+v", s)
		}
	})
	story(t, "after a start during an outage nothing is written until git can be read", func(w *world) {
		r := w.tenant("shop")
		c := r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.synced("shop", "shop-a", c)
		w.quiet()
		w.halt()
		r.fail(&source.Error{Cause: source.CauseNetwork, URL: "https://git.example.com/shop", Err: errors.New("no route")})
		w.removeByHand("shop-a_web")
		w.start()
		w.alertsAre("SkepSourceFailed shop")
		w.always("gone", 10*time.Minute, func() bool { return w.image("shop-a_web") == "" })
		r.fail(nil)
		w.synced("shop", "shop-a", c)
	})
}

func TestSwarmGone(t *testing.T) {
	t.Parallel()
	story(t, "while the swarm cannot be read nothing is written, and all recovers by itself", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		for _, mode := range []swarmtest.Mode{swarmtest.NoLeader, swarmtest.Worker} {
			w.swarm.Set(mode)
			c := r.push(map[string]string{"a/compose.yml": web("web:" + string(mode[0]))})
			w.alertsAre("SkepSwarmUnreachable")
			w.swarm.Forget()
			time.Sleep(5 * time.Minute)
			if n := w.swarm.Writes(); n != 0 || w.op.Status().Swarm == "" {
				w.Errorf("%s: %d writes, status %q", mode, n, w.op.Status().Swarm)
			}
			w.swarm.Set(swarmtest.Manager)
			w.synced("shop", "shop-a", c)
			w.alertsAre()
		}
	})
}

func TestPrune(t *testing.T) {
	t.Parallel()
	two := map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("other:1")}
	story(t, "a stack whose folder left git goes, whole, with its memory", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": `
services:
  web: {image: "other:1", secrets: [s], configs: [c]}
secrets: {s: {file: s.txt}}
configs: {c: {file: c.txt}}
`, "b/s.txt": "abc123xyz", "b/c.txt": "hello"})
		w.start()
		w.quiet()
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.until("gone", func() bool { return w.stack("shop", "shop-b").Stack == "" && w.image("shop-b_web") == "" })
		w.quiet()
		if left := w.leftOf("shop-b"); len(left) > 0 {
			w.Errorf("left: %q", left)
		}
		if w.image("shop-a_web") != "web:1" {
			w.Error("shop-a is gone too")
		}
	})
	story(t, "the last stack stays until a person confirms", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		c := r.push(map[string]string{"README.md": "empty"})
		w.alertsAre("SkepPruneBlocked shop shop-a")
		w.always("running", 20*time.Minute, func() bool { return w.image("shop-a_web") != "" })
		w.restart()
		w.quiet()
		w.alertsAre("SkepPruneBlocked shop shop-a")
		if s := w.stack("shop", "shop-a"); !strings.Contains(s.Message, "skep prune confirm shop --commit "+c[:10]) {
			w.Errorf("message = %q", s.Message)
		}
		w.holds("shop", "", func(m *deploy.Memory) { m.Pinned = &deploy.Pinned{Commit: c[:10]} })
		w.until("gone", func() bool { return w.image("shop-a_web") == "" })
		w.alertsAre()
	})
	story(t, "more than half of the stacks at once stay, and come back to git unharmed", func(w *world) {
		r := w.tenant("shop")
		all := map[string]string{}
		for _, n := range []string{"a", "b", "c", "d", "e"} {
			all[n+"/compose.yml"] = web(n + ":1")
		}
		r.push(all)
		w.start()
		w.quiet()
		r.push(map[string]string{"a/compose.yml": web("a:1"), "b/compose.yml": web("b:1")})
		w.alertsAre("SkepPruneBlocked shop shop-c", "SkepPruneBlocked shop shop-d", "SkepPruneBlocked shop shop-e")
		c := r.push(all)
		w.synced("shop", "shop-e", c)
		w.alertsAre()
	})
	story(t, "a rename is not a deletion, also after a restart", func(w *world) {
		r := w.tenant("shop")
		r.push(two)
		w.start()
		w.quiet()
		c := r.push(map[string]string{"a/compose.yml": web("web:1"), "c/compose.yml": web("other:1")})
		w.synced("shop", "shop-c", c)
		w.alertsAre("SkepPruneBlocked shop shop-b")
		w.restart()
		w.quiet()
		w.alertsAre("SkepPruneBlocked shop shop-b")
		if w.image("shop-b_web") == "" {
			w.Error("shop-b is gone")
		}
	})
	for _, prune := range []string{"never", "confirm"} {
		story(t, "prune: "+prune+" keeps what left git", func(w *world) {
			r := w.tenant("shop", func(t *Tenant) { t.Prune = prune })
			r.push(two)
			w.start()
			w.quiet()
			c := r.push(map[string]string{"a/compose.yml": web("web:1")})
			w.synced("shop", "shop-a", c)
			w.always("running", 10*time.Minute, func() bool { return w.image("shop-b_web") != "" })
			if blocked := w.stack("shop", "shop-b").Reason == PruneBlocked; blocked != (prune == "confirm") {
				w.Errorf("blocked = %v", blocked)
			}
		})
	}
	story(t, "a service that left git goes when the new state is up", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1", "  old: {image: 'old:1'}\n")})
		w.start()
		w.quiet()
		c := r.push(map[string]string{"a/compose.yml": web("web:2")})
		w.synced("shop", "shop-a", c)
		w.until("old gone", func() bool { return w.image("shop-a_old") == "" })
	})
}

func TestTenants(t *testing.T) {
	t.Parallel()
	story(t, "removing a tenant deletes nothing", func(w *world) {
		a, b := w.tenant("ann"), w.tenant("bob")
		a.push(map[string]string{"a/compose.yml": web("web:1")})
		b.push(map[string]string{"b/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		c := w.conf
		c.Tenants = c.Tenants[:1]
		if err := w.op.Reload(c); err != nil {
			w.Fatal(err)
		}
		w.always("running", 20*time.Minute, func() bool { return w.image("bob-b_web") != "" })
		if got := w.op.Status().Orphans; len(got) != 1 || got[0] != (Orphan{"bob", "bob-b"}) {
			w.Errorf("orphans = %v", got)
		}
		if s := w.stack("bob", "bob-b"); s.Stack != "" {
			w.Errorf("status = %+v", s)
		}
	})
	story(t, "a refused configuration is an alert until another one is taken", func(w *world) {
		w.tenant("shop").push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.op.Refuse("skep.yml:3: unknown key")
		w.alertsAre("SkepConfigInvalid")
		w.op.Refuse("")
		w.alertsAre()
	})
	story(t, "two tenants who want one name get nothing, and who has it keeps it", func(w *world) {
		same := func(t *Tenant) { t.Prefix = "" }
		a, b := w.tenant("ann", same), w.tenant("bob", same)
		a.push(map[string]string{"x/compose.yml": web("ann:1")})
		b.push(map[string]string{"x/compose.yml": web("bob:1")})
		w.start()
		w.alertsAre("SkepConflict ann x", "SkepConflict bob x")
		time.Sleep(time.Minute)
		if got := w.image("x_web"); got != "" {
			w.Errorf("image = %q", got)
		}
		b.push(map[string]string{"y/compose.yml": web("bob:1")})
		w.until("ann has it", func() bool { return w.image("x_web") == "ann:1" })
		w.alertsAre()
		b.push(map[string]string{"x/compose.yml": web("bob:1"), "y/compose.yml": web("bob:1")})
		w.alertsAre("SkepConflict bob x")
		c := a.push(map[string]string{"x/compose.yml": web("ann:2")})
		w.synced("ann", "x", c)
		w.quiet()
		w.restart()
		w.alertsAre("SkepConflict bob x")
		if got := w.image("x_web"); got != "ann:2" {
			w.Errorf("image = %q", got)
		}
	})
	story(t, "two stacks whose services have one name are a conflict", func(w *world) {
		same := func(t *Tenant) { t.Prefix = "" }
		a, b := w.tenant("ann", same), w.tenant("bob", same)
		a.push(map[string]string{"x_y/compose.yml": "services: {z: {image: 'ann:1'}}"})
		b.push(map[string]string{"x/compose.yml": "services: {y_z: {image: 'bob:1'}}"})
		w.start()
		w.alertsAre("SkepConflict ann x_y", "SkepConflict bob x")
	})
}
