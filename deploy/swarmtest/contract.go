package swarmtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/deploy"
)

// The images that Contract uses: a real engine must have them, a Swarm the same
// Outcomes for them.
const (
	ImageRuns    = "skep-contract:1"                  // runs until it is stopped
	ImageEnds    = "skep-contract-ends:1"             // ends at once, with 0
	ImageCrashes = "skep-contract-fails:1"            // ends at once, with 3
	ImageMissing = "127.0.0.1:1/skep-contract-none:1" // is nowhere, and its registry is not there
)

// contractLabel marks what Contract makes.
const contractLabel = "skep.contract"

// Contract holds a swarm to what package deploy relies on. connect gives the
// swarm; the suite names its objects so that it may share it with others, and
// removes them.
func Contract(t *testing.T, connect func(t *testing.T) deploy.Writer) {
	for _, c := range []struct {
		name string
		run  func(*contract)
	}{
		{"a manager says that it is one", (*contract).manager},
		{"configs keep their data and change their labels", (*contract).configs},
		{"secrets show no data and tell whether it is equal", (*contract).secrets},
		{"a memory of labels survives as it was written", (*contract).labels},
		{"networks are created once and kept while they are used", (*contract).networks},
		{"services carry versions and their previous spec", (*contract).versions},
		{"what can't be is refused in known words", (*contract).refusals},
		{"secrets and configs in use are kept", (*contract).inUse},
		{"a published port has one owner", (*contract).ports},
		{"a spec is stored in a known form", (*contract).stored},
		{"filters by name are prefixes", (*contract).filters},
		{"a label alone restarts nothing", (*contract).restarts},
		{"a job runs again at each update", (*contract).jobs},
		{"a broken update rolls back", (*contract).rollsBack},
		{"a broken update pauses", (*contract).pauses},
		{"a task without its image is rejected", (*contract).noImage},
		{"tasks of a removed service go", (*contract).removal},
		{"events say what changed", (*contract).events},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			t.Cleanup(cancel)
			c.run(newContract(ctx, t, connect(t)))
		})
	}
}

// contract is one case of the suite.
type contract struct {
	*testing.T
	ctx  context.Context
	w    deploy.Writer
	name string // what the case's objects are called, and start with
}

func newContract(ctx context.Context, t *testing.T, w deploy.Writer) *contract {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	c := &contract{T: t, ctx: ctx, w: w, name: "skepct" + hex.EncodeToString(b)}
	t.Cleanup(c.clean)
	return c
}

// clean removes the case's objects; networks have to wait for their tasks.
func (c *contract) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.ctx = ctx
	mine := filters.NewArgs(filters.Arg("label", contractLabel+"="+c.name))
	services, err := c.w.ServiceList(ctx, swarm.ServiceListOptions{Filters: mine})
	c.must(err)
	for _, s := range services {
		c.must(c.w.ServiceRemove(ctx, s.ID))
	}
	networks, err := c.w.NetworkList(ctx, network.ListOptions{Filters: mine})
	c.must(err)
	for _, n := range networks {
		c.eventually("network is removed", func() bool {
			err := c.w.NetworkRemove(ctx, n.ID)
			return err == nil || cerrdefs.IsNotFound(err)
		})
	}
	secrets, err := c.w.SecretList(ctx, swarm.SecretListOptions{Filters: mine})
	c.must(err)
	for _, s := range secrets {
		c.must(c.w.SecretRemove(ctx, s.ID))
	}
	configs, err := c.w.ConfigList(ctx, swarm.ConfigListOptions{Filters: mine})
	c.must(err)
	for _, s := range configs {
		c.must(c.w.ConfigRemove(ctx, s.ID))
	}
}

func (c *contract) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// wants checks an error's class and words.
func (c *contract) wants(what string, err error, class func(error) bool, words string) {
	c.Helper()
	if err == nil || !class(err) || !strings.Contains(err.Error(), words) {
		c.Errorf("%s: got error %v, want its class and %q", what, err, words)
	}
}

