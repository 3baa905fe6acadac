package deploy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

const (
	// maxAge is how old the look behind a plan may be when it creates or removes.
	// An operator that was stopped meanwhile, or cut off, has to look again.
	maxAge = 30 * time.Second

	updateTries = 5
	shortTries  = 4                      // where a cause passes within a second or two
	shortWait   = 200 * time.Millisecond // before the second try; doubled each time
	goneTimeout = 20 * time.Second       // for a replaced service's tasks
)

// Apply carries a plan out, step by step. What does not depend on a step that
// failed is done all the same; the error joins a *StepError for each that failed.
// A step that needs an object whose own step failed is left out in silence.
//
// An error that is ErrStale says that the swarm is not as the plan takes it to
// be, or not yet (a network that is still going, a secret that is still used):
// look again. A plan whose look is too old, or whose memory was written since,
// ends with ErrStale before it creates or removes anything further. The daemon's
// own words are in the errors; they may quote the spec, so redact them.
func Apply(ctx context.Context, w Writer, p Plan) error {
	a := &applying{w: w, plan: p, ids: map[thing]string{}, failed: map[thing]bool{}}
	var errs []error
	for _, s := range p.Steps {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := a.step(ctx, s)
		if err == nil {
			continue
		}
		a.failed[thing{s.Kind, s.Name}] = true
		if errors.Is(err, errLeftOut) {
			continue
		}
		errs = append(errs, &StepError{Action: s.Action, Kind: s.Kind, Name: s.Name, Err: err, Refused: isRefusal(err)})
		if errors.Is(err, errVoid) {
			break
		}
	}
	return errors.Join(errs...)
}

// errLeftOut is a step that was not tried, since what it needs is not there.
var errLeftOut = errors.New("left out")

// errVoid ends a whole plan.
var errVoid = errors.New("the plan is void")

// thing is one object of the swarm, by what it is called there.
type thing struct {
	kind Kind
	name string
}

// applying is one plan that is being carried out.
type applying struct {
	w      Writer
	plan   Plan
	ids    map[thing]string // of what was created here
	failed map[thing]bool
}

func (a *applying) step(ctx context.Context, s Step) error {
	if a.lacks(s) {
		return errLeftOut
	}
	switch s.Action {
	case Create:
		return a.create(ctx, s)
	case Update:
		return a.update(ctx, s)
	case Remove:
		return a.remove(ctx, s)
	case Replace:
		return a.replace(ctx, s)
	}
	return fmt.Errorf("unknown action %q", s.Action)
}

// lacks says whether a step of this plan failed that s builds on.
func (a *applying) lacks(s Step) bool {
	if s.do.service == nil || s.Action == Remove {
		return false
	}
	t := s.do.service.TaskTemplate
	for _, n := range t.Networks {
		if a.failed[thing{KindNetwork, n.Target}] {
			return true
		}
	}
	if t.ContainerSpec == nil {
		return false
	}
	return slices.ContainsFunc(t.ContainerSpec.Secrets, func(r *swarm.SecretReference) bool {
		return a.failed[thing{KindSecret, r.SecretName}]
	}) || slices.ContainsFunc(t.ContainerSpec.Configs, func(r *swarm.ConfigReference) bool {
		return a.failed[thing{KindConfig, r.ConfigName}]
	})
}

// checkAge voids a plan that rests on too old a look. Both clocks count: the
// monotonic one stands still while a machine sleeps, the other may be set back.
func (a *applying) checkAge() error {
	age := max(time.Since(a.plan.taken), time.Now().Round(0).Sub(a.plan.taken.Round(0)))
	if age > maxAge {
		return fmt.Errorf("%w: %w: the look behind the plan is %s old", errVoid, ErrStale, age.Round(time.Second))
	}
	return nil
}

// checkGuard voids a plan whose stack's memory was written since: another
// operator, or a person, has decided something.
func (a *applying) checkGuard(ctx context.Context, s Step) error {
	guard := a.plan.guard
	if guard == nil {
		instance := s.do.labels[LabelInstance]
		if instance == "" {
			return nil
		}
		guard = &Memory{Instance: instance, Tenant: a.plan.Tenant, Stack: a.plan.Stack}
	}
	if err := CheckMemory(ctx, a.w, *guard); err != nil {
		return fmt.Errorf("%w: %w", errVoid, err)
	}
	return nil
}

