package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

var update = flag.Bool("update", false, "write the golden files")

func TestFirstPushMakesEverythingInOrder(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	p := l.push(sample())
	got := steps(p)
	if len(got) != 5 || got[0] != "create network shop_default" || !strings.HasPrefix(got[1], "create secret shop_password_") ||
		!strings.HasPrefix(got[2], "create config shop_site_") || got[3] != "create service shop_api" || got[4] != "create service shop_web" {
		t.Errorf("the steps are\n%s", strings.Join(got, "\n"))
	}
	s := l.service("shop_api")
	if s.Spec.Labels[deploy.LabelTenant] != "acme" || s.Spec.Labels[deploy.LabelInstance] != "test" {
		t.Errorf("labels of the service: %v", s.Spec.Labels)
	}
	if got := len(s.Spec.Labels); got != 4 {
		t.Errorf("the service has %d labels, want 4: %v", got, s.Spec.Labels)
	}
	l.Step(time.Minute)
	l.Forget()
	l.quiet(sample())
	l.cheap(sample())
	if l.Writes() != 0 {
		t.Errorf("%d writes although nothing changed", l.Writes())
	}
}

// edit is a change of a live service by somebody else.
type edit struct {
	field    string
	restarts bool
	edit     func(*swarm.ServiceSpec)
}

// edits changes each field of a service, one at a time.
func edits() []edit {
	box := func(f func(*swarm.ContainerSpec)) func(*swarm.ServiceSpec) {
		return func(s *swarm.ServiceSpec) { f(s.TaskTemplate.ContainerSpec) }
	}
	return []edit{
		{"image", true, box(func(c *swarm.ContainerSpec) { c.Image = "web:9" })},
		{"environment.NEW", true, box(func(c *swarm.ContainerSpec) { c.Env = append(c.Env, "NEW=1") })},
		{"environment.KEY", true, box(func(c *swarm.ContainerSpec) { c.Env = []string{"KEY=other"} })},
		{"labels.x", true, box(func(c *swarm.ContainerSpec) { c.Labels["x"] = "y" })},
		{"sysctls.net.a", true, box(func(c *swarm.ContainerSpec) { c.Sysctls = map[string]string{"net.a": "1"} })},
		{"entrypoint", true, box(func(c *swarm.ContainerSpec) { c.Command = []string{"sh"} })},
		{"command", true, box(func(c *swarm.ContainerSpec) { c.Args = []string{"sh"} })},
		{"hostname", true, box(func(c *swarm.ContainerSpec) { c.Hostname = "h" })},
		{"working_dir", true, box(func(c *swarm.ContainerSpec) { c.Dir = "/x" })},
		{"user", true, box(func(c *swarm.ContainerSpec) { c.User = "nobody" })},
		{"group_add", true, box(func(c *swarm.ContainerSpec) { c.Groups = []string{"g"} })},
		{"security_opt", true, box(func(c *swarm.ContainerSpec) { c.Privileges = &swarm.Privileges{NoNewPrivileges: true} })},
		{"init", true, box(func(c *swarm.ContainerSpec) { c.Init = ptr(true) })},
		{"stop_signal", true, box(func(c *swarm.ContainerSpec) { c.StopSignal = "SIGINT" })},
		{"stop_grace_period", true, box(func(c *swarm.ContainerSpec) { c.StopGracePeriod = ptr(time.Minute) })},
		{"tty", true, box(func(c *swarm.ContainerSpec) { c.TTY = true })},
		{"stdin_open", true, box(func(c *swarm.ContainerSpec) { c.OpenStdin = true })},
		{"read_only", true, box(func(c *swarm.ContainerSpec) { c.ReadOnly = true })},
		{"volumes./data", true, box(func(c *swarm.ContainerSpec) {
			c.Mounts = []mount.Mount{{Type: "volume", Source: "v", Target: "/data"}}
		})},
		{"healthcheck", true, box(func(c *swarm.ContainerSpec) { c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}} })},
		{"extra_hosts", true, box(func(c *swarm.ContainerSpec) { c.Hosts = []string{"1.1.1.1 a"} })},
		{"dns", true, box(func(c *swarm.ContainerSpec) { c.DNSConfig = &swarm.DNSConfig{Nameservers: []string{"9.9.9.9"}} })},
		{"dns_search", true, box(func(c *swarm.ContainerSpec) { c.DNSConfig = &swarm.DNSConfig{Search: []string{"x"}} })},
		{"dns_opt", true, box(func(c *swarm.ContainerSpec) { c.DNSConfig = &swarm.DNSConfig{Options: []string{"x"}} })},
		{"configs./site.conf", true, box(func(c *swarm.ContainerSpec) { c.Configs = nil })},
		{"cap_add", true, box(func(c *swarm.ContainerSpec) { c.CapabilityAdd = []string{"CAP_A"} })},
		{"cap_drop", true, box(func(c *swarm.ContainerSpec) { c.CapabilityDrop = []string{"CAP_A"} })},
		{"ulimits", true, box(func(c *swarm.ContainerSpec) { c.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 1, Hard: 1}} })},
		{"oom_score_adj", true, box(func(c *swarm.ContainerSpec) { c.OomScoreAdj = 5 })},
		{"deploy.resources.limits.cpus", true, func(s *swarm.ServiceSpec) { s.TaskTemplate.Resources.Limits = &swarm.Limit{NanoCPUs: 5e8} }},
		{"deploy.resources.limits.memory", true, func(s *swarm.ServiceSpec) { s.TaskTemplate.Resources.Limits = &swarm.Limit{MemoryBytes: 1 << 26} }},
		{"deploy.resources.reservations.memory", true, func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources.Reservations = &swarm.Resources{MemoryBytes: 1 << 26}
		}},
		{"deploy.restart_policy.condition", true, func(s *swarm.ServiceSpec) { s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "none"} }},
		{"logging", true, func(s *swarm.ServiceSpec) { s.TaskTemplate.LogDriver = &swarm.Driver{Name: "syslog"} }},
		{"networks.shop_default", true, func(s *swarm.ServiceSpec) { s.TaskTemplate.Networks = nil }},
		{"ports", true, func(s *swarm.ServiceSpec) {
			s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080}}}
		}},
		{"deploy.endpoint_mode", true, func(s *swarm.ServiceSpec) { s.EndpointSpec = &swarm.EndpointSpec{Mode: "dnsrr"} }},
		{"deploy.placement.constraints", false, func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.role==manager"}}
		}},
		{"deploy.placement.max_replicas_per_node", false, func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement = &swarm.Placement{MaxReplicas: 5} }},
		{"deploy.replicas", false, func(s *swarm.ServiceSpec) { s.Mode.Replicated.Replicas = ptr(uint64(3)) }},
		{"deploy.labels.x", false, func(s *swarm.ServiceSpec) { s.Labels["x"] = "y" }},
		{"deploy.update_config.order", false, func(s *swarm.ServiceSpec) {
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: "start-first"}
		}},
		{"deploy.rollback_config.parallelism", false, func(s *swarm.ServiceSpec) { s.RollbackConfig = &swarm.UpdateConfig{Parallelism: 2} }},
	}
}

