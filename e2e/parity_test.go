package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// stackDeploy runs docker stack deploy for a file.
func (tn *tenant) stackDeploy(stack, file string) {
	tn.Helper()
	path := filepath.Join(tn.T.TempDir(), "stack.yml")
	tn.must(os.WriteFile(path, []byte("version: '3.8'\n"+file), 0o644))
	cmd := exec.CommandContext(tn.Context(), "docker", "stack", "deploy", "--resolve-image", "never", "-c", path, stack)
	if b, err := cmd.CombinedOutput(); err != nil {
		tn.Fatalf("docker stack deploy: %v\n%s", err, b)
	}
}

// TestAdoption takes over what docker stack deploy made: a conflict without
// adopt: true, and with it no task restarts and no object is made again.
func TestAdoption(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	dir := t.TempDir()
	tn.must(os.WriteFile(filepath.Join(dir, "s.txt"), []byte("hunter2hunter2"), 0o644))
	file := func(secret string) string {
		return "services:\n" + service("web", "networks: [inner]", "configs: [c]", "secrets: [s]", "environment: {A: '1', B: '2'}", "volumes: ['data:/data']") +
			"networks: {inner: {}}\nvolumes: {data: {}}\nconfigs: {c: {file: " + secret + "}}\nsecrets: {s: {file: " + secret + "}}\n"
	}
	tn.stackDeploy(tn.stack("web"), file(filepath.Join(dir, "s.txt")))
	defer tn.removeStacks([]string{"web"})
	var ran string
	tn.eventually("the task runs", func() (bool, string) { ran = tn.tasks("web", "web"); return ran != "", "" })
	before := tn.state("web")
	commit := tn.push("adopt me", map[string]string{"web/stack.yml": file("./s.txt"), "web/s.txt": "hunter2hunter2"})
	tn.start()
	st := tn.fails("web", "Conflict")
	if !strings.Contains(st.Message, "adopt: true") {
		t.Errorf("message of a stack that could be adopted: %s", st.Message)
	}
	tn.must(tn.skep.Write(tn.config(tn.opts) + "    adopt: true\n"))
	tn.live("web", commit)
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("adoption restarted a task: %s, want %s", now, ran)
	}
	if now := tn.state("web"); fmt.Sprint(now) != fmt.Sprint(before) {
		t.Errorf("adoption made objects: %v, want %v", now, before)
	}
	if l := tn.service("web", "web").Spec.Labels; l["skep.tenant"] != tn.name || l["skep.instance"] != tn.name {
		t.Errorf("labels after adoption: %v", l)
	}
	version := tn.service("web", "web").Version
	changed := tn.push("the secret changes", map[string]string{"web/s.txt": "correct-horse-battery"})
	tn.live("web", changed)
	if tn.service("web", "web").Version == version {
		t.Error("a change of the secret did not reach the service")
	}
}

// TestRotationKeepsARollBackTarget rotates a config and a secret many times: the
// number of objects stays constant, and docker service rollback works after each.
func TestRotationKeepsARollBackTarget(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	file := "services:\n" + service("web", "configs: [c]", "secrets: [s]", "deploy: {replicas: 0}") +
		"configs: {c: {file: c.txt}}\nsecrets: {s: {file: s.txt}}\n"
	commit := tn.push("first", map[string]string{"web/stack.yml": file, "web/c.txt": "c0", "web/s.txt": "s0000000"})
	tn.start()
	tn.live("web", commit)
	for i := 1; i <= 50; i++ {
		commit = tn.push(fmt.Sprint("rotation ", i), map[string]string{"web/c.txt": fmt.Sprint("c", i), "web/s.txt": fmt.Sprint("s000000", i)})
		tn.live("web", commit)
	}
	tn.eventually("two of each are left", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("web"))
		return err == nil && len(o.Configs) == 2 && len(o.Secrets) == 2, fmt.Sprint(o, err)
	})
	s := tn.service("web", "web")
	_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	tn.must(err)
	tn.eventually("skep brings the newest back", func() (bool, string) {
		now := tn.service("web", "web")
		return now.Version.Index > s.Version.Index+1 && now.Spec.TaskTemplate.ContainerSpec.Configs[0].ConfigName == s.Spec.TaskTemplate.ContainerSpec.Configs[0].ConfigName, ""
	})
	tn.live("web", commit)
}

