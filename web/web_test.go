package web_test

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/operator"
	"github.com/skep-gitops/skep/web"
)

var update = flag.Bool("update", false, "write the golden files")

// status has everything that can be shown.
func status() operator.Status {
	at := func(s int) time.Time { return time.Date(2026, 11, 25, 10, 0, s, 0, time.UTC) }
	return operator.Status{
		Cluster: "prod", Instance: "default", Version: "1.2.3", Started: at(0), Ready: true, LastLook: at(9), LookTook: 0.25,
		Tenants: []operator.TenantStatus{
			{Tenant: "shop", Repo: "https://git/shop", Ref: "main", Commit: "c0ffee", Subject: "first", LastLook: at(5), NextLook: at(35)},
			{Tenant: "blog", Repo: "https://git/blog", Ref: "main", LastLook: at(6), NextLook: at(36), Reason: operator.FetchFailed, Cause: "auth", Message: "https://git/blog: wrong password", Since: at(1)},
		},
		Stacks: []operator.StackStatus{
			{Tenant: "blog", Sync: operator.SyncUnknown, Health: "missing", Reason: operator.FetchFailed, Cause: "auth", Message: "https://git/blog: wrong password", LastLook: at(6), NextLook: at(36), Since: at(1)},
			{
				Tenant: "shop", Stack: "shop-web", Commit: "c0ffee", Sync: operator.OutOfSync, Health: "degraded", Reason: operator.RolloutFailed, Message: "web: No such image", Deployed: "bead", Attempted: "c0ffee",
				LastLook: at(5), NextLook: at(35), Since: at(7), Services: []operator.ServiceStatus{{Name: "web", Running: 1, Desired: 2, Error: "No such image"}},
				Frozen: &operator.Hold{By: "ada", Reason: "sale", Since: at(2)},
			},
		},
		Orphans: []operator.Orphan{{Tenant: "gone", Stack: "gone-web"}},
		Alerts:  []alerting.Alert{{Labels: map[string]string{"alertname": "SkepStackFailed", "tenant": "shop"}, StartsAt: at(7)}},
		Peers:   []alerting.PeerStatus{{URL: "http://am:9093", LastOK: at(8), Sent: 3, Failed: 1}},
		Counts:  operator.Counts{Cycles: 12, Writes: 4, Renders: 2, Healed: 1, FetchErrors: 3},
	}
}

func get(t *testing.T, s operator.Status, method, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	web.New(func() operator.Status { return s }).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := "testdata/" + name
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestAPI(t *testing.T) {
	for path, file := range map[string]string{
		"/api/v1/stacks":  "stacks.json",
		"/api/v1/tenants": "tenants.json",
		"/api/v1/status":  "status.json",
	} {
		r := get(t, status(), "GET", path)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: %s %s", path, r.Status, r.Header.Get("Content-Type"))
		}
		golden(t, file, body(t, r))
	}
}

