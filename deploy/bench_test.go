package deploy_test

import (
	"fmt"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

// many gives stacks that are all as git asks, and the look at them.
func many(b *testing.B, stacks, services int) ([]stack.Spec, deploy.Live, deploy.DiffOptions) {
	b.Helper()
	key := deploy.Key("0123456789abcdef0123456789abcdef")
	o := deploy.DiffOptions{Instance: "test", Key: key}
	live := deploy.Live{API: "1.51"}
	wants := make([]stack.Spec, stacks)
	for i := range wants {
		wants[i] = sample()
		w := &wants[i]
		w.Name = fmt.Sprintf("stack-%d", i)
		ns := map[string]string{deploy.LabelNamespace: w.Name}
		w.Networks[0].Name, w.Networks[0].Create.Labels = w.Name+"_default", ns
		w.Secrets[0].Labels, w.Configs[0].Labels = ns, ns
		first := w.Services
		w.Services = nil
		for j := range services {
			s := app(fmt.Sprintf("s%d", j), "web:1")
			s.Spec.Name = w.Name + "_" + s.Key
			s.Spec.Labels[deploy.LabelNamespace] = w.Name
			s.Spec.TaskTemplate.Networks[0].Target = w.Networks[0].Name
			s.Spec.TaskTemplate.ContainerSpec.Env = []string{"A=1", "B=2", "C=3", "D=4", "E=5"}
			s.Spec.TaskTemplate.ContainerSpec.Secrets = first[0].Spec.TaskTemplate.ContainerSpec.Secrets
			s.Spec.TaskTemplate.ContainerSpec.Configs = first[1].Spec.TaskTemplate.ContainerSpec.Configs
			w.Services = append(w.Services, s)
		}
		written, err := deploy.Diff(*w, deploy.Live{API: "1.51"}, o)
		if err != nil {
			b.Fatal(err)
		}
		for j, s := range deploy.Written(written) {
			s.TaskTemplate.Networks[0].Target = "net-" + w.Name
			live.Services = append(live.Services, swarm.Service{ID: fmt.Sprintf("%s-%d", w.Name, j), Spec: s})
		}
		labels := map[string]string{deploy.LabelNamespace: w.Name, deploy.LabelTenant: "acme", deploy.LabelInstance: "test"}
		live.Networks = append(live.Networks, network.Summary{ID: "net-" + w.Name, Name: w.Networks[0].Name, Scope: "swarm", Driver: "overlay", Labels: labels})
		for _, s := range deploy.WrittenSecrets(written) {
			live.Secrets = append(live.Secrets, swarm.Secret{ID: "sec-" + w.Name, Spec: s})
		}
	}
	return wants, live.Indexed(), o
}

func benchmark(b *testing.B, stacks, services int) {
	wants, live, o := many(b, stacks, services)
	b.ReportAllocs()
	for b.Loop() {
		for _, w := range wants {
			if p, err := deploy.Diff(w, live, o); err != nil || !p.Empty() {
				b.Fatalf("%v\n%s", err, show(p))
			}
		}
	}
}

// BenchmarkDiff compares stacks of which nothing changed.
func BenchmarkDiff(b *testing.B) {
	b.Run("1 stack of 10 services", func(b *testing.B) { benchmark(b, 1, 10) })
	b.Run("1000 stacks of 2 services", func(b *testing.B) { benchmark(b, 1000, 2) })
}

// BenchmarkIndex indexes a look at a thousand stacks, once a cycle.
func BenchmarkIndex(b *testing.B) {
	_, live, _ := many(b, 1000, 2)
	b.ReportAllocs()
	for b.Loop() {
		fresh := deploy.Live{API: live.API, Networks: live.Networks, Secrets: live.Secrets, Services: live.Services}
		fresh.Indexed()
	}
}
