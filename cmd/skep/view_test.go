package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
	"github.com/skep-gitops/skep/web"
)

var noon = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

func TestStatusForPeople(t *testing.T) {
	s := operator.Status{
		Config: "skep.yml:3: x: unknown key",
		Tenants: []operator.TenantStatus{
			{Tenant: "blog", Ref: "main", LastLook: noon.Add(-7 * time.Second), NextLook: noon.Add(23 * time.Second), Reason: operator.FetchFailed, Cause: "auth", Message: "wrong\n password\x1b[2J"},
			{Tenant: "shop", Ref: "main", Commit: "c0ffee0123456789", LastLook: noon.Add(-time.Minute), NextLook: noon.Add(-time.Second)},
		},
		Stacks: []operator.StackStatus{
			{Tenant: "blog", Sync: operator.SyncUnknown, Health: "missing", Reason: operator.FetchFailed},
			{Tenant: "shop", Stack: "shop-api", Commit: "c0ffee0123456789", Deployed: "bead", Sync: operator.OutOfSync, Health: "degraded", Reason: operator.RolloutFailed, Message: "api: No such image", Services: []operator.ServiceStatus{{Name: "a", Running: 1, Desired: 2}, {Name: "b", Running: 1, Desired: 1}}},
			{Tenant: "shop", Stack: "shop-a\nb\tc", Sync: operator.OutOfSync, Health: "missing", Reason: operator.RenderFailed, Message: "name"},
			{Tenant: "shop", Stack: "shop-job", Sync: operator.SyncUnknown, Health: "missing"},
			{Tenant: "shop", Stack: "shop-mail", Sync: operator.OutOfSync, Health: "healthy", Frozen: &operator.Hold{By: "ada", Reason: "sale"}},
			{Tenant: "shop", Stack: "shop-web", Sync: operator.Synced, Health: "healthy", Drift: []string{"services.web.image"}, Pinned: &operator.Hold{By: "bob", Reason: "slow", Commit: "0123456789"}},
		},
		Orphans: []operator.Orphan{{Tenant: "gone", Stack: "gone-web"}},
		Peers: []alerting.PeerStatus{
			{URL: "http://one:9093", LastOK: noon},
			{URL: "http://two:9093", LastOK: noon.Add(-3 * time.Minute), LastError: "answers 401: check the credentials"},
		},
	}
	want := `
configuration refused, the former one is followed: skep.yml:3: x: unknown key
Alertmanager http://two:9093, last told 3m0s ago: answers 401: check the credentials
TENANT  REF   COMMIT    LAST LOOK  NEXT LOOK  STATE
blog    main  -         7s ago     in 23s     FetchFailed (auth): wrong password` + "\uFFFD" + `[2J
shop    main  c0ffee01  1m0s ago   in 0s      ok

STACK       TENANT  SYNC         HEALTH    COMMIT    DEPLOYED  SERVICES  STATE
shop-api    shop    out-of-sync  degraded  c0ffee01  bead      2/3       RolloutFailed: api: No such image
shop-a b c  shop    out-of-sync  missing   -         -         0/0       RenderFailed: name
shop-job    shop    unknown      missing   -         -         0/0       not known yet
shop-mail   shop    out-of-sync  healthy   -         -         0/0       on its way; frozen by ada: sale
shop-web    shop    synced       healthy   -         -         0/0       ok; differs and is left: services.web.image; pinned at 01234567 by bob: slow
gone-web    gone    -            -         -         -         -         orphan: its tenant is not configured; it keeps running
`
	var got bytes.Buffer
	if err := printStatus(&got, s, noon); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[1:], got.String()); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
}

