package deploy

import (
	"maps"
	"slices"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// cloneSpec copies a service spec so deeply that nothing is shared: the Docker
// client writes into the container spec that it is given.
func cloneSpec(s swarm.ServiceSpec) swarm.ServiceSpec {
	s.Labels = maps.Clone(s.Labels)
	s.TaskTemplate = cloneTask(s.TaskTemplate)
	s.Mode = cloneMode(s.Mode)
	s.UpdateConfig = clonePtr(s.UpdateConfig)
	s.RollbackConfig = clonePtr(s.RollbackConfig)
	//lint:ignore SA1019 services that older clients made carry it
	s.Networks = cloneAttachments(s.Networks)
	if s.EndpointSpec != nil {
		e := *s.EndpointSpec
		e.Ports = slices.Clone(e.Ports)
		s.EndpointSpec = &e
	}
	return s
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func cloneMode(m swarm.ServiceMode) swarm.ServiceMode {
	if m.Replicated != nil {
		m.Replicated = &swarm.ReplicatedService{Replicas: clonePtr(m.Replicated.Replicas)}
	}
	m.Global = clonePtr(m.Global)
	if m.ReplicatedJob != nil {
		m.ReplicatedJob = &swarm.ReplicatedJob{
			MaxConcurrent:    clonePtr(m.ReplicatedJob.MaxConcurrent),
			TotalCompletions: clonePtr(m.ReplicatedJob.TotalCompletions),
		}
	}
	m.GlobalJob = clonePtr(m.GlobalJob)
	return m
}

func cloneTask(t swarm.TaskSpec) swarm.TaskSpec {
	t.ContainerSpec = cloneContainer(t.ContainerSpec)
	if t.PluginSpec != nil {
		p := *t.PluginSpec
		p.Privileges = slices.Clone(p.Privileges)
		for i, v := range p.Privileges {
			if v != nil {
				c := *v
				c.Value = slices.Clone(c.Value)
				p.Privileges[i] = &c
			}
		}
		p.Env = slices.Clone(p.Env)
		t.PluginSpec = &p
	}
	t.NetworkAttachmentSpec = clonePtr(t.NetworkAttachmentSpec)
	t.Resources = cloneResources(t.Resources)
	if t.RestartPolicy != nil {
		r := *t.RestartPolicy
		r.Delay, r.MaxAttempts, r.Window = clonePtr(r.Delay), clonePtr(r.MaxAttempts), clonePtr(r.Window)
		t.RestartPolicy = &r
	}
	t.Placement = clonePlacement(t.Placement)
	t.Networks = cloneAttachments(t.Networks)
	t.LogDriver = cloneDriver(t.LogDriver)
	return t
}

func cloneDriver(d *swarm.Driver) *swarm.Driver {
	if d == nil {
		return nil
	}
	return &swarm.Driver{Name: d.Name, Options: maps.Clone(d.Options)}
}

func cloneAttachments(list []swarm.NetworkAttachmentConfig) []swarm.NetworkAttachmentConfig {
	list = slices.Clone(list)
	for i := range list {
		list[i].Aliases = slices.Clone(list[i].Aliases)
		list[i].DriverOpts = maps.Clone(list[i].DriverOpts)
	}
	return list
}

func cloneResources(r *swarm.ResourceRequirements) *swarm.ResourceRequirements {
	if r == nil {
		return nil
	}
	c := swarm.ResourceRequirements{Limits: clonePtr(r.Limits), Reservations: clonePtr(r.Reservations)}
	if c.Reservations != nil {
		g := slices.Clone(c.Reservations.GenericResources)
		for i := range g {
			g[i].NamedResourceSpec = clonePtr(g[i].NamedResourceSpec)
			g[i].DiscreteResourceSpec = clonePtr(g[i].DiscreteResourceSpec)
		}
		c.Reservations.GenericResources = g
	}
	return &c
}

func clonePlacement(p *swarm.Placement) *swarm.Placement {
	if p == nil {
		return nil
	}
	c := *p
	c.Constraints = slices.Clone(p.Constraints)
	c.Preferences = slices.Clone(p.Preferences)
	for i := range c.Preferences {
		c.Preferences[i].Spread = clonePtr(c.Preferences[i].Spread)
	}
	c.Platforms = slices.Clone(p.Platforms)
	return &c
}

func cloneContainer(p *swarm.ContainerSpec) *swarm.ContainerSpec {
	if p == nil {
		return nil
	}
	c := *p
	c.Labels = maps.Clone(c.Labels)
	c.Command = slices.Clone(c.Command)
	c.Args = slices.Clone(c.Args)
	c.Env = slices.Clone(c.Env)
	c.Groups = slices.Clone(c.Groups)
	c.Privileges = clonePrivileges(c.Privileges)
	c.Init = clonePtr(c.Init)
	c.Mounts = cloneMounts(c.Mounts)
	c.StopGracePeriod = clonePtr(c.StopGracePeriod)
	c.Healthcheck = cloneHealthcheck(c.Healthcheck)
	c.Hosts = slices.Clone(c.Hosts)
	if c.DNSConfig != nil {
		c.DNSConfig = &swarm.DNSConfig{
			Nameservers: slices.Clone(c.DNSConfig.Nameservers),
			Search:      slices.Clone(c.DNSConfig.Search),
			Options:     slices.Clone(c.DNSConfig.Options),
		}
	}
	c.Secrets = slices.Clone(c.Secrets)
	for i, r := range c.Secrets {
		if r != nil {
			c.Secrets[i] = &swarm.SecretReference{File: clonePtr(r.File), SecretID: r.SecretID, SecretName: r.SecretName}
		}
	}
	c.Configs = slices.Clone(c.Configs)
	for i, r := range c.Configs {
		if r != nil {
			c.Configs[i] = &swarm.ConfigReference{File: clonePtr(r.File), Runtime: clonePtr(r.Runtime), ConfigID: r.ConfigID, ConfigName: r.ConfigName}
		}
	}
	c.Sysctls = maps.Clone(c.Sysctls)
	c.CapabilityAdd = slices.Clone(c.CapabilityAdd)
	c.CapabilityDrop = slices.Clone(c.CapabilityDrop)
	c.Ulimits = slices.Clone(c.Ulimits)
	for i := range c.Ulimits {
		c.Ulimits[i] = clonePtr(c.Ulimits[i])
	}
	return &c
}

func cloneHealthcheck(h *container.HealthConfig) *container.HealthConfig {
	if h == nil {
		return nil
	}
	c := *h
	c.Test = slices.Clone(h.Test)
	return &c
}

func clonePrivileges(p *swarm.Privileges) *swarm.Privileges {
	if p == nil {
		return nil
	}
	c := *p
	c.CredentialSpec = clonePtr(p.CredentialSpec)
	c.SELinuxContext = clonePtr(p.SELinuxContext)
	c.AppArmor = clonePtr(p.AppArmor)
	if p.Seccomp != nil {
		c.Seccomp = &swarm.SeccompOpts{Mode: p.Seccomp.Mode, Profile: slices.Clone(p.Seccomp.Profile)}
	}
	return &c
}

func cloneMounts(list []mount.Mount) []mount.Mount {
	list = slices.Clone(list)
	for i := range list {
		m := &list[i]
		m.BindOptions = clonePtr(m.BindOptions)
		if m.VolumeOptions != nil {
			v := *m.VolumeOptions
			v.Labels = maps.Clone(v.Labels)
			if v.DriverConfig != nil {
				v.DriverConfig = &mount.Driver{Name: v.DriverConfig.Name, Options: maps.Clone(v.DriverConfig.Options)}
			}
			m.VolumeOptions = &v
		}
		m.ImageOptions = clonePtr(m.ImageOptions)
		if m.TmpfsOptions != nil {
			t := *m.TmpfsOptions
			t.Options = slices.Clone(t.Options)
			for j := range t.Options {
				t.Options[j] = slices.Clone(t.Options[j])
			}
			m.TmpfsOptions = &t
		}
		m.ClusterOptions = clonePtr(m.ClusterOptions)
	}
	return list
}

// cloneNetwork copies what a network is created with.
func cloneNetwork(n network.CreateOptions) network.CreateOptions {
	n.EnableIPv4, n.EnableIPv6 = clonePtr(n.EnableIPv4), clonePtr(n.EnableIPv6)
	if n.IPAM != nil {
		i := *n.IPAM
		i.Options = maps.Clone(i.Options)
		i.Config = slices.Clone(i.Config)
		for j := range i.Config {
			i.Config[j].AuxAddress = maps.Clone(i.Config[j].AuxAddress)
		}
		n.IPAM = &i
	}
	n.ConfigFrom = clonePtr(n.ConfigFrom)
	n.Options = maps.Clone(n.Options)
	n.Labels = maps.Clone(n.Labels)
	return n
}
