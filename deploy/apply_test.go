package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

func TestApplyMakesAStackInOnePlan(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	p := plan(t, s, shopStack())
	fatal(t, deploy.Apply(t.Context(), s, p))
	if got := methods(s); !cmp.Equal(got, []string{"NetworkCreate", "SecretCreate", "ConfigCreate", "ServiceCreate", "ServiceCreate"}) {
		t.Errorf("got writes %v, want networks, secrets and configs before services", got)
	}
	s.Forget()
	if p := plan(t, s, shopStack()); !p.Empty() {
		t.Errorf("got %+v after the plan was carried out, want nothing to do", p.Steps)
	}
	if p := garbage(t, s, shopStack()); !p.Empty() {
		t.Errorf("got garbage %+v, want none", p.Steps)
	}
	if s.Writes() > 0 {
		t.Errorf("got %v, want that looking writes nothing", methods(s))
	}
}

// push is a change of git that an operator is killed in.
type push struct{ from, to stack.Spec }

func pushes() map[string]push {
	changed := shopStack()
	changed.Secrets[0].Data = stack.Bytes("hunter23")
	changed.Configs[0].Data = stack.Bytes("listen 81")
	changed.Services[1].Spec.TaskTemplate.ContainerSpec.Env = []string{"A=1"}
	changed.Networks = append(changed.Networks, stack.Network{Key: "front", Name: "shop_front", Create: network.CreateOptions{Driver: "overlay", Labels: map[string]string{deploy.LabelNamespace: "shop"}}})
	changed.Services[1].Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "shop_front", Aliases: []string{"web"}}}
	fewer := shopStack()
	fewer.Services, fewer.Secrets = fewer.Services[1:], nil
	return map[string]push{
		"the first one": {nothing(), shopStack()}, "all of it changed": {shopStack(), changed},
		"a service left": {shopStack(), fewer}, "the folder left": {shopStack(), nothing()},
	}
}

// TestKilledAfterEachWrite kills an operator after the n-th write of a push, once
// with the reply and once without, for each n; the next one must reach the same
// state as an undisturbed run.
func TestKilledAfterEachWrite(t *testing.T) {
	t.Parallel()
	for name, p := range pushes() {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			calm := swarmtest.New()
			converge(t, calm, p.from)
			calm.Forget()
			converge(t, calm, p.to)
			want, writes := stateOf(t, calm), calm.Writes()
			if writes < 2 {
				t.Fatalf("got %d writes, want several to be killed after", writes)
			}
			for n := 1; n <= writes; n++ {
				for _, lost := range []bool{false, true} {
					s := swarmtest.New()
					converge(t, s, p.from)
					s.Forget()
					until(t, s, p.to, kill(s, n, lost))
					s.Before, s.After = nil, nil
					converge(t, s, p.to)
					if diff := cmp.Diff(want, stateOf(t, s)); diff != "" {
						t.Errorf("killed after write %d, reply lost %v: state differs (-undisturbed +this):\n%s", n, lost, diff)
					}
				}
			}
		})
	}
}

var errKilled = errors.New("killed")

// kill ends all calls after the n-th write.
func kill(s *swarmtest.Swarm, n int, lost bool) *bool {
	dead := false
	s.Before = func(context.Context, swarmtest.Call) error {
		if dead {
			return errKilled
		}
		return nil
	}
	s.After = func(_ context.Context, c swarmtest.Call) error {
		if c.Write != n {
			return nil
		}
		dead = true
		if lost {
			return errKilled
		}
		return nil
	}
	return &dead
}

// until goes on until the operator is dead, or has nothing left to do.
func until(t *testing.T, s *swarmtest.Swarm, want stack.Spec, dead *bool) {
	for range 20 {
		done, err := cycle(t.Context(), s, want)
		if *dead {
			return
		}
		if done && err == nil {
			t.Fatal("done before it was killed")
		}
		s.Step(time.Second)
	}
	t.Fatal("neither dead nor done after 20 cycles")
}

