package deploy

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// changes lists the fields of a service that differ, under the paths that a
// compose file gives them. Both specs are comparable ones. Values are told only
// where they can't be secret: numbers, words of Swarm's own, and images that hold
// no tainted value.
func (d *differ) changes(key string, want, have swarm.ServiceSpec) []Change {
	c := &changeList{prefix: "services." + key + ".", taint: d.want.Taint}
	c.container(want.TaskTemplate.ContainerSpec, have.TaskTemplate.ContainerSpec)
	c.task(&want.TaskTemplate, &have.TaskTemplate)
	c.deploy(want, have)
	return c.list
}

// changeList gathers changes. In its methods want comes before have.
type changeList struct {
	prefix string
	taint  stack.Taint
	list   []Change
}

// field adds a field without its values.
func (c *changeList) field(name string, differs bool) {
	if differs {
		c.list = append(c.list, Change{Field: c.prefix + c.taint.Redact(name)})
	}
}

// deep adds a field without its values if they are not deeply equal.
func (c *changeList) deep(name string, want, have any) {
	c.field(name, !reflect.DeepEqual(want, have))
}

// value adds a field with its values.
func (c *changeList) value(name string, want, have any) {
	if want != have {
		c.list = append(c.list, Change{Field: c.prefix + name, From: fmt.Sprint(have), To: fmt.Sprint(want)})
	}
}