// TestEveryFieldIsHealed edits each field of a live service and wants exactly that
// field in the plan, the spec restored, and a restart only where Swarm restarts.
func TestEveryFieldIsHealed(t *testing.T) {
	t.Parallel()
	for _, c := range edits() {
		t.Run(c.field, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			want := sample()
			l.push(want)
			before := l.service("shop_web").Spec
			l.running()
			l.edit("shop_web", c.edit)
			edited := l.running()
			p := l.push(want)
			if len(p.Steps) != 1 || len(p.Steps[0].Changes) != 1 || p.Steps[0].Changes[0].Field != "services.web."+c.field {
				t.Fatalf("the plan is not about services.web.%s alone:\n%s", c.field, show(p))
			}
			if p.Steps[0].Restarts != c.restarts {
				t.Errorf("the plan says restarts: %v", p.Steps[0].Restarts)
			}
			if restarted := l.running() != edited; restarted != c.restarts && c.field != "deploy.replicas" {
				t.Errorf("tasks restarted: %v, want %v", restarted, c.restarts)
			}
			if diff := cmp.Diff(deploy.Normalize(before, ""), deploy.Normalize(l.service("shop_web").Spec, "")); diff != "" {
				t.Errorf("the spec is not what it was:\n%s", diff)
			}
		})
	}
}

