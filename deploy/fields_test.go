package deploy_test

import (
	"context"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

// loaded is a stack whose services say all that a stack file can, in the forms
// that the daemon stores otherwise than it got them. None of them runs.
func loaded(name string) stack.Spec {
	ns := map[string]string{deploy.LabelNamespace: name}
	want := stack.Spec{Tenant: "loaded", Name: name}
	want.Networks = []stack.Network{{Key: "default", Name: name + "_default", Create: network.CreateOptions{Driver: "overlay", Attachable: true, Internal: true,
		Labels: ns, Options: map[string]string{"encrypted": ""}, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: "10.231.7.0/24", Gateway: "10.231.7.9", IPRange: "10.231.7.0/25"}}}}},
		{Key: "host", Name: "host", External: true}}
	want.Secrets = []stack.Secret{{Key: "password", Labels: ns, Data: stack.Bytes("s3cr3t-value")}, {Key: "templated", Labels: ns, Data: stack.Bytes("x{{.Task.Slot}}"), Templating: &swarm.Driver{Name: "golang"}}}
	want.Configs = []stack.Config{{Key: "site", Labels: ns, Data: stack.Bytes("listen 80")}}
	want.Services = []stack.Service{heavy(name, "heavy"), light(name, "light"), light(name, "job"), light(name, "everyjob"), light(name, "host"), light(name, "global")}
	zero := uint64(0)
	spec(want, "job").Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &zero, TotalCompletions: &zero}}
	spec(want, "everyjob").Mode = swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	spec(want, "global").Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	spec(want, "host").TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "host"}}
	spec(want, "host").EndpointSpec = &swarm.EndpointSpec{Mode: "dnsrr"}
	return want
}

// light is a service that says nothing and runs nowhere.
func light(name, key string) stack.Service {
	s := app(key, swarmtest.ImageRuns)
	s.Spec.Name, s.Spec.Labels = name+"_"+key, map[string]string{deploy.LabelNamespace: name, deploy.LabelImage: swarmtest.ImageRuns}
	s.Spec.TaskTemplate.ContainerSpec.Labels = map[string]string{deploy.LabelNamespace: name}
	s.Spec.TaskTemplate.Networks[0].Target = name + "_default"
	s.Spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.labels.nowhere==true"}}
	s.Spec.Mode.Replicated.Replicas = ptr(uint64(0))
	return s
}

func heavy(name, key string) stack.Service {
	s := light(name, key)
	t := &s.Spec.TaskTemplate
	c := t.ContainerSpec
	c.Command, c.Args = []string{"/app"}, []string{"a", "", "b"}
	c.Hostname, c.Dir, c.User, c.Groups = "{{.Task.Slot}}", "/x", "1:1", []string{"2", "1"}
	c.Env = []string{"B=2", "A=", "UNSET", "C={{.Node.ID}}"}
	c.Labels["x"] = ""
	c.Init, c.StopSignal, c.TTY, c.OpenStdin, c.ReadOnly = ptr(false), "SIGINT", true, true, true
	c.StopGracePeriod = ptr(1500 * time.Millisecond)
	c.Privileges = &swarm.Privileges{NoNewPrivileges: true, AppArmor: &swarm.AppArmorOpts{Mode: "disabled"}, Seccomp: &swarm.SeccompOpts{Mode: "unconfined"}}
	c.Hosts = []string{"10.0.0.2 b", "10.0.0.1 a"}
	c.DNSConfig = &swarm.DNSConfig{Nameservers: []string{"9.9.9.9", "1.1.1.1"}, Search: []string{"x.test"}, Options: []string{"ndots:2"}}
	c.Sysctls = map[string]string{"net.core.somaxconn": "1024"}
	c.CapabilityAdd, c.CapabilityDrop = []string{"CAP_NET_ADMIN", "CAP_CHOWN"}, []string{"CAP_MKNOD"}
	c.Ulimits = []*container.Ulimit{{Name: "nproc", Soft: 5, Hard: 10}, {Name: "nofile", Soft: -1, Hard: -1}}
	c.OomScoreAdj = 100
	c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app"}, Interval: time.Second, Timeout: time.Second, StartPeriod: time.Second, StartInterval: time.Second, Retries: 3}
	c.Mounts = []mount.Mount{
		{Type: "volume", Source: name + "_data", Target: "/data/", VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{"a": "b"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"type": "tmpfs"}}}},
		{Type: "bind", Source: "/tmp", Target: "/b", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: "rslave"}},
		{Type: "bind", Source: "/tmp", Target: "/a", BindOptions: &mount.BindOptions{NonRecursive: true}},
		{Type: "volume", Target: "/anonymous"},
		{Type: "tmpfs", Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700}},
	}
	c.Secrets = []*swarm.SecretReference{
		{SecretName: "templated", File: &swarm.SecretReferenceFileTarget{Name: "t", UID: "5", GID: "6", Mode: 0o400}},
		{SecretName: "password", File: &swarm.SecretReferenceFileTarget{Name: "password", UID: "0", GID: "0", Mode: 0o444}},
		{SecretName: "password", File: &swarm.SecretReferenceFileTarget{Name: "again", UID: "0", GID: "0", Mode: 0o444}},
	}
	c.Configs = []*swarm.ConfigReference{{ConfigName: "site", File: &swarm.ConfigReferenceFileTarget{Name: "/site", UID: "0", GID: "0", Mode: 0o444}}}
	t.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{NanoCPUs: 123456789, MemoryBytes: 1 << 27, Pids: 100},
		Reservations: &swarm.Resources{NanoCPUs: 1e8, MemoryBytes: 1 << 26, GenericResources: []swarm.GenericResource{{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "gpu", Value: 2}}}}}
	t.RestartPolicy = &swarm.RestartPolicy{Condition: "on-failure", Delay: ptr(time.Second), MaxAttempts: ptr(uint64(3)), Window: ptr(time.Minute)}
	t.Placement = &swarm.Placement{Constraints: []string{"node.role!=nothing", "node.labels.nowhere==true"}, MaxReplicas: 2,
		Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: "node.labels.zone"}}}, Platforms: []swarm.Platform{{OS: "linux"}}}
	t.Networks[0].Aliases = []string{"z", "a", key}
	t.LogDriver = &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}}
	s.Spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 0, Delay: time.Second, FailureAction: "rollback", Monitor: 2 * time.Second, MaxFailureRatio: 0.3, Order: "start-first"}
	s.Spec.RollbackConfig = &swarm.UpdateConfig{Parallelism: 2}
	s.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{
		{TargetPort: 80, PublishedPort: 18931, Protocol: "udp", PublishMode: "host"},
		{TargetPort: 81, Protocol: "tcp", PublishMode: "host"},
		{TargetPort: 82, PublishedPort: 18930},
	}}
	return s
}