func TestApplyCarriesOnPastAFailure(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	broken := errors.New("broken pipe")
	s.Before = func(_ context.Context, c swarmtest.Call) error {
		if c.Method == "ConfigCreate" {
			return broken
		}
		return nil
	}
	err := deploy.Apply(t.Context(), s, plan(t, s, shopStack()))
	var step *deploy.StepError
	if !errors.As(err, &step) || step.Kind != deploy.KindConfig || step.Refused || !errors.Is(err, broken) {
		t.Errorf("got error %v, want that of the config, as one that may pass", err)
	}
	if strings.Contains(err.Error(), "shop_web") {
		t.Errorf("got %q, want no word of the service that was left out", err)
	}
	st := stateOf(t, s)
	if _, ok := st.Services["shop_db"]; !ok || len(st.Services) != 1 {
		t.Errorf("got services %v, want the one that does not use the config", st.Services)
	}
}

func TestRefusalsAreToldFromWhatMayPass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(*swarm.ServiceSpec)
		refused bool
	}{
		"invalid":    {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "Bad Image!" }, true},
		"constraint": {func(s *swarm.ServiceSpec) { s.TaskTemplate.Placement.Constraints = []string{"a=b"} }, true},
		"too large":  {func(s *swarm.ServiceSpec) { s.Labels["x"] = strings.Repeat("x", 1638400) }, true},
		"port held elsewhere": {func(s *swarm.ServiceSpec) {
			s.EndpointSpec.Ports = []swarm.PortConfig{{PublishedPort: 8080, TargetPort: 80}}
		}, false},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			s := swarmtest.New()
			want := shopStack()
			c.change(&want.Services[0].Spec)
			p := plan(t, s, want)
			_, err := s.ServiceCreate(t.Context(), swarm.ServiceSpec{
				Annotations:  swarm.Annotations{Name: "other"},
				TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "x"}},
				EndpointSpec: &swarm.EndpointSpec{Ports: []swarm.PortConfig{{PublishedPort: 8080, TargetPort: 80}}},
			}, swarm.ServiceCreateOptions{})
			fatal(t, err)
			var step *deploy.StepError
			if err := deploy.Apply(t.Context(), s, p); !errors.As(err, &step) || step.Refused != c.refused {
				t.Errorf("got %v, want a step's error with Refused %v", err, c.refused)
			}
		})
	}
}

// TestStoppedOperator is one that gets SIGSTOP between its look and its writes.
func TestStoppedOperator(t *testing.T) {
	t.Parallel()
	t.Run("creates and removes nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := swarmtest.New()
			converge(t, s, shopStack())
			more := shopStack()
			more.Configs = append(more.Configs, stack.Config{Key: "more", Labels: map[string]string{deploy.LabelNamespace: "shop"}, Data: stack.Bytes("x")})
			for _, p := range []deploy.Plan{plan(t, s, more), garbage(t, s, nothing())} {
				if p.Empty() {
					t.Fatal("got an empty plan, want one that writes")
				}
				time.Sleep(31 * time.Second)
				s.Forget()
				if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) || s.Writes() > 0 {
					t.Errorf("got %v and writes %v, want ErrStale and none", err, methods(s))
				}
			}
		})
	})
	t.Run("loses no update of another", func(t *testing.T) {
		s := swarmtest.New()
		converge(t, s, shopStack())
		want := shopStack()
		want.Services[0].Spec.TaskTemplate.ContainerSpec.Env = []string{"A=1"}
		p := plan(t, s, want)
		other := live(t, s, "shop_db")
		other.Spec.TaskTemplate.ContainerSpec.Env = []string{"B=2"}
		_, err := s.ServiceUpdate(t.Context(), other.ID, other.Version, other.Spec, swarm.ServiceUpdateOptions{})
		fatal(t, err)
		if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
		if env := live(t, s, "shop_db").Spec.TaskTemplate.ContainerSpec.Env; !cmp.Equal(env, []string{"B=2"}) {
			t.Errorf("got env %v, want the other's", env)
		}
	})
	t.Run("without a look has no plan", func(t *testing.T) {
		s := swarmtest.New()
		p := deploy.Aged(plan(t, s, shopStack()), time.Time{})
		if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) || s.Writes() > 0 {
			t.Errorf("got %v and %d writes, want ErrStale and none", err, s.Writes())
		}
	})
}