func TestForcedUpdateIsNoDriftAndSurvives(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	l.edit("shop_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate = 7 })
	l.quiet(want)
	spec(want, "web").TaskTemplate.ContainerSpec.Env = []string{"KEY=changed"}
	l.push(want)
	if got := l.service("shop_web").Spec.TaskTemplate.ForceUpdate; got != 7 {
		t.Errorf("ForceUpdate is %d, want 7", got)
	}
}

func TestWhatWasRemovedComesBack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	ctx := context.Background()
	for _, s := range l.look().Services {
		if err := l.ServiceRemove(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	l.Step(time.Minute)
	live := l.closer(want)
	for _, s := range live.Secrets {
		if err := l.SecretRemove(ctx, s.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range live.Configs {
		if err := l.ConfigRemove(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range live.Networks {
		if n.Name == "shop_default" {
			if err := l.NetworkRemove(ctx, n.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p := l.push(want); len(p.Steps) != 5 {
		t.Errorf("%d steps heal all, want 5:\n%s", len(p.Steps), show(p))
	}
}

func TestRotationRestartsOnlyWhoUsesIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	web := l.service("shop_web").Version
	for i := range 50 {
		want.Secrets[0].Data = stack.Bytes(fmt.Sprintf("password-%d", i))
		p := l.push(want)
		expect(t, "steps", []string{p.Steps[1].Name, fmt.Sprint(len(p.Steps))}, "shop_api", "2")
		if !p.Steps[1].Restarts || p.Steps[1].Changes[0].Field != "services.api.secrets.password" {
			t.Fatalf("the step is\n%s", show(p))
		}
		l.Step(time.Minute)
		l.tidy(want)
		if n := len(l.names(deploy.KindSecret)); n > 2 {
			t.Fatalf("after %d rotations there are %d secrets", i+1, n)
		}
	}
	if l.service("shop_web").Version != web {
		t.Error("the other service was written")
	}
}

func TestOldSecretStaysForARollback(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	old := l.names(deploy.KindConfig)[0]
	want.Configs[0].Data = stack.Bytes("listen 81")
	l.push(want)
	expect(t, "garbage right after the rotation", l.tidy(want))
	spec(want, "web").TaskTemplate.ContainerSpec.Env = []string{"KEY=changed"}
	l.push(want)
	expect(t, "garbage after the next change", l.tidy(want), "remove config "+old)
}

func TestRotationComesWithEachThingThatCannotChange(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*stack.Spec){
		"data":            func(s *stack.Spec) { s.Configs[0].Data = stack.Bytes("other") },
		"template driver": func(s *stack.Spec) { s.Configs[0].Templating = &swarm.Driver{Name: "golang"} },
		"secret template": func(s *stack.Spec) { s.Secrets[0].Templating = &swarm.Driver{Name: "golang"} },
		"secret driver": func(s *stack.Spec) {
			s.Secrets[0].Driver, s.Secrets[0].Data = &swarm.Driver{Name: "vault"}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			want := sample()
			l.push(want)
			change(&want)
			if p := l.push(want); len(p.Steps) != 2 || p.Steps[0].Action != deploy.Create || p.Steps[1].Kind != deploy.KindService {
				t.Errorf("the plan is\n%s", show(p))
			}
		})
	}
}

// TestTheOnlySecretIsAskedFor: where no other object shows that the key is the one
// that made the labels, Swarm is asked before the secret rotates.
func TestTheOnlySecretIsAskedFor(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	want.Configs, spec(want, "web").TaskTemplate.ContainerSpec.Configs = nil, nil
	l.push(want)
	want.Secrets[0].Data = stack.Bytes("another")
	p := l.plan(want)
	expect(t, "steps", steps(p), "update secret "+l.names(deploy.KindSecret)[0])
	var unequal *deploy.UnequalError
	if err := deploy.Apply(context.Background(), l.Swarm, p); !errors.As(err, &unequal) {
		t.Fatalf("the question for equality: %v", err)
	}
	l.o.Unequal = map[string]bool{unequal.ID: true}
	if p := l.push(want); len(p.Steps) != 2 || p.Steps[0].Action != deploy.Create {
		t.Errorf("the plan is\n%s", show(p))
	}
}

func TestALostKeyRotatesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	tasks := l.running()
	l.o.Key = deploy.Key("another key, since the first was lost")
	p := l.push(want)
	for _, s := range p.Steps {
		if s.Action != deploy.Update || s.Kind == deploy.KindService {
			t.Errorf("with another key there is more to do than labels:\n%s", show(p))
		}
	}
	if len(p.Steps) != 2 || l.running() != tasks {
		t.Errorf("tasks restarted, or not all labels are new:\n%s", show(p))
	}
}

func TestLabelsOfSecretsAndConfigsAreUpdated(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	want.Secrets[0].Labels["team"] = "blue"
	want.Configs[0].Labels["team"] = "blue"
	p := l.push(want)
	if len(p.Steps) != 2 || p.Steps[0].Action != deploy.Update || p.Steps[1].Action != deploy.Update {
		t.Errorf("the plan is\n%s", show(p))
	}
}

func TestLiteralNameCannotRotate(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	want.Configs[0].Name = "site-settings"
	want.Secrets[0].Name = "the-password"
	l.push(want)
	expect(t, "configs", l.names(deploy.KindConfig), "site-settings")
	want.Configs[0].Data = stack.Bytes("other")
	got := diffErrors(t, want, l.closer(want), l.o)
	expect(t, "errors", got, `config "site-settings": its content differs from git and it is immutable: drop name: so that it can rotate, or give another name`)
	want = sample()
	want.Configs[0].Name = "site-settings"
	want.Secrets[0].Name = "the-password"
	want.Secrets[0].Data = stack.Bytes("another")
	err := deploy.Apply(context.Background(), l.Swarm, l.plan(want))
	var unequal *deploy.UnequalError
	if !errors.As(err, &unequal) {
		t.Fatalf("asked for equality: %v", err)
	}
	l.o.Unequal = map[string]bool{unequal.ID: true}
	got = diffErrors(t, want, l.closer(want), l.o)
	expect(t, "errors", got, `secret "the-password": its content differs from git and it is immutable: drop name: so that it can rotate, or give another name`)
}

func TestExternalObjects(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	want.Secrets[0] = stack.Secret{Key: "password", Name: "ext-secret", External: true}
	want.Configs[0] = stack.Config{Key: "site", Name: "ext-config", External: true}
	want.Networks[0] = stack.Network{Key: "default", Name: "ext-net", External: true}
	for _, key := range []string{"api", "web"} {
		spec(want, key).TaskTemplate.Networks[0].Target = "ext-net"
	}
	got := diffErrors(t, want, l.closer(want), l.o)
	expect(t, "errors", got,
		`network "ext-net": the external network does not exist: create it with docker network create --driver overlay, or drop external: true`,
		`secret "ext-secret": the external secret does not exist: create it with docker secret create, or drop external: true`,
		`config "ext-config": the external config does not exist: create it with docker config create, or drop external: true`)
	_, err := deploy.Diff(want, l.closer(want), l.o)
	var refused *deploy.RefusedError
	if !errors.As(err, &refused) || !refused.Passing {
		t.Errorf("%v is not told as what may pass", err)
	}
	ctx := context.Background()
	if _, err := l.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "ext-secret"}, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "ext-config"}, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.NetworkCreate(ctx, "ext-net", network.CreateOptions{Driver: "overlay"}); err != nil {
		t.Fatal(err)
	}
	p := l.push(want)
	expect(t, "steps", steps(p), "create service shop_api", "create service shop_web")
	expect(t, "garbage of the whole stack", l.tidy(stack.Spec{Tenant: "acme", Name: "shop"}), "remove service shop_api", "remove service shop_web")
	expect(t, "secrets", l.names(deploy.KindSecret), "ext-secret")
}

func TestPredefinedNetwork(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	want.Networks = []stack.Network{{Key: "default", Name: "host", External: true}}
	for _, key := range []string{"api", "web"} {
		spec(want, key).TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "host"}}
	}
	l.push(want)
	if l.service("shop_web").Spec.TaskTemplate.Networks[0].Target == "host" {
		t.Fatal("the fake swarm keeps names")
	}
	spec(want, "web").TaskTemplate.Networks = nil
	if p := l.push(want); len(p.Steps) != 1 || p.Steps[0].Changes[0].Field == "" {
		t.Errorf("leaving the network is\n%s", show(p))
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	other := func(change func(*stack.Spec)) stack.Spec {
		s := sample()
		change(&s)
		return s
	}
	for _, c := range []struct {
		name     string
		there    stack.Spec
		instance string
		want     []string
	}{
		{"another tenant's stack of the same name", other(func(s *stack.Spec) { s.Tenant = "rival" }), "test", []string{
			`network "shop_default" belongs to tenant "rival", stack "shop": give the stack or the object another name`,
			`service "shop_api" belongs to tenant "rival", stack "shop": give the stack or the object another name`,
			`service "shop_web" belongs to tenant "rival", stack "shop": give the stack or the object another name`,
		}},
		{"another instance of skep", sample(), "prod", []string{
			`network "shop_default" belongs to tenant "acme", stack "shop", of the skep instance "prod": give the stack or the object another name`,
			`service "shop_api" belongs to tenant "acme", stack "shop", of the skep instance "prod": give the stack or the object another name`,
			`service "shop_web" belongs to tenant "acme", stack "shop", of the skep instance "prod": give the stack or the object another name`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.o.Instance = c.instance
			l.push(c.there)
			l.o.Instance = "test"
			want := sample()
			want.Secrets, want.Configs = nil, nil
			expect(t, "errors", diffErrors(t, want, l.closer(want), l.o), c.want...)
		})
	}
}

func TestOneServiceNameOfTwoStacks(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := stack.Spec{Tenant: "acme", Name: "a", Services: []stack.Service{app("b_c", "x:1")}}
	first.Services[0].Spec.Name = "a_b_c"
	first.Services[0].Spec.TaskTemplate.Networks = nil
	l.push(first)
	second := stack.Spec{Tenant: "acme", Name: "a_b", Services: []stack.Service{app("c", "x:1")}}
	second.Services[0].Spec.Name = "a_b_c"
	expect(t, "errors", diffErrors(t, second, l.closer(second), l.o),
		`service "a_b_c" belongs to tenant "acme", stack "a": give the stack or the object another name`)
}

func TestServiceMadeByHandIsNotTaken(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.o.Adopt = true
	hand := app("web", "web:1").Spec
	hand.Labels, hand.TaskTemplate.Networks = nil, nil
	if _, err := l.ServiceCreate(context.Background(), hand, swarm.ServiceCreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := sample()
	expect(t, "errors", diffErrors(t, want, l.closer(want), l.o),
		`service "shop_web" belongs to nobody's stack: it was created by hand: remove it or give the stack another name`)
}

func TestAdoption(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.dockerStackDeploy(sample())
	tasks := l.running()
	want := sample()
	got := diffErrors(t, want, l.closer(want), l.o)
	if len(got) != 3 || !strings.Contains(got[1], `belongs to stack "shop" of docker stack deploy: set adopt: true`) {
		t.Errorf("without adopt: %q", got)
	}
	l.o.Adopt = true
	p := l.push(want)
	expect(t, "steps", steps(p), "update secret shop_password", "update config shop_site", "update service shop_api", "update service shop_web")
	for _, s := range p.Steps {
		if s.Restarts {
			t.Errorf("adopting restarts:\n%s", show(p))
		}
	}
	if l.running() != tasks {
		t.Error("tasks restarted")
	}
	expect(t, "garbage", l.tidy(want))
	var unlabelled map[string]bool
	for _, n := range l.look().Networks {
		if n.Name == "shop_default" {
			unlabelled = map[string]bool{n.ID: true}
		}
	}
	l.o.Adopt, l.o.Owned = false, unlabelled // the memory lists the network
	l.quiet(want)
	want.Configs[0].Data = stack.Bytes("changed")
	l.push(want)
	expect(t, "garbage of the whole stack", l.tidy(stack.Spec{Tenant: "acme", Name: "shop"})[:2], "remove service shop_api", "remove service shop_web")
	for _, k := range []deploy.Kind{deploy.KindService, deploy.KindNetwork, deploy.KindSecret, deploy.KindConfig} {
		expect(t, "left over of "+string(k), l.names(k))
	}
}

func TestAdoptingASecretThatDiffersRotatesIt(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.dockerStackDeploy(sample())
	l.o.Adopt = true
	want := sample()
	want.Secrets[0].Data = stack.Bytes("rotated in git")
	var unequal *deploy.UnequalError
	if err := deploy.Apply(context.Background(), l.Swarm, l.plan(want)); !errors.As(err, &unequal) {
		t.Fatalf("asked for equality: %v", err)
	}
	l.o.Unequal = map[string]bool{unequal.ID: true}
	p := l.push(want)
	if len(p.Steps) != 2 || p.Steps[0].Action != deploy.Create || p.Steps[1].Name != "shop_api" {
		t.Errorf("the plan is\n%s", show(p))
	}
}

func TestJobsRunOncePerContent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	job := spec(want, "api")
	job.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(1)), TotalCompletions: ptr(uint64(1))}}
	l.push(want)
	version := l.service("shop_api").Version
	job.Labels["x"] = "y"
	l.o.Auth, l.o.Resend = map[string]string{"docker.io": "secret"}, true
	l.quietBut(want, "shop_api")
	if l.service("shop_api").Version != version {
		t.Error("the job was written")
	}
	l.o.Auth, l.o.Resend = nil, false
	job.TaskTemplate.ContainerSpec.Env = []string{"KEY=2"}
	p := l.push(want)
	if len(p.Steps) != 1 || !p.Steps[0].Restarts {
		t.Errorf("another content is\n%s", show(p))
	}
}

