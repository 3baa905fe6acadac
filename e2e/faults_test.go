package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/e2e/lab"
)

// proxied makes a tenant whose operator reaches the engine through a proxy.
func proxied(t *testing.T, o options) (*tenant, *lab.Proxy) {
	t.Helper()
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	engine := strings.TrimPrefix(shared.Docker.DaemonHost(), "unix://")
	p, err := lab.NewProxy(filepath.Join(t.TempDir(), "d.sock"), engine)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	o.env = append(o.env, "DOCKER_HOST="+p.Host)
	return newTenant(t, o), p
}

// TestQuietSwarmCostsNothing counts the calls of cycles in which nothing changed.
func TestQuietSwarmCostsNothing(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	commit := tn.push("first", map[string]string{"a/stack.yml": plain(), "b/stack.yml": plain()})
	tn.start()
	tn.live("a", commit)
	tn.live("b", commit)
	tn.quiet()
	writes := len(p.Writes())
	before := tn.counts()
	tn.eventually("five more cycles", func() (bool, string) {
		now := tn.counts()
		return now.Cycles >= before.Cycles+5, fmt.Sprint(now)
	})
	if list := p.Writes()[writes:]; len(list) > 0 {
		t.Errorf("writes of quiet cycles: %v", list)
	}
}

// TestDockerMisbehaves: away, lists cut, networks missing from a list. Nothing
// is written meanwhile, and it goes on after.
func TestDockerMisbehaves(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain("networks: [n]") + "networks: {n: {}}\n", "old/stack.yml": plain()})
	tn.start()
	tn.live("web", commit)
	tn.live("old", commit)
	tn.quiet()
	ran := tn.tasks("web", "web")
	faults := []struct {
		name string
		set  func(bool)
	}{{"away", p.Down}, {"lists cut", p.Cut}, {"no networks", p.Blind}}
	for i, f := range faults {
		f.set(true)
		// A write that rests on the look before may still be on its way.
		tn.eventually("the operator notices: "+f.name, func() (bool, string) { return tn.swarmError() != "", "no error" })
		p.Reset()
		tn.push("a change during the fault", map[string]string{"README.md": fmt.Sprint(i)})
		time.Sleep(20 * time.Second) // the fault has to last for a while
		if w := p.Writes(); len(w) > 0 {
			t.Errorf("%s: writes: %v", f.name, w)
		}
		if p.Calls() == 0 {
			t.Errorf("%s: the operator did not even look", f.name)
		}
		f.set(false)
	}
	last := tn.push("removes a stack", map[string]string{"web/stack.yml": plain("networks: [n]", "environment: {V: '2'}") + "networks: {n: {}}\n"}, "old")
	tn.live("web", last)
	tn.eventually("the old stack is gone", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("old"))
		return err == nil && o.Empty(), "objects are left"
	})
	if tn.tasks("web", "web") == ran {
		t.Error("the new version does not run")
	}
	tn.quiet()
}

// swarmError is why the operator cannot read the swarm, if it can't.
func (tn *tenant) swarmError() string {
	tn.Helper()
	b, err := tn.skep.Get(tn.Context(), "/api/v1/status")
	tn.must(err)
	var s struct {
		Error string `json:"swarm_error"`
	}
	tn.must(json.Unmarshal(b, &s))
	return s.Error
}

// TestAlertmanagerAway loses it before a problem and before its end.
func TestAlertmanagerAway(t *testing.T) {
	t.Parallel()
	am, err := lab.NewAlertmanager(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(am.Stop)
	tn := newTenant(t, options{am: am.URL})
	firing := func(want int) {
		t.Helper()
		tn.eventually(fmt.Sprintf("%d alerts", want), func() (bool, string) {
			list, err := lab.Firing(t.Context(), am.URL, tn.name)
			return err == nil && len(list) == want, fmt.Sprint(list, err)
		})
	}
	good := tn.push("good", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", good)
	am.Stop()
	tn.push("bad", map[string]string{"web/stack.yml": "services: [\n"})
	tn.fails("web", "RenderFailed")
	tn.must(am.Start())
	firing(1)
	am.Stop()
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain()})
	tn.live("web", fixed)
	tn.must(am.Start())
	firing(0)
}