func TestListsAreNeverNull(t *testing.T) {
	for path, want := range map[string]string{"/api/v1/stacks": "[]\n", "/api/v1/tenants": "[]\n"} {
		if got := body(t, get(t, operator.Status{}, "GET", path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if got := body(t, get(t, operator.Status{}, "GET", "/api/v1/status")); strings.Contains(got, "null") {
		t.Errorf("/api/v1/status holds null:\n%s", got)
	}
}

func TestHealthIsThatOfSkepItself(t *testing.T) {
	bad := status()
	bad.Config, bad.Swarm = "skep.yml:1: nonsense", "no leader"
	for name, c := range map[string]struct {
		status operator.Status
		code   int
	}{
		"works":                                   {status(), 200},
		"does not work yet":                       {operator.Status{}, 503},
		"a refused configuration, a lost quorum":  {bad, 200},
		"everything fails but the loop":           {operator.Status{Ready: true, Swarm: "x"}, 200},
		"ready is what counts, not what is shown": {operator.Status{Version: "1"}, 503},
	} {
		if got := get(t, c.status, "GET", "/healthz").StatusCode; got != c.code {
			t.Errorf("%s: %d, want %d", name, got, c.code)
		}
	}
}

func TestWhatIsNotServed(t *testing.T) {
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/api/v1/stacks", 405},
		{"DELETE", "/api/v1/stacks", 405},
		{"PUT", "/metrics", 405},
		{"GET", "/", 404},
		{"GET", "/api/v1/stacks/", 404},
		{"GET", "/debug/pprof/", 404},
		{"GET", "/debug/vars", 404},
		{"HEAD", "/api/v1/stacks", 200},
	} {
		r := get(t, status(), c.method, c.path)
		if r.StatusCode != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, r.StatusCode, c.code)
		}
		for _, h := range []string{"X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control"} {
			if r.Header.Get(h) == "" {
				t.Errorf("%s %s: no %s", c.method, c.path, h)
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	text := body(t, get(t, status(), "GET", "/metrics"))
	for _, want := range []string{
		`skep_build_info{cluster="prod",version="1.2.3"} 1`,
		`skep_ready{cluster="prod"} 1`,
		`skep_cycles_total{cluster="prod"} 12`,
		`skep_writes_total{cluster="prod"} 4`,
		`skep_fetch_errors_total{cluster="prod"} 3`,
		`skep_stack_sync{cluster="prod",stack="shop-web",sync="out-of-sync",tenant="shop"} 1`,
		`skep_stack_sync{cluster="prod",stack="shop-web",sync="synced",tenant="shop"} 0`,
		`skep_stack_health{cluster="prod",health="degraded",stack="shop-web",tenant="shop"} 1`,
		`skep_stack_failed{cluster="prod",reason="RolloutFailed",stack="shop-web",tenant="shop"} 1`,
		`skep_stack_held{cluster="prod",hold="frozen",stack="shop-web",tenant="shop"} 1`,
		`skep_tenant_failed{cluster="prod",reason="FetchFailed",tenant="blog"} 1`,
		`skep_tenant_last_success_timestamp_seconds{cluster="prod",tenant="shop"} 1.795600805e+09`,
		`skep_tenant_last_success_timestamp_seconds{cluster="prod",tenant="blog"} 1.795600801e+09`,
		`skep_alerts_firing{alertname="SkepStackFailed",cluster="prod"} 1`,
		`skep_alertmanager_sent_total{cluster="prod",url="http://am:9093"} 3`,
		`skep_orphans{cluster="prod"} 1`,
		`go_goroutines{cluster="prod"}`,
		`process_resident_memory_bytes{cluster="prod"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// A label that is not UTF-8, or a series that is there twice, must not cost the
// whole scrape.
func TestMetricsSurviveOddNames(t *testing.T) {
	s := status()
	s.Tenants[0].Tenant = "a\xff\"\n"
	s.Stacks = append(s.Stacks, s.Stacks[1])
	r := get(t, s, "GET", "/metrics")
	text := body(t, r)
	if r.StatusCode != 200 || !strings.Contains(text, "skep_build_info") || !strings.Contains(text, `tenant="a`+"\uFFFD"+`\"\n"`) {
		t.Errorf("%s\n%s", r.Status, text)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- web.Serve(ctx, l, web.New(status), slog.New(slog.DiscardHandler)) }()
	ask := func(header string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+l.Addr().String()+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X", header)
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		return r.StatusCode
	}
	if code := ask("x"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code := ask(strings.Repeat("x", 64<<10)); code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("huge header: %d", code)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("end: %v", err)
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(body(t, get(t, status(), "GET", "/metrics"))) {
		name, ok := strings.CutPrefix(line, "# TYPE skep_")
		if !ok {
			continue
		}
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(string(doc), "`skep_"+name+"`") {
			t.Errorf("skep_%s is not in docs/operating.md", name)
		}
	}
}
