package deploy

import (
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// Offline gives a stack as Diff would write it where there is neither a swarm nor
// a key: secrets and configs under names that end in _0000000000, and references to
// them by those names. Labels of skep are left out, since nobody is there to own it.
func Offline(want stack.Spec) stack.Spec {
	d := newDiffer(want, Live{}, DiffOptions{})
	out := want
	out.Secrets = append([]stack.Secret(nil), want.Secrets...)
	for i := range out.Secrets {
		s := &out.Secrets[i]
		if s.Name == "" {
			s.Name = contentName(want.Name, s.Key, offlineHash)
		}
		d.refs[KindSecret][s.Key] = ref{name: s.Name}
	}
	out.Configs = append([]stack.Config(nil), want.Configs...)
	for i := range out.Configs {
		c := &out.Configs[i]
		if c.Name == "" {
			c.Name = contentName(want.Name, c.Key, offlineHash)
		}
		d.refs[KindConfig][c.Key] = ref{name: c.Name}
	}
	out.Services = append([]stack.Service(nil), want.Services...)
	for i := range out.Services {
		s := &out.Services[i]
		s.Spec = cloneSpec(s.Spec)
		if s.Spec.TaskTemplate.ContainerSpec != nil {
			d.refer(s.Spec.TaskTemplate.ContainerSpec)
		}
		if s.Spec.TaskTemplate.Placement == nil {
			s.Spec.TaskTemplate.Placement = &swarm.Placement{}
		}
	}
	return out
}