func (a *applying) create(ctx context.Context, s Step) error {
	if err := a.checkAge(); err != nil {
		return err
	}
	id, err := a.createNow(ctx, s)
	if err == nil {
		a.ids[thing{s.Kind, s.Name}] = id
	}
	return err
}

func (a *applying) createNow(ctx context.Context, s Step) (string, error) {
	switch {
	case s.Kind == KindNetwork && s.do.network != nil:
		return a.createNetwork(ctx, s)
	case s.Kind == KindSecret && s.do.secret != nil:
		return a.createSecret(ctx, s)
	case s.Kind == KindConfig && s.do.config != nil:
		return a.createConfig(ctx, s)
	case s.Kind == KindService && s.do.service != nil:
		return a.createService(ctx, s)
	}
	return "", errIncomplete(s)
}

func errIncomplete(s Step) error {
	return fmt.Errorf("step lacks what it is to %s", s.Action)
}

// createNetwork tries again for a moment where the name is taken by what is left
// of a network that was just removed.
func (a *applying) createNetwork(ctx context.Context, s Step) (string, error) {
	return again(ctx, func() (string, error) {
		got, err := within(ctx, func(ctx context.Context) (network.CreateResponse, error) {
			return a.w.NetworkCreate(ctx, s.Name, cloneNetwork(*s.do.network))
		})
		if err == nil || !alreadyExists(err) {
			return got.ID, err
		}
		return a.takenNetwork(ctx, s, err)
	})
}

// takenNetwork looks who has the name of a network that could not be created.
func (a *applying) takenNetwork(ctx context.Context, s Step, cause error) (string, error) {
	list, err := listed(ctx, "networks", func(ctx context.Context) ([]network.Summary, error) {
		return a.w.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", s.Name))})
	})
	if err != nil {
		return "", err
	}
	for _, n := range list {
		if n.Name != s.Name || n.Scope == "swarm" && n.Containers != nil || n.ID == s.ID {
			continue // another one, or what is left on a node of a removed one
		}
		if !ours(n.Labels, s.do.network.Labels) {
			return "", foreign(KindNetwork, s.Name, n.Labels)
		}
		return n.ID, nil
	}
	return "", fmt.Errorf("%w: %w", ErrStale, cause)
}

func (a *applying) createSecret(ctx context.Context, s Step) (string, error) {
	got, err := within(ctx, func(ctx context.Context) (swarm.SecretCreateResponse, error) {
		return a.w.SecretCreate(ctx, *s.do.secret)
	})
	if err == nil || !alreadyExists(err) {
		return got.ID, err
	}
	live, lerr := inspectSecret(ctx, a.w, s.Name)
	if lerr != nil {
		return "", fmt.Errorf("%w: %w", ErrStale, lerr)
	}
	return accept(s, live.ID, live.Spec.Labels, s.do.secret.Labels)
}

func (a *applying) createConfig(ctx context.Context, s Step) (string, error) {
	got, err := within(ctx, func(ctx context.Context) (swarm.ConfigCreateResponse, error) {
		return a.w.ConfigCreate(ctx, *s.do.config)
	})
	if err == nil || !alreadyExists(err) {
		return got.ID, err
	}
	live, lerr := inspectConfig(ctx, a.w, s.Name)
	if lerr != nil {
		return "", fmt.Errorf("%w: %w", ErrStale, lerr)
	}
	return accept(s, live.ID, live.Spec.Labels, s.do.config.Labels)
}

// accept takes a secret or config that another writer created first, if it is
// ours and has the same content: the label says so.
func accept(s Step, id string, live, want map[string]string) (string, error) {
	if !ours(live, want) {
		return "", foreign(s.Kind, s.Name, live)
	}
	if want[LabelContent] == "" || live[LabelContent] != want[LabelContent] {
		return "", fmt.Errorf("%w: %s %q appeared with another content", ErrStale, s.Kind, s.Name)
	}
	return id, nil
}

// ours says whether an object is of the same stack, tenant and instance.
func ours(live, want map[string]string) bool {
	for _, k := range []string{LabelNamespace, LabelTenant, LabelInstance} {
		if live[k] != want[k] {
			return false
		}
	}
	return true
}