// quietBut fails if there is something to do for a service.
func (l *lab) quietBut(want stack.Spec, service string) {
	l.Helper()
	for _, s := range l.plan(want).Steps {
		if s.Name == service {
			l.Errorf("%s %s", s.Action, s.Name)
		}
	}
}

func TestModeChangeNeedsConsent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	spec(want, "web").Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	got := diffErrors(t, want, l.closer(want), l.o)
	expect(t, "errors", got, `service "shop_web": its mode changes from replicated to global: Swarm can't update that; x-skep: {replace: true} allows to remove the service and create it again`)
	want.Wishes.Replace = true
	expect(t, "steps", steps(l.push(want)), "replace service shop_web")
}

func TestNetworkChangeNeedsConsent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	want.Networks[0].Create.Attachable = true
	got := diffErrors(t, want, l.closer(want), l.o)
	expect(t, "errors", got, `network "shop_default": attachable changed: Swarm can't update a network; x-skep: {replace: true} allows to stop its services, remove it and create it again`)
	want.Wishes.Replace = true
	p := l.plan(want)
	expect(t, "steps", steps(p), "remove service shop_api", "remove service shop_web", "replace network shop_default", "create service shop_api", "create service shop_web")
	l.push(want)
}

func TestNetworkOptions(t *testing.T) {
	t.Parallel()
	pool := func(c network.IPAMConfig) func(*network.CreateOptions) {
		return func(o *network.CreateOptions) { o.IPAM = &network.IPAM{Config: []network.IPAMConfig{c}} }
	}
	for name, c := range map[string]struct {
		first, then func(*network.CreateOptions)
		field       string
	}{
		"what the swarm chose":  {pool(network.IPAMConfig{}), func(o *network.CreateOptions) { o.IPAM = nil }, ""},
		"the same subnet":       {pool(network.IPAMConfig{Subnet: "10.9.0.0/24"}), pool(network.IPAMConfig{Subnet: "10.9.0.0/24"}), ""},
		"another subnet":        {pool(network.IPAMConfig{Subnet: "10.9.0.0/24"}), pool(network.IPAMConfig{Subnet: "10.8.0.0/24"}), "ipam"},
		"another driver option": {func(o *network.CreateOptions) { o.Options = map[string]string{"encrypted": ""} }, func(o *network.CreateOptions) { o.Options = nil }, "driver_opts"},
		"internal":              {func(*network.CreateOptions) {}, func(o *network.CreateOptions) { o.Internal = true }, "internal"},
		"IPv6":                  {func(*network.CreateOptions) {}, func(o *network.CreateOptions) { o.EnableIPv6 = ptr(true) }, "enable_ipv6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			want := sample()
			c.first(&want.Networks[0].Create)
			l.push(want)
			want = sample()
			c.then(&want.Networks[0].Create)
			if c.field == "" {
				l.quiet(want)
				return
			}
			got := diffErrors(t, want, l.closer(want), l.o)
			if len(got) != 1 || !strings.Contains(got[0], c.field+" changed") {
				t.Errorf("errors are %q", got)
			}
		})
	}
}