// state is what a stack consists of, without what two runs may differ in.
func (tn *tenant) state(stack string) lab.Objects {
	tn.Helper()
	o, err := tn.Stack(tn.Context(), tn.stack(stack))
	tn.must(err)
	for _, list := range [][]string{o.Services, o.Networks, o.Secrets, o.Configs} {
		for i := range list {
			list[i] = cutHash(strings.ReplaceAll(list[i], tn.name, "T"))
		}
		slices.Sort(list)
	}
	return o
}

// cutHash takes the ten hex digits of the key's hash from a name: each instance has its own key.
func cutHash(s string) string {
	if i := strings.LastIndex(s, "_"); i >= 0 && len(s)-i == 11 {
		return s[:i]
	}
	return s
}

const planStack = "services:\n" +
	"  a: {image: " + lab.AppImage + ", command: [serve], stop_grace_period: 1s, secrets: [s], networks: [n]}\n" +
	"  b: {image: " + lab.AppImage + ", command: [serve], stop_grace_period: 1s, configs: [c], networks: [n]}\n" +
	"networks: {n: {}}\nsecrets: {s: {file: s.txt}}\nconfigs: {c: {content: hello}}\n"

// TestKilledAfterEachWrite kills the operator with SIGKILL after the first,
// second, … write of a plan: the next start always reaches the same state.
func TestKilledAfterEachWrite(t *testing.T) {
	t.Parallel()
	files := map[string]string{"web/stack.yml": planStack, "web/s.txt": "hunter2hunter2"}
	whole, p := proxied(t, options{})
	commit := whole.push("first", files)
	whole.start()
	whole.live("web", commit)
	whole.quiet()
	want, writes := whole.state("web"), len(p.Writes())
	if writes < 5 {
		t.Fatalf("writes of the plan: %v", p.Writes())
	}
	for n := 1; n <= writes; n++ {
		t.Run(fmt.Sprintf("after write %d", n), func(t *testing.T) {
			t.Parallel()
			tn, p := proxied(t, options{})
			commit := tn.push("first", files)
			tn.start()
			pid := tn.skep.Pid()
			p.After(func(k int, _ string) {
				if k == n {
					syscall.Kill(pid, syscall.SIGKILL)
				}
			})
			select {
			case <-tn.skep.Ended():
			case <-time.After(patience):
				t.Fatalf("no %d-th write; writes: %v", n, p.Writes())
			}
			p.After(nil)
			tn.start()
			tn.live("web", commit)
			tn.quiet()
			if diff := cmp.Diff(want, tn.state("web")); diff != "" {
				t.Errorf("state after a kill (-undisturbed +killed):\n%s", diff)
			}
		})
	}
}

// TestFrozenOperatorDoesNotDelete stops one operator with SIGSTOP in the middle
// of removing a stack; a second one brings the stack back; the first one goes on.
func TestFrozenOperatorDoesNotDelete(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": planStack, "web/s.txt": "hunter2hunter2", "other/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	tn.live("other", first)
	tn.quiet()

	frozen := make(chan string, 1)
	pid := tn.skep.Pid()
	p.Before(func(_ int, call string) {
		if strings.HasPrefix(call, "DELETE /services/") {
			select {
			case frozen <- call:
				syscall.Kill(pid, syscall.SIGSTOP)
			default:
			}
		}
	})
	tn.push("web leaves", nil, "web")
	select {
	case <-frozen:
	case <-time.After(patience):
		t.Fatal("no service was removed")
	}
	p.Before(nil)

	second, err := tn.Lab.Skep(tn.name+"-second", tn.config(tn.opts))
	tn.must(err)
	tn.must(second.Start())
	t.Cleanup(func() { second.Stop() })
	back := tn.push("web is back", map[string]string{"web/stack.yml": planStack, "web/s.txt": "hunter2hunter2"})
	live := func(s lab.Stack) bool { return s.Commit == back && s.Sync == "synced" && s.Health == "healthy" }
	_, err = second.Wait(t.Context(), patience, tn.stack("web"), live)
	tn.must(err)
	before := tn.state("web")
	tn.must(tn.skep.Signal(syscall.SIGCONT))
	tn.live("web", back)
	if diff := cmp.Diff(before, tn.state("web")); diff != "" {
		t.Errorf("the frozen operator changed the stack when it went on:\n%s", diff)
	}
	_, err = second.Wait(t.Context(), patience, tn.stack("web"), live)
	tn.must(err)
}
