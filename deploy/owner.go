package deploy

import (
	"fmt"
	"maps"

	"github.com/docker/docker/api/types/swarm"
)

// OwnerLabels are the labels that tell whose a service is: its own. Where somebody
// took skep's labels off (docker stack deploy by hand, docker service update
// --label-rm), the spec before, which Swarm keeps, still says whose it was, unless a
// label that is left says something else. The map is not to be changed.
func OwnerLabels(s *swarm.Service) map[string]string {
	own := s.Spec.Labels
	if s.PreviousSpec == nil {
		return own
	}
	before, lost := s.PreviousSpec.Labels, false
	for _, k := range []string{LabelNamespace, LabelTenant, LabelInstance} {
		now, ok := own[k]
		if before[k] == "" || ok && now != before[k] {
			return own
		}
		lost = lost || !ok
	}
	if !lost {
		return own
	}
	out := make(map[string]string, len(own)+3)
	maps.Copy(out, own)
	for _, k := range []string{LabelNamespace, LabelTenant, LabelInstance} {
		out[k] = before[k]
	}
	return out
}

// owner tells whose an object is: of one stack of one tenant, as one instance of
// skep sees it.
type owner struct {
	stack, tenant, instance string
	adopt                   bool
	owned                   map[string]bool
}

// labels are those that skep adds to an object of the stack.
func (w owner) labels(given map[string]string) map[string]string {
	out := make(map[string]string, len(given)+3)
	for k, v := range given {
		out[k] = v
	}
	out[LabelNamespace] = w.stack
	out[LabelTenant] = w.tenant
	out[LabelInstance] = w.instance
	return out
}

// signed says that the labels name this very stack, tenant and instance.
func (w owner) signed(labels map[string]string) bool {
	return labels[LabelNamespace] == w.stack && labels[LabelTenant] == w.tenant && labels[LabelInstance] == w.instance
}

// unsigned says that the object is of a stack of this name and that no skep
// signed it: docker stack deploy made it.
func (w owner) unsigned(labels map[string]string) bool {
	_, tenant := labels[LabelTenant]
	_, instance := labels[LabelInstance]
	return labels[LabelNamespace] == w.stack && !tenant && !instance
}

// ours says that the object may be changed.
func (w owner) ours(id string, labels map[string]string) bool {
	return w.signed(labels) || w.unsigned(labels) && (w.adopt || w.owned[id])
}

// check gives a *ConflictError if the object may not be changed.
func (w owner) check(kind Kind, name, id string, labels map[string]string) error {
	if w.ours(id, labels) {
		return nil
	}
	c := &ConflictError{Kind: kind, Name: name}
	stack := labels[LabelNamespace]
	switch {
	case w.unsigned(labels):
		c.Owner = fmt.Sprintf("stack %q of docker stack deploy", stack)
		c.Hint = "set adopt: true for the tenant to take the stack over, or remove the stack"
	case labels[LabelTenant] != "" || labels[LabelInstance] != "":
		c.Owner = fmt.Sprintf("tenant %q, stack %q", labels[LabelTenant], stack)
		if i := labels[LabelInstance]; i != w.instance {
			c.Owner += fmt.Sprintf(", of the skep instance %q", i)
		}
		c.Hint = "give the stack or the object another name"
	case stack != "":
		c.Owner = fmt.Sprintf("stack %q of docker stack deploy", stack)
		c.Hint = "give the stack or the object another name"
	default:
		c.Owner = "nobody's stack: it was created by hand"
		c.Hint = "remove it or give the stack another name"
	}
	return c
}
