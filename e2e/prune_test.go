package e2e

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestEmptyRepositoryPrunesNothing empties a repository that was full.
func TestEmptyRepositoryPrunesNothing(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"a/stack.yml": plain(), "b/stack.yml": plain()})
	tn.start()
	tn.live("a", first)
	tn.live("b", first)
	a, b := tn.tasks("a", "web"), tn.tasks("b", "web")
	tn.push("nothing is left", map[string]string{"README.md": "empty\n"}, "a", "b")
	tn.eventually("an alert says that pruning is blocked", func() (bool, string) {
		for _, a := range tn.alerts() {
			if a.Labels["alertname"] == "SkepPruneBlocked" && strings.Contains(a.Annotations["description"], "skep prune confirm "+tn.name+" --commit ") {
				return true, ""
			}
		}
		return false, "not yet"
	})
	if a != tn.tasks("a", "web") || b != tn.tasks("b", "web") {
		t.Error("an empty repository stopped a task")
	}
	back := tn.push("back", map[string]string{"a/stack.yml": plain(), "b/stack.yml": plain()})
	tn.live("a", back)
	tn.live("b", back)
	tn.quiet()
}

// TestMassDeletionNeedsConfirmation deletes three of four stacks at once.
func TestMassDeletionNeedsConfirmation(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"a/stack.yml": plain("environment: {A: '1'}"), "b/stack.yml": plain(), "c/stack.yml": plain(), "d/stack.yml": plain()})
	tn.start()
	for _, s := range []string{"a", "b", "c", "d"} {
		tn.live(s, first)
	}
	commit := tn.push("three leave", nil, "a", "b", "c")
	for _, s := range []string{"a", "b", "c"} {
		tn.fails(s, "PruneBlocked")
	}
	out, code, err := tn.skep.Run(t.Context(), "prune", "confirm", tn.name, "--commit", commit, "--config", tn.skep.Config)
	tn.must(err)
	if code != 0 {
		t.Fatalf("skep prune confirm: exit code %d\n%s", code, out)
	}
	tn.eventually("the three are gone", func() (bool, string) {
		for _, s := range []string{"a", "b", "c"} {
			if o, err := tn.Stack(t.Context(), tn.stack(s)); err != nil || !o.Empty() {
				return false, s + " is left"
			}
		}
		return true, ""
	})
	tn.live("d", commit)
	tn.quiet()
}

// TestTenantThatLeavesKeepsItsStacks removes a tenant from skep.yml and renames another.
func TestTenantThatLeavesKeepsItsStacks(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	ran := tn.tasks("web", "web")
	renamed := strings.Replace(tn.config(tn.opts), "  - name: "+tn.name, "  - name: "+tn.name+"new", 1)
	tn.must(tn.skep.Write(renamed))
	tn.wait(tn.name+"new-web", func(s lab.Stack) bool { return s.Sync == "synced" && s.Health == "healthy" })
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("tasks of a tenant that left: %s, want %s", now, ran)
	}
	out, code, err := tn.skep.Run(t.Context(), "status", "--config", tn.skep.Config)
	tn.must(err)
	if code != 0 || !strings.Contains(out, tn.stack("web")) {
		t.Errorf("skep status does not list the orphan (exit code %d):\n%s", code, out)
	}
}

// TestForeignServiceIsAConflict finds a service of the wanted name that is somebody else's.
func TestForeignServiceIsAConflict(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	spec := swarm.ServiceSpec{Annotations: swarm.Annotations{Name: tn.stack("web") + "_web"},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: lab.AppImage, Args: []string{"serve"}}, Placement: &swarm.Placement{}}}
	made, err := tn.Docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
	tn.must(err)
	defer tn.Docker.ServiceRemove(t.Context(), made.ID)
	before, _, err := tn.Docker.ServiceInspectWithRaw(t.Context(), made.ID, swarm.ServiceInspectOptions{})
	tn.must(err)
	tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	st := tn.fails("web", "Conflict")
	if !strings.Contains(st.Message, tn.stack("web")+"_web") {
		t.Errorf("message of a conflict: %s", st.Message)
	}
	now, _, err := tn.Docker.ServiceInspectWithRaw(t.Context(), made.ID, swarm.ServiceInspectOptions{})
	tn.must(err)
	if now.Version.Index != before.Version.Index && now.Spec.Labels != nil && len(now.Spec.Labels) > 0 {
		t.Error("the foreign service was written")
	}
}

// TestTwoTenantsWantOneStack: nothing is created for either; the one that runs keeps it.
func TestTwoTenantsWantOneStack(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	commit := tn.push("first", map[string]string{"web/stack.yml": plain()})
	both := tn.config(tn.opts) + "    prefix: " + tn.name + "-\n" +
		"  - name: " + tn.name + "b\n    repo: " + tn.git.URL + "/" + tn.name + ".git\n    policy: unrestricted\n    prefix: " + tn.name + "-\n"
	tn.must(tn.skep.Write(both))
	tn.start()
	conflicts := func(tenant string) bool {
		list, err := tn.skep.Stacks(t.Context())
		if err != nil {
			return false
		}
		for _, s := range list {
			if s.Tenant == tenant && s.Stack == tn.stack("web") && s.Reason == "Conflict" {
				return true
			}
		}
		return false
	}
	tn.eventually("both have a conflict", func() (bool, string) {
		return conflicts(tn.name) && conflicts(tn.name+"b"), "not yet"
	})
	if o, err := tn.Stack(t.Context(), tn.stack("web")); err != nil || !o.Empty() {
		t.Errorf("something was created: %v %v", o, err)
	}
	tn.must(tn.skep.Write(tn.config(tn.opts)))
	tn.live("web", commit)
	tn.must(tn.skep.Write(both))
	tn.eventually("the second has a conflict, the first has none", func() (bool, string) {
		return conflicts(tn.name+"b") && !conflicts(tn.name), "not yet"
	})
}