func (c *contract) eventually(what string, ok func() bool) {
	c.Helper()
	for end := time.Now().Add(100 * time.Second); !ok(); {
		if time.Now().After(end) {
			c.Fatalf("%s: not within 100 seconds", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (c *contract) annotations(suffix string) swarm.Annotations {
	return swarm.Annotations{Name: c.name + suffix, Labels: map[string]string{contractLabel: c.name}}
}

func (c *contract) service(suffix, image string, replicas uint64) swarm.ServiceSpec {
	second := time.Second
	return swarm.ServiceSpec{
		Annotations: c.annotations(suffix),
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: image, StopGracePeriod: &second},
			Placement:     &swarm.Placement{}, Resources: &swarm.ResourceRequirements{},
		},
		Mode: swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
}

func (c *contract) create(spec swarm.ServiceSpec) swarm.Service {
	c.Helper()
	got, err := c.w.ServiceCreate(c.ctx, spec, swarm.ServiceCreateOptions{})
	c.must(err)
	return c.inspect(got.ID)
}

func (c *contract) inspect(id string) swarm.Service {
	c.Helper()
	s, _, err := c.w.ServiceInspectWithRaw(c.ctx, id, swarm.ServiceInspectOptions{})
	c.must(err)
	return s
}

// change updates a service, again where its version moves on meanwhile.
func (c *contract) change(id string, change func(*swarm.ServiceSpec)) swarm.Service {
	c.Helper()
	c.eventually("service is updated", func() bool {
		s := c.inspect(id)
		change(&s.Spec)
		_, err := c.w.ServiceUpdate(c.ctx, id, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
		if err != nil && !strings.Contains(err.Error(), "update out of sequence") {
			c.Fatal(err)
		}
		return err == nil
	})
	return c.inspect(id)
}

func (c *contract) newConfig(suffix, data string) string {
	c.Helper()
	got, err := c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: c.annotations(suffix), Data: []byte(data)})
	c.must(err)
	return got.ID
}

func (c *contract) newSecret(suffix, data string) string {
	c.Helper()
	got, err := c.w.SecretCreate(c.ctx, swarm.SecretSpec{Annotations: c.annotations(suffix), Data: []byte(data)})
	c.must(err)
	return got.ID
}

func (c *contract) newNetwork(suffix string) string {
	c.Helper()
	a := c.annotations(suffix)
	got, err := c.w.NetworkCreate(c.ctx, a.Name, network.CreateOptions{Driver: "overlay", Labels: a.Labels})
	c.must(err)
	return got.ID
}

// tasks lists a service's tasks that are wanted, and all of them.
func (c *contract) tasks(id string) (running, all []swarm.Task) {
	c.Helper()
	all, err := c.w.TaskList(c.ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", id))})
	c.must(err)
	for _, t := range all {
		if t.Status.State == swarm.TaskStateRunning && t.DesiredState == swarm.TaskStateRunning {
			running = append(running, t)
		}
	}
	return running, all
}

func (c *contract) awaitRunning(id string, n int) []swarm.Task {
	c.Helper()
	var running []swarm.Task
	c.eventually(fmt.Sprintf("%d tasks run", n), func() bool {
		running, _ = c.tasks(id)
		return len(running) == n
	})
	return running
}

func (c *contract) awaitState(id string, states ...swarm.UpdateState) swarm.Service {
	c.Helper()
	var s swarm.Service
	c.eventually(fmt.Sprintf("update is %v", states), func() bool {
		s = c.inspect(id)
		for _, want := range states {
			if s.UpdateStatus != nil && s.UpdateStatus.State == want {
				return true
			}
		}
		return false
	})
	return s
}

func (c *contract) manager() {
	info, err := c.w.Info(c.ctx)
	c.must(err)
	if !info.Swarm.ControlAvailable || info.Swarm.Error != "" {
		c.Fatalf("got a node that is no working manager: %+v", info.Swarm)
	}
	nodes, err := c.w.NodeList(c.ctx, swarm.NodeListOptions{})
	c.must(err)
	ready := 0
	for _, n := range nodes {
		if n.Status.State == swarm.NodeStateReady && n.Description.Hostname != "" {
			ready++
		}
	}
	if ready == 0 {
		c.Errorf("got nodes %+v, want one that is ready", nodes)
	}
	networks, err := c.w.NetworkList(c.ctx, network.ListOptions{})
	c.must(err)
	scopes := map[string]string{}
	for _, n := range networks {
		scopes[n.Name] = n.Scope
	}
	if scopes["ingress"] != "swarm" || scopes["host"] != "local" {
		c.Errorf("got scopes %v, want ingress of the swarm and host of the node", scopes)
	}
}

func (c *contract) configs() {
	id := c.newConfig("-c", "one")
	_, err := c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: c.annotations("-c"), Data: []byte("one")})
	c.wants("same name", err, cerrdefs.IsConflict, "config "+c.name+"-c already exists")
	_, err = c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: c.annotations("-0")})
	c.wants("no data", err, cerrdefs.IsInvalidArgument, "config data must be larger than 0")
	_, err = c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: c.annotations("-0"), Data: make([]byte, maxConfig)})
	c.wants("too much data", err, cerrdefs.IsInvalidArgument, "less than 1024000 bytes")
	_, err = c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: c.name + strings.Repeat("x", 60)}, Data: []byte("x")})
	c.wants("long name", err, cerrdefs.IsInvalidArgument, "invalid name, only 64")

	byName, _, err := c.w.ConfigInspectWithRaw(c.ctx, c.name+"-c")
	c.must(err)
	if byName.ID != id || string(byName.Spec.Data) != "one" {
		c.Errorf("got %+v by name, want %s with its data", byName, id)
	}
	spec := byName.Spec
	spec.Labels["more"] = "yes"
	c.must(c.w.ConfigUpdate(c.ctx, id, byName.Version, spec))
	c.wants("stale version", c.w.ConfigUpdate(c.ctx, id, byName.Version, spec), cerrdefs.IsInternal, "update out of sequence")
	live, _, err := c.w.ConfigInspectWithRaw(c.ctx, id)
	c.must(err)
	if live.Version.Index <= byName.Version.Index || live.Spec.Labels["more"] != "yes" {
		c.Errorf("got %+v, want a later version and the label", live)
	}
	spec.Data = []byte("two")
	c.wants("other data", c.w.ConfigUpdate(c.ctx, id, live.Version, spec), cerrdefs.IsInvalidArgument, "only updates to Labels are allowed")
	spec.Data = nil
	c.must(c.w.ConfigUpdate(c.ctx, id, live.Version, spec))
	live, _, err = c.w.ConfigInspectWithRaw(c.ctx, id)
	c.must(err)
	if string(live.Spec.Data) != "one" {
		c.Errorf("got data %q after an update without any, want it kept", live.Spec.Data)
	}
	c.must(c.w.ConfigRemove(c.ctx, id))
	_, _, err = c.w.ConfigInspectWithRaw(c.ctx, id)
	c.wants("inspect what is gone", err, cerrdefs.IsNotFound, "config "+id+" not found")
	c.wants("remove what is gone", c.w.ConfigRemove(c.ctx, id), cerrdefs.IsNotFound, "not found")
}