func TestNetworkLabelsStayWithANote(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	want.Networks[0].Create.Labels["x"] = "y"
	p := l.plan(want)
	if !p.Empty() || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "labels") {
		t.Errorf("the plan is\n%s", show(p))
	}
}

func TestDigests(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	pinned := "web:1@sha256:" + strings.Repeat("a", 64)
	expect(t, "unresolved at first", deploy.Unresolved(want, l.look()), "api:1", "web:1")
	l.o.Digests = map[string]deploy.Digest{"web:1": {Image: pinned, Platforms: []swarm.Platform{{OS: "linux", Architecture: "amd64"}}}}
	p := l.push(want)
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], `service "api": image api:1 stays without a digest`) {
		t.Errorf("notes: %q", p.Notes)
	}
	if s := l.service("shop_web").Spec.TaskTemplate; s.ContainerSpec.Image != pinned || len(s.Placement.Platforms) != 1 {
		t.Errorf("the service runs %s", s.ContainerSpec.Image)
	}
	expect(t, "unresolved afterwards", deploy.Unresolved(want, l.look()))
	l.o.Digests = nil // the registry is down
	l.quiet(want)
	l.o.Digests = map[string]deploy.Digest{"web:1": {Image: "web:1@sha256:" + strings.Repeat("b", 64)}}
	l.quiet(want) // the tag moved
	l.o.Digests = nil
	spec(want, "web").TaskTemplate.ContainerSpec.Env = []string{"KEY=2"}
	l.push(want)
	if s := l.service("shop_web").Spec.TaskTemplate; s.ContainerSpec.Image != pinned || len(s.Placement.Platforms) != 1 {
		t.Errorf("another variable un-pinned the image: %s", s.ContainerSpec.Image)
	}
	spec(want, "web").TaskTemplate.ContainerSpec.Image = "web:2"
	spec(want, "web").Labels[deploy.LabelImage] = "web:2"
	expect(t, "unresolved with another tag", deploy.Unresolved(want, l.look()), "web:2")
	l.push(want)
	spec(want, "web").TaskTemplate.ContainerSpec.Image = "web:1"
	spec(want, "web").Labels[deploy.LabelImage] = "web:1"
	l.push(want)
	if s := l.service("shop_web").Spec.TaskTemplate.ContainerSpec; s.Image != pinned {
		t.Errorf("going back without a registry gives %s, want what ran before", s.Image)
	}
}