func foreign(kind Kind, name string, labels map[string]string) error {
	owner := "someone else"
	switch {
	case labels[LabelTenant] != "":
		owner = fmt.Sprintf("tenant %q of instance %q", labels[LabelTenant], labels[LabelInstance])
	case labels[LabelNamespace] != "":
		owner = fmt.Sprintf("stack %q", labels[LabelNamespace])
	}
	return &ConflictError{Kind: kind, Name: name, Owner: owner, Hint: "remove or rename one of the two"}
}

func (a *applying) createService(ctx context.Context, s Step) (string, error) {
	spec, err := a.fill(ctx, *s.do.service)
	if err != nil {
		return "", err
	}
	got, err := again(ctx, func() (swarm.ServiceCreateResponse, error) {
		got, err := within(ctx, func(ctx context.Context) (swarm.ServiceCreateResponse, error) {
			return a.w.ServiceCreate(ctx, cloneSpec(spec), swarm.ServiceCreateOptions{EncodedRegistryAuth: s.do.auth})
		})
		return got, going(err)
	})
	if err == nil || !alreadyExists(err) {
		return got.ID, err
	}
	live, lerr := inspectService(ctx, a.w, s.Name)
	if lerr != nil {
		return "", fmt.Errorf("%w: %w", ErrStale, lerr)
	}
	if labels := OwnerLabels(&live); !ours(labels, spec.Labels) {
		return "", foreign(KindService, s.Name, labels)
	}
	if !a.equal(live.Spec, spec) {
		return "", fmt.Errorf("%w: service %q appeared with another spec", ErrStale, s.Name)
	}
	return live.ID, nil
}

// going marks a network that a node knows only as going, or not yet at all.
func going(err error) error {
	if err != nil && strings.Contains(err.Error(), "network ") && strings.Contains(err.Error(), " not found") {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return err
}

// equal compares two specs as the daemon would store them.
func (a *applying) equal(x, y swarm.ServiceSpec) bool {
	api := a.w.ClientVersion()
	return reflect.DeepEqual(Normalize(x, api), Normalize(y, api))
}

// fill gives a copy of a spec with the IDs of the networks, secrets and configs
// that it names.
func (a *applying) fill(ctx context.Context, spec swarm.ServiceSpec) (swarm.ServiceSpec, error) {
	spec = cloneSpec(spec)
	for i, n := range spec.TaskTemplate.Networks {
		if id := a.ids[thing{KindNetwork, n.Target}]; id != "" {
			spec.TaskTemplate.Networks[i].Target = id
		}
	}
	c := spec.TaskTemplate.ContainerSpec
	if c == nil {
		return spec, nil
	}
	for _, r := range c.Secrets {
		if err := a.findSecret(ctx, &r.SecretID, r.SecretName); err != nil {
			return spec, err
		}
	}
	for _, r := range c.Configs {
		if err := a.findConfig(ctx, &r.ConfigID, r.ConfigName); err != nil {
			return spec, err
		}
		if p := c.Privileges; p != nil && p.CredentialSpec != nil && p.CredentialSpec.Config == r.ConfigName {
			p.CredentialSpec.Config = r.ConfigID // the daemon takes no name here
		}
	}
	return spec, nil
}

// findSecret fills in a secret's ID: that of the one created here, else that of
// the one that is there.
func (a *applying) findSecret(ctx context.Context, id *string, name string) error {
	if known := a.ids[thing{KindSecret, name}]; known != "" {
		*id = known
	}
	if *id != "" {
		return nil
	}
	live, err := inspectSecret(ctx, a.w, name)
	if err == nil && live.Spec.Name != name || cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: secret %q is gone", ErrStale, name)
	}
	*id = live.ID
	return err
}

func (a *applying) findConfig(ctx context.Context, id *string, name string) error {
	if known := a.ids[thing{KindConfig, name}]; known != "" {
		*id = known
	}
	if *id != "" {
		return nil
	}
	live, err := inspectConfig(ctx, a.w, name)
	if err == nil && live.Spec.Name != name || cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: config %q is gone", ErrStale, name)
	}
	*id = live.ID
	return err
}

func (a *applying) update(ctx context.Context, s Step) error {
	switch {
	case s.Kind == KindService && s.do.service != nil:
		return a.updateService(ctx, s)
	case s.Kind == KindSecret && s.do.secret != nil:
		return a.updateSecret(ctx, s)
	case s.Kind == KindConfig && s.do.config != nil:
		return a.updateConfig(ctx, s)
	}
	return errIncomplete(s)
}

