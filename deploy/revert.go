package deploy

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/swarm"
)

// Revert has Swarm put a live service back to its previous spec, which is the
// one before its last update. A service that has none is left as it is; false
// says so. Where the service was written since it was read, it is ErrStale and
// nothing happened.
func Revert(ctx context.Context, w Writer, s swarm.Service) (bool, error) {
	if s.PreviousSpec == nil {
		return false, nil
	}
	_, err := within(ctx, func(ctx context.Context) (swarm.ServiceUpdateResponse, error) {
		return w.ServiceUpdate(ctx, s.ID, s.Version, cloneSpec(s.Spec), swarm.ServiceUpdateOptions{Rollback: "previous"})
	})
	switch {
	case outOfSequence(err):
		return false, fmt.Errorf("%w: service %q was changed", ErrStale, s.Spec.Name)
	case err != nil:
		return false, &StepError{Action: Update, Kind: KindService, Name: s.Spec.Name, Err: err, Refused: isRefusal(err)}
	}
	return true, nil
}
