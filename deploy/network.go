package deploy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/docker/docker/api/types/network"

	"github.com/skep-gitops/skep/stack"
)

// networks plans the networks, and finds the external ones missing.
func (d *differ) networks() {
	for _, n := range d.want.Networks {
		if n.External {
			d.externalNetwork(n)
			continue
		}
		d.network(n)
	}
}

func (d *differ) externalNetwork(n stack.Network) {
	if predefined(n.Name) || n.Name == "ingress" || d.x.networks[n.Name] != nil {
		return
	}
	text := "the external network does not exist: create it with docker network create --driver overlay, or drop external: true"
	for _, l := range d.live.Networks {
		if l.Name == n.Name && l.Scope != "swarm" {
			text = fmt.Sprintf("the external network is one of a single node (driver %s, scope %s): services need one of scope swarm", l.Driver, l.Scope)
		}
	}
	d.waitFor(KindNetwork, n.Name, "", text)
}

func (d *differ) network(n stack.Network) {
	create := cloneNetwork(n.Create)
	create.Labels = d.who.labels(create.Labels)
	live := d.x.networks[n.Name]
	if live == nil {
		d.early = append(d.early, Step{Action: Create, Kind: KindNetwork, Name: n.Name,
			Why: "it is not in the swarm", do: payload{network: &create}})
		return
	}
	if !d.allow(KindNetwork, n.Name, live.ID, live.Labels) {
		return
	}
	changes := networkChanges(n, live)
	if len(changes) == 0 {
		d.noteLabels(n, create.Labels, live)
		return
	}
	what := fields(changes, "networks."+n.Key+".")
	if !d.want.Wishes.Replace {
		d.refuse(KindNetwork, n.Name, "", what+" changed: Swarm can't update a network; x-skep: {replace: true} allows to stop its services, remove it and create it again")
		return
	}
	for _, s := range d.x.attached[live.ID] {
		if !d.who.ours(s.ID, OwnerLabels(s)) {
			d.waitFor(KindNetwork, n.Name, "", fmt.Sprintf("%s changed, and service %q of another stack uses the network: take it off the network first", what, s.Spec.Name))
			return
		}
	}
	d.replaced[n.Name] = true
	d.early = append(d.early, Step{Action: Replace, Kind: KindNetwork, Name: n.Name, ID: live.ID, Changes: changes, Restarts: true,
		Why: what + " changed, which Swarm can't update", do: payload{network: &create, labels: maps.Clone(live.Labels)}})
}

// noteLabels says that the labels of a network stay as they are: nobody can change
// them, and they are not worth stopping its services for.
func (d *differ) noteLabels(n stack.Network, want map[string]string, live *network.Summary) {
	have := maps.Clone(live.Labels)
	for _, k := range []string{LabelTenant, LabelInstance} {
		delete(want, k)
		delete(have, k)
	}
	if !maps.Equal(want, have) {
		d.notes = append(d.notes, fmt.Sprintf("network %q: its labels stay as they are: Swarm can't change them", n.Name))
	}
}

// vni is an option that the overlay driver adds by itself.
const vni = "com.docker.network.driver.overlay.vxlanid_list"

// networkChanges lists what differs between a network and what git asks. What the
// swarm chooses where git is silent is no difference.
func networkChanges(n stack.Network, live *network.Summary) []Change {
	var out []Change
	add := func(differs bool, field, from, to string) {
		if differs {
			out = append(out, Change{Field: "networks." + n.Key + "." + field, From: from, To: to})
		}
	}
	c := n.Create
	add(c.Internal != live.Internal, "internal", fmt.Sprint(live.Internal), fmt.Sprint(c.Internal))
	add(c.Attachable != live.Attachable, "attachable", fmt.Sprint(live.Attachable), fmt.Sprint(c.Attachable))
	if unallocated(live) {
		return out // the rest is not known
	}
	driver := cmp.Or(c.Driver, "overlay")
	add(driver != live.Driver, "driver", live.Driver, driver)
	v6 := c.EnableIPv6 != nil && *c.EnableIPv6
	add(v6 != live.EnableIPv6, "enable_ipv6", fmt.Sprint(live.EnableIPv6), fmt.Sprint(v6))
	options := maps.Clone(live.Options)
	delete(options, vni)
	asked := maps.Clone(c.Options)
	delete(asked, vni)
	add(!maps.Equal(options, asked), "driver_opts", "", "")
	add(!ipamServes(c.IPAM, live.IPAM), "ipam", "", "")
	return out
}

// unallocated says that the swarm gave a network no addresses, or not yet.
func unallocated(n *network.Summary) bool { return n.Driver == "" && len(n.Options) == 0 }

// ipamServes says whether a network has the address pools that git asks for.
func ipamServes(want *network.IPAM, live network.IPAM) bool {
	if want == nil || len(live.Config) == 0 && live.Driver == "" {
		return true
	}
	if want.Driver != "" && cmp.Or(live.Driver, "default") != want.Driver {
		return false
	}
	for k, v := range want.Options {
		if live.Options[k] != v {
			return false
		}
	}
	return !slices.ContainsFunc(want.Config, func(w network.IPAMConfig) bool {
		return !slices.ContainsFunc(live.Config, func(l network.IPAMConfig) bool {
			return (w.Subnet == "" || w.Subnet == l.Subnet) && (w.Gateway == "" || w.Gateway == l.Gateway) && (w.IPRange == "" || w.IPRange == l.IPRange)
		})
	})
}
