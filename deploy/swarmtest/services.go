package swarmtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
)

// service is a service and what the manager keeps beside it.
type service struct {
	swarm.Service
	auth     string
	update   *update
	attempts map[string]uint64 // restarts by slot since the last change of the spec
	gone     map[string]bool   // slots that were scaled away, with a history
}

var serviceName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

func validName(name string) error {
	if len(name) > 63 {
		return invalid("name must be 63 characters or fewer")
	}
	if !serviceName.MatchString(name) {
		return invalid("name must be valid as a DNS name component")
	}
	return nil
}

// ServiceCreate creates a service and its first tasks. Like the client, it tags
// the image in the caller's own spec.
func (s *Swarm) ServiceCreate(ctx context.Context, spec swarm.ServiceSpec, o swarm.ServiceCreateOptions) (swarm.ServiceCreateResponse, error) {
	tagImage(&spec)
	var got swarm.ServiceCreateResponse
	err := s.call(ctx, "ServiceCreate", spec.Name, write, func() error {
		v := &service{auth: o.EncodedRegistryAuth, attempts: map[string]uint64{}, gone: map[string]bool{}}
		var err error
		if v.Spec, err = s.accept(spec, ""); err != nil {
			return err
		}
		if live := s.service(spec.Name); live != nil {
			return exists("name conflicts with an existing object: service %s already exists", spec.Name)
		}
		v.ID, v.Meta = s.id("svc"), s.meta()
		if job(v.Spec) {
			v.JobStatus = &swarm.JobStatus{LastExecution: s.now()}
		}
		s.services[v.ID] = v
		got.ID = v.ID
		s.tell(events.ServiceEventType, events.ActionCreate, v.ID, v.Spec.Name)
		s.allocate(v)
		s.reconcile(v)
		return nil
	})
	return got, err
}

// ServiceUpdate changes a service and starts its rollout. Like the client, it
// tags the image in the caller's own spec.
func (s *Swarm) ServiceUpdate(ctx context.Context, id string, version swarm.Version, spec swarm.ServiceSpec, o swarm.ServiceUpdateOptions) (swarm.ServiceUpdateResponse, error) {
	tagImage(&spec)
	err := s.call(ctx, "ServiceUpdate", id, write, func() error {
		live := s.service(id)
		if live == nil {
			return missing("service %s not found", id)
		}
		if o.Rollback == "previous" {
			if live.PreviousSpec == nil {
				return precondition("service %s does not have a previous spec", id)
			}
			spec = clone(*live.PreviousSpec)
		}
		next, err := s.accept(spec, live.ID)
		if err != nil {
			return err
		}
		switch {
		case version != live.Version:
			return internal("update out of sequence")
		case next.Name != live.Spec.Name:
			return unimplemented("renaming services is not supported")
		case mode(next) != mode(live.Spec):
			return unimplemented("service mode change is not allowed")
		}
		s.change(live, next, o)
		return nil
	})
	return swarm.ServiceUpdateResponse{}, err
}

func (s *Swarm) change(v *service, next swarm.ServiceSpec, o swarm.ServiceUpdateOptions) {
	was := v.Spec
	v.PreviousSpec = &was
	v.Spec = next
	v.auth = cmp.Or(o.EncodedRegistryAuth, v.auth)
	v.UpdateStatus, v.update = nil, nil
	v.attempts = map[string]uint64{}
	v.Version, v.UpdatedAt = s.next(), s.now()
	if v.JobStatus != nil {
		v.JobStatus.JobIteration.Index++
		v.JobStatus.LastExecution = s.now()
	}
	var pairs []string
	if a, b := was.TaskTemplate.ContainerSpec.Image, next.TaskTemplate.ContainerSpec.Image; a != b {
		pairs = append(pairs, "image.old", a, "image.new", b)
	}
	if a, b := replicas(was), replicas(next); a != b {
		pairs = append(pairs, "replicas.old", fmt.Sprint(a), "replicas.new", fmt.Sprint(b))
	}
	s.tell(events.ServiceEventType, events.ActionUpdate, v.ID, v.Spec.Name, pairs...)
	s.allocate(v)
	s.reconcile(v)
	s.startUpdate(v)
}

