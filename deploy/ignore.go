package deploy

import (
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// keepIgnored puts the live value of each ignored path of a service into the spec
// that git asks for, so that nobody fights over it. Paths are compose paths below
// services.KEY; a path that names nothing here changes nothing. The labels by which
// skep and docker know the service are nobody else's.
func keepIgnored(spec, live *swarm.ServiceSpec, key string, paths []string) {
	own := []string{LabelNamespace, LabelTenant, LabelInstance}
	if !slices.Contains(paths, "services."+key+".image") {
		own = append(own, LabelImage)
	}
	before := cloneSpec(*spec)
	kept := false
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(p, "services."+key+"."); ok {
			from := cloneSpec(*live)
			keepPath(spec, &from, rest)
			kept = true
		}
	}
	if !kept {
		return
	}
	for _, l := range own {
		keepKey(&spec.Labels, before.Labels, l)
	}
	if c := spec.TaskTemplate.ContainerSpec; c != nil {
		keepKey(&c.Labels, before.TaskTemplate.ContainerSpec.Labels, LabelNamespace)
	}
}

// keepPath takes one path's value over. Both specs are the caller's own.
func keepPath(spec, live *swarm.ServiceSpec, p string) {
	if rest, ok := strings.CutPrefix(p, "deploy."); ok {
		keepDeploy(spec, live, rest)
		return
	}
	head, key, _ := strings.Cut(p, ".")
	switch head {
	case "ports":
		keepPorts(spec, live)
	case "networks":
		spec.TaskTemplate.Networks = keepNetworks(spec.TaskTemplate.Networks, live, key)
	case "logging":
		spec.TaskTemplate.LogDriver = live.TaskTemplate.LogDriver
	case "platform":
		placement(spec).Platforms = placement(live).Platforms
	case "image":
		keepKey(&spec.Labels, live.Labels, LabelImage)
		placement(spec).Platforms = placement(live).Platforms
	}
	if spec.TaskTemplate.ContainerSpec != nil && live.TaskTemplate.ContainerSpec != nil {
		keepContainer(spec.TaskTemplate.ContainerSpec, live.TaskTemplate.ContainerSpec, head, key)
	}
}

func keepContainer(spec, live *swarm.ContainerSpec, head, key string) {
	switch head {
	case "image":
		spec.Image = live.Image
	case "command":
		spec.Args = live.Args
	case "entrypoint":
		spec.Command = live.Command
	case "environment":
		spec.Env = keepEnv(spec.Env, live.Env, key)
	case "labels":
		keepKey(&spec.Labels, live.Labels, key)
	case "sysctls":
		keepKey(&spec.Sysctls, live.Sysctls, key)
	case "hostname":
		spec.Hostname = live.Hostname
	case "user":
		spec.User = live.User
	case "working_dir":
		spec.Dir = live.Dir
	case "group_add":
		spec.Groups = live.Groups
	case "stop_signal":
		spec.StopSignal = live.StopSignal
	case "stop_grace_period":
		spec.StopGracePeriod = live.StopGracePeriod
	case "tty":
		spec.TTY = live.TTY
	case "stdin_open":
		spec.OpenStdin = live.OpenStdin
	case "read_only":
		spec.ReadOnly = live.ReadOnly
	case "init":
		spec.Init = live.Init
	case "isolation":
		spec.Isolation = live.Isolation
	case "extra_hosts":
		spec.Hosts = live.Hosts
	case "dns", "dns_search", "dns_opt":
		keepDNS(spec, live, head)
	case "cap_add":
		spec.CapabilityAdd = live.CapabilityAdd
	case "cap_drop":
		spec.CapabilityDrop = live.CapabilityDrop
	case "ulimits":
		spec.Ulimits = live.Ulimits
	case "oom_score_adj":
		spec.OomScoreAdj = live.OomScoreAdj
	case "healthcheck":
		spec.Healthcheck = live.Healthcheck
	case "volumes", "tmpfs":
		spec.Mounts = live.Mounts
	case "secrets":
		spec.Secrets = live.Secrets
	case "configs":
		spec.Configs = live.Configs
	case "security_opt", "credential_spec":
		spec.Privileges = live.Privileges
	}
}

// keepKey takes one key's value, or its absence, over; without a key, the whole map.
func keepKey(spec *map[string]string, live map[string]string, key string) {
	if key == "" {
		*spec = live
		return
	}
	v, ok := live[key]
	if !ok {
		delete(*spec, key)
		return
	}
	if *spec == nil {
		*spec = map[string]string{}
	}
	(*spec)[key] = v
}

// keepEnv takes one variable, or its absence, over; without a key, all of them.
func keepEnv(spec, live []string, key string) []string {
	if key == "" {
		return live
	}
	var out []string
	for _, l := range spec {
		if k, _, _ := strings.Cut(l, "="); k != key {
			out = append(out, l)
		}
	}
	for _, l := range live {
		if k, _, _ := strings.Cut(l, "="); k == key {
			out = append(out, l)
		}
	}
	return out
}

