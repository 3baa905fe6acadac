package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// labelled waits until a service carries skep's labels, and gives it.
func (tn *tenant) labelled(stack, key string) swarm.Service {
	tn.Helper()
	var s swarm.Service
	tn.eventually("skep's labels are back", func() (bool, string) {
		s = tn.service(stack, key)
		return s.Spec.Labels["skep.tenant"] == tn.name && s.Spec.Labels["skep.instance"] == tn.name, fmt.Sprint(s.Spec.Labels)
	})
	return s
}

// TestStackDeployByHand runs docker stack deploy over a stack that skep keeps: it
// takes skep's labels off every service. That is drift like any other.
func TestStackDeployByHand(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := "services:\n" + service("web", "networks: [inner]") + "networks: {inner: {}}\n"
	job := "services:\n" + service("job", "command: [job]", "deploy: {mode: replicated-job}")
	commit := tn.push("first", map[string]string{"web/stack.yml": "include: [job.yml]\n" + file, "web/job.yml": job})
	tn.start()
	tn.live("web", commit)
	ran, id := tn.tasks("web", "web"), tn.service("web", "web").ID

	tn.stackDeploy(tn.stack("web"), file)
	s := tn.service("web", "job") // as docker stack deploy does since 23.0; before, it knows no jobs
	delete(s.Spec.Labels, "skep.tenant")
	delete(s.Spec.Labels, "skep.instance")
	_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	tn.must(err)
	tn.labelled("web", "web")
	tn.live("web", commit)
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("the same file by hand restarted a task: %s, want %s", now, ran)
	}
	// The update ran the job once more; skep does not.
	if got := tn.service("web", "job").JobStatus.JobIteration.Index; got != 1 {
		t.Errorf("the job ran %d times more, want once", got)
	}
	tn.stackDeploy(tn.stack("web"), strings.Replace(file, "networks: [inner]\n", "networks: [inner]\n    environment: {BY: hand}\n", 1))
	if got := fmt.Sprint(tn.labelled("web", "web").Spec.TaskTemplate.ContainerSpec.Env); strings.Contains(got, "BY=hand") {
		t.Errorf("environment after healing: %s", got)
	}
	tn.live("web", commit)
	tn.quiet()
	if now := tn.service("web", "web").ID; now != id {
		t.Errorf("the service was made anew: %s, was %s", now, id)
	}

	removed := []swarm.Service{tn.service("web", "job")}
	defer func() { tn.must(tn.RemoveContainers(context.WithoutCancel(t.Context()), removed)) }() // 20.10 keeps those of removed jobs

	tn.push("web leaves", map[string]string{"other/stack.yml": "services:\n" + service("other")}, "web")
	tn.eventually("the stack is gone, its job too", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("web"))
		return err == nil && o.Empty(), fmt.Sprint(o, err)
	})
	tn.quiet()
}

// TestLabelsTakenOff takes the labels off with docker service update --label-rm,
// and has another program's service under a name of the stack's: that one stays.
func TestLabelsTakenOff(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", commit)
	ran, s := tn.tasks("web", "web"), tn.service("web", "web")
	for _, k := range []string{"com.docker.stack.namespace", "skep.tenant", "skep.instance"} {
		delete(s.Spec.Labels, k)
	}
	_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	tn.must(err)
	tn.eventually("the labels are back", func() (bool, string) {
		list, err := tn.Services(t.Context(), tn.stack("web"))
		return err == nil && list[s.Spec.Name].Spec.Labels["skep.instance"] == tn.name, fmt.Sprint(len(list), err)
	})
	tn.live("web", commit)
	tn.quiet()
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("labels restarted a task: %s, want %s", now, ran)
	}

	foreign := s.Spec
	foreign.Name = tn.stack("other") + "_web"
	made, err := tn.Docker.ServiceCreate(t.Context(), foreign, swarm.ServiceCreateOptions{})
	tn.must(err)
	defer func() {
		if err := tn.Docker.ServiceRemove(context.WithoutCancel(t.Context()), made.ID); err != nil {
			t.Error(err)
		}
	}()
	tn.push("wants the name of a foreign service", map[string]string{"other/stack.yml": plain()})
	st := tn.fails("other", "Conflict")
	if !strings.Contains(st.Message, foreign.Name) {
		t.Errorf("message of the conflict: %s", st.Message)
	}
	tn.push("never mind", nil, "other")
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason == "" })
	tn.quiet()
}
