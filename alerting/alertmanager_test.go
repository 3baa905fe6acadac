package alerting_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/alerting/alertmanagertest"
)

// alert is one of a stack, as the operator gives it.
func alert(name, stack, commit string) alerting.Alert {
	return alerting.Alert{
		Labels:      map[string]string{"alertname": name, "tenant": "shop", "stack": stack, "empty": ""},
		Annotations: map[string]string{"summary": "\"{{ .X }}\"\n", "commit": commit},
		StartsAt:    time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond),
	}
}

// start runs a client until the returned function is called or the test ends.
func start(t *testing.T, o alerting.Options) (c *alerting.Client, stop func()) {
	t.Helper()
	o.External = map[string]string{"cluster-name": "prod"}
	o.URL = "https://skep.example/"
	c, err := alerting.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return c, stop
}

// expect waits until the Alertmanager lists exactly these alerts, as "name stack
// commit", and gives their fingerprints.
func expect(t *testing.T, am *alertmanagertest.Server, want ...string) map[string]string {
	t.Helper()
	var got []string
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		prints := make(map[string]string)
		got = nil
		for _, a := range am.Alerts() {
			name := fmt.Sprint(a.Labels["alertname"], " ", a.Labels["stack"], " ", a.Annotations["commit"])
			got = append(got, name)
			prints[name] = *a.Fingerprint + " " + a.StartsAt.String()
			if a.Labels["cluster_name"] != "prod" || a.GeneratorURL != "https://skep.example/" {
				t.Fatalf("labels %v, generatorURL %s", a.Labels, a.GeneratorURL)
			}
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return prints
		}
		if time.Now().After(end) {
			t.Fatalf("%s lists (-want +got):\n%s", am.URL, cmp.Diff(want, got))
		}
	}
}

func TestRealAlertmanager(t *testing.T) {
	t.Parallel()
	am := alertmanagertest.Start(t, alertmanagertest.Options{Prefix: "/alerts"})
	o := alerting.Options{Peers: []alerting.Peer{{URL: am.URL + "/"}}, Resend: 2 * time.Second}
	c, stop := start(t, o)
	web := alert("SkepStackFailed", "web", "one")
	db := alert("SkepStackFailed", "db", "one")
	c.Set([]alerting.Alert{web, db})
	before := expect(t, am, "SkepStackFailed db one", "SkepStackFailed web one")

	for _, commit := range []string{"two", "three"} {
		again := alert("SkepStackFailed", "web", commit)
		c.Set([]alerting.Alert{again, db})
		prints := expect(t, am, "SkepStackFailed db one", "SkepStackFailed web "+commit)
		if got := prints["SkepStackFailed web "+commit]; got != before["SkepStackFailed web one"] {
			t.Errorf("commit %s changed fingerprint or start: %s, was %s", commit, got, before["SkepStackFailed web one"])
		}
	}

	c.Set([]alerting.Alert{web})
	resolved := time.Now()
	expect(t, am, "SkepStackFailed web one")
	t.Logf("resolved after %v", time.Since(resolved).Round(time.Millisecond))

	am.Restart() // it has forgotten everything
	after := expect(t, am, "SkepStackFailed web one")
	if after["SkepStackFailed web one"] != before["SkepStackFailed web one"] {
		t.Errorf("its restart changed fingerprint or start: %v, was %v", after, before)
	}

	stop()
	c, _ = start(t, o)
	c.Set([]alerting.Alert{web})
	after = expect(t, am, "SkepStackFailed web one")
	if after["SkepStackFailed web one"] != before["SkepStackFailed web one"] {
		t.Errorf("our restart changed fingerprint or start: %v, was %v", after, before)
	}
	c.Set(nil)
	expect(t, am)
}

func TestRealAlertmanagerIsAway(t *testing.T) {
	t.Parallel()
	am, other := alertmanagertest.Start(t, alertmanagertest.Options{}), alertmanagertest.Start(t, alertmanagertest.Options{})
	slow := slowServer(t)
	c, _ := start(t, alerting.Options{Peers: []alerting.Peer{{URL: am.URL}, {URL: other.URL}, {URL: slow}}})
	web, db := alert("SkepStackFailed", "web", "one"), alert("SkepStackFailed", "db", "one")
	c.Set([]alerting.Alert{web})
	expect(t, am, "SkepStackFailed web one")
	am.Stop()
	c.Set([]alerting.Alert{db})
	expect(t, other, "SkepStackFailed db one")
	am.Restart()
	back := time.Now()
	expect(t, am, "SkepStackFailed db one")
	t.Logf("told %v after its return", time.Since(back).Round(time.Millisecond))
	for _, p := range c.Peers() {
		if well := p.URL != slow; well == p.LastOK.IsZero() {
			t.Errorf("status %+v", p)
		}
	}
}

// slowServer accepts and does not answer before the test ends.
func slowServer(t *testing.T) string {
	end := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(end) })
	return s.URL
}

// What a proxy in between refuses costs one alert, not its batch.
func TestRealAlertmanagerBehindAProxyThatRefuses(t *testing.T) {
	t.Parallel()
	am := alertmanagertest.Start(t, alertmanagertest.Options{})
	proxy := refusingProxy(t, am.URL, `"stack":"s13"`)
	c, _ := start(t, alerting.Options{Peers: []alerting.Peer{{URL: proxy}}})
	var all []alerting.Alert
	var want []string
	for i := range 40 {
		a := alert("SkepStackFailed", fmt.Sprintf("s%02d", i), "one")
		all = append(all, a)
		if i != 13 {
			want = append(want, fmt.Sprintf("SkepStackFailed s%02d one", i))
		}
	}
	c.Set(all)
	expect(t, am, want...)
}

func TestRealAlertmanagerByName(t *testing.T) {
	t.Parallel()
	am := alertmanagertest.Start(t, alertmanagertest.Options{Host: "127.0.0.1"})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(am.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := start(t, alerting.Options{Peers: []alerting.Peer{{URL: "http://alertmanager:" + port, DNS: "localhost"}}})
	c.Set([]alerting.Alert{alert("SkepWatchdog", "", "one")})
	expect(t, am, "SkepWatchdog  one")
}

// Notifications are what people see: one when it fires, one when it is over.
func TestRealAlertmanagerNotifies(t *testing.T) {
	t.Parallel()
	told := make(chan string, 100)
	hook := httptest.NewServer(notifications(t, told))
	defer hook.Close()
	am := alertmanagertest.Start(t, alertmanagertest.Options{Webhook: hook.URL})
	c, _ := start(t, alerting.Options{Peers: []alerting.Peer{{URL: am.URL}}, Resend: time.Second})
	for _, want := range []string{"firing web", "resolved web"} {
		var firing []alerting.Alert
		if want == "firing web" {
			firing = append(firing, alert("SkepStackFailed", "web", "one"))
		}
		c.Set(firing)
		select {
		case got := <-told:
			if got != want {
				t.Errorf("notified of %q, want %q", got, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("no notification of %q", want)
		}
	}
}