func keepDNS(spec, live *swarm.ContainerSpec, head string) {
	var from swarm.DNSConfig
	if live.DNSConfig != nil {
		from = *live.DNSConfig
	}
	if spec.DNSConfig == nil {
		spec.DNSConfig = &swarm.DNSConfig{}
	}
	switch head {
	case "dns":
		spec.DNSConfig.Nameservers = from.Nameservers
	case "dns_search":
		spec.DNSConfig.Search = from.Search
	case "dns_opt":
		spec.DNSConfig.Options = from.Options
	}
}

// keepNetworks takes all attachments over, or leaves git's where a single one is
// named: an attachment can't be owned in part.
func keepNetworks(spec []swarm.NetworkAttachmentConfig, live *swarm.ServiceSpec, key string) []swarm.NetworkAttachmentConfig {
	if key != "" {
		return spec
	}
	if len(live.TaskTemplate.Networks) == 0 {
		//lint:ignore SA1019 services that older clients made carry it
		return live.Networks
	}
	return live.TaskTemplate.Networks
}

func keepPorts(spec, live *swarm.ServiceSpec) {
	if spec.EndpointSpec == nil {
		spec.EndpointSpec = &swarm.EndpointSpec{}
	}
	spec.EndpointSpec.Ports = nil
	if live.EndpointSpec != nil {
		spec.EndpointSpec.Ports = live.EndpointSpec.Ports
	}
}

// placement gives a spec's placement, made where there is none.
func placement(s *swarm.ServiceSpec) *swarm.Placement {
	if s.TaskTemplate.Placement == nil {
		s.TaskTemplate.Placement = &swarm.Placement{}
	}
	return s.TaskTemplate.Placement
}

func keepDeploy(spec, live *swarm.ServiceSpec, p string) {
	head, key, _ := strings.Cut(p, ".")
	switch head {
	case "mode":
		spec.Mode = live.Mode
	case "replicas":
		if modeName(spec.Mode) == modeName(live.Mode) {
			spec.Mode = live.Mode
		}
	case "labels":
		keepKey(&spec.Labels, live.Labels, key)
	case "endpoint_mode":
		if spec.EndpointSpec == nil {
			spec.EndpointSpec = &swarm.EndpointSpec{}
		}
		spec.EndpointSpec.Mode = ""
		if live.EndpointSpec != nil {
			spec.EndpointSpec.Mode = live.EndpointSpec.Mode
		}
	case "placement":
		keepPlacement(placement(spec), placement(live), key)
	case "resources":
		spec.TaskTemplate.Resources = keepResources(spec.TaskTemplate.Resources, live.TaskTemplate.Resources, key)
	case "restart_policy":
		spec.TaskTemplate.RestartPolicy = live.TaskTemplate.RestartPolicy
	case "update_config":
		spec.UpdateConfig = live.UpdateConfig
	case "rollback_config":
		spec.RollbackConfig = live.RollbackConfig
	}
}

func keepPlacement(spec, live *swarm.Placement, key string) {
	all := key == ""
	if all || key == "constraints" {
		spec.Constraints = live.Constraints
	}
	if all || key == "preferences" {
		spec.Preferences = live.Preferences
	}
	if all || key == "max_replicas_per_node" {
		spec.MaxReplicas = live.MaxReplicas
	}
}

func keepResources(spec, live *swarm.ResourceRequirements, key string) *swarm.ResourceRequirements {
	to, from := wholeResources(spec), wholeResources(live)
	switch key {
	case "":
		return live
	case "limits":
		to.Limits = from.Limits
	case "limits.cpus":
		to.Limits.NanoCPUs = from.Limits.NanoCPUs
	case "limits.memory":
		to.Limits.MemoryBytes = from.Limits.MemoryBytes
	case "limits.pids":
		to.Limits.Pids = from.Limits.Pids
	case "reservations":
		to.Reservations = from.Reservations
	case "reservations.cpus":
		to.Reservations.NanoCPUs = from.Reservations.NanoCPUs
	case "reservations.memory":
		to.Reservations.MemoryBytes = from.Reservations.MemoryBytes
	case "reservations.generic_resources":
		to.Reservations.GenericResources = from.Reservations.GenericResources
	default:
		return spec
	}
	return to
}

// wholeResources gives requirements whose parts are all there.
func wholeResources(r *swarm.ResourceRequirements) *swarm.ResourceRequirements {
	out := cloneResources(r)
	if out == nil {
		out = &swarm.ResourceRequirements{}
	}
	if out.Limits == nil {
		out.Limits = &swarm.Limit{}
	}
	if out.Reservations == nil {
		out.Reservations = &swarm.Resources{}
	}
	return out
}
