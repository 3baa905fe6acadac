package stack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// Limits of Swarm (measured on 20.10, 28.5 and master, which agree).
const (
	maxDNSName    = 63
	maxObjectName = 64
	maxSpec       = 700_000 // bytes of JSON; Raft takes 1.5 MiB, and a service is stored with its previous spec
)

var (
	dnsName    = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)
	objectName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)
)

// checkName is Swarm's rule for a service's name.
func (s *scope) checkName() {
	s.checkDNSName(s.key, s.path, "service", s.scoped(s.key))
}

func (c *converter) checkDNSName(service, path, kind, name string) {
	switch {
	case len(name) > maxDNSName:
		c.errorf(service, path, "%s name %q has %d characters, Swarm takes %d", kind, name, len(name), maxDNSName)
	case !dnsName.MatchString(name):
		c.errorf(service, path, "%s name %q must be of a-z, A-Z and 0-9, with - and _ only inside", kind, name)
	}
}

// checkObjectName is Swarm's rule for secrets and configs. Names that skep makes
// are cut to fit, so only literal ones can be too long.
func (c *converter) checkObjectName(path, name string) {
	switch {
	case len(name) > maxObjectName && c.m.literal[path]:
		c.errorf("", path, "name %q has %d characters, Swarm takes %d", name, len(name), maxObjectName)
	case !objectName.MatchString(name):
		c.errorf("", path, "name %q must be of a-z, A-Z, 0-9, -, _ and ., and start and end with a letter or digit", name)
	}
}

// checkReserved keeps tenants away from the objects that skep keeps its own state in.
func (c *converter) checkReserved(path, name string) {
	if strings.HasPrefix(name, reservedName) {
		c.errorf("", path, "name %q is refused: names that start with %q are skep's own", name, reservedName)
	}
}

// checkJob: jobs are never updated, only run again.
func (s *scope) checkJob(spec swarm.ServiceSpec) {
	if spec.Mode.ReplicatedJob == nil && spec.Mode.GlobalJob == nil {
		return
	}
	if spec.UpdateConfig != nil {
		s.errorf("deploy.update_config", "jobs may not have an update_config")
	}
	if spec.RollbackConfig != nil {
		s.warnf("deploy.rollback_config", "ignored: jobs are not rolled back")
	}
}

// checkSize looks at the spec as it is sent.
func (s *scope) checkSize(spec swarm.ServiceSpec) {
	b, err := json.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("marshal service spec: %v", err)) // a struct of strings, numbers and maps
	}
	if len(b) > maxSpec {
		s.converter.errorf(s.key, s.path, "the service's spec is %d bytes: Swarm can't update more than %d; move large environment variables and labels to configs", len(b), maxSpec)
	}
}

// checkStack looks at what no service can see alone.
func (c *converter) checkStack(spec Spec) {
	c.checkSharedPorts(spec.Services)
	c.checkSharedNames(spec)
}

// checkSharedPorts is swarmkit's checkPortConflicts: an ingress port belongs to
// one service; host ports may be shared, the scheduler keeps them apart.
func (c *converter) checkSharedPorts(services []Service) {
	type place struct {
		port     uint32
		protocol swarm.PortConfigProtocol
	}
	type owner struct {
		service string
		mode    swarm.PortConfigPublishMode
	}
	owners := map[place][]owner{}
	for _, s := range services {
		for _, p := range s.Spec.EndpointSpec.Ports {
			if p.PublishedPort == 0 {
				continue
			}
			at := place{p.PublishedPort, p.Protocol}
			for _, o := range owners[at] {
				ingress := p.PublishMode == swarm.PortConfigPublishModeIngress || o.mode == swarm.PortConfigPublishModeIngress
				if o.service != s.Key && ingress {
					c.errorf(s.Key, "services."+s.Key+".ports", "port %d/%s is published by service %q too", p.PublishedPort, p.Protocol, o.service)
					break
				}
			}
			owners[at] = append(owners[at], owner{s.Key, p.PublishMode})
		}
	}
}

// checkSharedNames refuses two keys of one kind with one name in the swarm.
func (c *converter) checkSharedNames(spec Spec) {
	seen := map[string]string{}
	check := func(kind, key, name string) {
		id := kind + "\x00" + name
		if other, taken := seen[id]; taken && name != "" {
			c.errorf("", kind+"."+key, "%s %q and %q are both named %q", kind, other, key, name)
		}
		seen[id] = key
	}
	for _, n := range spec.Networks {
		if !n.External {
			check("networks", n.Key, n.Name)
		}
	}
	for _, s := range spec.Secrets {
		if !s.External {
			check("secrets", s.Key, s.Name)
		}
	}
	for _, s := range spec.Configs {
		if !s.External {
			check("configs", s.Key, s.Name)
		}
	}
}

// checkCycles refuses services that wait for each other, naming the ring.
func (c *converter) checkCycles(services []Service) {
	deps := map[string][]Dependency{}
	for _, s := range services {
		deps[s.Key] = s.DependsOn
	}
	state := map[string]int{} // 0 unseen, 1 on the way, 2 done
	var way []string
	var visit func(key string)
	visit = func(key string) {
		switch state[key] {
		case 1:
			ring := append(slices.Clone(way[slices.Index(way, key):]), key)
			c.errorf(key, "services."+key+".depends_on", "services wait for each other: %s", strings.Join(ring, " → "))
			return
		case 2:
			return
		}
		state[key] = 1
		way = append(way, key)
		for _, d := range deps[key] {
			visit(d.Service)
		}
		way = way[:len(way)-1]
		state[key] = 2
	}
	for _, s := range services {
		visit(s.Key)
	}
}
