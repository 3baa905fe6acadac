package deploy

import (
	"slices"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// index finds a live object without walking all of them: with a thousand stacks
// each Diff would otherwise look at every object of every other stack.
type index struct {
	of Live // the lists that it was made of

	services  map[string]*swarm.Service   // by name
	members   map[string][]*swarm.Service // by stack, in the list's order
	networks  map[string]*network.Summary // swarm scope, by name
	netByID   map[string]*network.Summary
	netOf     map[string][]*network.Summary // by stack
	secrets   map[string]*swarm.Secret      // by name
	secretsOf map[string][]*swarm.Secret    // by stack
	configs   map[string]*swarm.Config      // by name
	configsOf map[string][]*swarm.Config    // by stack
	tasks     map[string][]*swarm.Task      // by service ID
	ports     map[port]*swarm.Service       // ingress ports
	hosted    map[port][]*swarm.Service     // ports of the nodes; several services may hold one, but not beside an ingress port
	nodes     map[string]*swarm.Node        // by ID
	known     map[string]bool               // IDs of services
	used      map[string]bool               // IDs of secrets and configs in a Spec or PreviousSpec
	attached  map[string][]*swarm.Service   // by ID of a network in the Spec
}

// port is a published port of the routing mesh.
type port struct {
	number   uint32
	protocol swarm.PortConfigProtocol
}

// Indexed gives the same look with its objects indexed, so that Diff, Garbage
// and Check of many stacks share one index. Its lists must not change afterwards.
func (l Live) Indexed() Live {
	if !l.indexed() {
		l.index = newIndex(l)
	}
	return l
}

// indexed says whether the index was made of these very lists.
func (l Live) indexed() bool {
	return l.index != nil &&
		same(l.Networks, l.index.of.Networks) && same(l.Secrets, l.index.of.Secrets) &&
		same(l.Configs, l.index.of.Configs) && same(l.Services, l.index.of.Services) &&
		same(l.Tasks, l.index.of.Tasks) && same(l.Nodes, l.index.of.Nodes)
}

// same says whether a and b are one and the same slice.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func newIndex(l Live) *index {
	x := &index{
		of:       l,
		services: make(map[string]*swarm.Service, len(l.Services)), members: map[string][]*swarm.Service{},
		networks: make(map[string]*network.Summary, len(l.Networks)), netByID: make(map[string]*network.Summary, len(l.Networks)),
		netOf:   map[string][]*network.Summary{},
		secrets: make(map[string]*swarm.Secret, len(l.Secrets)), secretsOf: map[string][]*swarm.Secret{},
		configs: make(map[string]*swarm.Config, len(l.Configs)), configsOf: map[string][]*swarm.Config{},
		tasks: map[string][]*swarm.Task{}, ports: map[port]*swarm.Service{}, hosted: map[port][]*swarm.Service{}, nodes: make(map[string]*swarm.Node, len(l.Nodes)),
		known: make(map[string]bool, len(l.Services)), used: map[string]bool{}, attached: map[string][]*swarm.Service{},
	}
	x.of.index = nil
	for i := range l.Services {
		x.addService(&l.Services[i])
	}
	for i := range l.Networks {
		x.addNetwork(&l.Networks[i])
	}
	for i := range l.Secrets {
		s := &l.Secrets[i]
		x.secrets[s.Spec.Name] = s
		addMember(x.secretsOf, s.Spec.Labels, s)
	}
	for i := range l.Configs {
		c := &l.Configs[i]
		x.configs[c.Spec.Name] = c
		addMember(x.configsOf, c.Spec.Labels, c)
	}
	for i := range l.Tasks {
		t := &l.Tasks[i]
		x.tasks[t.ServiceID] = append(x.tasks[t.ServiceID], t)
	}
	for i := range l.Nodes {
		x.nodes[l.Nodes[i].ID] = &l.Nodes[i]
	}
	return x
}

// addMember files an object under the stack that its labels name.
func addMember[T any](m map[string][]*T, labels map[string]string, v *T) {
	if stack := labels[LabelNamespace]; stack != "" {
		m[stack] = append(m[stack], v)
	}
}

func (x *index) addService(s *swarm.Service) {
	x.services[s.Spec.Name], x.known[s.ID] = s, true
	addMember(x.members, OwnerLabels(s), s)
	for _, p := range ingressPorts(s) {
		if x.ports[p] == nil || has(s, p) {
			x.ports[p] = s
		}
	}
	for _, p := range hostPorts(&s.Spec) {
		x.hosted[p] = append(x.hosted[p], s)
	}
	for _, spec := range []*swarm.ServiceSpec{&s.Spec, s.PreviousSpec} {
		if spec == nil || spec.TaskTemplate.ContainerSpec == nil {
			continue
		}
		for _, r := range spec.TaskTemplate.ContainerSpec.Secrets {
			x.used[r.SecretID] = true
		}
		for _, r := range spec.TaskTemplate.ContainerSpec.Configs {
			x.used[r.ConfigID] = true
		}
	}
	//lint:ignore SA1019 services that older clients made carry it
	for _, list := range [][]swarm.NetworkAttachmentConfig{s.Spec.TaskTemplate.Networks, s.Spec.Networks} {
		for _, n := range list {
			x.attached[n.Target] = append(x.attached[n.Target], s)
		}
	}
}

// has says that the manager gave a service the port. Two that are made in the same
// moment may both ask for one; then one of them waits for it.
func has(s *swarm.Service, p port) bool {
	return slices.ContainsFunc(s.Endpoint.Ports, func(c swarm.PortConfig) bool {
		return c.PublishedPort == p.number && protocol(c.Protocol) == p.protocol && c.PublishMode != swarm.PortConfigPublishModeHost
	})
}

// ingressPorts are the ports of the routing mesh that a service holds, those
// that Swarm chose included.
func ingressPorts(s *swarm.Service) []port {
	var ports []port
	var configs []swarm.PortConfig
	if s.Spec.EndpointSpec != nil {
		configs = append(configs, s.Spec.EndpointSpec.Ports...)
	}
	for _, p := range append(configs, s.Endpoint.Ports...) {
		if p.PublishedPort != 0 && p.PublishMode != swarm.PortConfigPublishModeHost {
			ports = append(ports, port{p.PublishedPort, protocol(p.Protocol)})
		}
	}
	return ports
}

// addNetwork files a network of the swarm. Engines up to 28 list the node's own
// remains of a removed network beside them; those have a list of containers,
// which the swarm's own entries never have. Later engines tell no such thing, but
// list the swarm's own first.
func (x *index) addNetwork(n *network.Summary) {
	if n.Scope != "swarm" || n.Containers != nil {
		return
	}
	if x.networks[n.Name] == nil {
		x.networks[n.Name] = n
	}
	x.netByID[n.ID] = n
	addMember(x.netOf, n.Labels, n)
}
