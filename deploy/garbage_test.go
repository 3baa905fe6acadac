package deploy_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

// gone is the stack shop when its folder left git.
func gone() stack.Spec { return stack.Spec{Tenant: "acme", Name: "shop"} }

func (l *lab) garbage(want stack.Spec) deploy.Plan {
	l.Helper()
	p, err := deploy.Garbage(want, l.closer(want), l.o)
	if err != nil {
		l.Fatal(err)
	}
	return p
}

func (l *lab) apply(p deploy.Plan) {
	l.Helper()
	if err := deploy.Apply(context.Background(), l.Swarm, p); err != nil {
		l.Fatal(err)
	}
}

func TestNothingIsGarbageOfWhatGitAsks(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	expect(t, "garbage", l.tidy(sample()))
}

func TestWholeStackGoesInOrder(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.Stop = 10 * time.Second
	l.push(sample())
	l.Step(time.Minute)
	p := l.garbage(gone())
	expect(t, "at first", steps(p), "remove service shop_api", "remove service shop_web")
	l.apply(p)
	l.Step(time.Second)
	p = l.garbage(gone())
	if got := steps(p); len(got) != 2 || !strings.HasPrefix(got[0], "remove secret") || !strings.HasPrefix(got[1], "remove config") {
		t.Errorf("while the containers stop: %q", got)
	}
	l.apply(p)
	l.Step(20 * time.Second)
	p = l.garbage(gone())
	expect(t, "when they have stopped", steps(p), "remove network shop_default")
	l.apply(p)
	for _, k := range []deploy.Kind{deploy.KindService, deploy.KindNetwork, deploy.KindSecret, deploy.KindConfig} {
		expect(t, "left over of "+string(k), l.names(k))
	}
}

func TestNetworksAreNotJudgedWithoutTasks(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	want := sample()
	l.push(want)
	l.apply(l.garbage(gone()))
	l.Step(time.Minute)
	live := l.closer(gone())
	live.Listed, live.Tasks = false, nil
	p, err := deploy.Garbage(gone(), live, l.o)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Steps {
		if s.Kind == deploy.KindNetwork {
			t.Errorf("%s %s", s.Action, s.Name)
		}
	}
}

func TestServiceThatLeftGitIsGarbage(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	less := sample()
	less.Services, less.Configs = less.Services[:1], nil
	expect(t, "steps of Diff", steps(l.plan(less)))
	got := l.tidy(less)
	if len(got) != 2 || got[0] != "remove service shop_web" || !strings.HasPrefix(got[1], "remove config shop_site_") {
		t.Errorf("garbage: %q", got)
	}
}

// TestForeignObjectsAreNoGarbage: each object here looks a bit like the stack's own.
func TestForeignObjectsAreNoGarbage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	ours := map[string]string{deploy.LabelNamespace: "shop", deploy.LabelTenant: "acme", deploy.LabelInstance: "test"}
	for name, change := range map[string]func(map[string]string){
		"of docker stack deploy":    func(m map[string]string) { delete(m, deploy.LabelTenant); delete(m, deploy.LabelInstance) },
		"of another tenant":         func(m map[string]string) { m[deploy.LabelTenant] = "rival" },
		"of another instance":       func(m map[string]string) { m[deploy.LabelInstance] = "prod" },
		"of another stack":          func(m map[string]string) { m[deploy.LabelNamespace] = "shop2" },
		"without a stack":           func(m map[string]string) { delete(m, deploy.LabelNamespace) },
		"without a tenant":          func(m map[string]string) { delete(m, deploy.LabelTenant) },
		"without labels":            func(m map[string]string) { clear(m) },
		"skep's own (secrets only)": func(m map[string]string) { m[deploy.LabelKind] = "memory" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			labels := clone(ours)
			change(labels)
			if _, err := l.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "shop_x_0123456789", Labels: labels}, Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "shop_x_0123456789", Labels: labels}, Data: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			if _, err := l.NetworkCreate(ctx, "shop_x", network.CreateOptions{Driver: "overlay", Labels: labels}); err != nil {
				t.Fatal(err)
			}
			s := app("x", "x:1").Spec
			s.Labels, s.TaskTemplate.Networks = labels, nil
			if _, err := l.ServiceCreate(ctx, s, swarm.ServiceCreateOptions{}); err != nil {
				t.Fatal(err)
			}
			expect(t, "garbage", steps(l.garbage(gone())))
		})
	}
}

func TestSecretOfAnotherStacksServiceStays(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	secret := l.look().Secrets[0]
	s := app("x", "x:1").Spec
	s.Name, s.Labels, s.TaskTemplate.Networks = "other_x", nil, nil
	s.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: secret.ID, SecretName: secret.Spec.Name, File: &swarm.SecretReferenceFileTarget{Name: "p", UID: "0", GID: "0"}}}
	if _, err := l.ServiceCreate(context.Background(), s, swarm.ServiceCreateOptions{}); err != nil {
		t.Fatal(err)
	}
	l.tidy(gone())
	if got := l.names(deploy.KindSecret); !slices.Contains(got, secret.Spec.Name) {
		t.Errorf("the secret is gone, of %q", got)
	}
}
