package deploy

import (
	"context"
	"fmt"
	"maps"

	"github.com/docker/docker/api/types/swarm"
)

// Restart makes Swarm replace the tasks of a live service, by its update_config,
// without changing anything else: it raises ForceUpdate, which no diff looks at.
// Labels of skep that the service lost come back, as nothing would show afterwards
// whose it is.
// The registry credentials that the nodes were given stay. Where the service
// changed since it was read, it is an error and nothing happened.
func Restart(ctx context.Context, w Writer, s swarm.Service) error {
	spec := cloneSpec(s.Spec)
	spec.Labels = maps.Clone(OwnerLabels(&s))
	spec.TaskTemplate.ForceUpdate++
	_, err := within(ctx, func(ctx context.Context) (swarm.ServiceUpdateResponse, error) {
		return w.ServiceUpdate(ctx, s.ID, s.Version, spec, swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromSpec})
	})
	if err != nil {
		return fmt.Errorf("restart service %q: %w", s.Spec.Name, err)
	}
	return nil
}
