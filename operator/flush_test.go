package operator

import "testing"

func TestEndWritesDownWhatIsKnown(t *testing.T) {
	t.Parallel()
	story(t, "an alert that fires when the operator ends fires from the same time afterwards", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": "services: [\n"})
		w.start()
		w.until("the alert fires", func() bool { return len(w.firing()) == 1 })
		first := w.bell.one(alertStack)
		w.restart()
		w.quiet()
		if again := w.bell.one(alertStack); !again.StartsAt.Equal(first.StartsAt) {
			w.Errorf("after a restart the alert starts at %v, before at %v", again.StartsAt, first.StartsAt)
		}
	})
}
