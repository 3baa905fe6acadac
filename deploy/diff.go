package deploy

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// Diff says what has to be done so that the swarm is as want asks. It compares
// what the specs mean, so an empty plan is the proof that nothing changed; an
// update starts from the live spec and replaces only what differs.
//
// It needs the stack's configs (see Detail) to tell for sure: a plan made without
// them is right when it is empty, and otherwise has to be made again with them.
//
// The error joins all that stands in the way (*ConflictError, *RefusedError); the
// plan has no steps then. Neither argument is changed, nor shared with the plan.
func Diff(want stack.Spec, live Live, o DiffOptions) (Plan, error) {
	d := newDiffer(want, live, o)
	d.networks()
	d.objects()
	d.services()
	p := d.plan()
	if len(d.errs) > 0 {
		return p, errors.Join(d.errs...)
	}
	p.Steps = slices.Concat(d.before, d.early, d.late)
	p.Deferred = d.deferred
	return p, nil
}

// differ is one Diff at work.
type differ struct {
	want stack.Spec
	live Live
	x    *index
	o    DiffOptions
	who  owner
	api  string // the lowest: what a node would drop is not compared

	before   []Step // removals that make room
	early    []Step // networks, secrets, configs
	late     []Step // services
	deferred []Deferred
	notes    []string
	errs     []error

	refs     map[Kind]map[string]ref // secrets and configs by stack key
	replaced map[string]bool         // names of networks that are replaced

	afterPorts map[string][]string // keys that a service takes a port from
}

// ref is what a stack key of a secret or config stands for in the swarm.
type ref struct{ name, id string }

func newDiffer(want stack.Spec, live Live, o DiffOptions) *differ {
	return &differ{
		want: want, live: live, x: live.Indexed().index, o: o,
		who:      owner{stack: want.Name, tenant: want.Tenant, instance: o.Instance, adopt: o.Adopt, owned: o.Owned},
		api:      live.LowestAPI(),
		refs:     map[Kind]map[string]ref{KindSecret: {}, KindConfig: {}},
		replaced: map[string]bool{},
	}
}

func (d *differ) plan() Plan {
	return Plan{Tenant: d.want.Tenant, Stack: d.want.Name, Notes: d.notes, taken: d.live.Taken, guard: d.o.Guard}
}

func (d *differ) refuse(kind Kind, name, service, text string) {
	d.errs = append(d.errs, &RefusedError{Kind: kind, Name: name, Service: service, Text: text})
}

// waitFor is refuse for what may end without a change of the stack.
func (d *differ) waitFor(kind Kind, name, service, text string) {
	d.errs = append(d.errs, &RefusedError{Kind: kind, Name: name, Service: service, Text: text, Passing: true})
}

// allow says whether an object may be changed; if not, that is one of the errors.
func (d *differ) allow(kind Kind, name, id string, labels map[string]string) bool {
	err := d.who.check(kind, name, id, labels)
	if err != nil {
		d.errs = append(d.errs, err)
	}
	return err == nil
}

// change is one service of the stack and what has to happen to it.
type change struct {
	want stack.Service
	live *swarm.Service // nil: there is none
	step *Step          // nil: nothing
}

// services plans the services: what each needs, then in which order, then which
// of them have to wait.
func (d *differ) services() {
	changes := map[string]*change{}
	for _, s := range d.want.Services {
		changes[s.Key] = d.service(s)
	}
	if len(d.errs) > 0 {
		return
	}
	d.detach(changes)
	after := d.ports(changes)
	order, ok := d.order(after)
	if !ok {
		d.refuse(KindService, d.want.Name, "", "services wait for each other in a circle, by depends_on or because they exchange published ports: free the ports in one commit and use them in the next")
		return
	}
	d.release(changes, order)
}

