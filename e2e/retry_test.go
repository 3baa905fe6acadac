package e2e

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/docker/docker/api/types/network"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestFailedTryIsRepeated: a cause that can pass by itself is tried again without
// a push, told by one alert meanwhile.
func TestFailedTryIsRepeated(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	var tries atomic.Int32
	p.Before(func(_ int, call string) {
		if call == "POST /services/create" && tries.Add(1) <= 2 {
			panic(http.ErrAbortHandler) // the connection ends without an answer
		}
	})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	if st := tn.fails("web", "ApplyFailed"); st.Attempted != commit || st.Deployed == commit {
		t.Errorf("status after a failed try: %s", st)
	}
	tn.fires("SkepStackFailed", tn.stack("web"))
	tn.live("web", commit)
	tn.quiet()
	if n := tries.Load(); n != 3 {
		t.Errorf("the service was created in %d tries, want 3", n)
	}
}

// TestWaitsForWhatIsOutside: a network that somebody else makes may come later.
func TestWaitsForWhatIsOutside(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	outer := tn.name + "-outer"
	commit := tn.push("first", map[string]string{
		"web/stack.yml": plain("networks: [outer]") + "networks: {outer: {external: true, name: " + outer + "}}\n",
	})
	tn.start()
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason == "ApplyFailed" && s.Cause == "waiting" })
	tn.fires("SkepStackFailed", tn.stack("web"))
	ctx := context.WithoutCancel(t.Context())
	n, err := tn.Docker.NetworkCreate(ctx, outer, network.CreateOptions{Driver: "overlay"})
	tn.must(err)
	t.Cleanup(func() { // the stack goes first: it uses the network
		tn.must(tn.skep.Stop())
		tn.must(tn.RemoveInstance(ctx, tn.name))
		tn.must(tn.Docker.NetworkRemove(ctx, n.ID))
	})
	tn.live("web", commit)
	tn.quiet()
}
