package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

// lab is a swarm in memory with one tenant's stack, for stories of pushes.
type lab struct {
	testing.TB
	*swarmtest.Swarm
	o     deploy.DiffOptions
	ahead time.Duration // of the swarm's clock, which Step moves on
}

func newLab(t testing.TB) *lab {
	t.Helper()
	return &lab{TB: t, Swarm: swarmtest.New(), o: deploy.DiffOptions{Instance: "test", Key: deploy.Key("0123456789abcdef0123456789abcdef")}}
}

// Step lets time pass in the swarm, and for whoever looks at it.
func (l *lab) Step(d time.Duration) {
	l.ahead += d
	l.Swarm.Step(d)
}

func (l *lab) look() deploy.Live {
	l.Helper()
	live, err := deploy.Observe(context.Background(), l.Swarm, deploy.LookOptions{Instance: "test", Tasks: true})
	if err != nil {
		l.Fatalf("observe: %v", err)
	}
	live.Taken = live.Taken.Add(l.ahead)
	return live
}

func (l *lab) closer(want stack.Spec) deploy.Live {
	l.Helper()
	live, err := deploy.Detail(context.Background(), l.Swarm, l.look(), want)
	if err != nil {
		l.Fatalf("detail: %v", err)
	}
	return live
}

func (l *lab) plan(want stack.Spec) deploy.Plan {
	l.Helper()
	p, err := deploy.Diff(want, l.closer(want), l.o)
	if err != nil {
		l.Fatalf("diff: %v", err)
	}
	return p
}

// push does what git asks and gives the plan. It fails if something is left to do.
func (l *lab) push(want stack.Spec) deploy.Plan {
	l.Helper()
	p := l.plan(want)
	if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
		l.Fatalf("apply: %v", err)
	}
	l.quiet(want)
	return p
}

// quiet fails unless there is nothing to do.
func (l *lab) quiet(want stack.Spec) {
	l.Helper()
	if p := l.plan(want); !p.Empty() {
		l.Errorf("there is something left to do:\n%s", show(p))
	}
}

// cheap fails unless it is seen without the stack's configs that there is nothing to do.
func (l *lab) cheap(want stack.Spec) {
	l.Helper()
	p, err := deploy.Diff(want, l.look(), l.o)
	if err != nil || !p.Empty() {
		l.Errorf("there is something left to do, as far as is known without configs: %v\n%s", err, show(p))
	}
}

// tidy removes the garbage until there is none, and gives what was removed.
func (l *lab) tidy(want stack.Spec) []string {
	l.Helper()
	var removed []string
	for range 5 {
		p, err := deploy.Garbage(want, l.closer(want), l.o)
		if err != nil {
			l.Fatalf("garbage: %v", err)
		}
		if p.Empty() {
			return removed
		}
		removed = append(removed, steps(p)...)
		if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
			l.Fatalf("apply: %v", err)
		}
		l.Step(time.Second)
	}
	l.Fatal("garbage without end")
	return nil
}

// names lists what there is of a kind in the stacks of docker stack deploy and skep.
func (l *lab) names(kind deploy.Kind) []string {
	l.Helper()
	live := l.look()
	var names []string
	switch kind {
	case deploy.KindService:
		for _, s := range live.Services {
			names = append(names, s.Spec.Name)
		}
	case deploy.KindSecret:
		for _, s := range live.Secrets {
			names = append(names, s.Spec.Name)
		}
	case deploy.KindNetwork:
		for _, n := range live.Networks {
			if n.Labels[deploy.LabelNamespace] != "" {
				names = append(names, n.Name)
			}
		}
	case deploy.KindConfig:
		configs, err := l.ConfigList(context.Background(), swarm.ConfigListOptions{})
		if err != nil {
			l.Fatal(err)
		}
		for _, c := range configs {
			names = append(names, c.Spec.Name)
		}
	}
	return names
}

func (l *lab) service(name string) swarm.Service {
	l.Helper()
	for _, s := range l.look().Services {
		if s.Spec.Name == name {
			return s
		}
	}
	l.Fatalf("there is no service %q", name)
	return swarm.Service{}
}

// edit changes a service as a person would, past skep.
func (l *lab) edit(name string, change func(*swarm.ServiceSpec)) {
	l.Helper()
	s := l.service(name)
	change(&s.Spec)
	if _, err := l.ServiceUpdate(context.Background(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{}); err != nil {
		l.Fatal(err)
	}
}

// running lists the IDs of the tasks that are to run: none of them changes unless
// a task was restarted.
func (l *lab) running() string {
	l.Helper()
	l.Step(20 * time.Second)
	var ids []string
	for _, t := range l.look().Tasks {
		if t.DesiredState == swarm.TaskStateRunning {
			ids = append(ids, t.ID)
		}
	}
	return strings.Join(ids, " ")
}

// steps are a plan's steps in short.
func steps(p deploy.Plan) []string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, fmt.Sprintf("%s %s %s", s.Action, s.Kind, s.Name))
	}
	for _, d := range p.Deferred {
		line := fmt.Sprintf("defer %s on %s %s", d.Service, d.On, d.Condition)
		if d.Failed {
			line += " failed"
		}
		out = append(out, line)
	}
	return out
}