// updateService writes a service's spec. Where the version has moved on without
// a change of the spec (the allocator, a rollout), it tries again; where the spec
// itself was changed it is ErrStale.
func (a *applying) updateService(ctx context.Context, s Step) error {
	spec, err := a.fill(ctx, *s.do.service)
	if err != nil {
		return err
	}
	version := s.do.version
	for try := range updateTries {
		_, err = within(ctx, func(ctx context.Context) (swarm.ServiceUpdateResponse, error) {
			return a.w.ServiceUpdate(ctx, s.ID, version, cloneSpec(spec), swarm.ServiceUpdateOptions{EncodedRegistryAuth: s.do.auth})
		})
		if cerrdefs.IsNotFound(err) && !strings.Contains(err.Error(), "network ") {
			return fmt.Errorf("%w: %w", ErrStale, err)
		}
		if !outOfSequence(err) {
			return going(err)
		}
		if err := pause(ctx, time.Duration(try)*shortWait/4); err != nil {
			return err
		}
		live, err := inspectService(ctx, a.w, s.ID)
		if cerrdefs.IsNotFound(err) || err == nil && (s.do.base == nil || !a.equal(live.Spec, *s.do.base)) {
			return fmt.Errorf("%w: service %q was changed", ErrStale, s.Name)
		}
		if err != nil {
			return err
		}
		version = live.Version
	}
	return fmt.Errorf("%w: %w", ErrStale, err)
}

// updateSecret writes a secret's labels. With ask its data goes along, and the
// daemon says whether it is the same.
func (a *applying) updateSecret(ctx context.Context, s Step) error {
	err := relabel(s.do.version, func(v swarm.Version) error {
		return do(ctx, func(ctx context.Context) error { return a.w.SecretUpdate(ctx, s.ID, v, *s.do.secret) })
	}, func() (swarm.Version, error) {
		live, err := inspectSecret(ctx, a.w, s.ID)
		return live.Version, err
	})
	if err != nil && s.do.ask && strings.Contains(err.Error(), "only updates to Labels are allowed") {
		return &UnequalError{ID: s.ID, Name: s.Name}
	}
	return err
}

func (a *applying) updateConfig(ctx context.Context, s Step) error {
	return relabel(s.do.version, func(v swarm.Version) error {
		return do(ctx, func(ctx context.Context) error { return a.w.ConfigUpdate(ctx, s.ID, v, *s.do.config) })
	}, func() (swarm.Version, error) {
		live, err := inspectConfig(ctx, a.w, s.ID)
		return live.Version, err
	})
}