func (c *contract) secrets() {
	id := c.newSecret("-s", "planted")
	_, err := c.w.SecretCreate(c.ctx, swarm.SecretSpec{Annotations: c.annotations("-s"), Data: []byte("planted")})
	c.wants("same name", err, cerrdefs.IsConflict, "secret "+c.name+"-s already exists")
	_, err = c.w.SecretCreate(c.ctx, swarm.SecretSpec{Annotations: c.annotations("-0"), Data: make([]byte, maxSecret)})
	c.wants("too much data", err, cerrdefs.IsInvalidArgument, "less than 512000 bytes")

	live, raw, err := c.w.SecretInspectWithRaw(c.ctx, c.name+"-s")
	c.must(err)
	if live.ID != id || len(live.Spec.Data) > 0 || strings.Contains(string(raw), "planted") {
		c.Errorf("got %+v, want %s without data", live, id)
	}
	spec := live.Spec
	spec.Data = []byte("other")
	c.wants("unequal", c.w.SecretUpdate(c.ctx, id, live.Version, spec), cerrdefs.IsInvalidArgument, "only updates to Labels are allowed")
	spec.Data = []byte("planted")
	spec.Labels["more"] = "yes"
	c.must(c.w.SecretUpdate(c.ctx, id, live.Version, spec))
	c.wants("stale version", c.w.SecretUpdate(c.ctx, id, live.Version, spec), cerrdefs.IsInternal, "update out of sequence")
	list, err := c.w.SecretList(c.ctx, swarm.SecretListOptions{Filters: filters.NewArgs(filters.Arg("label", "more=yes"), filters.Arg("name", c.name))})
	c.must(err)
	if len(list) != 1 || list[0].ID != id || len(list[0].Spec.Data) > 0 {
		c.Errorf("got list %+v, want %s without data", list, id)
	}
	c.must(c.w.SecretRemove(c.ctx, id))
	_, _, err = c.w.SecretInspectWithRaw(c.ctx, id)
	c.wants("inspect what is gone", err, cerrdefs.IsNotFound, "secret "+id+" not found")
}

