package stack

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

// scope is one service while it is converted.
type scope struct {
	*converter
	key  string // in the compose file
	path string // services.KEY
	svc  types.ServiceConfig
	dict map[string]any // the service before types.Project
}

// errorf and warnf are the converter's, for a key of this service.
func (s *scope) errorf(key, format string, args ...any) {
	s.converter.errorf(s.key, s.path+"."+key, format, args...)
}

func (s *scope) warnf(key, format string, args ...any) {
	s.converter.warnf(s.key, s.path+"."+key, format, args...)
}

// service converts one service as docker stack deploy does: Resources,
// Placement, Privileges and EndpointSpec are never nil, because nil and empty
// differ to Swarm (and a nil Placement can crash a leader).
func (s *scope) service() Service {
	s.checkName()
	d := s.deploy()
	mode := s.mode(d)
	spec := swarm.ServiceSpec{
		Annotations: swarm.Annotations{
			Name:   s.scoped(s.key),
			Labels: s.labels(s.key, s.path+".deploy.labels", d.Labels),
		},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: s.container(),
			Resources:     s.resources(d.Resources),
			RestartPolicy: s.restartPolicy(d.RestartPolicy),
			Placement:     s.placement(d.Placement),
			Networks:      s.attachments(),
			LogDriver:     s.logDriver(),
		},
		Mode:           mode,
		UpdateConfig:   s.updateConfig("deploy.update_config", d.UpdateConfig),
		RollbackConfig: s.updateConfig("deploy.rollback_config", d.RollbackConfig),
		EndpointSpec:   s.endpoint(d.EndpointMode),
	}
	spec.Labels[labelImage] = s.svc.Image
	s.checkProcess()
	s.checkJob(spec)
	s.checkTemplates(spec)
	s.checkSize(spec)
	return Service{Key: s.key, Spec: spec, DependsOn: s.dependsOn(), Pos: s.at(s.path)}
}

func (s *scope) deploy() types.DeployConfig {
	if s.svc.Deploy == nil {
		return types.DeployConfig{}
	}
	return *s.svc.Deploy
}

// container converts what runs on the node. Command and Args are docker's names
// for compose's entrypoint and command.
func (s *scope) container() *swarm.ContainerSpec {
	add, drop := s.capabilities()
	secrets, configs := s.secretRefs(), s.configRefs()
	spec := &swarm.ContainerSpec{
		Image:           s.image(),
		Labels:          s.labels(s.key, s.path+".labels", s.svc.Labels),
		Command:         s.words("entrypoint", s.svc.Entrypoint),
		Args:            s.words("command", s.svc.Command),
		Hostname:        s.svc.Hostname,
		Env:             s.env(),
		Dir:             s.svc.WorkingDir,
		User:            s.svc.User,
		Groups:          slices.Clone(s.svc.GroupAdd),
		Privileges:      s.privileges(),
		Init:            s.svc.Init,
		StopSignal:      s.svc.StopSignal,
		TTY:             s.svc.Tty,
		OpenStdin:       s.svc.StdinOpen,
		ReadOnly:        s.svc.ReadOnly,
		Mounts:          s.mounts(),
		StopGracePeriod: s.duration("stop_grace_period", s.svc.StopGracePeriod),
		Healthcheck:     s.healthcheck(),
		Hosts:           s.hosts(),
		DNSConfig:       s.dns(),
		Secrets:         secrets,
		Configs:         configs,
		Isolation:       s.isolation(),
		Sysctls:         maps.Clone(s.svc.Sysctls),
		CapabilityAdd:   add,
		CapabilityDrop:  drop,
		Ulimits:         s.ulimits(),
		OomScoreAdj:     s.oomScoreAdj(),
	}
	return spec
}

func (s *scope) image() string {
	if s.svc.Image == "" {
		s.errorf("image", "is missing: Swarm runs images from a registry and builds none")
		return ""
	}
	if _, err := reference.ParseNormalizedNamed(s.svc.Image); err != nil {
		s.errorf("image", "%q is not an image reference such as registry.example.com/team/app:1.2", s.svc.Image)
	}
	return s.svc.Image
}

