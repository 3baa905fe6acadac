package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skep-gitops/skep/e2e/lab"
)

// second is skep.yml with a second tenant, which has the same repository and
// reads its folder more.
func (tn *tenant) second() string {
	return tn.config(tn.opts) + fmt.Sprintf("  - name: %s2\n    repo: %s\n    branch: main\n    path: more\n    policy: unrestricted\n", tn.name, tn.repo.URL)
}

// TestReload adds and removes a tenant under a running operator, gives it broken
// configurations, and sees that they are told, refused and forgotten again.
func TestReload(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{tenant: "    stacks: [web]\n"})
	first := tn.push("first", map[string]string{"web/stack.yml": plain(), "more/api/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	ran := tn.tasks("web", "web")

	tn.must(tn.skep.Write(tn.second()))
	tn.wait(tn.name+"2-api", func(s lab.Stack) bool { return s.Commit == first && s.Sync == "synced" && s.Health == "healthy" })

	broken := tn.second() + "clustr: prod\n"
	line := strings.Count(broken, "\n") + 2 // the lab puts two lines on top
	tn.must(tn.skep.Write(broken))
	a := tn.fires("SkepConfigInvalid", "")
	want := fmt.Sprintf("skep.yml:%d: clustr: unknown key", line)
	if !strings.Contains(a.Annotations["description"], want) {
		t.Errorf("description of the alert lacks %q: %s", want, a.Annotations["description"])
	}
	if out, code := tn.try("status"); code != 0 || !strings.Contains(out, want) {
		t.Errorf("skep status beside a broken skep.yml: exit code %d, want 0 and %q\n%s", code, want, out)
	}
	if out, code := tn.try("health"); code != 0 {
		t.Errorf("skep health beside a broken skep.yml: exit code %d\n%s", code, out)
	}
	out, code, err := tn.skep.Run(t.Context(), "config", "check", tn.skep.Config)
	tn.must(err)
	if code != 1 || !strings.Contains(out, want) {
		t.Errorf("skep config check: exit code %d, want 1 and %q\n%s", code, want, out)
	}
	second := tn.push("second", map[string]string{"web/stack.yml": plain("hostname: second")})
	tn.live("web", second)

	// Not even YAML, and what is read at the start alone.
	for text, want := range map[string]string{
		"tenants: [\n":               "not YAML",
		"listen: :1\n" + tn.second(): "restart skep to change them",
	} {
		tn.must(tn.skep.Write(text))
		tn.eventually("refused: "+want, func() (bool, string) {
			var s struct {
				Config string `json:"config_error"`
			}
			b, err := tn.skep.Get(t.Context(), "/api/v1/status")
			tn.must(err)
			tn.must(json.Unmarshal(b, &s))
			return strings.Contains(s.Config, want), s.Config
		})
		if out, code := tn.try("health"); code != 0 {
			t.Errorf("skep health: exit code %d\n%s", code, out)
		}
		tn.fires("SkepConfigInvalid", "")
	}

	// Without the second tenant: its stack goes on, as an orphan.
	api := tn.name + "2-api"
	services, err := tn.Services(t.Context(), api)
	tn.must(err)
	tn.must(tn.skep.Write(tn.config(tn.opts)))
	tn.quiet()
	tn.eventually("the orphan is told", func() (bool, string) {
		out := tn.verb("status")
		return strings.Contains(out, api) && strings.Contains(out, "orphan"), out
	})
	left, err := tn.Services(t.Context(), api)
	tn.must(err)
	if len(left) != 1 || left[api+"_web"].ID != services[api+"_web"].ID {
		t.Errorf("services of a tenant that was removed: %v, want %v", left, services)
	}
	if now := tn.tasks("web", "web"); now == ran {
		t.Error("the second push started no task")
	}
}

// TestSignalLoadsTheConfiguration sends SIGHUP.
func TestSignalLoadsTheConfiguration(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	before := strings.Count(tn.skep.Output(), "configuration reloaded")
	tn.must(tn.skep.Signal(syscall.SIGHUP))
	tn.eventually("loaded again", func() (bool, string) {
		return strings.Count(tn.skep.Output(), "configuration reloaded") > before, "not yet"
	})
	tn.live("web", first)
}

// TestStartWithABrokenConfiguration ends at once and says where it is wrong.
func TestStartWithABrokenConfiguration(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	if out, code := tn.try("health"); code != 1 || !strings.Contains(out, tn.skep.Socket+" is missing") {
		t.Errorf("skep health before the start: exit code %d, want 1 and the missing socket\n%s", code, out)
	}
	if out, code := tn.try("status"); code != 1 || !strings.Contains(out, tn.skep.Socket+" is missing") {
		t.Errorf("skep status before the start: exit code %d, want 1 and the missing socket\n%s", code, out)
	}
	tn.must(tn.skep.Write(tn.config(options{}) + "    polcy: x\n"))
	for _, verb := range []string{"run", "plan"} {
		out, code := tn.try(verb)
		if code != 1 || !strings.Contains(out, "tenants[0].polcy: unknown key; did you mean policy?") {
			t.Errorf("skep %s: exit code %d, want 1 and the reason\n%s", verb, code, out)
		}
	}
}

// TestEngineThatIsNotThere does not make skep itself unhealthy.
func TestEngineThatIsNotThere(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{env: []string{"DOCKER_HOST=unix:///nonexistent/docker.sock"}})
	tn.start()
	tn.eventually("healthy", func() (bool, string) { out, code := tn.try("health"); return code == 0, out })
	tn.eventually("told", func() (bool, string) {
		out, _ := tn.try("status")
		return strings.Contains(out, "swarm not readable") && strings.Contains(out, "/nonexistent/docker.sock"), out
	})
	other := newTenant(t, options{env: []string{"DOCKER_HOST=ssh://root@manager"}})
	if out, code := other.try("run"); code != 1 || !strings.Contains(out, "DOCKER_HOST") || !strings.Contains(out, "ssh") {
		t.Errorf("skep run with ssh://: exit code %d\n%s", code, out)
	}
}

