package operator

import (
	"context"
	"strings"

	"github.com/skep-gitops/skep/deploy"
)

// watch passes the swarm's hints to look on to the loop until ctx ends.
func watch(ctx context.Context, r deploy.Reader, out chan<- deploy.Look) {
	deploy.Watch(ctx, r, func(h deploy.Look) { send(ctx, out, h) })
}

// ownMemory says that the hint is about an object of skep's own.
func ownMemory(h deploy.Look) bool {
	return h.Kind == deploy.KindConfig && strings.HasPrefix(h.Name, "skep.")
}

// concerns says that the stack's configs must be listed again: no whole look
// lists configs.
func (k *kept) concerns(h deploy.Look) bool {
	switch {
	case h.Kind != deploy.KindConfig, k.busy:
		return false
	case strings.HasPrefix(h.Name, k.stack+"_"):
		return true
	}
	for _, c := range k.goal.want.Configs {
		if c.Name == h.Name {
			return true
		}
	}
	return false
}