// TestPinnedStaysPinned: no edit of a label un-pins an image, and a reference that
// loses its digest in git is another one.
func TestPinnedStaysPinned(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	pinned := "web:1@sha256:" + strings.Repeat("a", 64)
	l.o.Digests = map[string]deploy.Digest{"web:1": {Image: pinned, Platforms: []swarm.Platform{{OS: "linux"}}}}
	l.push(want)
	l.o.Digests = nil
	l.edit("shop_web", func(s *swarm.ServiceSpec) { delete(s.Labels, deploy.LabelImage) })
	p := l.push(want)
	if len(p.Steps) != 1 || p.Steps[0].Restarts {
		t.Errorf("healing the label is\n%s", show(p))
	}
	web := spec(want, "web")
	web.TaskTemplate.ContainerSpec.Image, web.Labels[deploy.LabelImage] = pinned, pinned
	expect(t, "unresolved with a digest in git", deploy.Unresolved(want, l.look()))
	if p := l.push(want); len(p.Steps) != 1 || p.Steps[0].Restarts {
		t.Errorf("writing the digest into git is\n%s", show(p))
	}
	web.TaskTemplate.ContainerSpec.Image, web.Labels[deploy.LabelImage] = "web:1", "web:1"
	expect(t, "unresolved without it again", deploy.Unresolved(want, l.look()), "web:1")
}

func TestImageEditedByHandIsHealed(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	l.edit("shop_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "evil:1" })
	p := l.push(want)
	if c := p.Steps[0].Changes[0]; c != (deploy.Change{Field: "services.web.image", From: "evil:1", To: "web:1"}) {
		t.Errorf("the change is %+v", c)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	spec(want, "web").TaskTemplate.ContainerSpec.Image = "registry.example.com/web:1"
	spec(want, "web").Labels[deploy.LabelImage] = "registry.example.com/web:1"
	l.o.Auth = map[string]string{"registry.example.com": "first", "https://index.docker.io/v1/": "hub"}
	l.push(want)
	if l.Auth("shop_web") != "first" || l.Auth("shop_api") != "hub" {
		t.Errorf("the services got %q and %q", l.Auth("shop_web"), l.Auth("shop_api"))
	}
	tasks := l.running()
	l.o.Auth, l.o.Resend = map[string]string{"registry.example.com": "second"}, true
	p := l.plan(want)
	expect(t, "steps", steps(p), "update service shop_web")
	if p.Steps[0].Restarts || len(p.Steps[0].Changes) > 0 || strings.Contains(show(p), "second") {
		t.Errorf("the plan is\n%s", show(p))
	}
	if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
		t.Fatal(err)
	}
	if l.Auth("shop_web") != "second" || l.running() != tasks {
		t.Error("the credentials were not sent, or tasks restarted")
	}
	l.o.Resend = false
	l.quiet(want)
}

func TestIgnoredPathsKeepTheLiveValue(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	want.Wishes.Ignore = []string{"services.web.deploy.replicas", "services.web.deploy.labels.scaler.at", "services.web.environment.KEY"}
	l.push(want)
	l.edit("shop_web", func(s *swarm.ServiceSpec) {
		s.Mode.Replicated.Replicas = ptr(uint64(9))
		s.Labels["scaler.at"] = "noon"
		s.TaskTemplate.ContainerSpec.Env = []string{"KEY=theirs"}
	})
	l.quiet(want)
	w := spec(want, "web")
	w.Mode.Replicated.Replicas = ptr(uint64(3))
	w.TaskTemplate.ContainerSpec.Env = []string{"KEY=ours", "NEW=1"}
	l.push(want)
	got := l.service("shop_web").Spec
	if *got.Mode.Replicated.Replicas != 9 || got.Labels["scaler.at"] != "noon" || strings.Join(got.TaskTemplate.ContainerSpec.Env, " ") != "NEW=1 KEY=theirs" {
		t.Errorf("the live values are not kept: %d replicas, labels %v, env %v", *got.Mode.Replicated.Replicas, got.Labels, got.TaskTemplate.ContainerSpec.Env)
	}
}

// TestEveryFieldCanBeLeftToOthers edits each field of a live service and wants that
// nothing is to do when the stack leaves that field to others.
func TestEveryFieldCanBeLeftToOthers(t *testing.T) {
	t.Parallel()
	whole := []string{"configs", "volumes", "networks", "deploy.restart_policy", "deploy.update_config", "deploy.rollback_config"}
	for _, c := range edits() {
		path := c.field
		for _, w := range whole {
			if strings.HasPrefix(path, w+".") {
				path = w
			}
		}
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.push(sample())
			l.edit("shop_web", c.edit)
			want := sample()
			want.Wishes.Ignore = []string{"services.web." + path}
			l.quiet(want)
			want.Wishes.Ignore = []string{"services.api." + path}
			if p := l.plan(want); len(p.Steps) != 1 {
				t.Errorf("another service's path is ignored:\n%s", show(p))
			}
		})
	}
}