// service plans one service.
func (d *differ) service(s stack.Service) *change {
	c := &change{want: s, live: d.x.services[s.Spec.Name]}
	if c.live != nil && !d.allow(KindService, s.Spec.Name, c.live.ID, OwnerLabels(c.live)) {
		return c
	}
	spec := d.final(s, c.live)
	if c.live == nil {
		c.step = d.create(s, spec)
		return c
	}
	keepIgnored(&spec, &c.live.Spec, s.Key, d.want.Wishes.Ignore)
	c.step = d.update(s, spec, c.live)
	return c
}

func (d *differ) create(s stack.Service, spec swarm.ServiceSpec) *Step {
	d.noteUnpinned(s, spec)
	if spec.TaskTemplate.Placement == nil { // engines up to 28 may panic without one (swarmkit, nodeMatches)
		spec.TaskTemplate.Placement = &swarm.Placement{}
	}
	return &Step{Action: Create, Kind: KindService, Name: spec.Name, Service: s.Key, Restarts: false,
		Why: "it is not in the swarm", do: payload{service: &spec, auth: d.auth(spec)}}
}

// final is the spec that git asks for with all that only the swarm tells: skep's
// labels, the names of secrets and configs, the image's digest.
func (d *differ) final(s stack.Service, live *swarm.Service) swarm.ServiceSpec {
	spec := cloneSpec(s.Spec)
	given := spec.Labels
	spec.Labels = d.who.labels(given)
	if c := spec.TaskTemplate.ContainerSpec; c != nil {
		if _, ok := given[LabelImage]; !ok {
			spec.Labels[LabelImage] = c.Image
		}
		d.refer(c)
		pin(&spec, live, d.o.Digests)
	}
	return spec
}

// refer puts the swarm's names, and IDs where they are known, in the place of
// stack keys.
func (d *differ) refer(c *swarm.ContainerSpec) {
	for _, r := range c.Secrets {
		if to, ok := d.refs[KindSecret][r.SecretName]; ok {
			r.SecretName, r.SecretID = to.name, to.id
		}
	}
	for _, r := range c.Configs {
		if to, ok := d.refs[KindConfig][r.ConfigName]; ok {
			r.ConfigName, r.ConfigID = to.name, to.id
		}
	}
	if p := c.Privileges; p != nil && p.CredentialSpec != nil {
		if to, ok := d.refs[KindConfig][p.CredentialSpec.Config]; ok {
			p.CredentialSpec.Config = cmp.Or(to.id, to.name)
		}
	}
	// As docker stack deploy sorts them, and to the last.
	slices.SortStableFunc(c.Secrets, func(a, b *swarm.SecretReference) int {
		return cmp.Or(strings.Compare(a.SecretName, b.SecretName), strings.Compare(fileName((*fileTarget)(a.File)), fileName((*fileTarget)(b.File))))
	})
	slices.SortStableFunc(c.Configs, func(a, b *swarm.ConfigReference) int {
		return cmp.Or(strings.Compare(a.ConfigName, b.ConfigName), strings.Compare(fileName((*fileTarget)(a.File)), fileName((*fileTarget)(b.File))))
	})
}

// comparable gives a spec in the form that both sides are compared in: normalised,
// networks, secrets and configs by name.
func (d *differ) comparable(s swarm.ServiceSpec) swarm.ServiceSpec {
	s = Normalize(s, d.api)
	s.TaskTemplate.ForceUpdate = 0
	d.nameNetworks(s.TaskTemplate.Networks)
	c := s.TaskTemplate.ContainerSpec
	if c == nil {
		return s
	}
	for _, r := range c.Secrets {
		r.SecretID = ""
	}
	byID := map[string]string{}
	for _, r := range c.Configs {
		byID[r.ConfigID] = r.ConfigName
		r.ConfigID = ""
	}
	if p := c.Privileges; p != nil && p.CredentialSpec != nil && p.CredentialSpec.Config != "" {
		p.CredentialSpec.Config = cmp.Or(byID[p.CredentialSpec.Config], p.CredentialSpec.Config)
	}
	return s
}