// keys adds an entry for each key whose value differs.
func (c *changeList) keys(name string, want, have map[string]string) {
	all := map[string]bool{}
	for k := range want {
		all[k] = true
	}
	for k := range have {
		all[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		w, inWant := want[k]
		h, inHave := have[k]
		c.field(name+"."+k, inWant != inHave || w != h)
	}
}

// byKey makes a map of K=V lines; of several lines with one key it keeps all.
func byKey(lines []string) map[string]string {
	m := map[string]string{}
	for _, l := range lines {
		k, _, _ := strings.Cut(l, "=")
		m[k] += l + "\x00"
	}
	return m
}

func (c *changeList) image(want, have string) {
	if want == have {
		return
	}
	ch := Change{Field: c.prefix + "image"}
	if !c.taint.In(want) && !c.taint.In(have) {
		ch.From, ch.To = have, want
	}
	c.list = append(c.list, ch)
}

func (c *changeList) container(w, h *swarm.ContainerSpec) {
	if w == nil || h == nil {
		c.field("image", w != h)
		return
	}
	c.image(w.Image, h.Image)
	c.keys("environment", byKey(w.Env), byKey(h.Env))
	c.keys("labels", w.Labels, h.Labels)
	c.keys("sysctls", w.Sysctls, h.Sysctls)
	c.deep("entrypoint", w.Command, h.Command)
	c.deep("command", w.Args, h.Args)
	c.field("hostname", w.Hostname != h.Hostname)
	c.field("working_dir", w.Dir != h.Dir)
	c.field("user", w.User != h.User)
	c.deep("group_add", w.Groups, h.Groups)
	c.deep("security_opt", w.Privileges, h.Privileges)
	c.value("init", word(w.Init), word(h.Init))
	c.field("stop_signal", w.StopSignal != h.StopSignal)
	c.value("stop_grace_period", duration(w.StopGracePeriod), duration(h.StopGracePeriod))
	c.value("tty", w.TTY, h.TTY)
	c.value("stdin_open", w.OpenStdin, h.OpenStdin)
	c.value("read_only", w.ReadOnly, h.ReadOnly)
	c.mounts(w.Mounts, h.Mounts)
	c.deep("healthcheck", w.Healthcheck, h.Healthcheck)
	c.deep("extra_hosts", w.Hosts, h.Hosts)
	c.dns(w.DNSConfig, h.DNSConfig)
	c.keys("secrets", secretFiles(w), secretFiles(h))
	c.keys("configs", configFiles(w), configFiles(h))
	c.value("isolation", w.Isolation, h.Isolation)
	c.deep("cap_add", w.CapabilityAdd, h.CapabilityAdd)
	c.deep("cap_drop", w.CapabilityDrop, h.CapabilityDrop)
	c.deep("ulimits", w.Ulimits, h.Ulimits)
	c.value("oom_score_adj", w.OomScoreAdj, h.OomScoreAdj)
}

func (c *changeList) dns(w, h *swarm.DNSConfig) {
	var wd, hd swarm.DNSConfig
	if w != nil {
		wd = *w
	}
	if h != nil {
		hd = *h
	}
	c.deep("dns", wd.Nameservers, hd.Nameservers)
	c.deep("dns_search", wd.Search, hd.Search)
	c.deep("dns_opt", wd.Options, hd.Options)
}

func (c *changeList) mounts(w, h []mount.Mount) {
	c.keys("volumes", mountsByTarget(w), mountsByTarget(h))
}

func mountsByTarget(mounts []mount.Mount) map[string]string {
	m := map[string]string{}
	for _, v := range mounts {
		m[v.Target] += fmt.Sprintf("%v %v %v %v %+v %+v %+v\x00", v.Type, v.Source, v.Target, v.ReadOnly, deref(v.BindOptions), volume(v.VolumeOptions), deref(v.TmpfsOptions))
	}
	return m
}

func volume(v *mount.VolumeOptions) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%v %v %v %+v", v.NoCopy, v.Labels, v.Subpath, deref(v.DriverConfig))
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// secretFiles gives what appears in a container under which name.
func secretFiles(c *swarm.ContainerSpec) map[string]string {
	m := map[string]string{}
	for _, r := range c.Secrets {
		m[fileName((*fileTarget)(r.File))] += fmt.Sprintf("%s %+v\x00", r.SecretName, deref(r.File))
	}
	return m
}

func configFiles(c *swarm.ContainerSpec) map[string]string {
	m := map[string]string{}
	for _, r := range c.Configs {
		m[fileName((*fileTarget)(r.File))] += fmt.Sprintf("%s %+v\x00", r.ConfigName, deref(r.File))
	}
	return m
}

func (c *changeList) task(w, h *swarm.TaskSpec) {
	c.resources(w.Resources, h.Resources)
	c.restart(w.RestartPolicy, h.RestartPolicy)
	c.placement(w.Placement, h.Placement)
	c.keys("networks", attachments(w.Networks), attachments(h.Networks))
	c.deep("logging", w.LogDriver, h.LogDriver)
}

func attachments(list []swarm.NetworkAttachmentConfig) map[string]string {
	m := map[string]string{}
	for _, n := range list {
		m[n.Target] += fmt.Sprintf("%v %v\x00", n.Aliases, n.DriverOpts)
	}
	return m
}

func (c *changeList) resources(w, h *swarm.ResourceRequirements) {
	wl, wr := parts(w)
	hl, hr := parts(h)
	c.value("deploy.resources.limits.cpus", cpus(wl.NanoCPUs), cpus(hl.NanoCPUs))
	c.value("deploy.resources.limits.memory", wl.MemoryBytes, hl.MemoryBytes)
	c.value("deploy.resources.limits.pids", wl.Pids, hl.Pids)
	c.value("deploy.resources.reservations.cpus", cpus(wr.NanoCPUs), cpus(hr.NanoCPUs))
	c.value("deploy.resources.reservations.memory", wr.MemoryBytes, hr.MemoryBytes)
	c.deep("deploy.resources.reservations.generic_resources", wr.GenericResources, hr.GenericResources)
}

func parts(r *swarm.ResourceRequirements) (swarm.Limit, swarm.Resources) {
	var l swarm.Limit
	var v swarm.Resources
	if r != nil && r.Limits != nil {
		l = *r.Limits
	}
	if r != nil && r.Reservations != nil {
		v = *r.Reservations
	}
	return l, v
}

func cpus(nano int64) string { return fmt.Sprint(float64(nano) / 1e9) }

func (c *changeList) restart(w, h *swarm.RestartPolicy) {
	var wp, hp swarm.RestartPolicy
	if w != nil {
		wp = *w
	}
	if h != nil {
		hp = *h
	}
	anyway := func(p swarm.RestartPolicy) swarm.RestartPolicyCondition {
		if p.Condition == "" {
			return swarm.RestartPolicyConditionAny
		}
		return p.Condition
	}
	c.value("deploy.restart_policy.condition", anyway(wp), anyway(hp))
	c.value("deploy.restart_policy.delay", duration(wp.Delay), duration(hp.Delay))
	c.value("deploy.restart_policy.max_attempts", word(wp.MaxAttempts), word(hp.MaxAttempts))
	c.value("deploy.restart_policy.window", duration(wp.Window), duration(hp.Window))
}

func (c *changeList) placement(w, h *swarm.Placement) {
	var wp, hp swarm.Placement
	if w != nil {
		wp = *w
	}
	if h != nil {
		hp = *h
	}
	c.deep("deploy.placement.constraints", wp.Constraints, hp.Constraints)
	c.deep("deploy.placement.preferences", wp.Preferences, hp.Preferences)
	c.value("deploy.placement.max_replicas_per_node", wp.MaxReplicas, hp.MaxReplicas)
	c.deep("platform", wp.Platforms, hp.Platforms)
}

func (c *changeList) deploy(w, h swarm.ServiceSpec) {
	wl, hl := w.Labels, h.Labels
	if slices.ContainsFunc(c.list, func(ch Change) bool { return ch.Field == c.prefix+"image" }) {
		wl, hl = without(wl, LabelImage), without(hl, LabelImage) // it says the same
	}
	c.keys("deploy.labels", wl, hl)
	c.value("deploy.mode", modeName(w.Mode), modeName(h.Mode))
	if modeName(w.Mode) == modeName(h.Mode) {
		c.value("deploy.replicas", replicas(w.Mode), replicas(h.Mode))
	}
	c.update("deploy.update_config", w.UpdateConfig, h.UpdateConfig)
	c.update("deploy.rollback_config", w.RollbackConfig, h.RollbackConfig)
	var we, he swarm.EndpointSpec
	if w.EndpointSpec != nil {
		we = *w.EndpointSpec
	}
	if h.EndpointSpec != nil {
		he = *h.EndpointSpec
	}
	c.deep("ports", we.Ports, he.Ports)
	c.value("deploy.endpoint_mode", endpointMode(we), endpointMode(he))
}

// without gives a map without one key.
func without(m map[string]string, key string) map[string]string {
	m = maps.Clone(m)
	delete(m, key)
	return m
}

func endpointMode(e swarm.EndpointSpec) swarm.ResolutionMode {
	if e.Mode == "" {
		return swarm.ResolutionModeVIP
	}
	return e.Mode
}

// replicas is how many tasks a mode asks for; of jobs, what differs in them.
func replicas(m swarm.ServiceMode) string {
	switch {
	case m.Replicated != nil:
		return word(m.Replicated.Replicas)
	case m.ReplicatedJob != nil && word(m.ReplicatedJob.MaxConcurrent) == word(m.ReplicatedJob.TotalCompletions):
		return word(m.ReplicatedJob.TotalCompletions)
	case m.ReplicatedJob != nil:
		return word(m.ReplicatedJob.TotalCompletions) + ", at a time " + word(m.ReplicatedJob.MaxConcurrent)
	}
	return ""
}

func (c *changeList) update(name string, w, h *swarm.UpdateConfig) {
	none := swarm.UpdateConfig{Parallelism: 1, FailureAction: swarm.UpdateFailureActionPause, Order: swarm.UpdateOrderStopFirst}
	wu, hu := none, none
	if w != nil {
		wu = *w
	}
	if h != nil {
		hu = *h
	}
	c.value(name+".parallelism", wu.Parallelism, hu.Parallelism)
	c.value(name+".delay", wu.Delay, hu.Delay)
	c.value(name+".failure_action", wu.FailureAction, hu.FailureAction)
	c.value(name+".monitor", wu.Monitor, hu.Monitor)
	c.value(name+".max_failure_ratio", wu.MaxFailureRatio, hu.MaxFailureRatio)
	c.value(name+".order", wu.Order, hu.Order)
}

// word is a value that may be missing.
func word[T any](p *T) string {
	if p == nil {
		return "default"
	}
	return fmt.Sprint(*p)
}

func duration(p *time.Duration) string { return word(p) }

// fields names the fields of changes for a sentence.
func fields(changes []Change, prefix string) string {
	const most = 6
	var names []string
	for _, c := range changes {
		names = append(names, strings.TrimPrefix(c.Field, prefix))
	}
	if len(names) > most {
		names = append(names[:most], fmt.Sprintf("and %d more", len(names)-most))
	}
	return strings.Join(names, ", ")
}
