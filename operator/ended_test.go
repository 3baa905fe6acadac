package operator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/skep-gitops/skep/source"
)

// TestAlertsThatEndWhileTheOperatorIsAway: only an alert that fired can end at
// Alertmanager, so the next life tells both.
func TestAlertsThatEndWhileTheOperatorIsAway(t *testing.T) {
	t.Parallel()
	story(t, "their end is told once", func(w *world) {
		r, other := w.tenant("shop"), w.tenant("other")
		r.push(map[string]string{"a/compose.yml": "services: ["})
		other.push(map[string]string{"b/compose.yml": web("web:1")})
		other.fail(&source.Error{Cause: source.CauseAuth, URL: "https://git.example.com/other", Err: errors.New("401")})
		w.start()
		w.alertsAre("SkepSourceFailed other", "SkepStackFailed shop shop-a")
		w.quiet()
		w.halt()
		good := r.push(map[string]string{"a/compose.yml": web("web:1")})
		other.fail(nil)
		w.bell = &bell{}
		w.start()
		w.synced("shop", "shop-a", good)
		w.quiet()
		time.Sleep(10 * time.Minute)
		w.alertsAre()
		slices.Sort(w.bell.ended)
		if want := []string{"SkepSourceFailed", "SkepStackFailed"}; !slices.Equal(w.bell.ended, want) {
			w.Errorf("ended: %v, want %v", w.bell.ended, want)
		}
	})
	story(t, "those that go on are told as they began", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": "services: ["})
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a")
		w.quiet()
		began := w.bell.one("SkepStackFailed").StartsAt
		w.halt()
		w.bell = &bell{}
		w.start()
		w.alertsAre("SkepStackFailed shop shop-a")
		w.quiet()
		if a := w.bell.one("SkepStackFailed"); !a.StartsAt.Equal(began) || len(w.bell.ended) > 0 {
			w.Errorf("began %v, want %v; ended: %v", a.StartsAt, began, w.bell.ended)
		}
	})
}