// words is a command line. An empty list can't clear the image's own: Swarm does not tell it from none.
func (s *scope) words(key string, words types.ShellCommand) []string {
	if words != nil && len(words) == 0 {
		s.warnf(key, "an empty list can't clear the image's own %s in Swarm", key)
	}
	return slices.Clone([]string(words))
}

// env is sorted K=V; K alone unsets what the image sets.
func (s *scope) env() []string {
	var out []string
	for k, v := range s.svc.Environment {
		switch {
		case k == "":
			s.errorf("environment", "a variable has no name")
		case strings.ContainsRune(k, 0), v != nil && strings.ContainsRune(*v, 0):
			s.errorf("environment", "variable %q holds a NUL byte", k)
		case v == nil:
			out = append(out, k)
		default:
			out = append(out, k+"="+*v)
		}
	}
	sort.Strings(out)
	return out
}

// hosts gives "IP name" in the file's order where it is a list, by name where it is a mapping.
func (s *scope) hosts() []string {
	var out []string
	for _, e := range s.hostEntries() {
		name, ip, ok := strings.Cut(e, "=")
		if !ok {
			name, ip, ok = strings.Cut(e, ":")
		}
		if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
			ip = ip[1 : len(ip)-1]
		}
		if _, err := netip.ParseAddr(ip); (err != nil && ip != "host-gateway") || !ok || name == "" {
			s.errorf("extra_hosts", "%q is not of the form name:IP", e)
			continue
		}
		out = append(out, ip+" "+name)
	}
	return out
}

func (s *scope) hostEntries() []string {
	if list, ok := s.dict["extra_hosts"].([]any); ok {
		var out []string
		for _, e := range list {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	var out []string
	for name, ips := range s.svc.ExtraHosts {
		for _, ip := range ips {
			out = append(out, name+"="+ip)
		}
	}
	sort.Strings(out)
	return out
}

func (s *scope) dns() *swarm.DNSConfig {
	if len(s.svc.DNS)+len(s.svc.DNSSearch)+len(s.svc.DNSOpts) == 0 {
		return nil
	}
	for _, server := range s.svc.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			s.errorf("dns", "%q is not an IP address", server)
		}
	}
	return &swarm.DNSConfig{
		Nameservers: slices.Clone([]string(s.svc.DNS)),
		Search:      slices.Clone([]string(s.svc.DNSSearch)),
		Options:     slices.Clone(s.svc.DNSOpts),
	}
}

// isolation: Swarm stores an unknown word as "default", without a word of warning.
func (s *scope) isolation() container.Isolation {
	i := container.Isolation(s.svc.Isolation)
	switch strings.ToLower(s.svc.Isolation) {
	case "", "default", "process", "hyperv":
	default:
		s.errorf("isolation", "%q is not one of default, process, hyperv", i)
	}
	return i
}

// capabilities are upper case, with CAP_, each once, sorted. ALL takes in the
// rest, and what is added is not dropped (docker/cli opts/capabilities.go).
func (s *scope) capabilities() (add, drop []string) {
	adds, drops := capabilitySet(s.svc.CapAdd), capabilitySet(s.svc.CapDrop)
	for c := range drops {
		if !adds[c] {
			drop = append(drop, c)
		}
	}
	for c := range adds {
		add = append(add, c)
	}
	sort.Strings(add)
	sort.Strings(drop)
	return add, drop
}

func capabilitySet(names []string) map[string]bool {
	set := map[string]bool{}
	for _, n := range names {
		n = strings.ToUpper(strings.TrimSpace(n))
		switch {
		case n == "ALL":
			return map[string]bool{n: true}
		case n == "RESET": // docker service update's word; it means nothing in a file
		case strings.HasPrefix(n, "CAP_"):
			set[n] = true
		default:
			set["CAP_"+n] = true
		}
	}
	return set
}

// ulimitNames are those that the kernel has (docker/go-units ulimit.go); runc refuses others when the task starts.
var ulimitNames = map[string]bool{
	"core": true, "cpu": true, "data": true, "fsize": true, "locks": true, "memlock": true, "msgqueue": true, "nice": true,
	"nofile": true, "nproc": true, "rss": true, "rtprio": true, "rttime": true, "sigpending": true, "stack": true,
}

