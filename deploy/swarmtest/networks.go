package swarmtest

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
)

// predefinedLabel marks the hidden swarm networks behind host and bridge.
const predefinedLabel = "com.docker.swarm.predefined"

// zombie is a network that is removed and lives on, on a node, until its last
// container is gone.
type zombie struct {
	network network.Summary
	until   time.Time
}

// predefine makes the networks that each engine of a swarm has.
func (s *Swarm) predefine() {
	for _, name := range []string{"bridge", "host", "none", "docker_gwbridge"} {
		s.networks["local-"+name] = &network.Summary{
			Name: name, ID: "local-" + name, Scope: "local", Driver: name, EnableIPv4: true,
			Containers: map[string]network.EndpointResource{}, Options: map[string]string{}, Labels: map[string]string{},
		}
	}
	s.networks["local-docker_gwbridge"].Driver = "bridge"
	s.networks["local-none"].Driver = "null"
	for _, name := range []string{"bridge", "host"} {
		id := s.id("net")
		s.networks[id] = &network.Summary{Name: name, ID: id, Scope: "swarm", Driver: name, Labels: map[string]string{predefinedLabel: "true"}}
	}
	id := s.id("net")
	s.networks[id] = &network.Summary{
		Name: "ingress", ID: id, Scope: "swarm", Driver: "overlay", EnableIPv4: true, Ingress: true, Labels: map[string]string{},
		IPAM:    network.IPAM{Driver: "default", Config: []network.IPAMConfig{{Subnet: "10.0.0.0/24", Gateway: "10.0.0.1"}}},
		Options: map[string]string{"com.docker.network.driver.overlay.vxlanid_list": "4096"},
	}
}

// NetworkCreate creates a network of the swarm.
func (s *Swarm) NetworkCreate(ctx context.Context, name string, o network.CreateOptions) (network.CreateResponse, error) {
	var got network.CreateResponse
	err := s.call(ctx, "NetworkCreate", name, write, func() error {
		if err := s.networkName(name); err != nil {
			return err
		}
		id := s.id("net")
		scope := "swarm"
		if o.Driver != "overlay" {
			scope = "local"
		}
		o = clone(o)
		s.networks[id] = &network.Summary{
			Name: name, ID: id, Created: s.now(), Scope: scope, Driver: o.Driver, EnableIPv4: true,
			EnableIPv6: o.EnableIPv6 != nil && *o.EnableIPv6, IPAM: s.ipam(o), Internal: o.Internal,
			Attachable: o.Attachable, Ingress: o.Ingress, Options: s.options(o), Labels: o.Labels,
		}
		s.next()
		got.ID = id
		s.tell(events.NetworkEventType, events.ActionCreate, id, name)
		return nil
	})
	return got, err
}

func (s *Swarm) networkName(name string) error {
	if name == "" {
		return invalid("invalid name: name is empty")
	}
	if err := validName(name); err != nil {
		return err
	}
	if name == "host" || name == "bridge" || name == "none" || name == "default" {
		return denied("%s is a pre-defined network and cannot be created", name)
	}
	if s.lingers(name) || s.network(name) != nil {
		return taken("network with name %s already exists", name)
	}
	return nil
}

// ipam is what the allocator makes of the options: the first free subnet where
// none is asked for, and a gateway where none is named.
func (s *Swarm) ipam(o network.CreateOptions) network.IPAM {
	got := network.IPAM{Driver: "default"}
	if o.IPAM != nil {
		got.Options = o.IPAM.Options
		got.Config = o.IPAM.Config
		if o.IPAM.Driver != "" {
			got.Driver = o.IPAM.Driver
		}
	}
	if len(got.Config) == 0 {
		got.Config = []network.IPAMConfig{s.subnet()}
	}
	for i, c := range got.Config {
		if c.Gateway == "" && strings.Contains(c.Subnet, ".0/") {
			got.Config[i].Gateway = strings.Replace(c.Subnet[:strings.Index(c.Subnet, "/")], ".0", ".1", -1)
		}
	}
	return got
}

func (s *Swarm) subnet() network.IPAMConfig {
	n := itoa(s.ids % 250)
	return network.IPAMConfig{Subnet: "10.0." + n + ".0/24", Gateway: "10.0." + n + ".1"}
}