func (c *contract) labels() {
	text := `{"a":"line\nnext","b":"` + strings.Repeat("ü", 4000) + `"}`
	a := c.annotations("-m")
	a.Labels["skep.state"] = text
	got, err := c.w.ConfigCreate(c.ctx, swarm.ConfigSpec{Annotations: a, Data: []byte(".")})
	c.must(err)
	list, err := c.w.ConfigList(c.ctx, swarm.ConfigListOptions{Filters: filters.NewArgs(filters.Arg("label", contractLabel+"="+c.name), filters.Arg("label", "skep.state"))})
	c.must(err)
	if len(list) != 1 || list[0].ID != got.ID || list[0].Spec.Labels["skep.state"] != text {
		c.Errorf("got %d configs, want the one with its label", len(list))
	}
}

func (c *contract) networks() {
	id := c.newNetwork("-n")
	_, err := c.w.NetworkCreate(c.ctx, c.name+"-n", network.CreateOptions{Driver: "overlay"})
	c.wants("same name", err, cerrdefs.IsConflict, "network with name "+c.name+"-n already exists")
	var list []network.Summary
	c.eventually("network is allocated", func() bool { // until then it has no driver
		list, err = c.w.NetworkList(c.ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", contractLabel+"="+c.name))})
		c.must(err)
		return len(list) == 1 && list[0].Driver != ""
	})
	if len(list) != 1 || list[0].ID != id || list[0].Scope != "swarm" || list[0].Driver != "overlay" || list[0].Containers != nil {
		c.Fatalf("got %+v, want the network of the swarm, without containers", list)
	}
	spec := c.service("", ImageRuns, 0)
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: c.name + "-n", Aliases: []string{"web"}}}
	s := c.create(spec)
	if n := s.Spec.TaskTemplate.Networks; len(n) != 1 || n[0].Target != id || n[0].Aliases[0] != "web" {
		c.Errorf("got networks %+v, want the target as ID", n)
	}
	c.wants("in use", c.w.NetworkRemove(c.ctx, id), cerrdefs.IsInvalidArgument, "is in use by service "+s.ID)
	c.must(c.w.ServiceRemove(c.ctx, s.ID))
	c.eventually("network is removed", func() bool { return c.w.NetworkRemove(c.ctx, id) == nil })
	_, err = c.w.NetworkInspect(c.ctx, id, network.InspectOptions{})
	c.wants("inspect what is gone", err, cerrdefs.IsNotFound, "network "+id+" not found")
	host := c.service("-host", ImageRuns, 0)
	host.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "host"}}
	hidden := c.create(host).Spec.TaskTemplate.Networks[0].Target
	n, err := c.w.NetworkInspect(c.ctx, hidden, network.InspectOptions{})
	c.must(err)
	if n.Name != "host" || n.Scope != "swarm" || n.Labels[predefinedLabel] != "true" {
		c.Errorf("got %+v, want the swarm's own host network", n)
	}
}

func (c *contract) versions() {
	s := c.create(c.service("", ImageRuns, 0))
	if s.PreviousSpec != nil || s.UpdateStatus != nil {
		c.Errorf("got previous spec %v and update status %v of what is fresh", s.PreviousSpec, s.UpdateStatus)
	}
	next := s.Spec
	next.Labels = map[string]string{contractLabel: c.name, "more": "yes"}
	_, err := c.w.ServiceUpdate(c.ctx, s.ID, s.Version, next, swarm.ServiceUpdateOptions{})
	c.must(err)
	_, err = c.w.ServiceUpdate(c.ctx, s.ID, s.Version, next, swarm.ServiceUpdateOptions{})
	c.wants("stale version", err, cerrdefs.IsInternal, "update out of sequence")
	live := c.inspect(c.name)
	if live.PreviousSpec == nil || live.PreviousSpec.Labels["more"] != "" || live.Spec.Labels["more"] != "yes" || live.Version.Index <= s.Version.Index {
		c.Errorf("got %+v, want the spec before beside the new one", live)
	}
	same := c.change(s.ID, func(*swarm.ServiceSpec) {})
	if same.Version.Index <= live.Version.Index || same.PreviousSpec.Labels["more"] != "yes" {
		c.Errorf("got version %d after %d and previous spec %+v, want that an equal spec is a write too", same.Version.Index, live.Version.Index, same.PreviousSpec)
	}
}

