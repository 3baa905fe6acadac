package stack

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// endpoint is never nil. Ports are in a total order, so that equal files give equal specs.
func (s *scope) endpoint(mode string) *swarm.EndpointSpec {
	out := &swarm.EndpointSpec{Mode: swarm.ResolutionMode(strings.ToLower(mode))}
	switch out.Mode {
	case "", swarm.ResolutionModeVIP, swarm.ResolutionModeDNSRR:
	default:
		s.errorf("deploy.endpoint_mode", "%q is not one of vip, dnsrr", mode)
	}
	for i, p := range s.svc.Ports {
		out.Ports = append(out.Ports, s.port(s.portKey(i), p)...)
		if len(out.Ports) > maxPorts {
			s.errorf("ports", "more than %d ports are published", maxPorts)
			return out
		}
	}
	slices.SortStableFunc(out.Ports, comparePorts)
	s.checkPorts(out)
	return out
}

// portKey is where the i-th port stands. compose-go writes ranges such as
// 80-82:80-82 out, after which entries can't be told by their number.
func (s *scope) portKey(i int) string {
	last := fmt.Sprintf("%s.ports.%d", s.path, len(s.svc.Ports)-1)
	if s.at(last) == s.at(s.path+".ports") {
		return "ports"
	}
	return fmt.Sprintf("ports.%d", i)
}

func comparePorts(a, b swarm.PortConfig) int {
	return cmp.Or(
		cmp.Compare(a.PublishedPort, b.PublishedPort),
		cmp.Compare(a.TargetPort, b.TargetPort),
		cmp.Compare(a.Protocol, b.Protocol),
		cmp.Compare(a.PublishMode, b.PublishMode),
	)
}

// port maps one entry; a range of published ports becomes one port each, as docker does.
func (s *scope) port(key string, p types.ServicePortConfig) []swarm.PortConfig {
	before := s.report.errors
	out := swarm.PortConfig{
		Name:        p.Name,
		Protocol:    swarm.PortConfigProtocol(strings.ToLower(p.Protocol)),
		TargetPort:  p.Target,
		PublishMode: swarm.PortConfigPublishMode(strings.ToLower(p.Mode)),
	}
	switch out.Protocol {
	case "":
		out.Protocol = swarm.PortConfigProtocolTCP
	case swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
	default:
		s.errorf(key, "protocol %q is not one of tcp, udp, sctp (Swarm would take tcp)", p.Protocol)
	}
	switch out.PublishMode {
	case "":
		out.PublishMode = swarm.PortConfigPublishModeIngress
	case swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost:
	default:
		s.errorf(key, "mode %q is not one of ingress, host (Swarm would take ingress)", p.Mode)
	}
	if p.Target < 1 || p.Target > 65535 {
		s.errorf(key, "target port %d is not between 1 and 65535", p.Target)
	}
	s.checkHostIP(key, p.HostIP)
	first, last := s.published(key, p.Published)
	if s.report.errors > before {
		return nil
	}
	var all []swarm.PortConfig
	for n := first; n <= last && len(all) <= maxPorts; n++ {
		out.PublishedPort = n
		all = append(all, out)
	}
	return all
}

// published reads "", "80" and "80-82". 0 lets Swarm pick a port.
func (s *scope) published(key, text string) (first, last uint32) {
	if text == "" {
		return 0, 0
	}
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.ParseUint(from, 10, 16)
	b, errB := strconv.ParseUint(to, 10, 16)
	if errA != nil || errB != nil || b < a || isRange && a == 0 {
		s.errorf(key, "published port %q is not a number up to 65535, or a range such as 8000-8003", text)
		return 0, 0
	}
	return uint32(a), uint32(b)
}

// checkHostIP: Swarm binds every address of the node, so a port that is meant
// for one address only would be open to the world.
func (s *scope) checkHostIP(key, ip string) {
	if ip == "" {
		return
	}
	if a, err := netip.ParseAddr(strings.Trim(ip, "[]")); err == nil && a.IsUnspecified() {
		return
	}
	s.errorf(key, "host_ip %s can't be honoured: Swarm publishes on all addresses of a node; remove it, or don't publish the port", ip)
}

// checkPorts is swarmkit's validateEndpointSpec.
func (s *scope) checkPorts(e *swarm.EndpointSpec) {
	type place struct {
		port     uint32
		protocol swarm.PortConfigProtocol
	}
	seen := map[place]bool{}
	for _, p := range e.Ports {
		if e.Mode == swarm.ResolutionModeDNSRR && p.PublishMode == swarm.PortConfigPublishModeIngress {
			s.errorf("deploy.endpoint_mode", "dnsrr does not go with ports in ingress mode (target %d): publish with mode: host, or use vip", p.TargetPort)
		}
		at := place{p.PublishedPort, p.Protocol}
		if p.PublishedPort != 0 && seen[at] {
			s.errorf("ports", "port %d/%s is published twice in this service", p.PublishedPort, p.Protocol)
		}
		seen[at] = true
	}
}
