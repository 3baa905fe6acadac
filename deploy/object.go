package deploy

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// object is a secret or config that git asks for.
type object struct {
	kind               Kind
	key, name          string
	external           bool
	labels             map[string]string
	data               []byte
	driver, templating *swarm.Driver

	content string // full HMAC
}

// found is a live secret or config. Only configs show their data.
type found struct {
	id, name           string
	version            swarm.Version
	created            time.Time
	labels             map[string]string
	data               []byte
	driver, templating *swarm.Driver
}

func (f *found) content() string { return f.labels[LabelContent] }

func secretFound(s *swarm.Secret) *found {
	return &found{id: s.ID, name: s.Spec.Name, version: s.Version, created: s.CreatedAt, labels: s.Spec.Labels, driver: s.Spec.Driver, templating: s.Spec.Templating}
}

func configFound(c *swarm.Config) *found {
	return &found{id: c.ID, name: c.Spec.Name, version: c.Version, created: c.CreatedAt, labels: c.Spec.Labels, data: c.Spec.Data, templating: c.Spec.Templating}
}

// objects plans the secrets and configs, and gives each stack key its name.
func (d *differ) objects() {
	var all []object
	for _, s := range d.want.Secrets {
		all = append(all, object{kind: KindSecret, key: s.Key, name: s.Name, external: s.External, labels: s.Labels, data: s.Data, driver: s.Driver, templating: s.Templating})
	}
	for _, c := range d.want.Configs {
		all = append(all, object{kind: KindConfig, key: c.Key, name: c.Name, external: c.External, labels: c.Labels, data: c.Data, templating: c.Templating})
	}
	for i := range all {
		if o := &all[i]; !o.external {
			o.content = d.content(o)
		}
	}
	s := &shelf{differ: d, objects: all, made: map[string]bool{}}
	s.fill()
	for i := range all {
		s.place(&all[i])
	}
}

// content is the HMAC of an object's content; without a key, zeros.
func (d *differ) content(o *object) string {
	if len(d.o.Key) == 0 {
		return strings.Repeat("0", 64)
	}
	return d.o.Key.content(o.data, o.templating, o.driver)
}

// shelf finds the live object for each one that git asks for.
type shelf struct {
	*differ
	objects []object
	ours    map[Kind][]*found
	inUse   map[string]string // names of configs that live services of the stack refer to, with their IDs
	had     map[string]bool   // IDs of secrets and configs that a spec with the stack's labels refers to
	made    map[string]bool   // names that a step makes already
	lost    *bool             // the key seems lost; nil: not asked yet
}

func (s *shelf) fill() {
	s.ours = map[Kind][]*found{}
	for _, v := range s.x.secretsOf[s.who.stack] {
		if s.who.ours(v.ID, v.Spec.Labels) && v.Spec.Labels[LabelKind] == "" {
			s.ours[KindSecret] = append(s.ours[KindSecret], secretFound(v))
		}
	}
	for _, v := range s.x.configsOf[s.who.stack] {
		if s.who.ours(v.ID, v.Spec.Labels) && v.Spec.Labels[LabelKind] == "" {
			s.ours[KindConfig] = append(s.ours[KindConfig], configFound(v))
		}
	}
	s.had = s.signedRefs()
	s.inUse = map[string]string{}
	for _, v := range s.x.members[s.who.stack] {
		if c := v.Spec.TaskTemplate.ContainerSpec; c != nil {
			for _, r := range c.Configs {
				s.inUse[r.ConfigName] = r.ConfigID
			}
		}
	}
}

// signedRefs are the IDs of secrets and configs in every spec, or previous one, of
// a service that carries the stack's labels.
func (s *shelf) signedRefs() map[string]bool {
	ids := map[string]bool{}
	for _, v := range s.x.members[s.who.stack] {
		for _, spec := range []*swarm.ServiceSpec{&v.Spec, v.PreviousSpec} {
			if spec == nil || spec.TaskTemplate.ContainerSpec == nil || !s.who.signed(spec.Labels) {
				continue
			}
			for _, r := range spec.TaskTemplate.ContainerSpec.Secrets {
				ids[r.SecretID] = true
			}
			for _, r := range spec.TaskTemplate.ContainerSpec.Configs {
				ids[r.ConfigID] = true
			}
		}
	}
	return ids
}