func (c *contract) refusals() {
	s := c.create(c.service("", ImageRuns, 0))
	_, err := c.w.ServiceCreate(c.ctx, c.service("", ImageRuns, 0), swarm.ServiceCreateOptions{})
	c.wants("same name", err, cerrdefs.IsConflict, "service "+c.name+" already exists")
	refuse := func(what string, class func(error) bool, words string, change func(*swarm.ServiceSpec)) {
		spec := c.service("-x", ImageRuns, 0)
		change(&spec)
		_, err := c.w.ServiceCreate(c.ctx, spec, swarm.ServiceCreateOptions{})
		c.wants(what, err, class, words)
	}
	refuse("image", cerrdefs.IsInvalidArgument, "is not a valid repository/tag", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "Bad Image!" })
	refuse("constraint", cerrdefs.IsInternal, "constraint expected one operator from ==, !=", func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints = []string{"node.role=manager"} })
	refuse("dots", cerrdefs.IsInvalidArgument, "name must be valid as a DNS name component", func(s *swarm.ServiceSpec) { s.Name = "a.b" })
	refuse("length", cerrdefs.IsInvalidArgument, "name must be 63 characters or fewer", func(s *swarm.ServiceSpec) { s.Name = strings.Repeat("a", 64) })
	refuse("memory", cerrdefs.IsInvalidArgument, "Must be at least 4MiB", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.Resources.Limits = &swarm.Limit{MemoryBytes: 1 << 20}
	})
	refuse("secret", cerrdefs.IsInvalidArgument, "secret not found: nowhere", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: "nowhere", SecretName: "nowhere", File: &swarm.SecretReferenceFileTarget{Name: "x", UID: "0", GID: "0", Mode: 0o444}}}
	})
	refuse("config", cerrdefs.IsInvalidArgument, "config not found: nowhere", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: "nowhere", ConfigName: "nowhere", File: &swarm.ConfigReferenceFileTarget{Name: "/x", UID: "0", GID: "0", Mode: 0o444}}}
	})
	refuse("network", func(error) bool { return true }, "network nowhere not found", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "nowhere"}}
	})
	refuse("local network", cerrdefs.IsPermissionDenied, "cannot be used with services", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "docker_gwbridge"}}
	})
	refuse("job", cerrdefs.IsInvalidArgument, "Jobs may not have an update config", func(s *swarm.ServiceSpec) {
		s.Mode, s.UpdateConfig = swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}, &swarm.UpdateConfig{}
	})
	refuse("size", cerrdefs.IsInternal, "raft message is too large", func(s *swarm.ServiceSpec) { s.Labels["big"] = strings.Repeat("x", 1638400) })
	other := s.Spec
	other.Name = c.name + "-renamed"
	_, err = c.w.ServiceUpdate(c.ctx, s.ID, s.Version, other, swarm.ServiceUpdateOptions{})
	c.wants("rename", err, cerrdefs.IsNotImplemented, "renaming services is not supported")
	other = s.Spec
	other.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	_, err = c.w.ServiceUpdate(c.ctx, s.ID, s.Version, other, swarm.ServiceUpdateOptions{})
	c.wants("mode", err, cerrdefs.IsNotImplemented, "service mode change is not allowed")
}

// references gives a spec that uses a secret and a config.
func (c *contract) references(suffix, secretID, configID string) swarm.ServiceSpec {
	spec := c.service(suffix, ImageRuns, 0)
	spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: secretID, SecretName: c.name + "-s", File: &swarm.SecretReferenceFileTarget{Name: "x", UID: "0", GID: "0", Mode: 0o444}}}
	spec.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: configID, ConfigName: c.name + "-c", File: &swarm.ConfigReferenceFileTarget{Name: "/x", UID: "0", GID: "0", Mode: 0o444}}}
	return spec
}

func (c *contract) inUse() {
	secretID, configID := c.newSecret("-s", "x"), c.newConfig("-c", "x")
	s := c.create(c.references("", secretID, configID))
	c.wants("secret in use", c.w.SecretRemove(c.ctx, secretID), cerrdefs.IsInvalidArgument, "secret '"+c.name+"-s' is in use by the following service: "+c.name)
	c.wants("config in use", c.w.ConfigRemove(c.ctx, configID), cerrdefs.IsInvalidArgument, "config '"+c.name+"-c' is in use by the following service: "+c.name)
	twice := c.references("-x", secretID, configID)
	again := *twice.TaskTemplate.ContainerSpec.Configs[0]
	twice.TaskTemplate.ContainerSpec.Configs = append(twice.TaskTemplate.ContainerSpec.Configs, &again)
	_, err := c.w.ServiceCreate(c.ctx, twice, swarm.ServiceCreateOptions{})
	c.wants("target twice", err, cerrdefs.IsInvalidArgument, "have a conflicting target: '/x'")
	c.change(s.ID, func(spec *swarm.ServiceSpec) {
		spec.TaskTemplate.ContainerSpec.Secrets, spec.TaskTemplate.ContainerSpec.Configs = nil, nil
	})
	c.must(c.w.SecretRemove(c.ctx, secretID)) // a previous spec protects nothing
	c.must(c.w.ConfigRemove(c.ctx, configID))
}