func TestGuardVoidsRemovals(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*testing.T, deploy.Writer, deploy.Memory){
		"written": func(t *testing.T, w deploy.Writer, m deploy.Memory) {
			m.Frozen = &deploy.Frozen{By: "ann"}
			_, err := deploy.WriteHolds(t.Context(), w, m)
			fatal(t, err)
		},
		"deleted": func(t *testing.T, w deploy.Writer, m deploy.Memory) { fatal(t, deploy.DeleteMemory(t.Context(), w, m)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := swarmtest.New()
			converge(t, s, shopStack())
			m, err := deploy.WriteMemory(t.Context(), s, deploy.Memory{Instance: instance, Tenant: tenant, Stack: "shop"})
			fatal(t, err)
			p := guarded(t, s, &m)
			meanwhile(t, s, m)
			s.Forget()
			if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) || s.Writes() > 0 {
				t.Errorf("got %v and writes %v, want ErrStale and none", err, methods(s))
			}
		})
	}
	t.Run("made since", func(t *testing.T) {
		t.Parallel()
		s := swarmtest.New()
		converge(t, s, shopStack())
		p := garbage(t, s, nothing())
		_, err := deploy.WriteHolds(t.Context(), s, deploy.Memory{Instance: instance, Tenant: tenant, Stack: "shop", Frozen: &deploy.Frozen{By: "ann"}})
		fatal(t, err)
		s.Forget()
		if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) || s.Writes() > 0 {
			t.Errorf("got %v and writes %v, want ErrStale and none", err, methods(s))
		}
	})
	t.Run("unchanged", func(t *testing.T) {
		t.Parallel()
		s := swarmtest.New()
		converge(t, s, shopStack())
		m, err := deploy.WriteMemory(t.Context(), s, deploy.Memory{Instance: instance, Tenant: tenant, Stack: "shop"})
		fatal(t, err)
		fatal(t, deploy.Apply(t.Context(), s, guarded(t, s, &m)))
		if len(stateOf(t, s).Services) > 0 {
			t.Error("got services left, want them removed")
		}
	})
}

// guarded is the plan that removes shop, resting on a memory.
func guarded(t *testing.T, s *swarmtest.Swarm, m *deploy.Memory) deploy.Plan {
	t.Helper()
	l, err := look(t.Context(), s, nothing())
	fatal(t, err)
	o := options()
	o.Guard = m
	p, err := deploy.Garbage(nothing(), l, o)
	fatal(t, err)
	return p
}

func TestRemovalLooksAtTheLabelsAgain(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	converge(t, s, shopStack())
	p := garbage(t, s, nothing())
	v := live(t, s, "shop_db")
	delete(v.Spec.Labels, deploy.LabelTenant)
	_, err := s.ServiceUpdate(t.Context(), v.ID, v.Version, v.Spec, swarm.ServiceUpdateOptions{})
	fatal(t, err)
	if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	if got := stateOf(t, s).Services; len(got) != 1 || got["shop_db"].Name == "" {
		t.Errorf("got services %v, want the one that is no longer ours, and only it", got)
	}
}

func TestUpdateOutOfSequence(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	converge(t, s, shopStack())
	want := shopStack()
	want.Services[0].Spec.TaskTemplate.ContainerSpec.Env = []string{"A=1"}
	p := plan(t, s, want)
	v := live(t, s, "shop_db")
	_, err := s.ServiceUpdate(t.Context(), v.ID, v.Version, v.Spec, swarm.ServiceUpdateOptions{}) // its version moves, its spec does not
	fatal(t, err)
	fatal(t, deploy.Apply(t.Context(), s, p))
	if env := live(t, s, "shop_db").Spec.TaskTemplate.ContainerSpec.Env; !cmp.Equal(env, []string{"A=1"}) {
		t.Errorf("got env %v, want the update made after all", env)
	}
}