func TestLabelsLeftToOthersKeepOurs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	want := sample()
	want.Wishes.Ignore = []string{"services.web.deploy.labels", "services.web.labels"}
	l.edit("shop_web", func(s *swarm.ServiceSpec) { s.Labels["x"] = "y" })
	spec(want, "web").TaskTemplate.ContainerSpec.Image = "web:2"
	spec(want, "web").Labels[deploy.LabelImage] = "web:2"
	l.push(want)
	s := l.service("shop_web").Spec
	if s.Labels["x"] != "y" || s.Labels[deploy.LabelImage] != "web:2" || s.Labels[deploy.LabelTenant] != "acme" || s.TaskTemplate.ContainerSpec.Labels[deploy.LabelNamespace] != "shop" {
		t.Errorf("labels are %v and %v", s.Labels, s.TaskTemplate.ContainerSpec.Labels)
	}
}

func publish(s *swarm.ServiceSpec, mode swarm.PortConfigPublishMode, number uint32) {
	s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: number, PublishMode: mode}}}
}

func TestPortIsHandedOver(t *testing.T) {
	t.Parallel()
	for _, mode := range []swarm.PortConfigPublishMode{"ingress", "host"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			want := sample()
			publish(spec(want, "web"), mode, 8080)
			l.push(want)
			next := sample()
			next.Services = []stack.Service{next.Services[0], app("www", "web:1")}
			publish(spec(next, "www"), mode, 8080)
			p := l.push(next)
			expect(t, "steps", steps(p), "remove service shop_web", "create service shop_www")
			if why := p.Steps[0].Why; !strings.Contains(why, "port 8080") {
				t.Errorf("the reason is %q", why)
			}
		})
	}
}

func TestPortOfAServiceThatStays(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	publish(spec(want, "web"), "ingress", 8080)
	l.push(want)
	publish(spec(want, "web"), "ingress", 8081)
	publish(spec(want, "api"), "ingress", 8080)
	expect(t, "steps", steps(l.plan(want)), "update service shop_web", "defer api on web port_free")
	if err := deploy.Apply(context.Background(), l.Swarm, l.plan(want)); err != nil {
		t.Fatal(err)
	}
	l.push(want)
	publish(spec(want, "web"), "ingress", 8080)
	publish(spec(want, "api"), "ingress", 8081)
	got := diffErrors(t, want, l.closer(want), l.o)
	if len(got) != 1 || !strings.Contains(got[0], "circle") {
		t.Errorf("an exchange of ports: %q", got)
	}
}

func TestPortOfAnotherStack(t *testing.T) {
	t.Parallel()
	held := `service "shop_web": published port 8080/tcp is held by service "blog_x": choose another port or remove that service`
	cases := []struct {
		theirs, ours swarm.PortConfigPublishMode
		want         []string
	}{{"ingress", "ingress", []string{held}}, {"host", "ingress", []string{held}}, {"ingress", "host", []string{held}}, {"host", "host", nil}}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s beside %s", c.ours, c.theirs), func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			other := stack.Spec{Tenant: "acme", Name: "blog", Services: []stack.Service{app("x", "x:1")}}
			o := &other.Services[0].Spec
			o.Name, o.TaskTemplate.Networks, o.Labels[deploy.LabelNamespace] = "blog_x", nil, "blog"
			publish(o, c.theirs, 8080)
			l.push(other)
			want := sample()
			publish(spec(want, "web"), c.ours, 8080)
			if c.want == nil {
				l.push(want)
				return
			}
			expect(t, "errors", diffErrors(t, want, l.closer(want), l.o), c.want...)
		})
	}
}

func TestDependsOn(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["migrate:1"] = swarmtest.Completes(10 * time.Second)
	l.Outcomes["db:1"] = swarmtest.Runs(5 * time.Second)
	want := sample()
	job := app("migrate", "migrate:1")
	job.Spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(1)), TotalCompletions: ptr(uint64(1))}}
	job.DependsOn = []stack.Dependency{{Service: "db", Condition: "service_healthy"}}
	want.Services = []stack.Service{want.Services[0], app("db", "db:1"), job, want.Services[1]}
	want.Services[0].DependsOn = []stack.Dependency{{Service: "migrate", Condition: "service_completed_successfully"}}
	want.Services[3].DependsOn = []stack.Dependency{{Service: "api", Condition: "service_started"}}
	waiting := []string{"defer migrate on db service_healthy", "defer api on migrate service_completed_successfully", "defer web on api service_started"}
	apply := func(p deploy.Plan) {
		if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
			t.Fatal(err)
		}
	}
	p := l.plan(want)
	expect(t, "at first", steps(p)[3:], append([]string{"create service shop_db"}, waiting...)...)
	apply(p)
	expect(t, "while the database starts", steps(l.plan(want)), waiting...)
	l.Step(12 * time.Second) // it runs, and has done so for the monitor window
	p = l.plan(want)
	expect(t, "when the database is healthy", steps(p), append([]string{"create service shop_migrate"}, waiting[1:]...)...)
	apply(p)
	expect(t, "while the migration runs", steps(l.plan(want)), waiting[1:]...)
	l.Step(11 * time.Second)
	p = l.plan(want)
	expect(t, "when the migration is done", steps(p), "create service shop_api", "defer web on api service_started")
	apply(p)
	l.Step(time.Second)
	p = l.plan(want)
	expect(t, "when the api runs", steps(p), "create service shop_web")
	apply(p)
	l.Step(time.Minute)
	spec(want, "web").TaskTemplate.ContainerSpec.Env = nil
	expect(t, "an unchanged dependency delays nothing", steps(l.plan(want)), "update service shop_web")
}

