package deploy

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
)

func ptr[T any](v T) *T { return &v }

// plain is a service of which the tests change one part.
func plain(change func(*swarm.ServiceSpec)) swarm.ServiceSpec {
	s := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "shop_web", Labels: map[string]string{LabelNamespace: "shop"}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "nginx:1.25", Env: []string{"A=1", "B=2"}},
			Resources:     &swarm.ResourceRequirements{}, Placement: &swarm.Placement{},
		},
		EndpointSpec: &swarm.EndpointSpec{},
	}
	if change != nil {
		change(&s)
	}
	return s
}

// in changes the container of a plain service.
func in(change func(*swarm.ContainerSpec)) swarm.ServiceSpec {
	return plain(func(s *swarm.ServiceSpec) { change(s.TaskTemplate.ContainerSpec) })
}

func mounts(m ...mount.Mount) swarm.ServiceSpec {
	return in(func(c *swarm.ContainerSpec) { c.Mounts = m })
}

func TestNormalizeFindsOneMeaning(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]struct {
		api  string
		a, b swarm.ServiceSpec
	}{
		"no labels are empty labels":       {"", plain(func(s *swarm.ServiceSpec) { s.Labels = nil }), plain(func(s *swarm.ServiceSpec) { s.Labels = map[string]string{} })},
		"an image without a tag is latest": {"", in(func(c *swarm.ContainerSpec) { c.Image = "docker.io/library/nginx" }), in(func(c *swarm.ContainerSpec) { c.Image = "nginx:latest" })},
		"no mode is one replica":           {"", plain(nil), plain(func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: ptr(uint64(1))} })},
		"a job completes as often as it runs": {"", plain(func(s *swarm.ServiceSpec) { s.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(3))} }), plain(func(s *swarm.ServiceSpec) {
			s.Mode.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: ptr(uint64(3)), TotalCompletions: ptr(uint64(3))}
		})},
		"no restart policy is Swarm's own": {"", plain(nil), plain(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "any", Delay: ptr(5 * time.Second), MaxAttempts: ptr(uint64(0))}
		})},
		"no update config is Swarm's own": {"", plain(nil), plain(func(s *swarm.ServiceSpec) {
			s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, FailureAction: "pause", Monitor: 5 * time.Second, Order: "stop-first"}
		})},
		"no grace period is ten seconds": {"", plain(nil), in(func(c *swarm.ContainerSpec) { c.StopGracePeriod = ptr(10 * time.Second) })},
		"no endpoint is a virtual IP":    {"", plain(func(s *swarm.ServiceSpec) { s.EndpointSpec = nil }), plain(func(s *swarm.ServiceSpec) { s.EndpointSpec = &swarm.EndpointSpec{Mode: "VIP"} })},
		"a port is tcp and ingress":      {"", ports(swarm.PortConfig{TargetPort: 80, PublishedPort: 80}), ports(swarm.PortConfig{TargetPort: 80, PublishedPort: 80, Protocol: "TCP", PublishMode: "what"})},
		"ports have no order":            {"", ports(swarm.PortConfig{TargetPort: 80}, swarm.PortConfig{TargetPort: 81}), ports(swarm.PortConfig{TargetPort: 81}, swarm.PortConfig{TargetPort: 80})},
		"empty parts are no parts": {"", plain(nil), plain(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources, s.TaskTemplate.Placement, s.TaskTemplate.LogDriver = nil, nil, &swarm.Driver{}
		})},
		"empty limits are no limits": {"", plain(nil), plain(func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{}, Reservations: &swarm.Resources{}}
		})},
		"variables have no order":             {"", plain(nil), in(func(c *swarm.ContainerSpec) { c.Env = []string{"B=2", "A=1"} })},
		"constraints have no order":           {"", constrained("a==1", "b==2"), constrained("b==2", "a==1")},
		"a preference without spread is none": {"", plain(nil), plain(func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Preferences = []swarm.PlacementPreference{{}} })},
		"capabilities have no order":          {"", in(func(c *swarm.ContainerSpec) { c.CapabilityAdd = []string{"CAP_A", "CAP_B"} }), in(func(c *swarm.ContainerSpec) { c.CapabilityAdd = []string{"CAP_B", "CAP_A"} })},
		"ulimits have no order":               {"", in(func(c *swarm.ContainerSpec) { c.Ulimits = []*container.Ulimit{{Name: "a"}, {Name: "b"}} }), in(func(c *swarm.ContainerSpec) { c.Ulimits = []*container.Ulimit{{Name: "b"}, {Name: "a"}} })},
		"networks have no order":              {"", attached("a", "b"), attached("b", "a")},
		//lint:ignore SA1019 services that older clients made carry it
		"old networks are the task's":      {"", attached("a"), plain(func(s *swarm.ServiceSpec) { s.Networks = []swarm.NetworkAttachmentConfig{{Target: "a"}} })},
		"a mount's target is clean":        {"", mounts(mount.Mount{Type: "volume", Source: "v", Target: "/data/"}), mounts(mount.Mount{Type: "VOLUME", Source: "v", Target: "/data"})},
		"a mount without a type is a bind": {"", mounts(mount.Mount{Source: "/a", Target: "/b"}), mounts(mount.Mount{Type: "bind", Source: "/a", Target: "/b", Consistency: "cached", BindOptions: &mount.BindOptions{CreateMountpoint: true}})},
		"mounts have no order":             {"", mounts(mount.Mount{Source: "/a", Target: "/a"}, mount.Mount{Source: "/b", Target: "/b"}), mounts(mount.Mount{Source: "/b", Target: "/b"}, mount.Mount{Source: "/a", Target: "/a"})},
		"a bind that does not recurse":     {"", mounts(mount.Mount{Source: "/a", Target: "/b", BindOptions: &mount.BindOptions{NonRecursive: true}}), mounts(mount.Mount{Source: "/a", Target: "/b", BindOptions: &mount.BindOptions{NonRecursive: true, Propagation: "rprivate"}})},
		"empty volume options are none":    {"", mounts(mount.Mount{Type: "volume", Target: "/b"}), mounts(mount.Mount{Type: "volume", Target: "/b", VolumeOptions: &mount.VolumeOptions{DriverConfig: &mount.Driver{}}})},
		"empty privileges are none": {"", plain(nil), in(func(c *swarm.ContainerSpec) {
			c.Privileges = &swarm.Privileges{CredentialSpec: &swarm.CredentialSpec{}}
		})},
		"an empty health check is none":          {"", plain(nil), in(func(c *swarm.ContainerSpec) { c.Healthcheck = &container.HealthConfig{} })},
		"empty name servers are none":            {"", plain(nil), in(func(c *swarm.ContainerSpec) { c.DNSConfig = &swarm.DNSConfig{} })},
		"secrets are ordered by file":            {"", secretsOf("a", "b"), secretsOf("b", "a")},
		"an old engine drops start_interval":     {"1.43", in(func(c *swarm.ContainerSpec) { c.Healthcheck = &container.HealthConfig{Retries: 1} }), in(func(c *swarm.ContainerSpec) { c.Healthcheck = &container.HealthConfig{Retries: 1, StartInterval: 1} })},
		"an old engine drops no-new-privileges":  {"1.43", plain(nil), in(func(c *swarm.ContainerSpec) { c.Privileges = &swarm.Privileges{NoNewPrivileges: true} })},
		"an old engine drops oom_score_adj":      {"1.45", plain(nil), in(func(c *swarm.ContainerSpec) { c.OomScoreAdj = 5 })},
		"an old engine drops a volume's subpath": {"1.44", mounts(mount.Mount{Type: "volume", Target: "/b"}), mounts(mount.Mount{Type: "volume", Target: "/b", VolumeOptions: &mount.VolumeOptions{Subpath: "x"}})},
		"an old engine drops tmpfs options":      {"1.45", mounts(mount.Mount{Type: "tmpfs", Target: "/b"}), mounts(mount.Mount{Type: "tmpfs", Target: "/b", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"exec"}}}})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(Normalize(pair.a, pair.api), Normalize(pair.b, pair.api)); diff != "" {
				t.Errorf("two forms of one meaning differ (-a +b):\n%s", diff)
			}
		})
	}
}

