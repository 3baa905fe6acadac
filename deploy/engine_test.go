package deploy_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
	"github.com/skep-gitops/skep/stack"
)

// onEngine is shopStack under a name and an instance of its own, with an image
// that the engine has.
func onEngine(t *testing.T) (stack.Spec, deploy.DiffOptions) {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	name := "skepap" + hex.EncodeToString(b)
	want := shopStack()
	rename(&want, name)
	return want, deploy.DiffOptions{Instance: name, Key: testKey()}
}

func rename(want *stack.Spec, name string) {
	want.Name, want.Tenant = name, name
	labels := map[string]string{deploy.LabelNamespace: name}
	second, none := time.Second, time.Duration(0)
	for i := range want.Networks {
		want.Networks[i].Name = name + "_" + want.Networks[i].Key
		want.Networks[i].Create.Labels = labels
	}
	for i := range want.Secrets {
		want.Secrets[i].Labels = labels
	}
	for i := range want.Configs {
		want.Configs[i].Labels = labels
	}
	for i := range want.Services {
		s := &want.Services[i].Spec
		s.Name, s.Labels = name+"_"+want.Services[i].Key, labels
		s.TaskTemplate.Networks[0].Target = name + "_back"
		s.TaskTemplate.ContainerSpec.Image, s.TaskTemplate.ContainerSpec.Labels = swarmtest.ImageRuns, labels
		s.TaskTemplate.ContainerSpec.StopGracePeriod = &second
		s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Delay: &none}
	}
}

// round is one look at the engine and what follows from it.
func round(ctx context.Context, w deploy.Writer, want stack.Spec, o deploy.DiffOptions) (bool, error) {
	live, err := deploy.Observe(ctx, w, deploy.LookOptions{Instance: o.Instance, Tasks: true})
	if err != nil {
		return false, err
	}
	if live, err = deploy.Detail(ctx, w, live, want); err != nil {
		return false, err
	}
	p, err := deploy.Diff(want, live, o)
	if err != nil {
		return false, err
	}
	if !p.Empty() {
		return false, deploy.Apply(ctx, w, p)
	}
	if p, err = deploy.Garbage(want, live, o); err != nil {
		return false, err
	}
	if err := deploy.Apply(ctx, w, p); err != nil || !p.Empty() {
		return false, err
	}
	return len(want.Services) > 0 || !left(live, want.Name), nil
}

// left says that tasks or networks of a stack are still there.
func left(live deploy.Live, name string) bool {
	for _, n := range live.Networks {
		if n.Labels[deploy.LabelNamespace] == name && n.Containers == nil {
			return true
		}
	}
	return false
}

func settle(ctx context.Context, t *testing.T, w deploy.Writer, want stack.Spec, o deploy.DiffOptions) {
	t.Helper()
	var last error
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); {
		done, err := round(ctx, w, want, o)
		if done && err == nil {
			return
		}
		if err != nil && !errors.Is(err, deploy.ErrStale) {
			t.Fatalf("got %v, want ErrStale at most", err)
		}
		last = err
		pauseFor(ctx, 100*time.Millisecond)
	}
	t.Fatalf("not as git asks within 90 seconds: %v", last)
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// versions lists the services of a stack with their versions and specs' ages.
func versions(ctx context.Context, t *testing.T, w deploy.Writer, name string) string {
	t.Helper()
	list, err := w.ServiceList(ctx, swarm.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("label", deploy.LabelNamespace+"="+name))})
	fatal(t, err)
	var out []string
	for _, s := range list {
		out = append(out, fmt.Sprint(s.Spec.Name, " ", s.ID, " ", s.Version.Index))
	}
	return strings.Join(out, "\n")
}

// TestStackOnAnEngine takes a stack through its life on a real engine: made,
// looked at again, rotated, removed, and pushed again while its network is still
// going.
func TestStackOnAnEngine(t *testing.T) {
	t.Parallel()
	w := swarmtest.Engine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	want, o := onEngine(t)
	empty := stack.Spec{Tenant: want.Tenant, Name: want.Name}
	t.Cleanup(func() { settle(context.Background(), t, w, empty, o) })

	settle(ctx, t, w, want, o)
	awaitRunning(ctx, t, w, want.Name, 2)
	before := versions(ctx, t, w, want.Name)
	for range 3 {
		if done, err := round(ctx, w, want, o); !done || err != nil {
			t.Errorf("got %v, %v; want nothing to do", done, err)
		}
	}
	if after := versions(ctx, t, w, want.Name); after != before {
		t.Errorf("got versions\n%s\nafter\n%s\nwant no write", after, before)
	}

	next, _ := onEngine(t)
	rename(&next, want.Name)
	next.Secrets[0].Data = stack.Bytes("hunter23")
	settle(ctx, t, w, next, o)
	db, web, _ := strings.Cut(versions(ctx, t, w, want.Name), "\n")
	if strings.Contains(before, db) == strings.Contains(before, web) {
		t.Errorf("got versions\n%s\n%s\nafter\n%s\nwant one service updated", db, web, before)
	}
	awaitRunning(ctx, t, w, want.Name, 2)

	settle(ctx, t, w, empty, o)
	settle(ctx, t, w, want, o)
	awaitRunning(ctx, t, w, want.Name, 2)
}

// awaitRunning waits until that many tasks of a stack run.
func awaitRunning(ctx context.Context, t *testing.T, w deploy.Writer, name string, n uint64) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); pauseFor(ctx, 100*time.Millisecond) {
		list, err := w.ServiceList(ctx, swarm.ServiceListOptions{Status: true, Filters: filters.NewArgs(filters.Arg("label", deploy.LabelNamespace+"="+name))})
		fatal(t, err)
		running := uint64(0)
		for _, s := range list {
			running += s.ServiceStatus.RunningTasks
		}
		if running == n {
			return
		}
	}
	t.Fatalf("%d tasks do not run within 90 seconds", n)
}

// TestTwoOperatorsOnAnEngine lets two operators deploy one stack at once.
func TestTwoOperatorsOnAnEngine(t *testing.T) {
	t.Parallel()
	w := swarmtest.Engine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	want, o := onEngine(t)
	empty := stack.Spec{Tenant: want.Tenant, Name: want.Name}
	t.Cleanup(func() { settle(context.Background(), t, w, empty, o) })
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := round(ctx, w, want, o)
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil && !errors.Is(err, deploy.ErrStale) {
			t.Errorf("got %v, want ErrStale at most", err)
		}
	}
	settle(ctx, t, w, want, o)
	if n := len(strings.Split(versions(ctx, t, w, want.Name), "\n")); n != 2 {
		t.Errorf("got %d services, want 2", n)
	}
}