func TestCreateMeetsAnother(t *testing.T) {
	t.Parallel()
	t.Run("that made the same", func(t *testing.T) {
		t.Parallel()
		s := swarmtest.New()
		p := plan(t, s, shopStack())
		q := p
		q.Steps = p.Steps[:3] // the other operator got as far as network, secret and config
		fatal(t, deploy.Apply(t.Context(), s, q))
		fatal(t, deploy.Apply(t.Context(), s, p))
		if p := plan(t, s, shopStack()); !p.Empty() {
			t.Errorf("got %+v left to do, want nothing", p.Steps)
		}
	})
	t.Run("that made all of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := swarmtest.New()
			p := plan(t, s, shopStack())
			fatal(t, deploy.Apply(t.Context(), s, p))
			before := stateOf(t, s)
			if err := deploy.Apply(t.Context(), s, p); err != nil {
				t.Errorf("got %v, want that equal objects are accepted", err)
			}
			if diff := cmp.Diff(before, stateOf(t, s)); diff != "" {
				t.Errorf("state changed:\n%s", diff)
			}
		})
	})
	t.Run("that is not ours", func(t *testing.T) {
		t.Parallel()
		s := swarmtest.New()
		p := plan(t, s, shopStack())
		for _, step := range p.Steps {
			if step.Kind == deploy.KindSecret {
				_, err := s.SecretCreate(t.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: step.Name, Labels: map[string]string{deploy.LabelTenant: "b"}}, Data: []byte("x")})
				fatal(t, err)
			}
		}
		err := deploy.Apply(t.Context(), s, p)
		var conflict *deploy.ConflictError
		if !errors.As(err, &conflict) || !strings.Contains(err.Error(), `tenant "b"`) {
			t.Errorf("got %v, want a conflict that names the owner", err)
		}
		if _, ok := stateOf(t, s).Services["shop_db"]; ok {
			t.Error("got the service that needs the secret, want it left out")
		}
	})
}

func TestSecretThatIsUsedAgainStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := swarmtest.New()
		converge(t, s, shopStack())
		fatal(t, deploy.Apply(t.Context(), s, garbage(t, s, nothing()))) // its services
		p := garbage(t, s, nothing())
		var used string
		for _, step := range p.Steps {
			if step.Kind == deploy.KindSecret {
				used = step.Name
				spec := service("db").Spec
				spec.Name, spec.TaskTemplate.Networks = "other", nil
				spec.TaskTemplate.ContainerSpec.Secrets[0].SecretID, spec.TaskTemplate.ContainerSpec.Secrets[0].SecretName = step.ID, step.Name
				_, err := s.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
				fatal(t, err)
			}
		}
		if err := deploy.Apply(t.Context(), s, p); !errors.Is(err, deploy.ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
		st := stateOf(t, s)
		if _, ok := st.Secrets[used]; !ok || len(st.Configs) > 0 {
			t.Errorf("got secrets %v and configs %v, want the secret in use and no config", len(st.Secrets), len(st.Configs))
		}
	})
}

func TestNetworkThatLingers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := swarmtest.New()
		s.Linger(15 * time.Second)
		converge(t, s, shopStack())
		converge(t, s, nothing())
		if n := stateOf(t, s).Networks["shop_back"]; n == nil {
			t.Fatal("got no remains of the network, want some for 15 seconds")
		}
		stale := 0
		for range 30 {
			done, err := cycle(t.Context(), s, shopStack())
			if done && err == nil {
				if stale == 0 {
					t.Error("got no ErrStale, want some while the network was still going")
				}
				return
			}
			if err != nil && !errors.Is(err, deploy.ErrStale) {
				t.Fatalf("got %v, want ErrStale at most", err)
			}
			if err != nil {
				stale++
			}
			time.Sleep(time.Second)
		}
		t.Error("the stack did not come back")
	})
}

func TestReplaceWaitsForTheTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := swarmtest.New()
		s.Stop = 3 * time.Second
		converge(t, s, shopStack())
		want := shopStack()
		want.Wishes.Replace = true
		want.Services[0].Spec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
		p := plan(t, s, want)
		s.Before = func(ctx context.Context, c swarmtest.Call) error {
			if c.Method == "ServiceCreate" {
				tasks, err := s.TaskList(ctx, swarm.TaskListOptions{})
				fatal(t, err)
				if len(tasks) != 1 {
					t.Errorf("got %d tasks when the service is created again, want only the other service's", len(tasks))
				}
			}
			return nil
		}
		fatal(t, deploy.Apply(t.Context(), s, p))
		if m := live(t, s, "shop_db").Spec.Mode; m.Global == nil {
			t.Errorf("got mode %+v, want global", m)
		}
	})
}

func TestSecretTellsThatItDiffers(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	adopt := func() deploy.Plan {
		l, err := look(t.Context(), s, shopStack())
		fatal(t, err)
		o := options()
		o.Adopt = true
		p, err := deploy.Diff(shopStack(), l, o)
		fatal(t, err)
		return p
	}
	for name, data := range map[string]string{"equal": "hunter22", "unequal": "planted-other"} {
		got, err := s.SecretCreate(t.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: "shop_password", Labels: map[string]string{deploy.LabelNamespace: "shop"}}, Data: []byte(data)})
		fatal(t, err)
		err = deploy.Apply(t.Context(), s, adopt())
		var unequal *deploy.UnequalError
		if errors.As(err, &unequal) != (name == "unequal") {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "unequal" && (unequal.ID != got.ID || strings.Contains(fmt.Sprint(err), "planted")) {
			t.Errorf("got %v, want the secret's ID and not its data", err)
		}
		s = swarmtest.New()
	}
}

func TestCredentialsGoAlong(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	l, err := look(t.Context(), s, shopStack())
	fatal(t, err)
	auth, err := deploy.EncodeAuth("docker.io", "ann", "planted")
	fatal(t, err)
	o := options()
	o.Auth = map[string]string{"docker.io": auth}
	p, err := deploy.Diff(shopStack(), l, o)
	fatal(t, err)
	fatal(t, deploy.Apply(t.Context(), s, p))
	if got := s.Auth("shop_db"); got != auth {
		t.Errorf("got credentials %q, want those of its registry", got)
	}
}

func TestApplyStopsWithItsContext(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	p := plan(t, s, shopStack())
	ctx, cancel := context.WithCancel(t.Context())
	s.After = func(_ context.Context, c swarmtest.Call) error {
		if c.Write == 2 {
			cancel()
		}
		return nil
	}
	if err := deploy.Apply(ctx, s, p); !errors.Is(err, context.Canceled) || s.Writes() != 2 {
		t.Errorf("got %v after %d writes, want a cancelled context after 2", err, s.Writes())
	}
}

func TestApplyLeavesThePlanAlone(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	want := shopStack()
	want.Services[0].Spec.TaskTemplate.ContainerSpec.Image = "db" // the client tags it
	p := plan(t, s, want)
	fatal(t, deploy.Apply(t.Context(), s, p))
	other := swarmtest.New() // the IDs there are others
	for range 3 {
		_, err := other.SecretCreate(t.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: fmt.Sprint("x", other.Writes())}, Data: []byte("x")})
		fatal(t, err)
	}
	fatal(t, deploy.Apply(t.Context(), other, p))
	a, b := stateOf(t, s), stateOf(t, other)
	maps.DeleteFunc(b.Secrets, func(k, _ string) bool { return strings.HasPrefix(k, "x") })
	maps.DeleteFunc(b.Labels, func(k string, _ map[string]string) bool { return strings.HasPrefix(k, "secret x") })
	if diff := cmp.Diff(a, b); diff != "" {
		t.Errorf("a plan carried out twice differs:\n%s", diff)
	}
}