// ServiceRemove removes a service; its tasks stop after it.
func (s *Swarm) ServiceRemove(ctx context.Context, id string) error {
	return s.call(ctx, "ServiceRemove", id, write, func() error {
		v := s.service(id)
		if v == nil {
			return missing("service %s not found", id)
		}
		delete(s.services, v.ID)
		s.next()
		for _, t := range s.of(v.ID) {
			s.drop(t)
		}
		s.tell(events.ServiceEventType, events.ActionRemove, v.ID, v.Spec.Name)
		return nil
	})
}

// ServiceList lists services. The name filter is a prefix.
func (s *Swarm) ServiceList(ctx context.Context, o swarm.ServiceListOptions) ([]swarm.Service, error) {
	list := []swarm.Service{}
	err := s.call(ctx, "ServiceList", "", query, func() error {
		for _, v := range sorted(s.services) {
			if !prefixed(v.Spec.Name, o.Filters.Get("name")) || !prefixed(v.ID, o.Filters.Get("id")) ||
				!labelled(v.Spec.Labels, o.Filters.Get("label")) || !oneOf(mode(v.Spec), o.Filters.Get("mode")) {
				continue
			}
			got := clone(v.Service)
			if o.Status {
				got.ServiceStatus = s.status(v)
			}
			list = append(list, got)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ServiceInspectWithRaw gives a service by ID or name, as it is stored.
func (s *Swarm) ServiceInspectWithRaw(ctx context.Context, id string, o swarm.ServiceInspectOptions) (swarm.Service, []byte, error) {
	var got swarm.Service
	err := s.call(ctx, "ServiceInspect", id, query, func() error {
		v := s.service(id)
		if v == nil {
			return missing("service %s not found", id)
		}
		got = clone(v.Service)
		return nil
	})
	return got, nil, err
}

// service finds a service by ID or name.
func (s *Swarm) service(id string) *service {
	if v := s.services[id]; v != nil {
		return v
	}
	for _, v := range s.services {
		if v.Spec.Name == id {
			return v
		}
	}
	return nil
}

// allocate gives a service its addresses and ports, as the manager does right
// after a write: that moves the version on.
func (s *Swarm) allocate(v *service) {
	v.Endpoint = swarm.Endpoint{}
	if v.Spec.EndpointSpec != nil {
		v.Endpoint.Spec = clone(*v.Spec.EndpointSpec)
		v.Endpoint.Ports = clone(v.Spec.EndpointSpec.Ports)
	}
	for i, p := range v.Endpoint.Ports {
		if p.PublishedPort == 0 && p.PublishMode == swarm.PortConfigPublishModeIngress {
			v.Endpoint.Ports[i].PublishedPort = uint32(30000 + s.index%2768)
		}
	}
	for _, n := range v.Spec.TaskTemplate.Networks {
		v.Endpoint.VirtualIPs = append(v.Endpoint.VirtualIPs, swarm.EndpointVirtualIP{NetworkID: n.Target, Addr: "10.0.1." + itoa(int(s.index%250)) + "/24"})
	}
	if len(v.Endpoint.Ports)+len(v.Endpoint.VirtualIPs) == 0 {
		return
	}
	v.Version = s.next()
	s.tell(events.ServiceEventType, events.ActionUpdate, v.ID, v.Spec.Name)
}

// accept checks a spec as the manager does and gives what it stores of it.
func (s *Swarm) accept(spec swarm.ServiceSpec, id string) (swarm.ServiceSpec, error) {
	spec = clone(spec)
	for i, a := range spec.TaskTemplate.Networks {
		netID, err := s.attachment(a.Target)
		if err != nil {
			return spec, err
		}
		spec.TaskTemplate.Networks[i].Target = netID
	}
	spec = normalise(spec, s.ClientVersion())
	for _, check := range []func(swarm.ServiceSpec) error{checkName, checkTask, checkResources, checkMode, s.checkRefs} {
		if err := check(spec); err != nil {
			return spec, err
		}
	}
	if err := s.checkPorts(spec, id); err != nil {
		return spec, err
	}
	return spec, s.checkSize(spec, id)
}

func checkName(spec swarm.ServiceSpec) error { return validName(spec.Name) }

func checkTask(spec swarm.ServiceSpec) error {
	c := spec.TaskTemplate.ContainerSpec
	if c.Image == "" {
		return invalid("ContainerSpec: image reference must be provided")
	}
	if _, err := reference.ParseNormalizedNamed(c.Image); err != nil {
		return invalid("ContainerSpec: %q is not a valid repository/tag", c.Image)
	}
	targets := map[string]bool{}
	for _, m := range c.Mounts {
		if targets[m.Target] {
			return invalid("ContainerSpec: duplicate mount point: %s", m.Target)
		}
		targets[m.Target] = true
	}
	if p := spec.TaskTemplate.Placement; p != nil {
		for _, k := range p.Constraints {
			if !strings.Contains(k, "==") && !strings.Contains(k, "!=") {
				return internal("constraint expected one operator from ==, !=")
			}
		}
	}
	return nil
}

func checkResources(spec swarm.ServiceSpec) error {
	r := spec.TaskTemplate.Resources
	if r == nil {
		return nil
	}
	for _, x := range []struct{ cpu, mem int64 }{limits(r.Limits), reservations(r.Reservations)} {
		if x.cpu != 0 && x.cpu < 1e6 {
			return invalid("invalid cpu value %g: Must be at least %g", float64(x.cpu)/1e9, 1e6/1e9)
		}
		if x.mem != 0 && x.mem < 4<<20 {
			return invalid("invalid memory value %d: Must be at least 4MiB", x.mem)
		}
	}
	return nil
}

func limits(l *swarm.Limit) struct{ cpu, mem int64 } {
	if l == nil {
		return struct{ cpu, mem int64 }{}
	}
	return struct{ cpu, mem int64 }{l.NanoCPUs, l.MemoryBytes}
}

func reservations(r *swarm.Resources) struct{ cpu, mem int64 } {
	if r == nil {
		return struct{ cpu, mem int64 }{}
	}
	return struct{ cpu, mem int64 }{r.NanoCPUs, r.MemoryBytes}
}

func checkMode(spec swarm.ServiceSpec) error {
	if job(spec) && spec.UpdateConfig != nil {
		return invalid("Jobs may not have an update config")
	}
	return nil
}

// checkRefs looks for the secrets and configs that a spec refers to, by ID and name.
func (s *Swarm) checkRefs(spec swarm.ServiceSpec) error {
	c := spec.TaskTemplate.ContainerSpec
	targets := map[string]string{}
	for _, r := range c.Secrets {
		if n := s.secrets[r.SecretID]; n == nil || n.Spec.Name != r.SecretName {
			return invalid("secret not found: %s", r.SecretName)
		}
		if r.File == nil {
			return invalid("malformed secret reference, no target provided")
		}
		if other, ok := targets["s"+r.File.Name]; ok {
			return invalid("secret references '%s' and '%s' have a conflicting target: '%s'", other, r.SecretName, r.File.Name)
		}
		targets["s"+r.File.Name] = r.SecretName
	}
	for _, r := range c.Configs {
		if n := s.configs[r.ConfigID]; n == nil || n.Spec.Name != r.ConfigName {
			return invalid("config not found: %s", r.ConfigName)
		}
		if r.File == nil {
			continue
		}
		if other, ok := targets["c"+r.File.Name]; ok {
			return invalid("config references '%s' and '%s' have a conflicting target: '%s'", other, r.ConfigName, r.File.Name)
		}
		targets["c"+r.File.Name] = r.ConfigName
	}
	return nil
}

// checkPorts looks for ports that are published twice, within and across services.
func (s *Swarm) checkPorts(spec swarm.ServiceSpec, id string) error {
	if spec.EndpointSpec == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, p := range spec.EndpointSpec.Ports {
		if p.PublishMode == swarm.PortConfigPublishModeIngress && spec.EndpointSpec.Mode == swarm.ResolutionModeDNSRR {
			return invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode")
		}
		key := fmt.Sprint(p.PublishedPort, p.Protocol)
		if p.PublishedPort == 0 {
			continue
		}
		if seen[key] {
			return invalid("EndpointSpec: duplicate published ports provided")
		}
		seen[key] = true
		if err := s.portHeld(p, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Swarm) portHeld(p swarm.PortConfig, id string) error {
	for _, v := range sorted(s.services) {
		if v.ID == id || v.Spec.EndpointSpec == nil {
			continue
		}
		for _, q := range v.Spec.EndpointSpec.Ports {
			both := p.PublishMode == swarm.PortConfigPublishModeHost && q.PublishMode == swarm.PortConfigPublishModeHost
			if !both && p.PublishedPort == q.PublishedPort && p.Protocol == q.Protocol {
				kind := "an ingress"
				if q.PublishMode == swarm.PortConfigPublishModeHost {
					kind = "a host-published"
				}
				return invalid("port '%d' is already in use by service '%s' (%s) as %s port", p.PublishedPort, v.Spec.Name, v.ID, kind)
			}
		}
	}
	return nil
}

func (s *Swarm) checkSize(spec swarm.ServiceSpec, id string) error {
	size := wire(spec)
	if v := s.services[id]; v != nil {
		size += wire(v.Spec)
	}
	if size > maxRaft {
		return internal("raft: raft message is too large and can't be sent")
	}
	return nil
}

// tagImage does what the client does to the caller's spec.
func tagImage(spec *swarm.ServiceSpec) {
	if spec.TaskTemplate.ContainerSpec == nil {
		spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{}
	}
	c := spec.TaskTemplate.ContainerSpec
	if ref, err := reference.ParseNormalizedNamed(c.Image); err == nil {
		c.Image = reference.FamiliarString(reference.TagNameOnly(ref))
	}
}

func job(spec swarm.ServiceSpec) bool {
	return spec.Mode.ReplicatedJob != nil || spec.Mode.GlobalJob != nil
}

func mode(spec swarm.ServiceSpec) string {
	switch {
	case spec.Mode.Global != nil:
		return "global"
	case spec.Mode.ReplicatedJob != nil:
		return "replicated-job"
	case spec.Mode.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}

// replicas is how many tasks a spec asks for; of a global one, none by itself.
func replicas(spec swarm.ServiceSpec) uint64 {
	switch {
	case spec.Mode.Replicated != nil && spec.Mode.Replicated.Replicas != nil:
		return *spec.Mode.Replicated.Replicas
	case spec.Mode.ReplicatedJob != nil && spec.Mode.ReplicatedJob.TotalCompletions != nil:
		return *spec.Mode.ReplicatedJob.TotalCompletions
	}
	return 0
}

// status counts a service's tasks as ServiceList with Status does.
func (s *Swarm) status(v *service) *swarm.ServiceStatus {
	st := &swarm.ServiceStatus{DesiredTasks: replicas(v.Spec)}
	if j := v.Spec.Mode.ReplicatedJob; j != nil {
		st.DesiredTasks = *j.MaxConcurrent
	}
	for _, t := range s.of(v.ID) {
		if t.Status.State == swarm.TaskStateRunning {
			st.RunningTasks++
		}
		if v.JobStatus != nil && t.JobIteration != nil && *t.JobIteration == v.JobStatus.JobIteration && t.Status.State == swarm.TaskStateComplete {
			st.CompletedTasks++
		}
		if (v.Spec.Mode.Global != nil || v.Spec.Mode.GlobalJob != nil) && wanted(t) {
			st.DesiredTasks++
		}
	}
	return st
}

// labelsOf copies what a task keeps of its service's labels.
func labelsOf(v *service) map[string]string { return maps.Clone(v.Spec.Labels) }
