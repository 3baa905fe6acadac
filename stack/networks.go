package stack

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// defaultNetwork is the key of the network that services join when they name none.
const defaultNetwork = "default"

// serviceNetworks are a service's networks by key. With network_mode compose-go
// gives none, and docker stack deploy attaches the default network.
func serviceNetworks(svc types.ServiceConfig) map[string]*types.ServiceNetworkConfig {
	if len(svc.Networks) == 0 {
		return map[string]*types.ServiceNetworkConfig{defaultNetwork: nil}
	}
	return svc.Networks
}

// networkConfig is the definition of a network; the default one needs none.
func (c *converter) networkConfig(key string) (types.NetworkConfig, bool) {
	cfg, ok := c.m.project.Networks[key]
	return cfg, ok || key == defaultNetwork
}

// attachments are sorted by target. The service's key is its last alias on
// networks that have aliases.
func (s *scope) attachments() []swarm.NetworkAttachmentConfig {
	var out []swarm.NetworkAttachmentConfig
	by := map[string]string{}
	nets := serviceNetworks(s.svc)
	for _, key := range sortedKeys(nets) {
		cfg, ok := s.networkConfig(key)
		if !ok {
			s.errorf("networks."+key, "network %q is not defined: add it to the networks at the top of the file", key)
			continue
		}
		a := swarm.NetworkAttachmentConfig{Target: s.nameOf("networks", key, cfg.Name, bool(cfg.External))}
		if other, taken := by[a.Target]; taken {
			s.errorf("networks."+key, "networks %s and %s are both named %q", other, key, a.Target)
			continue
		}
		by[a.Target] = key
		if n := nets[key]; n != nil {
			a.Aliases = slices.Clone(n.Aliases)
			a.DriverOpts = maps.Clone(map[string]string(n.DriverOpts))
		}
		if container.NetworkMode(a.Target).IsUserDefined() && nets[key].ServiceNameAliasEnabled() {
			a.Aliases = append(a.Aliases, s.key)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b swarm.NetworkAttachmentConfig) int { return cmp.Compare(a.Target, b.Target) })
	return out
}

// networks are those that a service uses, sorted by key.
func (c *converter) networks() []Network {
	used := map[string]bool{}
	for _, svc := range c.m.project.Services {
		for key := range serviceNetworks(svc) {
			used[key] = true
		}
	}
	var out []Network
	for _, key := range sortedKeys(used) {
		if cfg, ok := c.networkConfig(key); ok {
			out = append(out, c.network(key, cfg))
		}
	}
	return out
}

func (c *converter) network(key string, cfg types.NetworkConfig) Network {
	path := "networks." + key
	n := Network{
		Key:      key,
		Name:     c.nameOf("networks", key, cfg.Name, bool(cfg.External)),
		External: bool(cfg.External),
		Pos:      c.at(path),
	}
	c.checkNetworkName(path, n)
	c.checkExternal("networks", key, n.External)
	if n.External {
		return n
	}
	c.checkNetworkDriver(path, cfg.Driver)
	if cfg.EnableIPv4 != nil && !*cfg.EnableIPv4 {
		c.errorf("", path+".enable_ipv4", "Swarm's networks always have IPv4")
	}
	n.Create = network.CreateOptions{
		Driver:     cmp.Or(cfg.Driver, "overlay"),
		Internal:   cfg.Internal,
		Attachable: cfg.Attachable,
		Options:    maps.Clone(map[string]string(cfg.DriverOpts)),
		Labels:     c.labels("", path+".labels", cfg.Labels),
		IPAM:       c.ipam(path+".ipam", cfg.Ipam),
	}
	if cfg.EnableIPv6 != nil {
		on := *cfg.EnableIPv6
		n.Create.EnableIPv6 = &on
	}
	c.checkIPv6(path, n.Create)
	return n
}

// checkIPv6 warns of networks on which no task ever starts: which subnets an engine
// can do without, or with, depends on its version.
func (c *converter) checkIPv6(path string, o network.CreateOptions) {
	pool := -1
	if o.IPAM != nil {
		pool = slices.IndexFunc(o.IPAM.Config, func(p network.IPAMConfig) bool { return strings.Contains(p.Subnet, ":") })
	}
	switch on := o.EnableIPv6 != nil && *o.EnableIPv6; {
	case pool >= 0 && c.since(apiIPv6Pools):
		c.warnf("", fmt.Sprintf("%s.ipam.config.%d.subnet", path, pool), "no service starts on a network with an IPv6 subnet in Engine 27 and later (moby/moby#48116): leave the subnet out")
	case on && pool < 0 && !c.since(apiIPv6Pools):
		c.warnf("", path+".enable_ipv6", "no service starts on it in engines before 27 unless ipam.config has an IPv6 subnet")
	}
}

// checkNetworkDriver refuses drivers whose networks no service can join.
func (c *converter) checkNetworkDriver(path, driver string) {
	switch driver {
	case "bridge", "host", "none", "null":
		c.errorf("", path+".driver", "%q makes a network of one node, which services can't join: remove the line (overlay), or use external: true with name: %s", driver, driver)
	case "macvlan", "ipvlan":
		c.errorf("", path+".driver", "%q needs a config-only network on each node: create it by hand (docker network create --scope swarm --config-from …) and use external: true", driver)
	}
}

func (c *converter) checkNetworkName(path string, n Network) {
	switch {
	case n.External && n.Name == "ingress":
		c.errorf("", path, "services can't join the ingress network: publish a port instead")
	case n.External:
	case !container.NetworkMode(n.Name).IsUserDefined() || n.Name == "ingress":
		c.errorf("", path, "%q is the engine's own network: add external: true", n.Name)
	default:
		c.checkDNSName("", path, "network", n.Name)
	}
	c.checkReserved(path, n.Name)
}

func (c *converter) ipam(path string, cfg types.IPAMConfig) *network.IPAM {
	if cfg.Driver == "" && len(cfg.Config) == 0 && len(cfg.Options) == 0 {
		return nil
	}
	out := &network.IPAM{Driver: cfg.Driver, Options: maps.Clone(map[string]string(cfg.Options))}
	for i, p := range cfg.Config {
		if p == nil {
			continue
		}
		c.checkPool(fmt.Sprintf("%s.config.%d", path, i), p)
		out.Config = append(out.Config, network.IPAMConfig{Subnet: p.Subnet, IPRange: p.IPRange, Gateway: p.Gateway})
	}
	return out
}

// checkPool refuses addresses that do not fit, which the engine says only after the first write.
func (c *converter) checkPool(path string, p *types.IPAMPool) {
	if p.Subnet == "" {
		if p.Gateway != "" || p.IPRange != "" {
			c.errorf("", path, "gateway and ip_range need a subnet")
		}
		return
	}
	subnet, err := netip.ParsePrefix(p.Subnet)
	if err != nil {
		c.errorf("", path+".subnet", "%q is not a subnet such as 10.20.0.0/24", p.Subnet)
		return
	}
	if p.Gateway != "" {
		if a, err := netip.ParseAddr(strings.TrimSpace(p.Gateway)); err != nil || !subnet.Contains(a) {
			c.errorf("", path+".gateway", "%q is not an address in %s", p.Gateway, p.Subnet)
		}
	}
	if p.IPRange != "" {
		r, err := netip.ParsePrefix(p.IPRange)
		if err != nil || !subnet.Contains(r.Addr()) || r.Bits() < subnet.Bits() {
			c.errorf("", path+".ip_range", "%q is not a range in %s", p.IPRange, p.Subnet)
		}
	}
}