// TestLoadedStackIsFoundUnchanged: whatever a spec says, what comes back from the
// swarm is the same, and a change of a label leaves all else to the byte.
func TestLoadedStackIsFoundUnchanged(t *testing.T) {
	t.Parallel()
	for _, api := range []string{"1.41", "1.45", "1.51"} {
		t.Run(api, func(t *testing.T) {
			t.Parallel()
			s := swarmtest.New()
			s.API = api
			foundUnchanged(t, s, "loaded")
		})
	}
	t.Run("engine", func(t *testing.T) {
		t.Parallel()
		foundUnchanged(t, swarmtest.Engine(t), "skeploaded")
	})
}

func foundUnchanged(t *testing.T, w deploy.Writer, name string) {
	t.Helper()
	want := loaded(name)
	o := deploy.DiffOptions{Instance: name, Key: deploy.Key("0123456789abcdef0123456789abcdef")}
	sweep(t, w, want, o)
	t.Cleanup(func() { sweep(t, w, want, o) })
	p := planOn(t, w, want, o)
	if err := deploy.Apply(context.Background(), w, p); err != nil {
		t.Fatal(err)
	}
	if p := planOn(t, w, want, o); !p.Empty() {
		t.Errorf("there is something left to do:\n%s", show(p))
	}
	for i := range want.Services {
		want.Services[i].Spec.Labels["changed"] = "yes"
	}
	p = planOn(t, w, want, o)
	if len(p.Steps) != 4 { // the jobs are left alone
		t.Errorf("%d steps for four labels:\n%s", len(p.Steps), show(p))
	}
	for _, s := range p.Steps {
		if s.Restarts || len(s.Changes) != 1 {
			t.Errorf("a label is more than a label:\n%s", show(p))
		}
	}
	if err := deploy.Apply(context.Background(), w, p); err != nil {
		t.Fatal(err)
	}
	if p := planOn(t, w, want, o); !p.Empty() {
		t.Errorf("there is something left to do after the labels:\n%s", show(p))
	}
}

func planOn(t *testing.T, w deploy.Writer, want stack.Spec, o deploy.DiffOptions) deploy.Plan {
	t.Helper()
	p, err := deploy.Diff(want, lookOn(t, w, want), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func lookOn(t *testing.T, w deploy.Writer, want stack.Spec) deploy.Live {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	live, err := deploy.Observe(ctx, w, deploy.LookOptions{Instance: want.Name, Tasks: true})
	if err != nil {
		t.Fatal(err)
	}
	live, err = deploy.Detail(ctx, w, live, want)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// sweep removes what a run made, or left.
func sweep(t *testing.T, w deploy.Writer, want stack.Spec, o deploy.DiffOptions) {
	t.Helper()
	none := stack.Spec{Tenant: want.Tenant, Name: want.Name}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		p, err := deploy.Garbage(none, lookOn(t, w, none), o)
		if err != nil {
			t.Fatal(err)
		}
		live := lookOn(t, w, none)
		left := false
		for _, n := range live.Networks {
			left = left || n.Labels[deploy.LabelNamespace] == want.Name
		}
		if p.Empty() && !left {
			return
		}
		if err := deploy.Apply(context.Background(), w, p); err != nil {
			t.Logf("sweep: %v", err)
		}
	}
	t.Error("something is left over")
}