func (s *scope) ulimits() []*container.Ulimit {
	var out []*container.Ulimit
	for _, name := range sortedKeys(s.svc.Ulimits) {
		u := s.svc.Ulimits[name]
		if u == nil {
			continue
		}
		l := &container.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			l.Soft, l.Hard = int64(u.Single), int64(u.Single)
		}
		if !ulimitNames[name] {
			s.errorf("ulimits."+name, "there is no such limit; it is one of %s", strings.Join(sortedKeys(ulimitNames), ", "))
		}
		if l.Soft < -1 || l.Hard < -1 {
			s.errorf("ulimits."+name, "a limit can't be below -1 (unlimited)")
		} else if l.Hard != -1 && (l.Soft > l.Hard || l.Soft == -1) {
			s.errorf("ulimits."+name, "the soft limit %d is above the hard limit %d", l.Soft, l.Hard)
		}
		out = append(out, l)
	}
	return out
}

func (s *scope) oomScoreAdj() int64 {
	n := s.svc.OomScoreAdj
	if n != 0 && !s.since(apiOomScoreAdj) {
		s.warnf("oom_score_adj", "ignored: it needs API 1.%d (Engine 27) on every node", apiOomScoreAdj)
		return 0
	}
	return n
}

func (s *scope) logDriver() *swarm.Driver {
	if s.svc.Logging == nil {
		return nil
	}
	return &swarm.Driver{Name: s.svc.Logging.Driver, Options: maps.Clone(map[string]string(s.svc.Logging.Options))}
}

// minHealthDuration is the engine's container.MinimumDuration.
const minHealthDuration = time.Millisecond