// nameNetworks puts names in the place of the IDs that live specs hold.
func (d *differ) nameNetworks(list []swarm.NetworkAttachmentConfig) {
	for i := range list {
		if n := d.x.netByID[list[i].Target]; n != nil {
			list[i].Target = n.Name
		}
	}
	sortNetworks(list)
}

// predefined says that every node has a network of that name. The swarm keeps one
// of its own for services, which its network list leaves out.
func predefined(name string) bool {
	return name == "host" || name == "bridge" || name == "none"
}

// matchPredefined names the live attachments that the network list does not know
// after the predefined networks that git asks for and no live attachment names.
func (d *differ) matchPredefined(want, live []swarm.NetworkAttachmentConfig) {
	named := map[string]bool{}
	for _, n := range live {
		named[n.Target] = true
	}
	var missing []string
	for _, n := range want {
		if predefined(n.Target) && !named[n.Target] {
			missing = append(missing, n.Target)
		}
	}
	for i := range live {
		if len(missing) > 0 && !predefined(live[i].Target) && d.x.networks[live[i].Target] == nil {
			live[i].Target, missing = missing[0], missing[1:]
		}
	}
	sortNetworks(live)
}

// update plans what makes a live service as spec asks; nil: it is.
func (d *differ) update(s stack.Service, spec swarm.ServiceSpec, live *swarm.Service) *Step {
	want, have := d.comparable(spec), d.comparable(live.Spec)
	d.matchPredefined(want.TaskTemplate.Networks, have.TaskTemplate.Networks)
	touched := compare(want, have)
	if touched == (sections{}) && !d.o.Resend {
		return nil
	}
	out := merge(spec, live.Spec, touched)
	step := &Step{Action: Update, Kind: KindService, Name: spec.Name, ID: live.ID, Service: s.Key,
		do: payload{service: &out, auth: d.auth(out), version: live.Version}}
	switch {
	case touched == (sections{}), jobOf(live.Spec.Mode) && touched.harmlessToJobs():
		return d.resend(step, live)
	case touched.mode && modeName(want.Mode) != modeName(have.Mode):
		return d.replace(step, spec, live, fmt.Sprintf("its mode changes from %s to %s", modeName(have.Mode), modeName(want.Mode)))
	//lint:ignore SA1019 services that older clients made carry it
	case touched.networks && len(live.Spec.Networks) > 0 && len(live.Spec.TaskTemplate.Networks) == 0:
		return d.replace(step, spec, live, "its networks change and it was created with an engine that can't update them")
	}
	base := cloneSpec(live.Spec)
	step.do.base = &base
	step.Changes = d.changes(s.Key, want, have)
	step.Restarts = touched.restarts() || touched.placement && d.displaced(live, out.TaskTemplate.Placement) || jobOf(live.Spec.Mode)
	step.Why = "it differs from git: " + fields(step.Changes, "services."+s.Key+".")
	if touched.container {
		d.noteUnpinned(s, spec)
	}
	return step
}

// replace plans what can only be done by removing and creating again.
func (d *differ) replace(step *Step, spec swarm.ServiceSpec, live *swarm.Service, why string) *Step {
	if !d.want.Wishes.Replace {
		d.refuse(KindService, step.Name, step.Service, why+": Swarm can't update that; x-skep: {replace: true} allows to remove the service and create it again")
		return nil
	}
	want, have := d.comparable(spec), d.comparable(live.Spec)
	step.Action, step.Restarts, step.Why = Replace, true, why
	step.Changes = d.changes(step.Service, want, have)
	step.do.service = &spec
	step.do.labels = maps.Clone(OwnerLabels(live))
	return step
}

// resend sends a service that is as asked once more, with other credentials. A
// job would run again, so it keeps its old ones.
func (d *differ) resend(step *Step, live *swarm.Service) *Step {
	if !d.o.Resend || step.do.auth == "" || jobOf(live.Spec.Mode) {
		return nil
	}
	spec, base := cloneSpec(live.Spec), cloneSpec(live.Spec)
	step.do.service, step.do.base = &spec, &base
	step.Why = "the registry's credentials changed"
	return step
}