// plans has one of each kind.
func plans() []operator.TenantPlan {
	return []operator.TenantPlan{{Tenant: "shop", Commit: "c0ffee0123456789", Stacks: []operator.StackPlan{
		{Stack: "shop-web", Commit: "c0ffee0123456789",
			Plan: deploy.Plan{
				Steps: []deploy.Step{
					{Action: deploy.Create, Kind: deploy.KindSecret, Name: "shop-web_s_0123456789", Why: "it is not in the swarm"},
					{Action: deploy.Update, Kind: deploy.KindService, Name: "shop-web_web", Restarts: true, Changes: []deploy.Change{{Field: "services.web.image", From: "a:1", To: "a:2"}, {Field: "services.web.environment.KEY"}}},
				},
				Deferred: []deploy.Deferred{{Service: "api", On: "web", Condition: "service_healthy"}},
			},
			Leftover: deploy.Plan{Steps: []deploy.Step{{Action: deploy.Remove, Kind: deploy.KindSecret, Name: "shop-web_s_9876543210"}}},
			Warnings: []string{"web/stack.yml:3: not honoured"}},
		{Stack: "shop-same"},
		{Stack: "shop-cold", Held: "frozen by ada: sale", Plan: deploy.Plan{Steps: []deploy.Step{{Action: deploy.Update, Kind: deploy.KindService, Name: "shop-cold_web"}}}},
		{Stack: "shop-gone", Removed: true, Leftover: deploy.Plan{Steps: []deploy.Step{{Action: deploy.Remove, Kind: deploy.KindService, Name: "shop-gone_web"}}}},
		{Stack: "shop-bent", Drift: true, Plan: deploy.Plan{Steps: []deploy.Step{{Action: deploy.Update, Kind: deploy.KindService, Name: "shop-bent_web"}}}},
	}}}
}

func TestPlanForPeople(t *testing.T) {
	want := `
tenant shop at c0ffee01
  stack shop-web: would change to c0ffee01
    warning: web/stack.yml:3: not honoured
    create secret shop-web_s_0123456789: it is not in the swarm
    update service shop-web_web (its tasks restart)
      services.web.image: a:1 → a:2
      services.web.environment.KEY
    service api waits until web is healthy
    remove secret shop-web_s_9876543210
  stack shop-same: nothing to do
  stack shop-cold: left as it is, frozen by ada: sale
    update service shop-cold_web
  stack shop-gone: left git, would be removed
    remove service shop-gone_web
  stack shop-bent: was changed in the swarm, would be taken back
    update service shop-bent_web
`
	var got bytes.Buffer
	printPlans(&got, plans())
	if diff := cmp.Diff(want[1:], got.String()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
}

func TestExitCodeOfAPlan(t *testing.T) {
	held := plans()
	held[0].Stacks = held[0].Stacks[1:3]
	broken := plans()
	broken[0].Stacks[0].Reason = operator.RenderFailed
	lost := []operator.TenantPlan{{Tenant: "shop", Reason: operator.FetchFailed}}
	for name, c := range map[string]struct {
		plans []operator.TenantPlan
		want  int
	}{
		"something would change":                        {plans(), exitChanges},
		"nothing, and a frozen stack that would":        {held, 0},
		"a stack cannot be rendered, others change":     {broken, exitFailed},
		"a repository cannot be read":                   {lost, exitFailed},
		"no tenants at all":                             {nil, 0},
		"a tenant without stacks, which is no mistake ": {[]operator.TenantPlan{{Tenant: "a"}}, 0},
	} {
		for _, format := range []string{"text", "json"} {
			var out bytes.Buffer
			err := app{out: &out}.showPlans(c.plans, format)
			got := 0
			if e, ok := err.(*exitError); ok {
				got = e.code
			}
			if got != c.want {
				t.Errorf("%s, %s: exit code %d, want %d", name, format, got, c.want)
			}
		}
	}
}

func TestWhatASyncIsContentWith(t *testing.T) {
	synced := operator.StackStatus{Sync: operator.Synced, Health: "healthy"}
	rolling := operator.StackStatus{Sync: operator.Synced, Health: "progressing"}
	behind := operator.StackStatus{Sync: operator.OutOfSync, Health: "healthy"}
	frozen := behind
	frozen.Frozen = &operator.Hold{}
	failed := synced
	failed.Reason = operator.PruneBlocked
	for name, c := range map[string]struct {
		stack       operator.StackStatus
		now, waited bool
	}{
		"synced and healthy":   {synced, true, true},
		"synced and rolling":   {rolling, true, false},
		"behind":               {behind, false, false},
		"behind and frozen":    {frozen, true, true},
		"synced with a reason": {failed, false, false},
	} {
		if got := fine(c.stack, false); got != c.now {
			t.Errorf("%s: %v, want %v", name, got, c.now)
		}
		if got := fine(c.stack, true); got != c.waited {
			t.Errorf("%s, waited for: %v, want %v", name, got, c.waited)
		}
	}
}

// remembered is a stack with a history: one, two (failed), three (runs).
func remembered(t *testing.T) deploy.Memory {
	t.Helper()
	history := []map[string]any{
		{"commit": strings.Repeat("1", 40), "result": "deployed"},
		{"commit": strings.Repeat("2", 40), "result": "failed"},
		{"commit": strings.Repeat("3", 40), "result": "deployed"},
		{"commit": strings.Repeat("3", 40), "result": "restarted"},
	}
	b, err := json.Marshal(map[string]any{"good": strings.Repeat("3", 40), "history": history})
	if err != nil {
		t.Fatal(err)
	}
	return deploy.Memory{Stack: "shop-web", State: b}
}

func TestEarlierCommit(t *testing.T) {
	m := remembered(t)
	for asked, want := range map[string]string{
		"":                      strings.Repeat("1", 40),
		"1111111":               strings.Repeat("1", 40),
		"2222222":               strings.Repeat("2", 40),
		strings.Repeat("A", 40): strings.Repeat("a", 40),
		"aaaaaaa":               "",
		"111":                   "",
		"main":                  "",
	} {
		got, err := earlier(m, asked)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", asked, got, err, want)
		}
	}
	var state map[string]any
	if err := json.Unmarshal(m.State, &state); err != nil {
		t.Fatal(err)
	}
	state["attempt"] = map[string]any{"commit": strings.Repeat("4", 40)}
	var err error
	if m.State, err = json.Marshal(state); err != nil {
		t.Fatal(err)
	}
	if got, err := earlier(m, ""); err != nil || got != strings.Repeat("3", 40) {
		t.Errorf("while a newer commit rolls out: %q, %v; want the last good one", got, err)
	}
	if _, err := earlier(deploy.Memory{Stack: "new"}, ""); err == nil || !strings.Contains(err.Error(), "skep history new") {
		t.Errorf("without a history: %v", err)
	}
}

