package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// Garbage says what of the stack is no longer asked for and can go: services at
// once; networks once no task of a service that left is listed; secrets and
// configs once no service of the swarm has them in its spec or, for a roll-back,
// in its previous one. What can't go yet is left for a later look; a want without
// objects removes the whole stack. Networks need a look with tasks, configs one
// with Detail.
//
// Only objects that are ours are named, each by its ID and with the labels that it
// must still have. Volumes, external objects and skep's own are never among them.
func Garbage(want stack.Spec, live Live, o DiffOptions) (Plan, error) {
	d := newDiffer(want, live, o)
	g := &garbage{differ: d, wanted: map[Kind]map[string]bool{KindService: {}, KindNetwork: {}, KindSecret: {}, KindConfig: {}}}
	g.want()
	g.services()
	g.networks()
	g.objects()
	p := d.plan()
	p.Steps = g.steps
	return p, nil
}

// garbage is one collection at work.
type garbage struct {
	*differ
	wanted map[Kind]map[string]bool // names
	gone   []*swarm.Service         // that this plan removes
	steps  []Step
}

// want names what stays: what git asks for, under all names that it may have.
func (g *garbage) want() {
	for _, s := range g.differ.want.Services {
		g.wanted[KindService][s.Spec.Name] = true
	}
	for _, n := range g.differ.want.Networks {
		g.wanted[KindNetwork][n.Name] = true
	}
	g.differ.objects()
	for _, kind := range []Kind{KindSecret, KindConfig} {
		for _, r := range g.refs[kind] {
			g.wanted[kind][r.name] = true
		}
	}
}

func (g *garbage) remove(kind Kind, name, id string, version swarm.Version, labels map[string]string, why string) {
	g.steps = append(g.steps, Step{Action: Remove, Kind: kind, Name: name, ID: id, Why: why,
		do: payload{labels: maps.Clone(labels), version: version}})
}

// collectable says that an object is ours and not one of skep's own.
func (g *garbage) collectable(id string, labels map[string]string) bool {
	return g.who.ours(id, labels) && labels[LabelKind] == ""
}

func (g *garbage) services() {
	for _, s := range byName(g.x.members[g.who.stack], func(s *swarm.Service) string { return s.Spec.Name }) {
		labels := OwnerLabels(s)
		if g.wanted[KindService][s.Spec.Name] || !g.collectable(s.ID, labels) {
			continue
		}
		g.gone = append(g.gone, s)
		g.remove(KindService, s.Spec.Name, s.ID, s.Version, labels, "git no longer asks for it")
	}
}

// networks go when nothing is attached to them: Swarm refuses to remove one that a
// service names, but would remove one whose containers still stop.
func (g *garbage) networks() {
	if !g.live.Listed || len(g.gone) > 0 || g.tasksLeft() {
		return
	}
	for _, n := range g.x.netOf[g.who.stack] {
		if g.wanted[KindNetwork][n.Name] || n.Ingress || len(g.x.attached[n.ID]) > 0 || !g.collectable(n.ID, n.Labels) {
			continue
		}
		g.remove(KindNetwork, n.Name, n.ID, swarm.Version{}, n.Labels, "git no longer asks for it")
	}
}

// tasksLeft says that containers of the stack may still stop: tasks are listed
// whose service is gone. What a dead node never stopped does not count.
func (g *garbage) tasksLeft() bool {
	return slices.ContainsFunc(g.live.Tasks, func(t swarm.Task) bool {
		c := t.Spec.ContainerSpec
		if c == nil || c.Labels[LabelNamespace] != g.who.stack || g.x.known[t.ServiceID] || ended(&t) {
			return false
		}
		n := g.x.nodes[t.NodeID]
		return n == nil || n.Status.State != swarm.NodeStateDown
	})
}

func (g *garbage) objects() {
	secrets := byName(g.x.secretsOf[g.who.stack], func(s *swarm.Secret) string { return s.Spec.Name })
	for _, s := range secrets {
		g.object(KindSecret, s.Spec.Name, s.ID, s.Version, s.Spec.Labels)
	}
	configs := byName(g.x.configsOf[g.who.stack], func(c *swarm.Config) string { return c.Spec.Name })
	for _, c := range configs {
		g.object(KindConfig, c.Spec.Name, c.ID, c.Version, c.Spec.Labels)
	}
}

func (g *garbage) object(kind Kind, name, id string, version swarm.Version, labels map[string]string) {
	if g.wanted[kind][name] || g.x.used[id] || !g.collectable(id, labels) {
		return
	}
	why := "git no longer asks for it"
	for key := range g.refs[kind] {
		if named(name, g.who.stack, key) {
			why = fmt.Sprintf("a later version of %s %q took its place", kind, key)
		}
	}
	g.remove(kind, name, id, version, labels, why+", and no service needs it to roll back")
}

// byName gives the objects of a list in the order of their names.
func byName[T any](list []*T, name func(*T) string) []*T {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *T) int { return strings.Compare(name(a), name(b)) })
	return list
}