func ports(p ...swarm.PortConfig) swarm.ServiceSpec {
	return plain(func(s *swarm.ServiceSpec) { s.EndpointSpec.Ports = p })
}

func constrained(c ...string) swarm.ServiceSpec {
	return plain(func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints = c })
}

func attached(names ...string) swarm.ServiceSpec {
	return plain(func(s *swarm.ServiceSpec) {
		for _, n := range names {
			s.TaskTemplate.Networks = append(s.TaskTemplate.Networks, swarm.NetworkAttachmentConfig{Target: n})
		}
	})
}

func secretsOf(files ...string) swarm.ServiceSpec {
	return in(func(c *swarm.ContainerSpec) {
		for _, f := range files {
			c.Secrets = append(c.Secrets, &swarm.SecretReference{SecretName: "s-" + f, File: &swarm.SecretReferenceFileTarget{Name: f, Mode: 0o444}})
		}
	})
}

func TestNormalizeKeepsMeaningsApart(t *testing.T) {
	t.Parallel()
	base := plain(nil)
	for name, other := range map[string]swarm.ServiceSpec{
		"another image":      in(func(c *swarm.ContainerSpec) { c.Image = "nginx:1.26" }),
		"a digest":           in(func(c *swarm.ContainerSpec) { c.Image += "@sha256:" + digits(64) }),
		"another value":      in(func(c *swarm.ContainerSpec) { c.Env = []string{"A=1", "B=3"} }),
		"no arguments":       in(func(c *swarm.ContainerSpec) { c.Args = []string{""} }),
		"the order of hosts": in(func(c *swarm.ContainerSpec) { c.Hosts = []string{"1.1.1.1 a", "2.2.2.2 a"} }),
		"init said":          in(func(c *swarm.ContainerSpec) { c.Init = ptr(false) }),
		"a longer grace":     in(func(c *swarm.ContainerSpec) { c.StopGracePeriod = ptr(11 * time.Second) }),
		"no restart":         plain(func(s *swarm.ServiceSpec) { s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "none"} }),
		"round robin":        plain(func(s *swarm.ServiceSpec) { s.EndpointSpec.Mode = "dnsrr" }),
		"start-first":        plain(func(s *swarm.ServiceSpec) { s.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Order: "start-first"} }),
		"all at once":        plain(func(s *swarm.ServiceSpec) { s.UpdateConfig = &swarm.UpdateConfig{} }),
		"no replica":         plain(func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: ptr(uint64(0))} }),
		"global":             plain(func(s *swarm.ServiceSpec) { s.Mode.Global = &swarm.GlobalService{} }),
		"a forced update":    plain(func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate = 1 }),
		"a process limit":    plain(func(s *swarm.ServiceSpec) { s.TaskTemplate.Resources.Limits = &swarm.Limit{Pids: 1} }),
		"unconfined seccomp": in(func(c *swarm.ContainerSpec) {
			c.Privileges = &swarm.Privileges{Seccomp: &swarm.SeccompOpts{Mode: "unconfined"}}
		}),
		"a health check at all": in(func(c *swarm.ContainerSpec) { c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}} }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if reflect.DeepEqual(Normalize(base, ""), Normalize(other, "")) {
				t.Errorf("%+v counts as %+v", other, base)
			}
		})
	}
}