func show(p deploy.Plan) string {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// expect compares a list of lines.
func expect(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n  got  %s\n  want %s", what, strings.Join(got, "\n       "), strings.Join(want, "\n       "))
	}
}

// sample is a stack of two services, a network, a secret and a config.
func sample() stack.Spec {
	want := stack.Spec{Tenant: "acme", Name: "shop"}
	ns := map[string]string{deploy.LabelNamespace: "shop"}
	want.Networks = []stack.Network{{Key: "default", Name: "shop_default", Create: network.CreateOptions{Driver: "overlay", Labels: clone(ns)}}}
	want.Secrets = []stack.Secret{{Key: "password", Labels: clone(ns), Data: stack.Bytes("s3cr3t-value")}}
	want.Configs = []stack.Config{{Key: "site", Labels: clone(ns), Data: stack.Bytes("listen 80")}}
	want.Services = []stack.Service{app("api", "api:1"), app("web", "web:1")}
	c := want.Services[0].Spec.TaskTemplate.ContainerSpec
	c.Secrets = []*swarm.SecretReference{{SecretName: "password", File: &swarm.SecretReferenceFileTarget{Name: "password", UID: "0", GID: "0", Mode: 0o444}}}
	c = want.Services[1].Spec.TaskTemplate.ContainerSpec
	c.Configs = []*swarm.ConfigReference{{ConfigName: "site", File: &swarm.ConfigReferenceFileTarget{Name: "/site.conf", UID: "0", GID: "0", Mode: 0o444}}}
	return want
}

// app is a service as the stack room renders it.
func app(key, image string) stack.Service {
	return stack.Service{Key: key, Spec: swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "shop_" + key, Labels: map[string]string{deploy.LabelNamespace: "shop", deploy.LabelImage: image}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{
				Image: image, Labels: map[string]string{deploy.LabelNamespace: "shop"},
				Env: []string{"KEY=value"}, Privileges: &swarm.Privileges{},
			},
			Resources: &swarm.ResourceRequirements{},
			Placement: &swarm.Placement{},
			Networks:  []swarm.NetworkAttachmentConfig{{Target: "shop_default", Aliases: []string{key}}},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: ptr(uint64(2))}},
		EndpointSpec: &swarm.EndpointSpec{},
	}}
}

func ptr[T any](v T) *T { return &v }

func clone(m map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// spec gives the spec of one service of a stack, to change it.
func spec(want stack.Spec, key string) *swarm.ServiceSpec {
	for i := range want.Services {
		if want.Services[i].Key == key {
			return &want.Services[i].Spec
		}
	}
	panic("no service " + key)
}

// foreign deploys a stack as docker stack deploy does: without any label of skep,
// secrets and configs under plain names.
func (l *lab) dockerStackDeploy(want stack.Spec) {
	l.Helper()
	ctx := context.Background()
	secrets, configs := map[string]string{}, map[string]string{}
	for _, n := range want.Networks {
		if _, err := l.NetworkCreate(ctx, n.Name, n.Create); err != nil {
			l.Fatal(err)
		}
	}
	for _, s := range want.Secrets {
		name := want.Name + "_" + s.Key
		got, err := l.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: name, Labels: s.Labels}, Data: s.Data})
		if err != nil {
			l.Fatal(err)
		}
		secrets[s.Key] = got.ID
	}
	for _, c := range want.Configs {
		name := want.Name + "_" + c.Key
		got, err := l.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name, Labels: c.Labels}, Data: c.Data})
		if err != nil {
			l.Fatal(err)
		}
		configs[c.Key] = got.ID
	}
	for _, s := range want.Services {
		for _, r := range s.Spec.TaskTemplate.ContainerSpec.Secrets {
			r.SecretID, r.SecretName = secrets[r.SecretName], want.Name+"_"+r.SecretName
		}
		for _, r := range s.Spec.TaskTemplate.ContainerSpec.Configs {
			r.ConfigID, r.ConfigName = configs[r.ConfigName], want.Name+"_"+r.ConfigName
		}
		if _, err := l.ServiceCreate(ctx, s.Spec, swarm.ServiceCreateOptions{}); err != nil {
			l.Fatal(err)
		}
	}
}

// diffErrors are the single errors of a refused Diff.
func diffErrors(t testing.TB, want stack.Spec, live deploy.Live, o deploy.DiffOptions) []string {
	t.Helper()
	p, err := deploy.Diff(want, live, o)
	if err == nil {
		t.Fatalf("nothing stands in the way of\n%s", show(p))
	}
	if len(p.Steps) > 0 {
		t.Errorf("a refused plan has steps:\n%s", show(p))
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []string{err.Error()}
	}
	var out []string
	for _, e := range joined.Unwrap() {
		out = append(out, e.Error())
	}
	return out
}
