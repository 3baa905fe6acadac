package deploy_test

import (
	"context"
	"errors"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

// off takes labels off a service, as docker service update --label-rm does.
func off(labels ...string) func(*swarm.ServiceSpec) {
	return func(s *swarm.ServiceSpec) {
		for _, k := range labels {
			delete(s.Labels, k)
		}
	}
}

// TestLostLabelsAreHealed takes labels off a service that skep keeps. The spec
// before shows whose it is, so they come back, and no task restarts for it.
func TestLostLabelsAreHealed(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string][]string{
		"those of skep, as docker stack deploy does": {deploy.LabelTenant, deploy.LabelInstance},
		"the instance":             {deploy.LabelInstance},
		"the tenant":               {deploy.LabelTenant},
		"the stack":                {deploy.LabelNamespace},
		"all that tells whose":     {deploy.LabelNamespace, deploy.LabelTenant, deploy.LabelInstance},
		"every label that it has":  {deploy.LabelNamespace, deploy.LabelTenant, deploy.LabelInstance, deploy.LabelImage},
		"skep's, beside the image": {deploy.LabelTenant, deploy.LabelInstance, deploy.LabelImage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.push(sample())
			before, ran := l.service("shop_web").Spec, l.running()
			l.edit("shop_web", off(lost...))
			expect(t, "what heals", steps(l.push(sample())), "update service shop_web")
			if got := l.service("shop_web").Spec.Labels; len(got) != len(before.Labels) || got[deploy.LabelTenant] != "acme" || got[deploy.LabelInstance] != "test" {
				t.Errorf("labels after: %v, want %v", got, before.Labels)
			}
			if now := l.running(); now != ran {
				t.Errorf("tasks restarted: %s, before %s", now, ran)
			}
		})
	}
}

// TestLabelsOfOthersAreNotTaken has services with skep's labels in the spec before
// that are not this stack's all the same.
func TestLabelsOfOthersAreNotTaken(t *testing.T) {
	t.Parallel()
	label := func(k, v string) func(*swarm.ServiceSpec) {
		return func(s *swarm.ServiceSpec) { s.Labels[k] = v }
	}
	without := off(deploy.LabelTenant, deploy.LabelInstance)
	for name, edits := range map[string][]func(*swarm.ServiceSpec){
		"another tenant took it":                     {label(deploy.LabelTenant, "rival")},
		"another instance took it":                   {label(deploy.LabelInstance, "prod")},
		"another stack took it":                      {label(deploy.LabelNamespace, "shop2")},
		"another tenant, no instance":                {func(s *swarm.ServiceSpec) { without(s); s.Labels[deploy.LabelTenant] = "rival" }},
		"another instance, no tenant":                {func(s *swarm.ServiceSpec) { without(s); s.Labels[deploy.LabelInstance] = "prod" }},
		"another stack, without skep":                {func(s *swarm.ServiceSpec) { without(s); s.Labels[deploy.LabelNamespace] = "shop2" }},
		"the spec before is without too":             {without, func(s *swarm.ServiceSpec) { s.Labels["x"] = "y" }},
		"the spec before is of another tenant":       {label(deploy.LabelTenant, "rival"), without},
		"the spec before is of another instance":     {label(deploy.LabelInstance, "prod"), without},
		"the spec before is of another stack":        {label(deploy.LabelNamespace, "shop2"), off(deploy.LabelNamespace, deploy.LabelTenant, deploy.LabelInstance)},
		"the spec before has no tenant":              {off(deploy.LabelTenant), without},
		"the spec before has no instance":            {off(deploy.LabelInstance), without},
		"the labels were swapped for another's once": {label(deploy.LabelInstance, "prod"), off(deploy.LabelInstance)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.push(sample())
			for _, e := range edits {
				l.edit("shop_web", e)
			}
			_, err := deploy.Diff(sample(), l.closer(sample()), l.o)
			var conflict *deploy.ConflictError
			if !errors.As(err, &conflict) || conflict.Name != "shop_web" {
				t.Errorf("Diff says %v, want a conflict about shop_web", err)
			}
			expect(t, "garbage once the stack left git", steps(l.garbage(gone())), "remove service shop_api")
		})
	}
}

