package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

func observe(ctx context.Context, r deploy.Reader) (deploy.Live, error) {
	return deploy.Observe(ctx, r, deploy.LookOptions{Instance: instance, Tasks: true})
}

func TestObserveReadsServicesFirstAndNodesLast(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	converge(t, s, shopStack())
	_, err := deploy.WriteMemory(t.Context(), s, deploy.Memory{Instance: instance, Tenant: tenant, Stack: "shop"})
	fatal(t, err)
	_, err = deploy.WriteMemory(t.Context(), s, deploy.Memory{Instance: "other", Tenant: tenant, Stack: "shop"})
	fatal(t, err)
	s.Forget()
	l, err := observe(t.Context(), s)
	fatal(t, err)
	calls := s.Calls()
	if n := len(calls); n > 8 || calls[0].Method != "ServiceList" || calls[n-1].Method != "NodeList" {
		t.Errorf("got calls %v, want at most 8, services first and nodes last", calls)
	}
	if len(l.Services) != 2 || l.Services[0].ServiceStatus == nil || len(l.Secrets) != 1 || len(l.Tasks) != 2 || !l.Listed || len(l.Nodes) != 1 || l.API != "1.51" {
		t.Errorf("got %+v, want two services with status and tasks, a secret, a node", l)
	}
	if len(l.Memories) != 1 || l.Memories[0].Instance != instance || len(l.Configs) != 0 {
		t.Errorf("got memories %+v and %d configs, want our instance's memory alone", l.Memories, len(l.Configs))
	}
	s.Forget()
	if _, err := deploy.Observe(t.Context(), s, deploy.LookOptions{Instance: instance}); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(s.Calls(), func(c swarmtest.Call) bool { return c.Method == "TaskList" }) {
		t.Error("got a task list that nobody asked for")
	}
}

// TestObserveDoubts lists the ways in which a look may be less than the whole.
func TestObserveDoubts(t *testing.T) {
	t.Parallel()
	cut := func(method string) func(*swarmtest.Swarm) {
		return func(s *swarmtest.Swarm) {
			s.After = func(_ context.Context, c swarmtest.Call) error {
				if c.Method == method {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
		}
	}
	cases := map[string]func(*swarmtest.Swarm){
		"no leader":                        func(s *swarmtest.Swarm) { s.Set(swarmtest.NoLeader) },
		"a worker":                         func(s *swarmtest.Swarm) { s.Set(swarmtest.Worker) },
		"no leader for the networks alone": func(s *swarmtest.Swarm) { s.Hide(true) },
		"a network list that takes as long as a lost leader": func(s *swarmtest.Swarm) {
			s.Before = func(ctx context.Context, c swarmtest.Call) error {
				if c.Method != "NetworkList" {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(20 * time.Second):
					return nil
				}
			}
		},
		"a call that hangs": func(s *swarmtest.Swarm) {
			s.Before = func(ctx context.Context, c swarmtest.Call) error {
				if c.Method == "SecretList" {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
		},
	}
	for _, m := range []string{"ServiceList", "NetworkList", "SecretList", "ConfigList", "TaskList", "NodeList"} {
		cases["a cut "+m] = cut(m)
	}
	for name, fault := range cases {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := swarmtest.New()
				converge(t, s, shopStack())
				fault(s)
				l, err := observe(t.Context(), s)
				if !errors.Is(err, deploy.ErrUnsure) || l.Services != nil || l.Networks != nil {
					t.Errorf("got %v and services %v, want ErrUnsure and no look", err, l.Services)
				}
			})
		})
	}
}

func TestObserveKnowsTheHiddenNetworks(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	for i := range 3 {
		_, err := s.ServiceCreate(t.Context(), swarm.ServiceSpec{
			Annotations: swarm.Annotations{Name: fmt.Sprint("s", i)},
			TaskTemplate: swarm.TaskSpec{
				ContainerSpec: &swarm.ContainerSpec{Image: "x"},
				Networks:      []swarm.NetworkAttachmentConfig{{Target: "host"}},
			},
		}, swarm.ServiceCreateOptions{})
		fatal(t, err)
	}
	s.Forget()
	if _, err := observe(t.Context(), s); err != nil || len(s.Calls()) > 8 {
		t.Errorf("got %v after %d calls, want a look", err, len(s.Calls()))
	}
}

func TestObserveRefusesOldEngines(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	s.API = "1.40"
	if _, err := observe(t.Context(), s); err == nil || !strings.Contains(err.Error(), "Engine 20.10") {
		t.Errorf("got %v, want the oldest engine that works", err)
	}
}