func TestFailedMigrationBlocksTheApp(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Outcomes["migrate:1"] = swarmtest.Crashes(3, time.Second)
	want := sample()
	job := app("migrate", "migrate:1")
	job.Spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(1)), TotalCompletions: ptr(uint64(1))}}
	job.Spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "none"}
	want.Services = []stack.Service{want.Services[0], job}
	want.Services[0].DependsOn = []stack.Dependency{{Service: "migrate", Condition: "service_completed_successfully"}}
	if err := deploy.Apply(context.Background(), l.Swarm, l.plan(want)); err != nil {
		t.Fatal(err)
	}
	l.Step(10 * time.Second)
	expect(t, "plan", steps(l.plan(want)), "defer api on migrate service_completed_successfully failed")
	want.Services[0].DependsOn[0].Optional = true
	expect(t, "plan with required: false", steps(l.plan(want)), "create service shop_api")
}

func TestTaintedValuesAreNotShown(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	const planted = "pl4nted-value"
	want.Taint = stack.NewTaint(planted)
	w := spec(want, "web")
	w.TaskTemplate.ContainerSpec.Image = "registry/" + planted + ":1"
	w.TaskTemplate.ContainerSpec.Env = []string{"KEY=" + planted, planted + "=1"}
	w.Labels[planted] = planted
	want.Secrets[0].Data = stack.Bytes(planted)
	want.Configs[0].Data, want.Configs[0].Tainted = stack.Bytes(planted), true
	l.o.Digests = map[string]deploy.Digest{}
	p := l.plan(want)
	if len(p.Steps) < 3 {
		t.Fatalf("the plan is\n%s", show(p))
	}
	if text := show(p) + fmt.Sprintf("%v", steps(p)); strings.Contains(text, planted) {
		t.Errorf("the plan shows a tainted value:\n%s", text)
	}
}

// TestDiffLeavesItsArgumentsAlone, and what it gives shares nothing with them: what
// the Docker client then writes into a spec stays there.
func TestDiffLeavesItsArgumentsAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	l.edit("shop_web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"Z=1", "A=1"} })
	want.Configs[0].Data = stack.Bytes("changed")
	live := l.closer(want)
	wantBefore, liveBefore := asJSON(t, want), asJSON(t, live)
	p, err := deploy.Diff(want, live, l.o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deploy.Garbage(want, live, l.o); err != nil {
		t.Fatal(err)
	}
	deploy.Check(live, "shop", deploy.CheckOptions{}, time.Now())
	if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
		t.Fatal(err)
	}
	if got := asJSON(t, want); got != wantBefore {
		t.Errorf("git's side changed:\n%s", cmp.Diff(wantBefore, got))
	}
	if got := asJSON(t, live); got != liveBefore {
		t.Errorf("the look changed:\n%s", cmp.Diff(liveBefore, got))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPlanReads holds the plan, as it is shown, to a file that is read in review.
func TestPlanReads(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	l.Step(time.Minute)
	want := sample()
	want.Secrets[0].Data = stack.Bytes("another")
	web := spec(want, "web")
	web.TaskTemplate.ContainerSpec.Image, web.Labels[deploy.LabelImage] = "web:2", "web:2"
	web.TaskTemplate.ContainerSpec.Env = []string{"KEY=other", "NEW=1"}
	web.Mode.Replicated.Replicas = ptr(uint64(5))
	web.UpdateConfig = &swarm.UpdateConfig{Parallelism: 2, Delay: time.Second, Order: "start-first"}
	want.Services = append(want.Services, app("worker", "worker:1"))
	want.Services[2].DependsOn = []stack.Dependency{{Service: "web", Condition: "service_healthy"}}
	golden(t, "testdata/plan.json", show(l.plan(want))+"\n")
}

// golden compares with a file; -update writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-file +got); go test -update writes it:\n%s", file, diff)
	}
}

func TestOffline(t *testing.T) {
	t.Parallel()
	want := sample()
	want.Configs = append(want.Configs, stack.Config{Key: "lit", Name: "literal"})
	before := asJSON(t, want)
	got := deploy.Offline(want)
	expect(t, "names", []string{got.Secrets[0].Name, got.Configs[0].Name, got.Configs[1].Name},
		"shop_password_0000000000", "shop_site_0000000000", "literal")
	if r := got.Services[0].Spec.TaskTemplate.ContainerSpec.Secrets[0]; r.SecretName != "shop_password_0000000000" {
		t.Errorf("the service refers to %q", r.SecretName)
	}
	if asJSON(t, want) != before {
		t.Error("the argument changed")
	}
}

// TestOldNodeComesAndGoes: what an older node would drop is not asked for while it
// is there, and that is no reason to take it from a service that has it, which
// would restart all tasks whenever that node does.
func TestOldNodeComesAndGoes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	modern := alone(func(s *swarm.ServiceSpec) {
		c := s.TaskTemplate.ContainerSpec
		c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app"}, StartInterval: time.Second}
		c.Privileges = &swarm.Privileges{NoNewPrivileges: true}
		c.OomScoreAdj = 100
	})
	gated := alone(func(s *swarm.ServiceSpec) { // as the stack room renders it for the older node
		s.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app"}}
	})
	l.push(modern)
	old := l.AddNode("old", swarm.NodeRoleWorker, nil)
	l.ChangeNode(old, func(n *swarm.Node) { n.Description.Engine.EngineVersion = "20.10.24" })
	l.quiet(gated)
	l.ChangeNode(old, func(n *swarm.Node) { n.Status.State = swarm.NodeStateDown })
	l.quiet(modern)
	l.ChangeNode(old, func(n *swarm.Node) { n.Status.State = swarm.NodeStateReady })
	l.quiet(gated)
	if p := l.plan(alone(nil)); len(p.Steps) != 1 {
		t.Errorf("a change of the rest is not seen:\n%s", show(p))
	}
}
