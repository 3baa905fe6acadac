package swarmtest

import (
	"encoding/json"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/versions"
)

// normalise gives what the daemon stores of a spec: it fills the defaults of the
// places that are there, drops what swarm has no field for and what the API
// version does not carry (moby: daemon/cluster/convert, api/server/router/swarm).
func normalise(spec swarm.ServiceSpec, api string) swarm.ServiceSpec {
	spec.Labels = notNil(spec.Labels)
	spec.Mode = normaliseMode(spec.Mode)
	normaliseUpdate(spec.UpdateConfig)
	normaliseUpdate(spec.RollbackConfig)
	normaliseEndpoint(spec.EndpointSpec)
	t := &spec.TaskTemplate
	t.Runtime = swarm.RuntimeContainer
	if p := t.RestartPolicy; p != nil {
		if p.Condition == "" {
			p.Condition = swarm.RestartPolicyConditionAny
		}
		if p.MaxAttempts == nil {
			p.MaxAttempts = new(uint64)
		}
	}
	normaliseContainer(t.ContainerSpec, api)
	return clone(spec)
}

func normaliseMode(m swarm.ServiceMode) swarm.ServiceMode {
	one := uint64(1)
	switch {
	case m.Global != nil, m.GlobalJob != nil:
	case m.ReplicatedJob != nil:
		if m.ReplicatedJob.MaxConcurrent == nil {
			m.ReplicatedJob.MaxConcurrent = &one
		}
		if m.ReplicatedJob.TotalCompletions == nil {
			m.ReplicatedJob.TotalCompletions = m.ReplicatedJob.MaxConcurrent
		}
	case m.Replicated == nil || m.Replicated.Replicas == nil:
		m.Replicated = &swarm.ReplicatedService{Replicas: &one}
	}
	return m
}

func normaliseUpdate(u *swarm.UpdateConfig) {
	if u == nil {
		return
	}
	if u.FailureAction == "" {
		u.FailureAction = swarm.UpdateFailureActionPause
	}
	if u.Order == "" {
		u.Order = swarm.UpdateOrderStopFirst
	}
}

// normaliseEndpoint turns strings that swarm does not know into its defaults,
// in silence, as the daemon does.
func normaliseEndpoint(e *swarm.EndpointSpec) {
	if e == nil {
		return
	}
	if e.Mode == "" {
		e.Mode = swarm.ResolutionModeVIP
	}
	for i := range e.Ports {
		p := &e.Ports[i]
		p.Protocol = known(p.Protocol, swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP)
		p.PublishMode = known(p.PublishMode, swarm.PortConfigPublishModeIngress, swarm.PortConfigPublishModeHost)
	}
}

// known gives s in lower case if it is among the values, else the first of them.
func known[S ~string](s S, values ...S) S {
	for _, v := range values {
		if strings.EqualFold(string(s), string(v)) {
			return v
		}
	}
	return values[0]
}

func normaliseContainer(c *swarm.ContainerSpec, api string) {
	c.Isolation = known(c.Isolation, "default", "process", "hyperv")
	for i := range c.Mounts {
		normaliseMount(&c.Mounts[i], api)
	}
	if versions.LessThan(api, "1.44") {
		if c.Healthcheck != nil {
			c.Healthcheck.StartInterval = 0
		}
		if p := c.Privileges; p != nil {
			p.Seccomp, p.AppArmor, p.NoNewPrivileges = nil, nil, false
		}
	}
	if versions.LessThan(api, "1.46") {
		c.OomScoreAdj = 0
	}
	for _, r := range c.Secrets {
		if r.File != nil {
			r.File.Mode &= 0o7777
		}
	}
}

func normaliseMount(m *mount.Mount, api string) {
	m.Type = known(m.Type, mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs, mount.TypeNamedPipe, mount.TypeCluster)
	m.Consistency, m.ClusterOptions, m.ImageOptions = "", nil, nil
	if b := m.BindOptions; b != nil {
		b.CreateMountpoint, b.ReadOnlyNonRecursive, b.ReadOnlyForceRecursive = false, false, false
		switch {
		case b.Propagation == "" && !b.NonRecursive:
			m.BindOptions = nil
		case b.Propagation == "":
			b.Propagation = mount.PropagationRPrivate
		}
	}
	if m.TmpfsOptions != nil && versions.LessThan(api, "1.46") {
		m.TmpfsOptions.Options = nil
	}
	if m.VolumeOptions != nil && versions.LessThan(api, "1.45") {
		m.VolumeOptions.Subpath = ""
	}
}

// wire is the size of a spec on the wire, near enough.
func wire(spec swarm.ServiceSpec) int {
	b, err := json.Marshal(spec)
	if err != nil {
		return 0
	}
	return len(b)
}
