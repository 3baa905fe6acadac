package deploy

import (
	"cmp"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/versions"
)

// Swarm's own values where a spec says nothing (swarmkit, api/defaults).
const (
	defaultStopGrace = 10 * time.Second
	defaultDelay     = 5 * time.Second
	defaultMonitor   = 5 * time.Second
)

// Normalize gives a spec in the one form that all specs with its meaning share:
// what the daemon fills in is filled in, what it drops below the given API
// version (empty: newest) is dropped, what it does by default is left out, and
// lists whose order means nothing are sorted. It is for comparing and never to
// be sent: Swarm tells apart what means the same and would restart tasks.
func Normalize(s swarm.ServiceSpec, api string) swarm.ServiceSpec {
	s = cloneSpec(s)
	s.Labels = orNil(s.Labels)
	if len(s.TaskTemplate.Networks) == 0 {
		//lint:ignore SA1019 services that older clients made carry it
		s.TaskTemplate.Networks = s.Networks
	}
	//lint:ignore SA1019 services that older clients made carry it
	s.Networks = nil
	normalizeTask(&s.TaskTemplate, api)
	s.Mode = normalMode(s.Mode)
	s.UpdateConfig = normalUpdate(s.UpdateConfig)
	s.RollbackConfig = normalUpdate(s.RollbackConfig)
	s.EndpointSpec = normalEndpoint(s.EndpointSpec)
	return s
}

// since says that an API has what came with version v.
func since(api, v string) bool { return api == "" || !versions.LessThan(api, v) }

