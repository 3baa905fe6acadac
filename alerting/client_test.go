package alerting

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/api/v2/models"
)

// fakePeers is an http.RoundTripper that stands for all Alertmanagers, with the
// merging of the real one. It runs on the bubble's clock.
type fakePeers struct {
	mu    sync.Mutex
	posts []post
	fault func(host string, names []string) (status int, err error)
}

type post struct {
	at     time.Time
	host   string
	alerts models.PostableAlerts
}

func (f *fakePeers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var alerts models.PostableAlerts
	if err := json.Unmarshal(body, &alerts); err != nil {
		return nil, err
	}
	if r.URL.Path != "/api/v2/alerts" {
		return answer(r, 404, "not found"), nil
	}
	var names []string
	for _, a := range alerts {
		names = append(names, a.Labels["alertname"])
	}
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		if status, err := fault(r.URL.Host, names); err != nil || status != 0 {
			return answer(r, status, `"bad alert"`), err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts = append(f.posts, post{time.Now(), r.URL.Host, alerts})
	return answer(r, 200, ""), nil
}

func answer(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Request: r, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func (f *fakePeers) setFault(fault func(host string, names []string) (int, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// take gives the posts since the last take, as lines.
func (f *fakePeers) take(start time.Time) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, p := range f.posts {
		for _, a := range p.alerts {
			state := "fires for " + time.Time(a.EndsAt).Sub(p.at).String()
			if !time.Time(a.EndsAt).After(p.at) {
				state = "over"
			}
			lines = append(lines, fmt.Sprintf("%v %s: %s %s since %v", p.at.Sub(start), p.host, a.Labels["alertname"], state, time.Time(a.StartsAt).Sub(start)))
		}
	}
	f.posts = nil
	slices.Sort(lines)
	return lines
}

func firing(names ...string) []Alert {
	var all []Alert
	for _, n := range names {
		all = append(all, Alert{Labels: map[string]string{"alertname": n}})
	}
	return all
}

func newClient(t *testing.T, f *fakePeers, o Options, hosts ...string) *Client {
	t.Helper()
	for _, h := range hosts {
		o.Peers = append(o.Peers, Peer{URL: "http://" + h, Client: &http.Client{Transport: f}})
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// running runs c until the returned function is called.
func running(t *testing.T, c *Client) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func expect(t *testing.T, about string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", about, diff)
	}
}

func pass(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

func TestLifeOfAnAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		c := newClient(t, f, Options{}, "am")
		start := time.Now()
		defer running(t, c)()
		c.Set(firing("A"))
		synctest.Wait()
		expect(t, "told at once", f.take(start), "0s am: A fires for 4m0s since 0s")
		pass(30 * time.Second)
		c.Set(firing("A"))
		synctest.Wait()
		expect(t, "not told again for nothing", f.take(start))
		pass(100 * time.Second)
		expect(t, "re-sent, with the same start", f.take(start), "1m0s am: A fires for 4m0s since 0s", "2m0s am: A fires for 4m0s since 0s")
		c.Set(nil)
		synctest.Wait()
		expect(t, "resolved at once", f.take(start), "2m10s am: A over since 0s")
		pass(14*time.Minute + 30*time.Second)
		if got := f.take(start); len(got) != 14 || got[13] != "9m10s am: A over since 0s" {
			t.Errorf("repeated: got %d: %v", len(got), got)
		}
		pass(time.Hour)
		expect(t, "then forgotten", f.take(start))
		c.Set(firing("A"))
		synctest.Wait()
		expect(t, "a new episode has a new start", f.take(start), "1h16m40s am: A fires for 4m0s since 1h16m40s")
	})
}

func TestChangedAnnotationsAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		c := newClient(t, f, Options{External: map[string]string{"cluster": "prod"}, URL: "https://skep.example/x"}, "am")
		defer running(t, c)()
		for _, text := range []string{"one", "two"} {
			c.Set([]Alert{{Labels: map[string]string{"alertname": "A", "empty": ""}, Annotations: map[string]string{"summary": text}}})
			synctest.Wait()
			pass(10 * time.Second)
		}
		for i, want := range []string{"one", "two"} {
			a := f.posts[i].alerts[0]
			if a.Annotations["summary"] != want || !maps.Equal(a.Labels, map[string]string{"alertname": "A", "cluster": "prod"}) || a.GeneratorURL != "https://skep.example/x" {
				t.Errorf("post %d: %+v", i, a)
			}
			if !time.Time(a.StartsAt).Equal(time.Time(f.posts[0].alerts[0].StartsAt)) {
				t.Errorf("post %d has another start", i)
			}
		}
	})
}

func TestRelativeURLIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		c := newClient(t, f, Options{URL: "/stacks"}, "am")
		defer running(t, c)()
		c.Set(firing("A"))
		synctest.Wait()
		if u := f.posts[0].alerts[0].GeneratorURL; u != "" {
			t.Errorf("generatorURL %q", u)
		}
	})
}

func TestEndDuringAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		c := newClient(t, f, Options{}, "am", "up")
		start := time.Now()
		defer running(t, c)()
		c.Set(firing("A", "B"))
		synctest.Wait()
		f.setFault(func(host string, _ []string) (int, error) {
			if host == "am" {
				return 0, errors.New("connection refused")
			}
			return 0, nil
		})
		c.Set(firing("B"))
		pass(2 * time.Hour) // far longer than a resolved alert is repeated
		f.take(start)
		f.setFault(nil)
		back := time.Now()
		pass(5 * time.Second)
		got := f.take(back)
		got = slices.DeleteFunc(got, func(s string) bool { return !strings.Contains(s, " am: ") })
		if len(got) != 2 || !strings.Contains(got[0], "A over") || !strings.Contains(got[1], "B fires") {
			t.Errorf("within seconds of its return the peer was told %q", got)
		}
		pass(14 * time.Minute)
		if n := count(f.take(back), " am: A over"); n < 13 {
			t.Errorf("after its return the peer was told %d times of the end", n)
		}
		pass(30 * time.Minute)
		f.take(back)
		pass(10 * time.Minute)
		if n := count(f.take(back), " A over"); n != 0 {
			t.Errorf("the end is still told")
		}
	})
}

func count(lines []string, part string) (n int) {
	for _, l := range lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func TestDeadPeerDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		f.setFault(func(host string, _ []string) (int, error) {
			switch host {
			case "dead":
				return 0, errors.New("no route to host")
			case "slow":
				time.Sleep(30 * time.Second)
				return 0, context.DeadlineExceeded
			}
			return 0, nil
		})
		c := newClient(t, f, Options{}, "dead", "slow", "well")
		start := time.Now()
		defer running(t, c)()
		for i := range 5 {
			c.Set(firing(fmt.Sprint("A", i)))
			synctest.Wait()
			if n := count(f.take(start), fmt.Sprintf("well: A%d fires", i)); n != 1 {
				t.Errorf("A%d was told %d times at once", i, n)
			}
			pass(7 * time.Second)
		}
		for _, p := range c.Peers() {
			if well := p.URL == "http://well"; well != (p.LastError == "") || well != !p.LastOK.IsZero() || well != (p.Failed == 0) {
				t.Errorf("status %+v", p)
			}
		}
		pass(time.Minute)
	})
}

func TestOneBadAlertOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{400, 422, 413} {
			f := &fakePeers{}
			f.setFault(func(_ string, names []string) (int, error) {
				if slices.Contains(names, "A77") {
					return status, nil
				}
				return 0, nil
			})
			c := newClient(t, f, Options{}, "am")
			start := time.Now()
			stop := running(t, c)
			var names []string
			for i := range 300 {
				names = append(names, fmt.Sprint("A", i))
			}
			c.Set(firing(names...))
			synctest.Wait()
			got := f.take(start)
			if len(got) != 299 || count(got, " A77 ") != 0 {
				t.Errorf("%d: %d of 299 alerts arrived", status, len(got))
			}
			if p := c.Peers()[0]; p.Sent != 299 || p.Failed != 1 {
				t.Errorf("%d: status %+v", status, p)
			}
			pass(30 * time.Second)
			expect(t, "no retry before the next sending", f.take(start))
			stop()
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		c := newClient(t, f, Options{Queue: 1000}, "am")
		defer running(t, c)()
		var all []Alert
		for i := range 1500 {
			all = append(all, Alert{Labels: map[string]string{"alertname": fmt.Sprint("A", i)}, StartsAt: time.Now().Add(-time.Duration(i) * time.Second)})
		}
		c.Set(all)
		synctest.Wait()
		n := 0
		for _, p := range f.posts {
			n += len(p.alerts)
			if len(p.alerts) > 256 {
				t.Errorf("a post of %d alerts", len(p.alerts))
			}
		}
		if p := c.Peers()[0]; n != 1000 || p.Dropped != 500 || p.Sent != 1000 {
			t.Errorf("%d alerts sent, status %+v", n, p)
		}
	})
}

func TestNamesAreResolvedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		o := Options{Peers: []Peer{{URL: "http://am:9093", DNS: "tasks.am", Client: &http.Client{Transport: f}}}}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		addresses := []string{"10.0.0.1", "10.0.0.2"}
		c.resolve = func(_ context.Context, host string) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			if host != "tasks.am" || addresses == nil {
				return nil, errors.New("no such host")
			}
			return slices.Clone(addresses), nil
		}
		set := func(a ...string) { mu.Lock(); addresses = a; mu.Unlock() }
		start := time.Now()
		defer running(t, c)()
		c.Set(firing("A"))
		synctest.Wait()
		expect(t, "every address is told", f.take(start), "0s 10.0.0.1:9093: A fires for 4m0s since 0s", "0s 10.0.0.2:9093: A fires for 4m0s since 0s")
		set("10.0.0.2", "fd00::3")
		pass(31 * time.Second)
		expect(t, "a new address is told of all", f.take(start), "30s [fd00::3]:9093: A fires for 4m0s since 0s")
		set()
		pass(30 * time.Second)
		expect(t, "a name without addresses changes nothing", f.take(start), "1m0s 10.0.0.2:9093: A fires for 4m0s since 0s")
		var urls []string
		for _, p := range c.Peers() {
			urls = append(urls, p.URL+" "+p.LastError)
		}
		expect(t, "status", urls, "http://10.0.0.2:9093 ", "http://[fd00::3]:9093 ", "http://tasks.am:9093 no such host")
		set("10.0.0.4")
		f.setFault(func(host string, _ []string) (int, error) {
			if host != "10.0.0.4:9093" {
				return 0, errors.New("connection refused")
			}
			return 0, nil
		})
		pass(time.Second)
		c.Set(nil)
		pass(4 * time.Second)
		expect(t, "a failed post looks the name up at once", f.take(start), "1m2s 10.0.0.4:9093: A over since 0s")
	})
}

// A restart of ours changes no start and resolves nothing.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakePeers{}
		start := time.Now()
		a := firing("A")
		a[0].StartsAt = start.Add(-time.Hour)
		for range 2 {
			c := newClient(t, f, Options{}, "am")
			stop := running(t, c)
			c.Set(a)
			synctest.Wait()
			stop()
			expect(t, "told", f.take(start), fmt.Sprintf("%v am: A fires for 4m0s since -1h0m0s", time.Since(start)))
			time.Sleep(time.Second)
		}
		c := newClient(t, f, Options{}, "am")
		c.Set(a)
		c.Set(nil)
		defer running(t, c)()
		synctest.Wait()
		expect(t, "what was given and ended before the first post is resolved", f.take(start), "2s am: A over since -1h0m0s")
	})
}

func TestURLs(t *testing.T) {
	const secret = "hunter2"
	for _, u := range []string{"", "am:9093", "ftp://u:hunter2@am", "http://", "http://u:hunter2@/x", "http://u:hunter2@am\x7f:1", "http://am/?token=hunter2", "://u:hunter2@x"} {
		_, err := New(Options{Peers: []Peer{{URL: u}}})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %v", u, err)
		}
	}
	for u, want := range map[string]string{
		"http://am:9093":                  "http://am:9093/api/v2/alerts",
		"https://u:hunter2@am/prefix/":    "https://am/prefix/api/v2/alerts",
		"http://[fd00::1]:9093/a":         "http://[fd00::1]:9093/a/api/v2/alerts",
		"http://u:hunter2@alertmanager:1": "http://alertmanager:1/api/v2/alerts",
	} {
		got := ""
		rt := roundTrip(func(r *http.Request) (*http.Response, error) {
			user, password, ok := r.BasicAuth()
			if strings.Contains(u, secret) != (ok && user == "u" && password == secret) {
				t.Errorf("%s: credentials %v %q", u, ok, user)
			}
			r.URL.User = nil
			got = r.URL.String()
			return nil, fmt.Errorf("refused by %s", r.URL.Host)
		})
		synctest.Test(t, func(t *testing.T) {
			c, err := New(Options{Peers: []Peer{{URL: u, Client: &http.Client{Transport: rt}}}})
			if err != nil {
				t.Fatal(err)
			}
			c.Set(firing("A"))
			stop := running(t, c)
			synctest.Wait()
			if p := c.Peers()[0]; strings.Contains(fmt.Sprint(p), secret) || p.LastError == "" {
				t.Errorf("%s: status %+v", u, p)
			}
			stop()
		})
		if got != want {
			t.Errorf("%s: posted to %s, want %s", u, got, want)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
