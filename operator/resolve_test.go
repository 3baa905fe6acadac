package operator

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/docker/docker/api/types/registry"

	"github.com/skep-gitops/skep/deploy/swarmtest"
)

// TestRegistryIsAskedOnceForManyStacks: also where it does not answer.
func TestRegistryIsAskedOnceForManyStacks(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]bool{"it answers": true, "it is away": false} {
		story(t, name, func(w *world) {
			r := w.tenant("shop", func(t *Tenant) { t.Resolve = "once" })
			if answers {
				var known registry.DistributionInspect
				known.Descriptor.Digest = "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
				w.swarm.Registry = map[string]registry.DistributionInspect{"web:1": known}
			}
			asked := 0
			w.meddle(func(ctx context.Context, c swarmtest.Call) error {
				if c.Method != "DistributionInspect" {
					return nil
				}
				asked++
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Second):
				}
				return ctx.Err()
			})
			files := map[string]string{}
			for i := range 20 {
				files[fmt.Sprintf("s%02d/compose.yml", i)] = web("web:1")
			}
			c := r.push(files)
			w.start()
			for i := range 20 {
				w.synced("shop", fmt.Sprintf("shop-s%02d", i), c)
			}
			if asked != 1 {
				w.Errorf("the registry was asked %d times", asked)
			}
			if pinned := w.image("shop-s07_web") != "web:1"; pinned != answers {
				w.Errorf("image %s", w.image("shop-s07_web"))
			}
		})
	}
}