// TestServiceThatLostItsLabelsGoesWithItsStack removes a stack of whose services
// one has no label of skep any more: the spec before shows whose it is, and it is
// looked at once more right before.
func TestServiceThatLostItsLabelsGoesWithItsStack(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	l.edit("shop_web", off(deploy.LabelNamespace, deploy.LabelTenant, deploy.LabelInstance))
	p := l.garbage(gone())
	expect(t, "garbage", steps(p), "remove service shop_api", "remove service shop_web")
	l.edit("shop_web", func(s *swarm.ServiceSpec) { s.Labels["x"] = "y" })
	if err := deploy.Apply(context.Background(), l.Swarm, p); !errors.Is(err, deploy.ErrStale) {
		t.Errorf("Apply says %v of a service that was taken over meanwhile, want ErrStale", err)
	}
	expect(t, "services", l.names(deploy.KindService), "shop_web")
}

func TestServiceThatLostItsLabelsIsRemoved(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	l.edit("shop_web", off(deploy.LabelTenant, deploy.LabelInstance))
	l.apply(l.garbage(gone()))
	expect(t, "services", l.names(deploy.KindService))
}

// named is sample with a secret and a config whose names the file gives.
func named() stack.Spec {
	want := sample()
	want.Secrets[0].Name, want.Configs[0].Name = "own-secret", "own-config"
	return want
}

// relabel writes labels of a secret and a config as docker stack deploy does with
// those that the file names.
func (l *lab) relabel(labels map[string]string) {
	l.Helper()
	ctx := context.Background()
	secret, _, err := l.SecretInspectWithRaw(ctx, "own-secret")
	if err != nil {
		l.Fatal(err)
	}
	secret.Spec.Labels = labels
	if err := l.SecretUpdate(ctx, secret.ID, secret.Version, secret.Spec); err != nil {
		l.Fatal(err)
	}
	config, _, err := l.ConfigInspectWithRaw(ctx, "own-config")
	if err != nil {
		l.Fatal(err)
	}
	config.Spec.Labels = labels
	if err := l.ConfigUpdate(ctx, config.ID, config.Version, config.Spec); err != nil {
		l.Fatal(err)
	}
}

// TestNamedObjectsThatLostTheirLabels: which services of the stack had them tells
// that they are the stack's.
func TestNamedObjectsThatLostTheirLabels(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(named())
	ran := l.running()
	l.relabel(map[string]string{deploy.LabelNamespace: "shop"})
	l.edit("shop_web", off(deploy.LabelTenant, deploy.LabelInstance))
	l.edit("shop_api", off(deploy.LabelTenant, deploy.LabelInstance))
	expect(t, "what heals", steps(l.push(named())),
		"update secret own-secret", "update config own-config", "update service shop_api", "update service shop_web")
	if now := l.running(); now != ran {
		t.Errorf("tasks restarted: %s, before %s", now, ran)
	}
	l.relabel(map[string]string{deploy.LabelNamespace: "shop", deploy.LabelTenant: "rival", deploy.LabelInstance: "test"})
	if errs := diffErrors(t, named(), l.closer(named()), l.o); len(errs) != 2 {
		t.Errorf("of a rival's objects: %q, want two conflicts", errs)
	}
	l.relabel(map[string]string{deploy.LabelNamespace: "shop"})
	for _, service := range []string{"shop_web", "shop_api"} {
		for range 2 {
			l.edit(service, func(s *swarm.ServiceSpec) { off(deploy.LabelTenant, deploy.LabelInstance)(s); s.Labels["x"] += "x" })
		}
	}
	if errs := diffErrors(t, named(), l.closer(named()), l.o); len(errs) != 4 {
		t.Errorf("without any trace: %q, want four conflicts", errs)
	}
	expect(t, "garbage", steps(l.garbage(gone())))
}

// TestRestartKeepsWhatTellsWhoseAServiceIs: it is an update too, after which the
// spec before is another one.
func TestRestartKeepsWhatTellsWhoseAServiceIs(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.push(sample())
	l.edit("shop_web", off(deploy.LabelTenant, deploy.LabelInstance))
	if err := deploy.Restart(context.Background(), l.Swarm, l.service("shop_web")); err != nil {
		t.Fatal(err)
	}
	l.quiet(sample())
	if got := l.service("shop_web").Spec.Labels; got[deploy.LabelTenant] != "acme" || got[deploy.LabelInstance] != "test" {
		t.Errorf("labels after a restart: %v", got)
	}
}