// TestAskARunningSkep asks through the socket, which only its owner may use.
func TestAskARunningSkep(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s.sock")
	l, err := listenSocket(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ready := operator.Status{Ready: true, Tenants: []operator.TenantStatus{{Tenant: "shop"}, {Tenant: "blog"}}}
	go func() { _ = http.Serve(l, web.New(func() operator.Status { return ready })) }() // ends with the listener
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v", info.Mode())
	}
	run := func(args ...string) (string, int) {
		var out, errs bytes.Buffer
		code := app{out: &out, err: &errs, getenv: func(string) string { return "" }}.main(context.Background(), append([]string{"skep"}, args...))
		return out.String() + errs.String(), code
	}
	if out, code := run("health", "--socket", socket); code != 0 || out != "ok\n" {
		t.Errorf("health: %d %s", code, out)
	}
	if out, code := run("status", "--socket", socket, "--tenant", "blog"); code != 0 || strings.Contains(out, "shop") || !strings.Contains(out, "blog") {
		t.Errorf("status: %d %s", code, out)
	}
	if out, code := run("status", "-o", "json", "--socket", socket); code != 0 || !json.Valid([]byte(out)) || !strings.Contains(out, `"stacks": []`) {
		t.Errorf("status -o json: %d %s", code, out)
	}
	if _, err := listenSocket(socket); err == nil || !strings.Contains(err.Error(), "another skep answers there") {
		t.Errorf("a socket that answers was taken over: %v", err)
	}
}

func TestSocketThatADeadSkepLeftIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s.sock")
	l, err := listenSocket(socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
	l.Close()
	if l, err = listenSocket(socket); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(socket, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(socket); err == nil {
		t.Error("a file that is no socket was replaced")
	}
}

func TestAlertmanagerPasswordIsReadAtEachRequest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	client, err := httpClient(alertmanager{URL: "http://am", BasicAuth: basicAuth{"skep", file}})
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		asked <- password
	}))
	defer server.Close()
	for _, password := range []string{"first", "second"} {
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := <-asked; got != password {
			t.Errorf("sent %q, want %q", got, password)
		}
	}
}