// TestRemovedAndPushedAgain removes a stack and pushes it again at once.
func TestRemovedAndPushedAgain(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	web := map[string]string{"web/stack.yml": plain("networks: [n]", "stop_grace_period: 5s") + "networks: {n: {}}\n", "other/stack.yml": plain()}
	web["web/stack.yml"] = strings.Replace(web["web/stack.yml"], "    stop_grace_period: 1s\n", "", 1)
	first := tn.push("first", web)
	tn.start()
	tn.live("web", first)
	tn.live("other", first)
	id := tn.service("web", "web").ID
	tn.push("web leaves", nil, "web")
	tn.eventually("the service is gone", func() (bool, string) {
		o, err := tn.Stack(t.Context(), tn.stack("web"))
		return err == nil && len(o.Services) == 0, fmt.Sprint(o, err)
	})
	back := tn.push("web is back", web)
	tn.live("web", back)
	if tn.service("web", "web").ID == id {
		t.Error("the service was not removed")
	}
	tn.quiet()
}

// TestReplace changes what Swarm cannot update: explained, and done where the stack allows it.
func TestReplace(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	id := tn.service("web", "web").ID
	global := plain("deploy: {mode: global}")
	tn.push("global", map[string]string{"web/stack.yml": global})
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Reason != "" })
	if !strings.Contains(st.Message, "replace: true") || st.Health != "healthy" {
		t.Errorf("status of a mode change: %s", st)
	}
	if tn.service("web", "web").ID != id {
		t.Error("the service was replaced although the stack does not allow it")
	}
	allowed := tn.push("allowed", map[string]string{"web/stack.yml": "x-skep: {replace: true}\n" + global})
	tn.live("web", allowed)
	if s := tn.service("web", "web"); s.Spec.Mode.Global == nil {
		t.Errorf("mode after a replace: %+v", s.Spec.Mode)
	}
}

// TestRegistry pins a new reference once, keeps it while the registry is away,
// and sends a changed password without restarting a task.
func TestRegistry(t *testing.T) {
	t.Parallel()
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	reg, err := lab.NewRegistry(t.TempDir(), "ci", "registry-password")
	check(t, err)
	t.Cleanup(reg.Stop)
	name := unique()
	ref, err := reg.Push(t.Context(), shared.Lab, name+":1")
	check(t, err)
	password := filepath.Join(t.TempDir(), "password")
	check(t, os.WriteFile(password, []byte("registry-password\n"), 0o600))
	tn := newTenant(t, options{tenant: fmt.Sprintf("    registries: [{host: '%s', username: ci, password_file: %s}]\n", reg.Host, password)})
	file := func(ref, version string) string {
		return strings.Replace(plain("environment: {V: '"+version+"'}"), lab.AppImage, ref, 1)
	}
	first := tn.push("first", map[string]string{"web/stack.yml": file(ref, "1")})
	tn.start()
	tn.live("web", first)
	pinned := tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Image
	if !strings.HasPrefix(pinned, ref+"@sha256:") {
		t.Errorf("image of a new reference: %s, want %s@sha256:…", pinned, ref)
	}
	ran := tn.tasks("web", "web")
	tn.must(os.WriteFile(password, []byte("another-password\n"), 0o600))
	version := tn.service("web", "web").Version
	tn.eventually("the changed password is sent", func() (bool, string) {
		return tn.service("web", "web").Version != version, "not yet"
	})
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("a changed password restarted a task: %s, want %s", now, ran)
	}
	tn.must(os.WriteFile(password, []byte("registry-password\n"), 0o600))
	reg.Stop()
	label := tn.push("a label, the registry is away", map[string]string{"web/stack.yml": file(ref, "1") + "    # nothing else\n", "web/.env": "X=1\n"})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == label && s.Sync == "synced" })
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("a registry that is away restarted a task: %s, want %s", now, ran)
	}
	env := tn.push("the environment, the registry is away", map[string]string{"web/stack.yml": file(ref, "2")})
	tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == env && s.Sync == "synced" })
	if now := tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Image; now != pinned {
		t.Errorf("image while the registry is away: %s, want %s", now, pinned)
	}
	if out := tn.skep.Output(); strings.Contains(out, "registry-password") || strings.Contains(out, "another-password") {
		t.Error("the registry's password is in the log")
	}
}
