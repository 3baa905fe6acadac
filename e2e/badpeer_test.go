package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/skep-gitops/skep/e2e/lab"
)

// moody is a proxy before a real Alertmanager: it keeps posts waiting, or
// refuses those that hold a text.
type moody struct {
	URL string
	am  *lab.Alertmanager

	mu      sync.Mutex // guards the rest
	hold    chan struct{}
	refuses string
}

func newMoody(t *testing.T, hold chan struct{}, refuses string) *moody {
	t.Helper()
	am, err := lab.NewAlertmanager(t.TempDir(), "127.0.0.1:0")
	check(t, err)
	t.Cleanup(am.Stop)
	to, err := url.Parse(am.URL)
	check(t, err)
	m := &moody{am: am, hold: hold, refuses: refuses}
	next := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) }))
	t.Cleanup(s.Close)
	m.URL = s.URL
	return m
}

func (m *moody) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	m.mu.Lock()
	hold, refuses := m.hold, m.refuses
	m.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	if refuses != "" && bytes.Contains(body, []byte(refuses)) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `"that label is not welcome here"`)
		return
	}
	next.ServeHTTP(w, r)
}

// refuse sets what is refused; empty: nothing.
func (m *moody) refuse(text string) { m.mu.Lock(); defer m.mu.Unlock(); m.refuses = text }

// TestPeersInABadMood: one peer keeps every post waiting, one refuses one alert
// of a batch: neither costs another peer, or another alert, anything.
func TestPeersInABadMood(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	slow, picky, well := newMoody(t, hold, ""), newMoody(t, nil, "-bad"), newMoody(t, nil, "")
	tn := newTenant(t, options{am: strings.Join([]string{slow.URL, picky.URL, well.URL}, "\n  - url: ")})
	files := map[string]string{}
	for _, name := range []string{"a", "bad", "c", "d"} {
		files[name+"/stack.yml"] = "services: [\n"
	}
	tn.push("broken", files)
	tn.start()
	knows := func(m *moody, names ...string) {
		t.Helper()
		want := map[string]bool{}
		for _, n := range names {
			want[tn.stack(n)] = true
		}
		tn.eventually(fmt.Sprintf("alerts for %v", names), func() (bool, string) {
			list, err := lab.Firing(t.Context(), m.am.URL, tn.name)
			for _, a := range list {
				if !want[a.Labels["stack"]] {
					return false, fmt.Sprint(list)
				}
			}
			return err == nil && len(list) == len(want), fmt.Sprint(list, err)
		})
	}
	knows(well, "a", "bad", "c", "d")
	knows(picky, "a", "c", "d")
	knows(slow)
	tn.eventually("the log tells of both", func() (bool, string) {
		out := tn.skep.Output()
		return strings.Contains(out, "alert SkepStackFailed: refused: that label is not welcome here") && strings.Contains(out, "does not answer in time"), tail(out, 2000)
	})
	files["e/stack.yml"] = "services: [\n"
	tn.push("one more", files)
	knows(well, "a", "bad", "c", "d", "e")
	knows(picky, "a", "c", "d", "e")
	knows(slow)

	release()
	picky.refuse("")
	knows(slow, "a", "bad", "c", "d", "e")
	knows(picky, "a", "bad", "c", "d", "e")
	fixed := tn.push("fixed", map[string]string{"a/stack.yml": plain("deploy: {replicas: 0}")}, "bad", "c", "d", "e")
	tn.live("a", fixed)
	for _, m := range []*moody{slow, picky, well} {
		knows(m)
	}
}