func (c *contract) ports() {
	b := make([]byte, 2)
	if _, err := rand.Read(b); err != nil {
		c.Fatal(err)
	}
	port := 20000 + (uint32(b[0])<<8|uint32(b[1]))%9000
	publish := func(suffix string) swarm.ServiceSpec {
		spec := c.service(suffix, ImageRuns, 0)
		spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: port}}}
		return spec
	}
	s := c.create(publish(""))
	_, err := c.w.ServiceCreate(c.ctx, publish("-x"), swarm.ServiceCreateOptions{})
	c.wants("port in use", err, cerrdefs.IsInvalidArgument, fmt.Sprintf("port '%d' is already in use by service '%s' (%s)", port, c.name, s.ID))
}

// stored sends a spec with most of what everyday stacks use, and looks what
// comes back: the fake's own idea of it must be the engine's.
func (c *contract) stored() {
	secretID, configID, netID := c.newSecret("-s", "x"), c.newConfig("-c", "x"), c.newNetwork("-n")
	sent := c.references("", secretID, configID)
	ten, attempts := 10*time.Second, uint64(3)
	sent.UpdateConfig = &swarm.UpdateConfig{Parallelism: 2, Order: "start-first", MaxFailureRatio: 0.1}
	sent.RollbackConfig = &swarm.UpdateConfig{Monitor: ten}
	sent.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, Protocol: "UDP", PublishMode: "host"}}}
	t := &sent.TaskTemplate
	t.Networks = []swarm.NetworkAttachmentConfig{{Target: c.name + "-n", Aliases: []string{"b", "a"}}}
	t.RestartPolicy = &swarm.RestartPolicy{Delay: &ten, MaxAttempts: &attempts}
	t.Placement = &swarm.Placement{Constraints: []string{"node.role==manager"}, Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: "node.labels.zone"}}}}
	t.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 50}, Reservations: &swarm.Resources{MemoryBytes: 32 << 20}}
	t.LogDriver = &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}}
	k := t.ContainerSpec
	k.Image, k.Labels = "skep-contract", map[string]string{"a": "b"}
	k.Command, k.Args, k.Env, k.Hosts = []string{"/app"}, []string{"0"}, []string{"B=2", "A=1"}, []string{"10.9.9.9 db"}
	k.DNSConfig = &swarm.DNSConfig{Nameservers: []string{"10.9.9.8"}}
	k.Privileges = &swarm.Privileges{NoNewPrivileges: true, Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeCustom, Profile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)},
		AppArmor: &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}}
	k.OomScoreAdj = 100
	k.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app"}, Interval: ten, Retries: 2, StartInterval: ten}
	k.CapabilityAdd, k.Sysctls = []string{"CAP_NET_ADMIN"}, map[string]string{"net.core.somaxconn": "1024"}
	k.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}
	k.Mounts = []mount.Mount{
		{Type: mount.TypeVolume, Source: c.name, Target: "/data/", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{"a": "b"}, Subpath: "in", DriverConfig: &mount.Driver{Name: "local"}}},
		{Source: "/srv", Target: "/srv", BindOptions: &mount.BindOptions{CreateMountpoint: true}, Consistency: mount.ConsistencyCached},
		{Type: mount.TypeBind, Source: "/etc", Target: "/etc2", BindOptions: &mount.BindOptions{NonRecursive: true}},
		{Type: mount.TypeTmpfs, Target: "/tmp", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Options: [][]string{{"noexec"}}}},
	}
	want := clone(sent)
	live := c.create(sent)
	tagImage(&want)
	want.TaskTemplate.Networks[0].Target = netID
	want = normalise(want, c.w.ClientVersion())
	if diff := cmp.Diff(pretty(want), pretty(live.Spec)); diff != "" {
		c.Errorf("stored spec differs from what the fake would store (-fake +stored):\n%s", diff)
	}
	if sent.TaskTemplate.ContainerSpec.Image != "skep-contract:latest" {
		c.Errorf("got image %q in the spec that was sent, want that the client tags it there", sent.TaskTemplate.ContainerSpec.Image)
	}
	again := c.change(live.ID, func(*swarm.ServiceSpec) {})
	if diff := cmp.Diff(pretty(live.Spec), pretty(again.Spec)); diff != "" {
		c.Errorf("a stored spec sent back is stored differently:\n%s", diff)
	}
}