func orNil(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// list gives nil for an empty list, so that both forms are one.
func list[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

// sorted sorts a list of our own.
func sorted[T cmp.Ordered](s []T) []T {
	slices.Sort(s)
	return list(s)
}

func normalizeTask(t *swarm.TaskSpec, api string) {
	if t.Runtime == "" {
		t.Runtime = swarm.RuntimeContainer
	}
	if t.ContainerSpec != nil {
		normalizeContainer(t.ContainerSpec, api)
	}
	t.Resources = normalResources(t.Resources)
	t.RestartPolicy = normalRestart(t.RestartPolicy)
	t.Placement = normalPlacement(t.Placement)
	for i := range t.Networks {
		n := &t.Networks[i]
		n.Aliases, n.DriverOpts = sorted(n.Aliases), orNil(n.DriverOpts)
	}
	sortNetworks(t.Networks)
	t.Networks = list(t.Networks)
	t.LogDriver = normalDriver(t.LogDriver)
}

func sortNetworks(l []swarm.NetworkAttachmentConfig) {
	slices.SortStableFunc(l, func(a, b swarm.NetworkAttachmentConfig) int {
		return cmp.Or(strings.Compare(a.Target, b.Target), slices.Compare(a.Aliases, b.Aliases))
	})
}

func normalDriver(d *swarm.Driver) *swarm.Driver {
	if d == nil || d.Name == "" && len(d.Options) == 0 {
		return nil
	}
	d.Options = orNil(d.Options)
	return d
}

func normalizeContainer(c *swarm.ContainerSpec, api string) {
	c.Image = Familiar(c.Image)
	c.Labels, c.Sysctls = orNil(c.Labels), orNil(c.Sysctls)
	c.Command, c.Args, c.Groups, c.Hosts = list(c.Command), list(c.Args), list(c.Groups), list(c.Hosts)
	slices.SortStableFunc(c.Env, func(a, b string) int {
		ka, _, _ := strings.Cut(a, "=")
		kb, _, _ := strings.Cut(b, "=")
		return strings.Compare(ka, kb)
	})
	c.Env = list(c.Env)
	c.Privileges = normalPrivileges(c.Privileges, api)
	if c.StopGracePeriod != nil && *c.StopGracePeriod == defaultStopGrace {
		c.StopGracePeriod = nil
	}
	c.Mounts = normalMounts(c.Mounts, api)
	c.Healthcheck = normalHealthcheck(c.Healthcheck, api)
	c.DNSConfig = normalDNS(c.DNSConfig)
	c.Secrets = normalSecrets(c.Secrets)
	c.Configs = normalConfigs(c.Configs)
	if c.Isolation = container.Isolation(strings.ToLower(string(c.Isolation))); c.Isolation == "" {
		c.Isolation = container.IsolationDefault
	}
	c.CapabilityAdd, c.CapabilityDrop = sorted(c.CapabilityAdd), sorted(c.CapabilityDrop)
	c.Ulimits = slices.DeleteFunc(c.Ulimits, func(u *container.Ulimit) bool { return u == nil })
	slices.SortStableFunc(c.Ulimits, func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	c.Ulimits = list(c.Ulimits)
	if !since(api, "1.46") {
		c.OomScoreAdj = 0
	}
}

// Familiar gives an image reference as the Docker client sends it: short, and
// with the tag latest where it has neither tag nor digest. What is no reference
// stays as it is.
func Familiar(image string) string {
	if familiar(image) {
		return image
	}
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image
	}
	return reference.FamiliarString(reference.TagNameOnly(ref))
}

// familiar says that an image is sure to be in its familiar form: it has a tag or
// a digest and no part that is left out. Parsing costs more than all the rest of a
// comparison.
func familiar(image string) bool {
	for _, long := range []string{"docker.io/", "index.docker.io/", "library/"} {
		if strings.HasPrefix(image, long) {
			return false
		}
	}
	return strings.Contains(image[strings.LastIndexByte(image, '/')+1:], ":") || strings.Contains(image, "@")
}

func normalPrivileges(p *swarm.Privileges, api string) *swarm.Privileges {
	if p == nil {
		return nil
	}
	if p.CredentialSpec != nil && *p.CredentialSpec == (swarm.CredentialSpec{}) {
		p.CredentialSpec = nil
	}
	if p.SELinuxContext != nil && *p.SELinuxContext == (swarm.SELinuxContext{}) {
		p.SELinuxContext = nil
	}
	if !since(api, "1.44") {
		p.Seccomp, p.AppArmor, p.NoNewPrivileges = nil, nil, false
	}
	if p.Seccomp != nil {
		p.Seccomp.Profile = list(p.Seccomp.Profile)
		if p.Seccomp.Profile == nil && (p.Seccomp.Mode == "" || p.Seccomp.Mode == swarm.SeccompModeDefault) {
			p.Seccomp = nil
		}
	}
	if p.AppArmor != nil && (p.AppArmor.Mode == "" || p.AppArmor.Mode == swarm.AppArmorModeDefault) {
		p.AppArmor = nil
	}
	if *p == (swarm.Privileges{}) {
		return nil
	}
	return p
}

func normalMounts(mounts []mount.Mount, api string) []mount.Mount {
	for i := range mounts {
		normalizeMount(&mounts[i], api)
	}
	slices.SortStableFunc(mounts, func(a, b mount.Mount) int { return strings.Compare(a.Target, b.Target) })
	return list(mounts)
}

func normalizeMount(m *mount.Mount, api string) {
	if m.Type = mount.Type(strings.ToLower(string(m.Type))); m.Type == "" {
		m.Type = mount.TypeBind
	}
	if m.Target != "" {
		m.Target = path.Clean(m.Target)
	}
	m.Consistency, m.ClusterOptions, m.ImageOptions = "", nil, nil
	if b := m.BindOptions; b != nil {
		m.BindOptions = normalBind(*b)
	}
	if v := m.VolumeOptions; v != nil {
		m.VolumeOptions = normalVolume(*v, api)
	}
	if t := m.TmpfsOptions; t != nil {
		if t.Options = list(t.Options); !since(api, "1.46") {
			t.Options = nil
		}
		if t.SizeBytes == 0 && t.Mode == 0 && t.Options == nil {
			m.TmpfsOptions = nil
		}
	}
}

// normalBind keeps what the daemon keeps of a bind's options.
func normalBind(b mount.BindOptions) *mount.BindOptions {
	b = mount.BindOptions{Propagation: mount.Propagation(strings.ToLower(string(b.Propagation))), NonRecursive: b.NonRecursive}
	if b.Propagation == "" {
		b.Propagation = mount.PropagationRPrivate
	}
	if b.Propagation == mount.PropagationRPrivate && !b.NonRecursive {
		return nil
	}
	return &b
}

func normalVolume(v mount.VolumeOptions, api string) *mount.VolumeOptions {
	v.Labels = orNil(v.Labels)
	if !since(api, "1.45") {
		v.Subpath = ""
	}
	if d := v.DriverConfig; d != nil {
		if d.Options = orNil(d.Options); d.Name == "" && d.Options == nil {
			v.DriverConfig = nil
		}
	}
	if !v.NoCopy && v.Labels == nil && v.Subpath == "" && v.DriverConfig == nil {
		return nil
	}
	return &v
}

func normalHealthcheck(h *container.HealthConfig, api string) *container.HealthConfig {
	if h == nil {
		return nil
	}
	h.Test = list(h.Test)
	if !since(api, "1.44") {
		h.StartInterval = 0
	}
	if h.Test == nil && h.Interval == 0 && h.Timeout == 0 && h.StartPeriod == 0 && h.StartInterval == 0 && h.Retries == 0 {
		return nil
	}
	return h
}

func normalDNS(d *swarm.DNSConfig) *swarm.DNSConfig {
	if d == nil || len(d.Nameservers)+len(d.Search)+len(d.Options) == 0 {
		return nil
	}
	d.Nameservers, d.Search, d.Options = list(d.Nameservers), list(d.Search), list(d.Options)
	return d
}

func normalSecrets(refs []*swarm.SecretReference) []*swarm.SecretReference {
	refs = slices.DeleteFunc(refs, func(r *swarm.SecretReference) bool { return r == nil })
	for _, r := range refs {
		if r.File != nil {
			r.File = (*swarm.SecretReferenceFileTarget)(normalFile((*fileTarget)(r.File)))
		}
	}
	slices.SortStableFunc(refs, func(a, b *swarm.SecretReference) int {
		return cmp.Or(strings.Compare(fileName((*fileTarget)(a.File)), fileName((*fileTarget)(b.File))), strings.Compare(a.SecretName, b.SecretName))
	})
	return list(refs)
}

func normalConfigs(refs []*swarm.ConfigReference) []*swarm.ConfigReference {
	refs = slices.DeleteFunc(refs, func(r *swarm.ConfigReference) bool { return r == nil })
	for _, r := range refs {
		if r.File != nil {
			r.File = (*swarm.ConfigReferenceFileTarget)(normalFile((*fileTarget)(r.File)))
		}
	}
	slices.SortStableFunc(refs, func(a, b *swarm.ConfigReference) int {
		return cmp.Or(strings.Compare(fileName((*fileTarget)(a.File)), fileName((*fileTarget)(b.File))), strings.Compare(a.ConfigName, b.ConfigName))
	})
	return list(refs)
}

// fileTarget is a file that a secret or a config appears as; both have the same fields.
type fileTarget struct {
	Name string
	UID  string
	GID  string
	Mode os.FileMode
}

func normalFile(f *fileTarget) *fileTarget {
	if f.UID == "" {
		f.UID = "0"
	}
	if f.GID == "" {
		f.GID = "0"
	}
	return f
}

func fileName(f *fileTarget) string {
	if f == nil {
		return ""
	}
	return f.Name
}

func normalResources(r *swarm.ResourceRequirements) *swarm.ResourceRequirements {
	if r == nil {
		return nil
	}
	if r.Limits != nil && *r.Limits == (swarm.Limit{}) {
		r.Limits = nil
	}
	if v := r.Reservations; v != nil {
		if v.GenericResources = list(v.GenericResources); v.NanoCPUs == 0 && v.MemoryBytes == 0 && v.GenericResources == nil {
			r.Reservations = nil
		}
	}
	if r.Limits == nil && r.Reservations == nil {
		return nil
	}
	return r
}

// normalRestart leaves out what Swarm does by itself. A policy that says no more
// than that is no policy.
func normalRestart(r *swarm.RestartPolicy) *swarm.RestartPolicy {
	if r == nil {
		return nil
	}
	if r.Condition = swarm.RestartPolicyCondition(strings.ToLower(string(r.Condition))); r.Condition == "" {
		r.Condition = swarm.RestartPolicyConditionAny
	}
	if r.Delay != nil && *r.Delay == defaultDelay {
		r.Delay = nil
	}
	if r.MaxAttempts != nil && *r.MaxAttempts == 0 {
		r.MaxAttempts = nil
	}
	if r.Window != nil && *r.Window == 0 {
		r.Window = nil
	}
	if *r == (swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}) {
		return nil
	}
	return r
}

func normalPlacement(p *swarm.Placement) *swarm.Placement {
	if p == nil {
		return nil
	}
	p.Constraints = sorted(p.Constraints)
	p.Preferences = list(slices.DeleteFunc(p.Preferences, func(v swarm.PlacementPreference) bool { return v.Spread == nil }))
	p.Platforms = list(p.Platforms)
	if p.Constraints == nil && p.Preferences == nil && p.Platforms == nil && p.MaxReplicas == 0 {
		return nil
	}
	return p
}

func normalMode(m swarm.ServiceMode) swarm.ServiceMode {
	one := uint64(1)
	switch {
	case m.ReplicatedJob != nil:
		if m.ReplicatedJob.MaxConcurrent == nil {
			m.ReplicatedJob.MaxConcurrent = &one
		}
		if m.ReplicatedJob.TotalCompletions == nil {
			m.ReplicatedJob.TotalCompletions = clonePtr(m.ReplicatedJob.MaxConcurrent)
		}
	case m.Global != nil, m.GlobalJob != nil:
	case m.Replicated == nil || m.Replicated.Replicas == nil:
		m.Replicated = &swarm.ReplicatedService{Replicas: &one}
	}
	return m
}

// normalUpdate fills in what an update does by itself. A configuration that says
// no more than that is none.
func normalUpdate(u *swarm.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		return nil
	}
	if u.FailureAction = strings.ToLower(u.FailureAction); u.FailureAction == "" {
		u.FailureAction = swarm.UpdateFailureActionPause
	}
	if u.Order = strings.ToLower(u.Order); u.Order == "" {
		u.Order = swarm.UpdateOrderStopFirst
	}
	if u.Monitor == defaultMonitor {
		u.Monitor = 0
	}
	if *u == (swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause, Order: swarm.UpdateOrderStopFirst}) {
		return nil
	}
	return u
}