// relabel writes labels with a version, and with a newer one where it moved on.
func relabel(v swarm.Version, write func(swarm.Version) error, reread func() (swarm.Version, error)) error {
	var err error
	for range updateTries {
		if err = write(v); !outOfSequence(err) {
			break
		}
		if v, err = reread(); err != nil {
			break
		}
	}
	if cerrdefs.IsNotFound(err) || outOfSequence(err) {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return err
}

// remove removes an object by its ID, once it has been seen that it is still ours
// and that nobody has decided anything since. What is gone already is fine; what
// is still used is ErrStale.
func (a *applying) remove(ctx context.Context, s Step) error {
	if err := a.checkRemoval(ctx, s); err != nil {
		if errors.Is(err, errGone) {
			return nil
		}
		return err
	}
	_, err := again(ctx, func() (struct{}, error) {
		err := do(ctx, func(ctx context.Context) error { return a.removeNow(ctx, s) })
		if inUse(err) {
			err = fmt.Errorf("%w: %w", ErrStale, err)
		}
		return struct{}{}, err
	})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// errGone is an object that is to be removed and is not there.
var errGone = errors.New("gone")

// checkRemoval is all that must hold right before an object is removed.
func (a *applying) checkRemoval(ctx context.Context, s Step) error {
	if s.ID == "" || len(s.do.labels) == 0 {
		return errIncomplete(s)
	}
	live, err := a.labels(ctx, s)
	switch {
	case cerrdefs.IsNotFound(err):
		return a.gone(ctx, s)
	case err != nil:
		return err
	}
	for k, v := range s.do.labels {
		if got, ok := live[k]; !ok || got != v {
			return fmt.Errorf("%w: %s %q lost its label %s=%s", ErrStale, s.Kind, s.Name, k, v)
		}
	}
	if err := a.checkGuard(ctx, s); err != nil {
		return err
	}
	return a.checkAge()
}

// gone believes that an object is not there, except of a network: a manager
// without a leader says so of each.
func (a *applying) gone(ctx context.Context, s Step) error {
	if s.Kind == KindNetwork {
		if _, err := listed(ctx, "nodes", func(ctx context.Context) ([]swarm.Node, error) {
			return a.w.NodeList(ctx, swarm.NodeListOptions{})
		}); err != nil {
			return err
		}
	}
	return errGone
}

// labels reads the labels that an object has at this moment.
func (a *applying) labels(ctx context.Context, s Step) (map[string]string, error) {
	switch s.Kind {
	case KindService:
		live, err := inspectService(ctx, a.w, s.ID)
		if live.Version != s.do.version { // the spec before may have changed too
			return live.Spec.Labels, err
		}
		return OwnerLabels(&live), err
	case KindSecret:
		live, err := inspectSecret(ctx, a.w, s.ID)
		return live.Spec.Labels, err
	case KindConfig:
		live, err := inspectConfig(ctx, a.w, s.ID)
		return live.Spec.Labels, err
	case KindNetwork:
		live, err := within(ctx, func(ctx context.Context) (network.Inspect, error) {
			return a.w.NetworkInspect(ctx, s.ID, network.InspectOptions{})
		})
		return live.Labels, err
	}
	return nil, errIncomplete(s)
}

func (a *applying) removeNow(ctx context.Context, s Step) error {
	switch s.Kind {
	case KindService:
		return a.w.ServiceRemove(ctx, s.ID)
	case KindSecret:
		return a.w.SecretRemove(ctx, s.ID)
	case KindConfig:
		return a.w.ConfigRemove(ctx, s.ID)
	case KindNetwork:
		return a.w.NetworkRemove(ctx, s.ID)
	}
	return errIncomplete(s)
}

// replace removes an object, waits for its tasks to be gone, and creates it
// anew. After a crash in between the next plan creates it.
func (a *applying) replace(ctx context.Context, s Step) error {
	if err := a.remove(ctx, s); err != nil {
		return err
	}
	if s.Kind == KindService {
		if err := a.awaitTasks(ctx, s.ID); err != nil {
			return err
		}
	}
	return a.create(ctx, s)
}

// awaitTasks waits until a removed service has no tasks. The task list's own
// filter by service knows only services that are there.
func (a *applying) awaitTasks(ctx context.Context, serviceID string) error {
	for end := time.Now().Add(goneTimeout); ; {
		tasks, err := listed(ctx, "tasks", func(ctx context.Context) ([]swarm.Task, error) {
			return a.w.TaskList(ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelNamespace+"="+a.plan.Stack))})
		})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(tasks, func(t swarm.Task) bool { return t.ServiceID == serviceID }) || time.Now().After(end) {
			return nil
		}
		if err := pause(ctx, shortWait); err != nil {
			return err
		}
	}
}

// again tries a few times, for a second or two, while the answer is ErrStale.
func again[T any](ctx context.Context, try func() (T, error)) (T, error) {
	wait := shortWait
	for n := 1; ; n++ {
		v, err := try()
		if !errors.Is(err, ErrStale) || n == shortTries {
			return v, err
		}
		if err := pause(ctx, wait); err != nil {
			return v, err
		}
		wait *= 2
	}
}

// pause waits for d, more or less, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d/2+1))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// alreadyExists says that the name of a new object is taken.
func alreadyExists(err error) bool {
	return cerrdefs.IsConflict(err) || err != nil && strings.Contains(err.Error(), "name conflicts with an existing object")
}

// inUse says that something still refers to an object.
func inUse(err error) bool {
	return err != nil && strings.Contains(err.Error(), " is in use by ")
}

// isRefusal says that the daemon would refuse the same request again.
func isRefusal(err error) bool {
	var conflict *ConflictError
	switch {
	case errors.Is(err, ErrStale), errors.Is(err, ErrUnsure):
		return false
	case errors.As(err, &conflict):
		return true
	case mentions(err, " is already in use by service", "secret not found", "config not found"):
		return false // of another object, which may change
	case mentions(err, "constraint expected", "raft message is too large", "message larger than max"):
		return true // invalid, although the daemon says internal error
	}
	return cerrdefs.IsInvalidArgument(err) || cerrdefs.IsPermissionDenied(err) || cerrdefs.IsNotImplemented(err)
}

func mentions(err error, texts ...string) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(err.Error(), t) })
}