// detailed says that the look holds the stack's configs.
func (s *shelf) detailed() bool {
	return s.live.Detailed[s.who.stack] || len(s.x.configsOf[s.who.stack]) > 0
}

// named finds a live object by its exact name, whosever it is.
func (s *shelf) named(kind Kind, name string) *found {
	if kind == KindSecret {
		if v := s.x.secrets[name]; v != nil {
			return secretFound(v)
		}
		return nil
	}
	if v := s.x.configs[name]; v != nil {
		return configFound(v)
	}
	return nil
}

// place decides on one object: which live one it is, or what makes it.
func (s *shelf) place(o *object) {
	switch {
	case o.external:
		s.external(o)
	case o.kind == KindConfig && !s.detailed() && s.assume(o):
	case o.name != "":
		s.literal(o)
	default:
		s.hashed(o)
	}
}

func (s *shelf) refer(o *object, name, id string) { s.refs[o.kind][o.key] = ref{name, id} }

// assume takes a config to be there because a live service refers to it, which
// Swarm allows only for one that exists.
func (s *shelf) assume(o *object) bool {
	for _, name := range []string{o.name, contentName(s.who.stack, o.key, o.content), s.who.stack + "_" + o.key} {
		if id, ok := s.inUse[name]; ok && name != "" {
			s.refer(o, name, id)
			return true
		}
		if o.name != "" {
			return false
		}
	}
	return false
}

func (s *shelf) external(o *object) {
	if f := s.named(o.kind, o.name); f != nil {
		s.refer(o, f.name, f.id)
		return
	}
	s.refer(o, o.name, s.inUse[o.name])
	if o.kind == KindSecret || s.live.Detailed[s.who.stack] {
		s.waitFor(o.kind, o.name, "", "the external "+string(o.kind)+" does not exist: create it with docker "+string(o.kind)+" create, or drop external: true")
	}
}

// literal is an object whose name the stack file gives: it can't rotate. One that
// the stack's services had is the stack's although it lost its labels, which docker
// stack deploy by hand replaces.
func (s *shelf) literal(o *object) {
	f := s.named(o.kind, o.name)
	if f == nil {
		s.make(o, o.name)
		return
	}
	if lost := s.who.unsigned(f.labels) && s.had[f.id]; !lost && !s.allow(o.kind, o.name, f.id, f.labels) {
		return
	}
	switch {
	case f.content() == o.content:
		s.keep(o, f, false)
	case s.differs(o, f):
		s.refuse(o.kind, o.name, "", "its content differs from git and it is immutable: drop name: so that it can rotate, or give another name")
	default:
		s.keep(o, f, o.kind == KindSecret)
	}
}

// hashed is an object that is named by its content.
func (s *shelf) hashed(o *object) {
	name := contentName(s.who.stack, o.key, o.content)
	if f := s.same(o, name); f != nil {
		s.keep(o, f, false)
		return
	}
	taken := s.named(o.kind, name)
	if taken != nil && !s.allow(o.kind, name, taken.id, taken.labels) {
		return
	}
	if f := s.candidate(o, taken); f != nil && !s.differs(o, f) {
		s.keep(o, f, o.kind == KindSecret)
		return
	}
	if taken != nil {
		s.refuse(o.kind, name, "", "it has the name of git's content and other content: remove it, or change the content")
		return
	}
	s.make(o, name)
}

// same finds the object of ours that is labelled with the very content: by the
// name that it should have, by one that it had, or by any that no other key has.
func (s *shelf) same(o *object, name string) *found {
	var had, other *found
	for _, f := range s.ours[o.kind] {
		switch {
		case f.content() != o.content:
		case f.name == name:
			return f
		case named(f.name, s.who.stack, o.key):
			had = f
		case !s.claimed(o, f.name):
			other = f
		}
	}
	if had != nil {
		return had
	}
	return other
}

// claimed says that a name belongs to another key, or was given literally.
func (s *shelf) claimed(o *object, name string) bool {
	for i := range s.objects {
		v := &s.objects[i]
		if v.kind == o.kind && v.key != o.key && (v.name == name || v.name == "" && named(name, s.who.stack, v.key)) {
			return true
		}
	}
	return false
}