func (s *Swarm) options(o network.CreateOptions) map[string]string {
	got := map[string]string{"com.docker.network.driver.overlay.vxlanid_list": itoa(4096 + s.ids)}
	maps.Copy(got, o.Options)
	return got
}

// NetworkRemove removes a network that no service's spec and no running task uses.
func (s *Swarm) NetworkRemove(ctx context.Context, id string) error {
	return s.call(ctx, "NetworkRemove", id, write, func() error {
		live := s.network(id)
		if live == nil || live.Labels[predefinedLabel] != "" {
			return missing("network %s not found", id)
		}
		for _, v := range sorted(s.services) {
			for _, a := range v.Spec.TaskTemplate.Networks {
				if a.Target == live.ID {
					return precondition("network %s is in use by service %s", live.ID, v.ID)
				}
			}
		}
		for _, t := range sorted(s.tasks) {
			for _, a := range t.Spec.Networks {
				if a.Target == live.ID && t.uses() {
					return precondition("network %s is in use by task %s", live.ID, t.ID)
				}
			}
		}
		delete(s.networks, live.ID)
		s.next()
		if s.linger > 0 {
			left := clone(*live)
			left.Containers = map[string]network.EndpointResource{}
			s.zombies[live.Name] = zombie{left, s.now().Add(s.linger)}
		}
		s.tell(events.NetworkEventType, events.ActionRemove, live.ID, live.Name)
		return nil
	})
}

// NetworkList lists networks. Without a leader, and on a worker, it answers
// with those of the node alone, as the daemon does.
func (s *Swarm) NetworkList(ctx context.Context, o network.ListOptions) ([]network.Summary, error) {
	list := []network.Summary{}
	err := s.call(ctx, "NetworkList", "", read, func() error {
		for _, n := range s.known() {
			if n.Labels[predefinedLabel] != "" || (s.hidden || s.mode != Manager) && n.Scope == "swarm" && !n.Ingress {
				continue
			}
			if !labelled(n.Labels, o.Filters.Get("label")) || !prefixed(n.ID, o.Filters.Get("id")) ||
				!o.Filters.Match("name", n.Name) || !oneOf(n.Scope, o.Filters.Get("scope")) || !oneOf(n.Driver, o.Filters.Get("driver")) {
				continue
			}
			list = append(list, clone(*n))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// NetworkInspect gives a network by ID or name.
func (s *Swarm) NetworkInspect(ctx context.Context, id string, o network.InspectOptions) (network.Inspect, error) {
	var got network.Inspect
	err := s.call(ctx, "NetworkInspect", id, read, func() error {
		n := s.network(id)
		if n == nil || (s.hidden || s.mode != Manager) && n.Scope == "swarm" {
			return missing("network %s not found", id)
		}
		got = clone(*n)
		return nil
	})
	return got, err
}

// network finds a network by ID, then by name; a node's own before the hidden ones.
func (s *Swarm) network(id string) *network.Summary {
	if n := s.networks[id]; n != nil {
		return n
	}
	for _, n := range sorted(s.networks) {
		if n.Name == id && n.Labels[predefinedLabel] == "" {
			return n
		}
	}
	return nil
}

// attachment gives the ID of the swarm's network that a service's target means.
func (s *Swarm) attachment(target string) (string, error) {
	if s.lingers(target) && s.networks[target] == nil {
		return "", internal("network %s not found", target)
	}
	n := s.network(target)
	if n == nil {
		return "", missing("network %s not found", target)
	}
	if n.Scope == "swarm" {
		return n.ID, nil
	}
	for id, hidden := range s.networks {
		if hidden.Name == n.Name && hidden.Labels[predefinedLabel] != "" {
			return id, nil
		}
	}
	return "", denied("The network %s cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.", n.Name)
}

func (s *Swarm) lingers(name string) bool {
	z, ok := s.zombies[name]
	return ok && s.now().Before(z.until)
}

// known lists the networks of the swarm and of the node.
func (s *Swarm) known() []*network.Summary {
	all := sorted(s.networks)
	for _, z := range sorted(s.zombies) {
		if s.lingers(z.network.Name) {
			all = append(all, &z.network)
		}
	}
	return all
}

func oneOf(s string, list []string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return len(list) == 0
}