func pretty(v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (c *contract) filters() {
	for _, suffix := range []string{"-a", "-ab"} {
		c.newSecret(suffix, "x")
		c.newConfig(suffix, "x")
		c.create(c.service(suffix, ImageRuns, 0))
	}
	name := filters.NewArgs(filters.Arg("name", c.name+"-a"))
	secrets, err := c.w.SecretList(c.ctx, swarm.SecretListOptions{Filters: name})
	c.must(err)
	exact, err := c.w.SecretList(c.ctx, swarm.SecretListOptions{Filters: filters.NewArgs(filters.Arg("names", c.name+"-a"))})
	c.must(err)
	configs, err := c.w.ConfigList(c.ctx, swarm.ConfigListOptions{Filters: name})
	c.must(err)
	services, err := c.w.ServiceList(c.ctx, swarm.ServiceListOptions{Filters: name, Status: true})
	c.must(err)
	if len(secrets) != 2 || len(exact) != 1 || len(configs) != 2 || len(services) != 2 {
		c.Errorf("got %d, exactly %d, %d, %d; want 2, 1, 2, 2", len(secrets), len(exact), len(configs), len(services))
	}
	for _, s := range services {
		if s.ServiceStatus == nil || s.ServiceStatus.DesiredTasks != 0 {
			c.Errorf("got status %+v, want one with no tasks", s.ServiceStatus)
		}
	}
}

func (c *contract) restarts() {
	spec := c.service("", ImageRuns, 1)
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: 500 * time.Millisecond}
	s := c.create(spec)
	before := c.awaitRunning(s.ID, 1)[0].ID
	s = c.change(s.ID, func(s *swarm.ServiceSpec) { s.Labels["more"] = "yes" })
	if s.UpdateStatus != nil {
		c.Errorf("got update status %+v of a label, want none", s.UpdateStatus)
	}
	s = c.change(s.ID, func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints = []string{"node.role==manager"} })
	if s.UpdateStatus != nil {
		c.Errorf("got update status %+v of a placement that holds, want none", s.UpdateStatus)
	}
	if after := c.awaitRunning(s.ID, 1)[0].ID; after != before {
		c.Errorf("got task %s after %s, want the same", after, before)
	}
	c.change(s.ID, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"A=1"} })
	s = c.awaitState(s.ID, swarm.UpdateStateCompleted)
	running := c.awaitRunning(s.ID, 1)
	if running[0].ID == before || s.UpdateStatus.CompletedAt == nil {
		c.Errorf("got task %s and status %+v, want another task", running[0].ID, s.UpdateStatus)
	}
	fresh, err := c.w.TaskList(c.ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", s.ID), filters.Arg("_up-to-date", "true"))})
	c.must(err)
	if len(fresh) != 1 || fresh[0].ID != running[0].ID {
		c.Errorf("got %d tasks up to date, want the running one", len(fresh))
	}
}

func (c *contract) jobs() {
	spec := c.service("", ImageEnds, 0)
	two := uint64(2)
	spec.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{TotalCompletions: &two, MaxConcurrent: &two}}
	s := c.create(spec)
	done := func() bool {
		list, err := c.w.ServiceList(c.ctx, swarm.ServiceListOptions{Status: true, Filters: filters.NewArgs(filters.Arg("id", s.ID))})
		c.must(err)
		return list[0].ServiceStatus.CompletedTasks == 2
	}
	c.eventually("job completes", done)
	first := s.JobStatus.JobIteration.Index
	s = c.change(s.ID, func(s *swarm.ServiceSpec) { s.Labels["more"] = "yes" })
	if got := s.JobStatus.JobIteration.Index; got != first+1 {
		c.Errorf("got iteration %d after %d, want one more", got, first)
	}
	c.eventually("job completes again", done)
	_, all := c.tasks(s.ID)
	for _, t := range all {
		if t.JobIteration == nil {
			c.Errorf("got task %s without an iteration", t.ID)
		}
	}
}

// breakable gives a running service whose next update is watched for a moment.
func (c *contract) breakable(action string) swarm.Service {
	spec := c.service("", ImageRuns, 1)
	zero := time.Duration(0)
	spec.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Delay: &zero}
	spec.UpdateConfig = &swarm.UpdateConfig{Parallelism: 1, FailureAction: action, Monitor: 20 * time.Second}
	spec.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: 500 * time.Millisecond}
	s := c.create(spec)
	c.awaitRunning(s.ID, 1)
	return s
}