// candidate is the live object that may hold the content although no label says
// so: it has the name, or it has no label yet (adoption), or its label was made with
// another key. What a service refers to comes first, then the newest.
func (s *shelf) candidate(o *object, taken *found) *found {
	if taken != nil {
		return taken
	}
	var best *found
	for _, f := range s.ours[o.kind] {
		if !named(f.name, s.who.stack, o.key) || f.content() != "" && o.kind == KindSecret && !s.keyLost() {
			continue
		}
		if best == nil || s.x.used[f.id] && !s.x.used[best.id] ||
			s.x.used[f.id] == s.x.used[best.id] && f.created.After(best.created) {
			best = f
		}
	}
	return best
}

// differs says that a live object's content is known not to be git's. Of a secret
// that is known only when Swarm was asked.
func (s *shelf) differs(o *object, f *found) bool {
	if !driverEqual(o.templating, f.templating) {
		return true
	}
	if o.kind == KindConfig {
		return !bytes.Equal(o.data, f.data)
	}
	return !driverEqual(o.driver, f.driver) || s.o.Unequal[f.id]
}

// keyLost says that no label of the stack's objects can be explained with the key:
// none matches git's content, and of no config with known data is the label the
// HMAC. It may also be that all of them changed at once; then asking costs one call.
func (s *shelf) keyLost() bool {
	if s.lost == nil {
		lost := !s.keyProven()
		s.lost = &lost
	}
	return *s.lost
}

func (s *shelf) keyProven() bool {
	labels := map[string]bool{}
	for _, kind := range []Kind{KindSecret, KindConfig} {
		for _, f := range s.ours[kind] {
			labels[f.content()] = true
			if kind == KindConfig && f.content() != "" && f.data != nil && s.o.Key.content(f.data, f.templating, nil) == f.content() {
				return true
			}
		}
	}
	for i := range s.objects {
		if c := s.objects[i].content; c != "" && labels[c] {
			return true
		}
	}
	return false
}

// keep lets a live object be the one that git asks for, and puts its labels right.
// With ask the update carries the data, so that Swarm refuses it if it differs.
func (s *shelf) keep(o *object, f *found, ask bool) {
	s.refer(o, f.name, f.id)
	labels := s.who.labels(o.labels)
	labels[LabelContent] = o.content
	if maps.Equal(labels, f.labels) || s.made[string(o.kind)+f.name] {
		return
	}
	s.made[string(o.kind)+f.name] = true
	step := s.step(Update, o, f.name, labels)
	step.ID, step.do.version = f.id, f.version
	step.Changes = []Change{{Field: string(o.kind) + "s." + o.key + ".labels"}}
	step.Why = "its labels differ"
	ask = ask && len(o.data) > 0 && o.driver == nil
	switch {
	case ask:
		step.do.ask = true
		step.Why = "skep has to know whether its content is git's"
	case o.kind == KindSecret:
		step.do.secret.Data = nil
	}
	s.early = append(s.early, step)
}

// make creates an object.
func (s *shelf) make(o *object, name string) {
	s.refer(o, name, "")
	if s.made[string(o.kind)+name] { // two keys, cut to one name, with one content
		return
	}
	s.made[string(o.kind)+name] = true
	labels := s.who.labels(o.labels)
	labels[LabelContent] = o.content
	step := s.step(Create, o, name, labels)
	step.Why = "it is not in the swarm"
	if slices.ContainsFunc(s.ours[o.kind], func(f *found) bool { return named(f.name, s.who.stack, o.key) }) {
		step.Why = "its content changed"
	}
	s.early = append(s.early, step)
}

// step is what writes an object as git asks, with data of its own.
func (s *shelf) step(a Action, o *object, name string, labels map[string]string) Step {
	step := Step{Action: a, Kind: o.kind, Name: name}
	note := swarm.Annotations{Name: name, Labels: labels}
	if o.kind == KindSecret {
		step.do.secret = &swarm.SecretSpec{Annotations: note, Data: bytes.Clone(o.data), Driver: cloneDriver(o.driver), Templating: cloneDriver(o.templating)}
		return step
	}
	step.do.config = &swarm.ConfigSpec{Annotations: note, Data: bytes.Clone(o.data), Templating: cloneDriver(o.templating)}
	return step
}