// displaced says that a placement drives a running task from its node.
func (d *differ) displaced(live *swarm.Service, p *swarm.Placement) bool {
	for _, t := range d.x.tasks[live.ID] {
		if n := d.x.nodes[t.NodeID]; n != nil && wanted(t) && !ended(t) && !meets(n, p) {
			return true
		}
	}
	return false
}

// sections are the parts of a service spec that differ. Swarm restarts tasks for
// some of them.
type sections struct {
	labels, container, resources, restart, placement, networks, log, mode, update, rollback, endpoint bool
}

// restarts says that Swarm replaces every task (swarmkit, IsTaskDirty).
func (s sections) restarts() bool {
	return s.container || s.resources || s.restart || s.networks || s.log || s.endpoint
}

// harmlessToJobs says that no part differs that tells a job what to do: any write
// would run it again.
func (s sections) harmlessToJobs() bool {
	return !s.restarts() && !s.placement && !s.mode
}

// compare tells which parts of two comparable specs differ.
func compare(want, have swarm.ServiceSpec) sections {
	w, h := &want.TaskTemplate, &have.TaskTemplate
	return sections{
		labels:    !maps.Equal(want.Labels, have.Labels),
		container: !reflect.DeepEqual(w.ContainerSpec, h.ContainerSpec),
		resources: !reflect.DeepEqual(w.Resources, h.Resources),
		restart:   !reflect.DeepEqual(w.RestartPolicy, h.RestartPolicy),
		placement: !reflect.DeepEqual(w.Placement, h.Placement),
		networks:  !reflect.DeepEqual(w.Networks, h.Networks),
		log:       !reflect.DeepEqual(w.LogDriver, h.LogDriver),
		mode:      !reflect.DeepEqual(want.Mode, have.Mode),
		update:    !reflect.DeepEqual(want.UpdateConfig, have.UpdateConfig),
		rollback:  !reflect.DeepEqual(want.RollbackConfig, have.RollbackConfig),
		endpoint:  !reflect.DeepEqual(want.EndpointSpec, have.EndpointSpec),
	}
}

// merge gives the live spec with the parts replaced that differ in meaning; the
// others stay as they are to the byte, because Swarm restarts tasks for less.
func merge(spec, live swarm.ServiceSpec, s sections) swarm.ServiceSpec {
	out, spec := cloneSpec(live), cloneSpec(spec)
	take(s.labels, &out.Labels, spec.Labels)
	take(s.container, &out.TaskTemplate.ContainerSpec, spec.TaskTemplate.ContainerSpec)
	take(s.resources, &out.TaskTemplate.Resources, spec.TaskTemplate.Resources)
	take(s.restart, &out.TaskTemplate.RestartPolicy, spec.TaskTemplate.RestartPolicy)
	take(s.placement, &out.TaskTemplate.Placement, spec.TaskTemplate.Placement)
	take(s.networks, &out.TaskTemplate.Networks, spec.TaskTemplate.Networks)
	take(s.log, &out.TaskTemplate.LogDriver, spec.TaskTemplate.LogDriver)
	take(s.mode, &out.Mode, spec.Mode)
	take(s.update, &out.UpdateConfig, spec.UpdateConfig)
	take(s.rollback, &out.RollbackConfig, spec.RollbackConfig)
	take(s.endpoint, &out.EndpointSpec, spec.EndpointSpec)
	if s.placement && out.TaskTemplate.Placement == nil {
		out.TaskTemplate.Placement = &swarm.Placement{}
	}
	return out
}

func take[T any](differs bool, to *T, from T) {
	if differs {
		*to = from
	}
}

func jobOf(m swarm.ServiceMode) bool { return m.ReplicatedJob != nil || m.GlobalJob != nil }

// modeName is the mode's word in a compose file.
func modeName(m swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.ReplicatedJob != nil:
		return "replicated-job"
	case m.GlobalJob != nil:
		return "global-job"
	}
	return "replicated"
}