func normalEndpoint(e *swarm.EndpointSpec) *swarm.EndpointSpec {
	if e == nil {
		return nil
	}
	if e.Mode = swarm.ResolutionMode(strings.ToLower(string(e.Mode))); e.Mode == "" {
		e.Mode = swarm.ResolutionModeVIP
	}
	for i := range e.Ports {
		p := &e.Ports[i]
		p.Protocol = protocol(p.Protocol)
		if p.PublishMode = swarm.PortConfigPublishMode(strings.ToLower(string(p.PublishMode))); p.PublishMode != swarm.PortConfigPublishModeHost {
			p.PublishMode = swarm.PortConfigPublishModeIngress
		}
	}
	slices.SortStableFunc(e.Ports, comparePorts)
	if e.Ports = list(e.Ports); e.Ports == nil && e.Mode == swarm.ResolutionModeVIP {
		return nil
	}
	return e
}

// protocol is what the daemon makes of a port's protocol: unknown words become tcp.
func protocol(p swarm.PortConfigProtocol) swarm.PortConfigProtocol {
	switch p := swarm.PortConfigProtocol(strings.ToLower(string(p))); p {
	case swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
		return p
	}
	return swarm.PortConfigProtocolTCP
}

func comparePorts(a, b swarm.PortConfig) int {
	return cmp.Or(cmp.Compare(a.PublishedPort, b.PublishedPort), cmp.Compare(a.TargetPort, b.TargetPort),
		strings.Compare(string(a.Protocol), string(b.Protocol)), strings.Compare(string(a.PublishMode), string(b.PublishMode)),
		strings.Compare(a.Name, b.Name))
}
