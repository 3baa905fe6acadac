package operator

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/secrets/sopstest"
	"github.com/skep-gitops/skep/stack"
)

// everything is a stack with one object of each kind and two services.
func everything(version string) map[string]string {
	return map[string]string{
		"a/compose.yml": `
services:
  db: {image: "db:1", secrets: [s]}
  web:
    image: "web:` + version + `"
    configs: [c]
    networks: [back]
    secrets: [s]
networks: {back: {}}
secrets: {s: {file: s.txt}}
configs: {c: {file: c.txt}}
`, "a/s.txt": "secret-" + version, "a/c.txt": "config " + version,
	}
}

// picture is what the swarm holds of the stacks, without what differs between
// two runs by chance: IDs, versions and times.
func (w *world) picture() string {
	w.Helper()
	out := map[string]any{}
	secrets, err := w.swarm.SecretList(w.Context(), swarm.SecretListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	names := map[string]string{}
	count := map[string]int{}
	plain := func(name string) string { // the key differs between swarms, so the hash does
		head := name[:strings.LastIndex(name, "_")+1]
		count[head]++
		return fmt.Sprintf("%s%d", head, count[head])
	}
	for _, s := range secrets {
		names[s.Spec.Name] = plain(s.Spec.Name)
		out["secret "+names[s.Spec.Name]] = string(w.swarm.SecretData(s.Spec.Name))
	}
	configs, err := w.swarm.ConfigList(w.Context(), swarm.ConfigListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range configs {
		if !strings.HasPrefix(c.Spec.Name, "skep.") {
			names[c.Spec.Name] = plain(c.Spec.Name)
			out["config "+names[c.Spec.Name]] = string(c.Spec.Data)
		}
	}
	networks, err := w.swarm.NetworkList(w.Context(), network.ListOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, n := range networks {
		out["network "+n.Name] = n.Labels
	}
	for name, s := range w.services() {
		c := s.Spec.TaskTemplate.ContainerSpec
		var uses []string
		for _, r := range c.Secrets {
			uses = append(uses, string(w.swarm.SecretData(r.SecretName)))
		}
		for _, r := range c.Configs {
			uses = append(uses, names[r.ConfigName])
		}
		out["service "+name] = []any{c.Image, uses}
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		w.Fatal(err)
	}
	return string(b)
}

func TestKilledAfterEachWrite(t *testing.T) {
	t.Parallel()
	var want string
	writes := 0
	tell := func(w *world, dies int, undisturbed bool) {
		r := w.tenant("shop")
		r.push(everything("1"))
		w.start()
		w.quiet()
		w.halt()
		w.swarm.Forget()
		start := w.swarm.Writes()
		var dead atomic.Bool
		after := meddler(func(_ context.Context, c swarmtest.Call) error {
			if !undisturbed && c.Write > 0 && w.swarm.Writes()-start >= dies {
				dead.Store(true)
			}
			if dead.Load() {
				return errors.New("EOF")
			}
			return nil
		})
		w.after.Store(&after)
		w.meddle(func(context.Context, swarmtest.Call) error {
			if dead.Load() { // nothing that the dead one does reaches the swarm any more
				return errors.New("EOF")
			}
			return nil
		})
		c := r.push(everything("2"))
		w.start()
		time.Sleep(20 * time.Second)
		w.halt()
		w.meddle(nil)
		w.after.Store(nil)
		w.start()
		w.synced("shop", "shop-a", c)
		w.quiet()
		if undisturbed {
			want, writes = w.picture(), w.swarm.Writes()-start
			return
		}
		if got := w.picture(); got != want {
			w.Errorf("killed after write %d:\n%s\nundisturbed:\n%s", dies, got, want)
		}
	}
	story(t, "undisturbed", func(w *world) { tell(w, 0, true) })
	for n := 1; n <= writes; n++ {
		story(t, fmt.Sprintf("after write %d of %d", n, writes), func(w *world) { tell(w, n, false) })
	}
}

func TestTwoOperators(t *testing.T) {
	t.Parallel()
	story(t, "two operators on one swarm do not fight and lose nothing", func(w *world) {
		r := w.tenant("shop")
		r.push(everything("1"))
		w.start()
		ctx, cancel := context.WithCancel(w.Context())
		second := w.operator()
		done := make(chan error, 1)
		go func() { done <- second.Run(ctx) }()
		w.quiet()
		c := r.push(everything("2"))
		w.synced("shop", "shop-a", c)
		w.quiet()
		w.removeByHand("shop-a_web")
		w.synced("shop", "shop-a", c)
		w.quiet()
		w.swarm.Forget()
		time.Sleep(20 * time.Minute)
		if n := w.swarm.Writes(); n != 0 {
			w.Errorf("%d writes in quiet minutes", n)
		}
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
	for _, away := range []time.Duration{5 * time.Second, time.Minute} {
		story(t, fmt.Sprintf("one that was stopped for %s in the middle of a plan removes nothing when it goes on", away), func(w *world) {
			stoppedOperator(w, away)
		})
	}
}

// stoppedOperator stops an operator while it removes a stack, has another one
// bring the stack back, and lets the first one go on.
func stoppedOperator(w *world, away time.Duration) {
	r := w.tenant("shop")
	both := map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("other:1")}
	r.push(both)
	w.start()
	w.quiet()
	stopped, goOn := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	w.meddle(func(_ context.Context, c swarmtest.Call) error {
		if c.Method == "ServiceInspect" && once.CompareAndSwap(false, true) {
			close(stopped)
			<-goOn
		}
		return nil
	})
	r.push(map[string]string{"a/compose.yml": web("web:1")})
	<-stopped
	first := w.stop
	c := r.push(both) // the folder is back; the other operator knows
	w.start()
	w.synced("shop", "shop-b", c)
	time.Sleep(away)
	id := w.services()["shop-b_web"].ID
	close(goOn)
	w.quiet()
	if got := w.services()["shop-b_web"].ID; got != id {
		w.Errorf("service %q became %q", id, got)
	}
	first()
}

func TestPlantedSecret(t *testing.T) {
	t.Parallel()
	const planted = "Pl4nted-s3cret/value+1"
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	encrypted := func(format, text string) string {
		return string(sopstest.Encrypt(t, format, []byte(text), id.Recipient().String()))
	}
	for name, files := range map[string]map[string]string{
		"secret file":     {"a/compose.yml": "services: {web: {image: 'web:1', secrets: [s]}}\nsecrets: {s: {file: s.yaml}}\n", "a/s.yaml": encrypted("yaml", "s: "+planted+"\n")},
		"config":          {"a/compose.yml": "services: {web: {image: 'web:1', configs: [c]}}\nconfigs: {c: {file: s.yaml}}\n", "a/s.yaml": encrypted("yaml", "s: "+planted+"\n")},
		"env_file":        {"a/compose.yml": "services: {web: {image: 'web:1', env_file: [x.env]}}\n", "a/x.env": encrypted("dotenv", "PW="+planted+"\n")},
		".env":            {"a/compose.yml": "services: {web: {image: 'web:1', environment: {PW: '${PW}'}, labels: {x: '${PW}'}}}\n", "a/.env": encrypted("dotenv", "PW="+planted+"\n")},
		"compose file":    {"a/compose.yml": encrypted("yaml", "services:\n  web:\n    image: web:1\n    environment:\n      PW: "+planted+"\n")},
		"image of an env": {"a/compose.yml": "services: {web: {image: 'registry/${PW}:1'}}\n", "a/.env": encrypted("dotenv", "PW="+strings.ToLower(strings.NewReplacer("/", "", "+", "").Replace(planted))+"\n")},
	} {
		story(t, name, func(w *world) {
			r := w.tenant("shop", func(t *Tenant) { t.AgeKeyFile = keyFile })
			w.meddle(func(_ context.Context, c swarmtest.Call) error {
				if strings.HasPrefix(c.Object, "shop-a_web") && c.Method == "ServiceUpdate" {
					return errors.New("rpc error: bad spec with " + planted + " and " + base64.StdEncoding.EncodeToString([]byte(planted)))
				}
				return nil
			})
			w.swarm.Outcomes["web:1"] = swarmtest.Outcome{State: swarm.TaskStateFailed, Err: "cannot use " + planted, Exit: 1, Run: time.Second}
			r.push(files)
			w.start()
			time.Sleep(2 * time.Minute)
			next := map[string]string{}
			for n, text := range files {
				next[n] = text
			}
			next["a/compose.production.yml"] = "x"
			next["a/other.txt"] = "y"
			r.push(next)
			time.Sleep(2 * time.Minute)
			r.push(map[string]string{"a/compose.yml": "services: {web: {image: 'web:2', command: ['x', '${PW:-}']}}", "a/.env": encrypted("dotenv", "PW="+planted+"\n")})
			time.Sleep(5 * time.Minute)
			plans, err := w.op.Plan(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			status, err := json.Marshal([]any{w.op.Status(), plans, w.bell.alerts(), string(w.memory("shop", "shop-a").State)})
			if err != nil {
				w.Fatal(err)
			}
			for what, text := range map[string]string{
				"status, plan, alerts, memory": string(status) + fmt.Sprintf("%+v %#v", w.op.Status(), plans), "log": w.log.String(),
			} {
				if stack.NewTaint(planted).In(text) {
					i := strings.Index(text, planted)
					w.Errorf("the secret is in %s: …%s…", what, text[max(0, i-200):min(len(text), max(i, 0)+100)])
				}
			}
			if w.stack("shop", "shop-a").Stack == "" {
				w.Error("there is no status to look through")
			}
		})
	}
}

func TestPanic(t *testing.T) {
	t.Parallel()
	story(t, "a panic is one stack's error, and shows nothing of what it holds", func(w *world) {
		r := w.tenant("shop")
		c := r.push(map[string]string{"a/compose.yml": web("web:1"), "b/compose.yml": web("web:1")})
		op := w.operator()
		op.policy = func(_ Tenant, s stack.Spec) error {
			if s.Name == "shop-a" {
				panic("hunter2-secret")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(w.Context())
		done := make(chan error, 1)
		go func() { done <- op.Run(ctx) }()
		w.op = op
		w.synced("shop", "shop-b", c)
		s := w.stack("shop", "shop-a")
		if s.Reason != RenderFailed || strings.Contains(s.Message, "hunter2") || strings.Contains(w.log.String(), "hunter2") {
			w.Errorf("status = %+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
	})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	story(t, "one pass ends when all runs, and a second has nothing to do", func(w *world) {
		r := w.tenant("shop")
		w.swarm.Outcomes["db:1"] = swarmtest.Runs(time.Minute)
		c := r.push(map[string]string{"a/compose.yml": "x-skep: {depends_on: [db]}\n" + web("web:1"), "db/compose.yml": web("db:1")})
		lines := 0
		s, err := w.operator().Once(w.Context(), "", true, func(StackStatus) { lines++ })
		if err != nil {
			w.Fatal(err)
		}
		for _, k := range s.Stacks {
			if k.Sync != Synced || k.Health != "healthy" || k.Commit != c {
				w.Errorf("%+v", k)
			}
		}
		if len(s.Stacks) != 2 || lines < 4 {
			w.Errorf("%d stacks, %d lines of progress", len(s.Stacks), lines)
		}
		w.swarm.Forget()
		if _, err := w.operator().Once(w.Context(), "shop", true, nil); err != nil {
			w.Fatal(err)
		}
		if n := w.swarm.Writes(); n != 0 {
			w.Errorf("%d writes: %v", n, w.swarm.Calls())
		}
	})
	story(t, "one pass ends with what failed", func(w *world) {
		a, b := w.tenant("ann"), w.tenant("bob")
		w.swarm.Outcomes["web:bad"] = swarmtest.Crashes(1, time.Second)
		a.push(map[string]string{"a/compose.yml": web("web:bad"), "b/compose.yml": "nope: ["})
		b.fail(errors.New("no such host"))
		s, err := w.operator().Once(w.Context(), "", true, nil)
		if err != nil {
			w.Fatal(err)
		}
		reasons := map[string]Reason{}
		for _, k := range s.Stacks {
			reasons[k.Tenant+"/"+k.Stack] = k.Reason
		}
		if reasons["ann/ann-a"] != RolloutFailed || reasons["ann/ann-b"] != RenderFailed || reasons["bob/"] != FetchFailed {
			w.Errorf("reasons = %v", reasons)
		}
	})
	story(t, "without a swarm it is an error", func(w *world) {
		w.tenant("shop").push(map[string]string{"a/compose.yml": web("web:1")})
		w.swarm.Set(swarmtest.Worker)
		if _, err := w.operator().Once(w.Context(), "", false, nil); err == nil || !strings.Contains(err.Error(), "not a swarm manager") {
			w.Errorf("err = %v", err)
		}
		if _, err := w.operator().Once(w.Context(), "nobody", false, nil); err == nil {
			w.Error("an unknown tenant is no error")
		}
	})
}

func TestPlan(t *testing.T) {
	t.Parallel()
	story(t, "a plan says what would be done and writes nothing", func(w *world) {
		r := w.tenant("shop")
		r.push(everything("1"))
		plans, err := w.operator().Plan(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if len(plans) != 1 || len(plans[0].Stacks) != 1 || len(plans[0].Stacks[0].Plan.Steps) < 5 || plans[0].Stacks[0].Empty() {
			w.Errorf("plans = %+v", plans)
		}
		if n := w.swarm.Writes(); n != 0 {
			w.Errorf("%d writes", n)
		}
		w.start()
		w.quiet()
		w.halt()
		plans, err = w.op.Plan(w.Context())
		if err != nil || !plans[0].Stacks[0].Empty() {
			w.Errorf("after it ran: %+v, %v", plans, err)
		}
		r.push(map[string]string{"b/compose.yml": web("other:1")})
		plans, err = w.op.Plan(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		removed := map[string]bool{}
		for _, s := range plans[0].Stacks {
			removed[s.Stack] = s.Removed
		}
		if !removed["shop-a"] || removed["shop-b"] || len(removed) != 2 {
			w.Errorf("plans = %+v", plans[0].Stacks)
		}
	})
}

func TestReload(t *testing.T) {
	t.Parallel()
	story(t, "a tenant that did not change is not disturbed", func(w *world) {
		a := w.tenant("ann")
		w.conf.Interval = time.Hour
		a.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		looks := a.looked()
		b := w.tenant("bob")
		c := b.push(map[string]string{"b/compose.yml": web("web:1")})
		if err := w.op.Reload(w.conf); err != nil {
			w.Fatal(err)
		}
		w.synced("bob", "bob-b", c)
		if a.looked() != looks {
			w.Errorf("%d looks at an unchanged tenant's repository", a.looked()-looks)
		}
		bad := w.conf
		bad.Interval = 0
		if err := w.op.Reload(bad); err == nil {
			w.Error("a bad configuration is taken")
		}
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	story(t, "the end comes at once, also while calls hang", func(w *world) {
		a, b := w.tenant("ann"), w.tenant("bob")
		a.push(map[string]string{"a/compose.yml": web("web:1")})
		b.setHang(true)
		w.meddle(func(ctx context.Context, c swarmtest.Call) error {
			if c.Method == "ServiceCreate" {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		w.start()
		time.Sleep(time.Minute)
		began := time.Now()
		w.halt()
		synctest.Wait()
		if d := time.Since(began); d > 5*time.Second {
			w.Errorf("stopped after %s", d)
		}
	})
}

func TestCalls(t *testing.T) {
	t.Parallel()
	story(t, "a look costs eight calls at most, however many stacks", func(w *world) {
		r := w.tenant("shop")
		files := map[string]string{}
		for i := range 60 {
			files[fmt.Sprintf("s%d/compose.yml", i)] = "services: {web: {image: 'web:1', configs: [c], secrets: [c]}}\nconfigs: {c: {content: x}}\nsecrets: {c: {file: c}}\nnetworks: {default: {}}\n"
			files[fmt.Sprintf("s%d/c", i)] = "x"
		}
		c := r.push(files)
		w.start()
		w.synced("shop", "shop-s59", c)
		w.quiet()
		w.restart()
		w.quiet()
		w.swarm.Forget()
		cycles := w.op.Status().Counts.Cycles
		time.Sleep(5 * time.Minute)
		n := int(w.op.Status().Counts.Cycles - cycles)
		if calls := len(w.swarm.Calls()); n == 0 || calls > 8*n || w.swarm.Writes() != 0 {
			w.Errorf("%d calls and %d writes in %d looks", calls, w.swarm.Writes(), n)
		}
	})
}