// healthcheck: a zero field inherits the image's.
func (s *scope) healthcheck() *container.HealthConfig {
	h := s.svc.HealthCheck
	if h == nil {
		return nil
	}
	if h.Disable {
		if len(h.Test) > 0 && h.Test[0] != "NONE" {
			s.errorf("healthcheck", "test and disable can't be set at the same time")
		}
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	s.checkHealthTest(h.Test)
	out := &container.HealthConfig{
		Test:          slices.Clone([]string(h.Test)),
		Interval:      s.healthDuration("interval", h.Interval),
		Timeout:       s.healthDuration("timeout", h.Timeout),
		StartPeriod:   s.healthDuration("start_period", h.StartPeriod),
		StartInterval: s.healthDuration("start_interval", h.StartInterval),
	}
	if h.Retries != nil {
		if *h.Retries > 1<<31-1 {
			s.errorf("healthcheck.retries", "%d is not between 0 and %d", *h.Retries, 1<<31-1)
		}
		out.Retries = int(*h.Retries)
	}
	if out.StartInterval != 0 && !s.since(apiStartInterval) {
		s.warnf("healthcheck.start_interval", "ignored: it needs API 1.%d (Engine 25) on every node", apiStartInterval)
		out.StartInterval = 0
	}
	return out
}

func (s *scope) checkHealthTest(test []string) {
	if len(test) == 0 {
		return
	}
	switch test[0] {
	case "NONE":
	case "CMD", "CMD-SHELL":
		if len(test) == 1 {
			s.errorf("healthcheck.test", "%s needs a command after it", test[0])
		}
	default:
		s.errorf("healthcheck.test", "a list starts with CMD, CMD-SHELL or NONE, not with %q", test[0])
	}
}

func (s *scope) healthDuration(key string, d *types.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v := time.Duration(*d)
	if v != 0 && v < minHealthDuration {
		s.errorf("healthcheck."+key, "%v is below the engine's minimum of %v", v, minHealthDuration)
	}
	return v
}

// duration is a pointer of its own; nil stays nil, and negative is an error.
func (s *scope) duration(key string, d *types.Duration) *time.Duration {
	if d == nil {
		return nil
	}
	v := time.Duration(*d)
	if v < 0 {
		s.errorf(key, "%v is negative", v)
	}
	return &v
}

// dependsOn is what the services' order is made of; docker stack deploy ignores it.
func (s *scope) dependsOn() []Dependency {
	var out []Dependency
	for _, name := range sortedKeys(s.svc.DependsOn) {
		d := s.svc.DependsOn[name]
		if s.implied(name, d) {
			continue
		}
		dep := Dependency{Service: name, Condition: d.Condition, Optional: !d.Required}
		if dep.Condition == "" {
			dep.Condition = types.ServiceConditionStarted
		}
		target, ok := s.m.project.Services[name]
		switch {
		case !ok && dep.Optional:
			continue
		case !ok && dep.Condition == types.ServiceConditionStarted: // docker stack deploy runs it
			s.warnf("depends_on."+name, "there is no service %q in this stack: nothing is waited for", name)
			continue
		case !ok:
			s.errorf("depends_on."+name, "there is no service %q in this stack", name)
			continue
		}
		s.checkCondition(dep, target)
		if d.Restart {
			s.warnf("depends_on."+name+".restart", "ignored: Swarm does not restart a service when another one restarts")
		}
		out = append(out, dep)
	}
	return out
}

// implied says that compose-go made a dependency out of links and the like,
// which docker stack deploy ignores: nobody asked for an order.
func (s *scope) implied(name string, d types.ServiceDependency) bool {
	if !d.Restart || s.at(s.path+".depends_on."+name+".restart") != s.at(s.path+".depends_on") {
		return false
	}
	for _, link := range s.svc.Links {
		if to, _, _ := strings.Cut(link, ":"); to == name {
			return true
		}
	}
	for _, v := range append([]string{s.svc.NetworkMode, s.svc.Ipc, s.svc.Pid}, s.svc.VolumesFrom...) {
		if v == name || v == types.ServicePrefix+name || strings.HasPrefix(v, name+":") {
			return true
		}
	}
	return false
}

// checkCondition refuses conditions that can never come true.
func (s *scope) checkCondition(d Dependency, target types.ServiceConfig) {
	path := "depends_on." + d.Service
	switch d.Condition {
	case types.ServiceConditionStarted, types.ServiceConditionHealthy:
	case types.ServiceConditionCompletedSuccessfully:
		if !ends(target) {
			s.errorf(path, "%s waits for ever: service %q runs without end; give it deploy.mode: replicated-job", d.Condition, d.Service)
		}
	default:
		s.errorf(path, "condition %q is not one of service_started, service_healthy, service_completed_successfully", d.Condition)
	}
}

// ends says whether a service's tasks may complete for good.
func ends(s types.ServiceConfig) bool {
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil {
		job := s.Deploy != nil && isJob(s.Deploy.Mode)
		return job || strings.HasPrefix(s.Restart, "on-failure")
	}
	c := s.Deploy.RestartPolicy.Condition
	return isJob(s.Deploy.Mode) || c == "none" || c == "on-failure"
}

func isJob(mode string) bool { return mode == "replicated-job" || mode == "global-job" }

// restartPolicy maps deploy.restart_policy, else compose's restart as docker does.
func (s *scope) restartPolicy(p *types.RestartPolicy) *swarm.RestartPolicy {
	if p == nil {
		return s.restart()
	}
	if s.svc.Restart != "" {
		s.warnf("restart", "ignored: deploy.restart_policy is there, and wins")
	}
	switch p.Condition {
	case "", "none", "on-failure", "any":
	default:
		s.errorf("deploy.restart_policy.condition", "%q is not one of none, on-failure, any", p.Condition)
	}
	out := &swarm.RestartPolicy{
		Condition: swarm.RestartPolicyCondition(p.Condition),
		Delay:     s.duration("deploy.restart_policy.delay", p.Delay),
		Window:    s.duration("deploy.restart_policy.window", p.Window),
	}
	if p.MaxAttempts != nil {
		n := *p.MaxAttempts
		out.MaxAttempts = &n
	}
	return out
}

func (s *scope) restart() *swarm.RestartPolicy {
	word, count, counted := strings.Cut(s.svc.Restart, ":")
	n, err := strconv.ParseUint(count, 10, 32)
	switch {
	case counted && (word != "on-failure" || err != nil):
	case word == "":
		return nil
	case word == "no":
		s.warnf("restart", `"no" can't be honoured: Swarm restarts tasks by default; write deploy.restart_policy.condition: none`)
		return nil
	case word == "always", word == "unless-stopped":
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}
	case word == "on-failure":
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure, MaxAttempts: &n}
	}
	s.errorf("restart", "%q is not one of no, always, unless-stopped, on-failure, on-failure:N", s.svc.Restart)
	return nil
}