// TestListen asks through an address instead of the socket.
func TestListen(t *testing.T) {
	t.Parallel()
	addr, err := lab.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	tn := newTenant(t, options{global: "listen: " + addr + "\n"})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	for _, verb := range []string{"status", "health"} {
		out, code, err := tn.skep.Run(t.Context(), verb, "--url", "http://"+addr)
		tn.must(err)
		if code != 0 || verb == "status" && !strings.Contains(out, tn.stack("web")) {
			t.Errorf("skep %s --url: exit code %d\n%s", verb, code, out)
		}
	}
	for path, want := range map[string]int{"/healthz": 200, "/metrics": 200, "/api/v1/stacks": 200, "/": 404, "/debug/pprof/": 404} {
		c := http.Client{Timeout: 10 * time.Second}
		resp, err := c.Get("http://" + addr + path)
		tn.must(err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	info, err := os.Stat(tn.skep.Socket)
	tn.must(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the socket: %v, want 0600", info.Mode().Perm())
	}
}

// TestFieldsOfTheAPI holds the elements of GET /api/v1/stacks to the names and
// forms that other tools rely on.
func TestFieldsOfTheAPI(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain(), "bad/stack.yml": "services: {}\n"})
	tn.start()
	tn.live("web", first)
	tn.fails("bad", "RenderFailed")
	b, err := tn.skep.Get(t.Context(), "/api/v1/stacks")
	tn.must(err)
	var list []map[string]any
	tn.must(json.Unmarshal(b, &list))
	if len(list) != 2 {
		t.Fatalf("%d elements, want 2:\n%s", len(list), b)
	}
	enums := map[string]string{
		"sync":   " synced out-of-sync unknown ",
		"health": " healthy progressing degraded missing ",
	}
	for _, e := range list {
		for _, key := range []string{"tenant", "stack", "commit", "sync", "health", "reason", "cause", "message", "deployed", "attempted"} {
			text, ok := e[key].(string)
			if !ok || enums[key] != "" && !strings.Contains(enums[key], " "+text+" ") {
				t.Errorf("%s: %#v", key, e[key])
			}
		}
		for _, key := range []string{"last_look", "next_look", "since"} {
			text, _ := e[key].(string)
			if at, err := time.Parse(time.RFC3339, text); err != nil || time.Since(at).Abs() > time.Hour {
				t.Errorf("%s: %#v: %v", key, e[key], err)
			}
		}
		services, ok := e["services"].([]any)
		if !ok {
			t.Errorf("services: %#v, want a list", e["services"])
		}
		for _, s := range services {
			s := s.(map[string]any)
			_, name := s["name"].(string)
			_, running := s["running"].(float64)
			_, desired := s["desired"].(float64)
			_, fault := s["error"].(string)
			if !name || !running || !desired || !fault {
				t.Errorf("service: %v", s)
			}
		}
	}
}

// TestTwoProcessesOnOneCache: the second works in a folder of its own below it;
// on one socket the second does not start.
func TestTwoProcessesOnOneCache(t *testing.T) {
	t.Parallel()
	one, two := newTenant(t, options{}), newTenant(t, options{})
	text, err := os.ReadFile(two.skep.Config)
	two.must(err)
	two.must(os.WriteFile(two.skep.Config, []byte(strings.Replace(string(text), two.skep.Cache, one.skep.Cache, 1)), 0o644))
	for _, tn := range []*tenant{one, two} {
		first := tn.push("first", map[string]string{"web/stack.yml": plain()})
		tn.start()
		tn.live("web", first)
	}
	for _, tn := range []*tenant{one, two} {
		tn.live("web", tn.push("second", map[string]string{"web/stack.yml": plain("hostname: second")}))
	}
	if out, code := one.try("run"); code != 1 || !strings.Contains(out, "another skep answers there") {
		t.Errorf("a second skep on the same socket: exit code %d\n%s", code, out)
	}
}

// TestTermination ends with SIGTERM within seconds, also while a repository
// hangs and a client dawdles.
func TestTermination(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tn := newTenant(t, options{repo: "http://" + l.Addr().String() + "/hangs.git"})
	tn.start()
	tn.eventually("healthy", func() (bool, string) { out, code := tn.try("health"); return code == 0, out })
	slow, err := net.Dial("unix", tn.skep.Socket)
	tn.must(err)
	defer slow.Close()
	fmt.Fprint(slow, "GET /api/v1/stacks HTTP/1.1\r\nHost: skep\r\nX-Slow")
	began := time.Now()
	tn.must(tn.skep.Stop())
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("the end took %v", d)
	}
	if _, err := os.Stat(tn.skep.Socket); err == nil {
		t.Error("the socket is left over")
	}
	if out := tn.skep.Output(); !strings.Contains(out, `"stopped"`) {
		t.Errorf("skep does not say that it stopped:\n%s", out)
	}
}