func TestDetailAddsTheStacksConfigs(t *testing.T) {
	t.Parallel()
	for name, detail := range map[string]func(context.Context, deploy.Reader, deploy.Live, stack.Spec) (deploy.Live, error){
		"by label": deploy.Detail, "by name": deploy.DetailByName,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			testDetail(t, detail)
		})
	}
}

func testDetail(t *testing.T, detail func(context.Context, deploy.Reader, deploy.Live, stack.Spec) (deploy.Live, error)) {
	s := swarmtest.New()
	converge(t, s, shopStack())
	for _, name := range []string{"given", "given-and-more", "foreign"} {
		_, err := s.ConfigCreate(t.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name}, Data: []byte("x")})
		fatal(t, err)
	}
	l, err := observe(t.Context(), s)
	fatal(t, err)
	want := shopStack()
	want.Configs = append(want.Configs, stack.Config{Key: "a", Name: "given", External: true}, stack.Config{Key: "b", Name: "nowhere"})
	d, err := detail(t.Context(), s, l, want)
	fatal(t, err)
	var names []string
	for _, c := range d.Configs {
		names = append(names, c.Spec.Name)
	}
	if len(names) != 2 || !strings.HasPrefix(names[0], "shop_site_") || names[1] != "given" || !d.Detailed["shop"] {
		t.Errorf("got configs %v, want the stack's own and the external one", names)
	}
	if len(l.Configs) != 0 || len(l.Detailed) != 0 {
		t.Error("Detail changed the look that all stacks share")
	}
	s.Set(swarmtest.NoLeader)
	if _, err := detail(t.Context(), s, l, want); !errors.Is(err, deploy.ErrUnsure) {
		t.Errorf("got %v without a leader, want ErrUnsure", err)
	}
}

// TestObserveThroughTheClient cuts each answer on the wire: the client must not
// take what arrived for all there is.
func TestObserveThroughTheClient(t *testing.T) {
	t.Parallel()
	paths := []string{"services", "networks", "secrets", "configs", "tasks", "nodes"}
	for _, cut := range append(paths, "") {
		t.Run("cut_"+cut, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Api-Version", "1.44")
				path := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
				body := `[{"ID":"a"},{"ID":"b"}]`
				switch {
				case strings.HasSuffix(path, "_ping"):
					body = "OK"
				case path == cut:
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
					body = `[{"ID":"a"}`
				}
				fmt.Fprint(w, body)
			}))
			t.Cleanup(server.Close)
			c, err := deploy.Connect(func(key string) string {
				return map[string]string{"DOCKER_HOST": strings.Replace(server.URL, "http://", "tcp://", 1)}[key]
			})
			fatal(t, err)
			t.Cleanup(func() { c.Close() })
			l, err := observe(t.Context(), c)
			if cut == "" {
				if err != nil || len(l.Services) != 2 || l.API != "1.44" {
					t.Errorf("got %v and %+v, want a look with the negotiated API", err, l)
				}
				return
			}
			if !errors.Is(err, deploy.ErrUnsure) || l.Services != nil {
				t.Errorf("got %v, want ErrUnsure", err)
			}
		})
	}
}

// TestDetailFindsLiteralNames looks for configs that are not named after their stack.
func TestDetailFindsLiteralNames(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	want := shopStack()
	want.Configs[0].Name = "site-v1"
	converge(t, s, want)
	names := func(detail func(context.Context, deploy.Reader, deploy.Live, stack.Spec) (deploy.Live, error)) string {
		l, err := observe(t.Context(), s)
		fatal(t, err)
		d, err := detail(t.Context(), s, l, nothing())
		fatal(t, err)
		var out []string
		for _, c := range d.Configs {
			out = append(out, c.Spec.Name)
		}
		return strings.Join(out, " ")
	}
	if a, b := names(deploy.Detail), names(deploy.DetailByName); a != "site-v1" || b != a {
		t.Errorf("got %q by label and %q by name, want the config that a service refers to", a, b)
	}
	for _, v := range []string{"shop_db", "shop_web"} {
		fatal(t, s.ServiceRemove(t.Context(), v))
	}
	if a, b := names(deploy.Detail), names(deploy.DetailByName); a != "site-v1" || b != "" {
		t.Errorf("got %q by label and %q by name, want the one that nothing refers to by label alone", a, b)
	}
}