func digits(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = '0' + byte(i%10)
	}
	return string(b)
}

func TestNormalizeLeavesItsArgumentAlone(t *testing.T) {
	t.Parallel()
	var s, was swarm.ServiceSpec
	fillValue(reflect.ValueOf(&s).Elem())
	fillValue(reflect.ValueOf(&was).Elem())
	s.TaskTemplate.ContainerSpec.Env = []string{"B=1", "A=1"}
	was.TaskTemplate.ContainerSpec.Env = []string{"B=1", "A=1"}
	n := Normalize(s, "1.41")
	if diff := cmp.Diff(was, s); diff != "" {
		t.Errorf("the argument changed:\n%s", diff)
	}
	if p := shared(reflect.ValueOf(s), reflect.ValueOf(n), ""); p != "" {
		t.Errorf("the answer shares %s with the argument", p)
	}
}

// FuzzFamiliar: the short cut gives what parsing gives.
func FuzzFamiliar(f *testing.F) {
	for _, s := range []string{"nginx", "nginx:1", "library/nginx:1", "docker.io/library/nginx", "index.docker.io/x/y:1", "localhost:5000/x", "localhost:5000/x:1",
		"Example.com/x:1", "x@sha256:" + digits(64), "x:1@sha256:" + digits(64), "", ":", "@", "/", "a/:1", digits(64), "docker.io:443/x:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, image string) {
		want := image
		if ref, err := reference.ParseNormalizedNamed(image); err == nil {
			want = reference.FamiliarString(reference.TagNameOnly(ref))
		}
		if got := Familiar(image); got != want {
			t.Errorf("Familiar(%q) = %q, want %q", image, got, want)
		}
	})
}

// FuzzNormalize: normalising twice is normalising once, and so it is with JSON in
// between, as when a spec goes to the daemon and comes back.
func FuzzNormalize(f *testing.F) {
	var full swarm.ServiceSpec
	fillValue(reflect.ValueOf(&full).Elem())
	for _, s := range []swarm.ServiceSpec{{}, plain(nil), full, attached("b", "a"), secretsOf("b", "a"), mounts(mount.Mount{Target: "/x/../y/"})} {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, "1.41")
		f.Add(b, "")
	}
	f.Fuzz(func(t *testing.T, b []byte, api string) {
		var s swarm.ServiceSpec
		if json.Unmarshal(b, &s) != nil || api != "" && api != "1.41" {
			return
		}
		once := Normalize(s, api)
		if twice := Normalize(once, api); !reflect.DeepEqual(once, twice) {
			t.Fatalf("normalising twice differs:\n%s", cmp.Diff(once, twice))
		}
		wire, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		var back swarm.ServiceSpec
		if err := json.Unmarshal(wire, &back); err != nil {
			t.Fatal(err)
		}
		if again := Normalize(back, api); !reflect.DeepEqual(once, again) {
			t.Fatalf("normalising after JSON differs:\n%s", cmp.Diff(once, again))
		}
	})
}