func (c *contract) rollsBack() {
	s := c.breakable("rollback")
	c.change(s.ID, func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Image, s.Labels["more"] = ImageCrashes, "yes"
	})
	started := c.awaitState(s.ID, swarm.UpdateStateUpdating, swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackCompleted).UpdateStatus.StartedAt
	s = c.awaitState(s.ID, swarm.UpdateStateRollbackCompleted)
	if at := s.UpdateStatus.StartedAt; started == nil || at == nil || !at.Equal(*started) {
		c.Errorf("got a start at %v after %v, want that of the update", at, started)
	}
	if got := s.Spec.TaskTemplate.ContainerSpec.Image; got != ImageRuns || s.Spec.Labels["more"] != "" {
		c.Errorf("got image %s and labels %v, want the spec as it was", got, s.Spec.Labels)
	}
	c.awaitRunning(s.ID, 1)
}

func (c *contract) pauses() {
	s := c.breakable("pause")
	c.change(s.ID, func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = ImageCrashes })
	s = c.awaitState(s.ID, swarm.UpdateStatePaused)
	if got := s.Spec.TaskTemplate.ContainerSpec.Image; got != ImageCrashes || !strings.Contains(s.UpdateStatus.Message, "update paused due to failure") {
		c.Errorf("got image %s and %+v, want the broken spec, paused", got, s.UpdateStatus)
	}
	c.eventually("a task failed", func() bool {
		_, all := c.tasks(s.ID)
		for _, t := range all {
			if t.Status.State == swarm.TaskStateFailed && t.Status.ContainerStatus != nil && t.Status.ContainerStatus.ExitCode == 3 {
				return t.Status.Err == "task: non-zero exit (3)"
			}
		}
		return false
	})
}

func (c *contract) noImage() {
	s := c.create(c.service("", ImageMissing, 1))
	c.eventually("a task is rejected", func() bool {
		_, all := c.tasks(s.ID)
		for _, t := range all {
			if t.Status.State == swarm.TaskStateRejected {
				// Later engines of 29 say why the pull failed.
				return strings.HasPrefix(t.Status.Err, "No such image: "+ImageMissing) || strings.HasPrefix(t.Status.Err, "Get \"http") && strings.HasSuffix(t.Status.Err, "connection refused")
			}
		}
		return false
	})
}

func (c *contract) removal() {
	s := c.create(c.service("", ImageRuns, 2))
	c.awaitRunning(s.ID, 2)
	c.change(s.ID, func(s *swarm.ServiceSpec) { one := uint64(1); s.Mode.Replicated.Replicas = &one })
	c.awaitRunning(s.ID, 1)
	c.must(c.w.ServiceRemove(c.ctx, s.ID))
	_, err := c.w.TaskList(c.ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("service", s.ID))})
	c.wants("tasks of what is gone", err, cerrdefs.IsNotFound, "service "+s.ID+" not found")
	c.wants("remove what is gone", c.w.ServiceRemove(c.ctx, s.ID), cerrdefs.IsNotFound, "service "+s.ID+" not found")
	c.eventually("tasks are gone", func() bool {
		left, err := c.w.TaskList(c.ctx, swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("label", contractLabel+"="+c.name))})
		c.must(err)
		return len(left) == 0
	})
}

func (c *contract) events() {
	messages, errs := c.w.Events(c.ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("scope", "swarm"), filters.Arg("type", "service"), filters.Arg("type", "config"))})
	id := c.newConfig("-c", "x")
	s := c.create(c.service("", ImageRuns, 0))
	c.newSecret("-s", "x")
	c.change(s.ID, func(s *swarm.ServiceSpec) { s.Labels["more"] = "yes" })
	c.must(c.w.ServiceRemove(c.ctx, s.ID))
	want := map[string]bool{"config create " + id: true, "service create " + s.ID: true, "service update " + s.ID: true, "service remove " + s.ID: true}
	for len(want) > 0 {
		select {
		case m := <-messages:
			if m.Type == events.SecretEventType || m.Scope != "swarm" {
				c.Errorf("got an event that was filtered out: %+v", m)
			}
			key := fmt.Sprintf("%s %s %s", m.Type, m.Action, m.Actor.ID)
			if want[key] && !strings.HasPrefix(m.Actor.Attributes["name"], c.name) {
				c.Errorf("got event %+v, want the object's name", m)
			}
			delete(want, key)
		case err := <-errs:
			c.Fatalf("stream ended: %v; still to come: %v", err, want)
		}
	}
}
