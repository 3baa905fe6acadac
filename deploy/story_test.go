package deploy_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

// testKey names the objects of the tests.
func testKey() deploy.Key { return deploy.Key("0123456789abcdef0123456789abcdef") }

const (
	instance = "test"
	tenant   = "shop"
)

// shopStack is a stack as Render gives it: a network, a secret, a config and two
// services that use them.
func shopStack() stack.Spec {
	labels := map[string]string{deploy.LabelNamespace: "shop"}
	return stack.Spec{
		Tenant: tenant, Name: "shop",
		Networks: []stack.Network{{Key: "back", Name: "shop_back", Create: network.CreateOptions{Driver: "overlay", Labels: maps.Clone(labels)}}},
		Secrets:  []stack.Secret{{Key: "password", Labels: maps.Clone(labels), Data: stack.Bytes("hunter22")}},
		Configs:  []stack.Config{{Key: "site", Labels: maps.Clone(labels), Data: stack.Bytes("listen 80")}},
		Services: []stack.Service{service("db"), service("web")},
	}
}

// service is one service of shop: db has the secret, web the config.
func service(key string) stack.Service {
	labels := map[string]string{deploy.LabelNamespace: "shop"}
	one := uint64(1)
	c := &swarm.ContainerSpec{Image: key + ":1", Labels: maps.Clone(labels), Privileges: &swarm.Privileges{}}
	if key == "db" {
		c.Secrets = []*swarm.SecretReference{{SecretName: "password", File: &swarm.SecretReferenceFileTarget{Name: "password", UID: "0", GID: "0", Mode: 0o444}}}
	}
	if key == "web" {
		c.Configs = []*swarm.ConfigReference{{ConfigName: "site", File: &swarm.ConfigReferenceFileTarget{Name: "/site", UID: "0", GID: "0", Mode: 0o444}}}
	}
	return stack.Service{Key: key, Spec: swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "shop_" + key, Labels: labels},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: c, Resources: &swarm.ResourceRequirements{}, Placement: &swarm.Placement{},
			Networks: []swarm.NetworkAttachmentConfig{{Target: "shop_back", Aliases: []string{key}}},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &one}},
		EndpointSpec: &swarm.EndpointSpec{},
	}}
}

// nothing is shop after its folder left git.
func nothing() stack.Spec { return stack.Spec{Tenant: tenant, Name: "shop"} }

func options() deploy.DiffOptions { return deploy.DiffOptions{Instance: instance, Key: testKey()} }

// look observes with tasks and the stack's configs.
func look(ctx context.Context, w deploy.Writer, want stack.Spec) (deploy.Live, error) {
	live, err := deploy.Observe(ctx, w, deploy.LookOptions{Instance: instance, Tasks: true})
	if err != nil {
		return live, err
	}
	return deploy.Detail(ctx, w, live, want)
}

// plan looks and diffs.
func plan(t *testing.T, w deploy.Writer, want stack.Spec) deploy.Plan {
	t.Helper()
	live, err := look(t.Context(), w, want)
	if err != nil {
		t.Fatal(err)
	}
	p, err := deploy.Diff(want, live, options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// garbage looks and collects.
func garbage(t *testing.T, w deploy.Writer, want stack.Spec) deploy.Plan {
	t.Helper()
	live, err := look(t.Context(), w, want)
	if err != nil {
		t.Fatal(err)
	}
	p, err := deploy.Garbage(want, live, options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cycle does what the operator does of a stack, once: look, diff, apply, and
// collect where there was nothing to do. It says whether all is as want asks.
func cycle(ctx context.Context, w deploy.Writer, want stack.Spec) (bool, error) {
	live, err := look(ctx, w, want)
	if err != nil {
		return false, err
	}
	p, err := deploy.Diff(want, live, options())
	if err != nil {
		return false, err
	}
	if !p.Empty() {
		return false, deploy.Apply(ctx, w, p)
	}
	if p, err = deploy.Garbage(want, live, options()); err != nil {
		return false, err
	}
	return p.Empty(), deploy.Apply(ctx, w, p)
}

// converge goes on, as the operator does after an error that may pass, until
// all is as want asks.
func converge(t *testing.T, s *swarmtest.Swarm, want stack.Spec) {
	t.Helper()
	var last error
	for range 20 {
		done, err := cycle(t.Context(), s, want)
		if done && err == nil {
			return
		}
		last = err
		s.Step(time.Second)
	}
	t.Fatalf("not as git asks after 20 cycles; last error: %v", last)
}

// state is all that is in the swarm, by names: what two runs must agree on.
type state struct {
	Services map[string]swarm.ServiceSpec
	Networks map[string]map[string]string
	Secrets  map[string]string // data
	Configs  map[string]string
	Labels   map[string]map[string]string // of secrets and configs
}

func stateOf(t *testing.T, s *swarmtest.Swarm) state {
	t.Helper()
	st := state{map[string]swarm.ServiceSpec{}, map[string]map[string]string{}, map[string]string{}, map[string]string{}, map[string]map[string]string{}}
	names := map[string]string{}
	networks, err := s.NetworkList(t.Context(), network.ListOptions{})
	fatal(t, err)
	for _, n := range networks {
		names[n.ID] = n.Name
		st.Networks[n.Name] = n.Labels
	}
	secrets, err := s.SecretList(t.Context(), swarm.SecretListOptions{})
	fatal(t, err)
	for _, v := range secrets {
		st.Secrets[v.Spec.Name], st.Labels["secret "+v.Spec.Name] = string(s.SecretData(v.Spec.Name)), v.Spec.Labels
	}
	configs, err := s.ConfigList(t.Context(), swarm.ConfigListOptions{})
	fatal(t, err)
	for _, v := range configs {
		st.Configs[v.Spec.Name], st.Labels["config "+v.Spec.Name] = string(v.Spec.Data), v.Spec.Labels
	}
	services, err := s.ServiceList(t.Context(), swarm.ServiceListOptions{})
	fatal(t, err)
	for _, v := range services {
		st.Services[v.Spec.Name] = byNames(v.Spec, names)
	}
	return st
}

func byNames(spec swarm.ServiceSpec, names map[string]string) swarm.ServiceSpec {
	for i, n := range spec.TaskTemplate.Networks {
		spec.TaskTemplate.Networks[i].Target = names[n.Target]
	}
	for _, r := range spec.TaskTemplate.ContainerSpec.Secrets {
		r.SecretID = ""
	}
	for _, r := range spec.TaskTemplate.ContainerSpec.Configs {
		r.ConfigID = ""
	}
	return spec
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// live gives a service by name.
func live(t *testing.T, s *swarmtest.Swarm, name string) swarm.Service {
	t.Helper()
	v, _, err := s.ServiceInspectWithRaw(t.Context(), name, swarm.ServiceInspectOptions{})
	fatal(t, err)
	return v
}

// methods lists the writes of a swarm so far.
func methods(s *swarmtest.Swarm) []string {
	var out []string
	for _, c := range s.Calls() {
		if c.Write > 0 {
			out = append(out, c.Method)
		}
	}
	return out
}
