package operator

import (
	"github.com/skep-gitops/skep/stack"
)

// checkOrder makes every stack whose x-skep.depends_on names a stack that git
// does not hold, or that waits for itself in the end, a RenderFailed. It changes
// revisions in place, by copies: a revision itself is never changed.
func checkOrder(revisions []*revision, prefix string) {
	wishes := map[string]stack.Wishes{}
	for _, r := range revisions {
		wishes[r.name] = r.spec.Wishes
	}
	faults := stack.CheckOrder(wishes, prefix)
	for i, r := range revisions {
		f, bad := faults[r.name]
		if !bad || !r.usable() {
			continue
		}
		failed := *r
		failed.verdict = verdict{reason: RenderFailed, cause: "depends-on", message: f.Position.String() + ": " + f.Text}
		revisions[i] = &failed
	}
}
