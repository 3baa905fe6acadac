package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/skep-gitops/skep/e2e/lab"
)

const skepImage = "skep-lab/skep:1"

// TestRunsAsASwarmService deploys deploy/skep.yml, breaks its configuration,
// and kills its container: the old configuration runs again, and nothing is
// written after a restart.
func TestRunsAsASwarmService(t *testing.T) {
	t.Parallel()
	gateway, err := shared.Gateway(t.Context())
	check(t, err)
	git, err := lab.NewGit(filepath.Join(shared.Dir, "git"), gateway+":0")
	check(t, err)
	t.Cleanup(func() { git.Close() })
	am, err := lab.NewAlertmanager(t.TempDir(), gateway+":0")
	check(t, err)
	t.Cleanup(am.Stop)
	tn := newTenant(t, options{am: am.URL})
	tn.must(tn.SkepImage(t.Context(), skepImage))
	k, planted := identity(t), "planted-"+unique()+unique()
	commit := tn.push("first", map[string]string{
		"web/stack.yml": plain("secrets: [s]") + "secrets: {s: {file: s.yaml, x-skep: {key: a}}}\n", "web/s.yaml": encrypt(t, "yaml", "a: "+planted+"\n", k),
	})

	name, dir := tn.name+"-skep", t.TempDir()
	defer func() { tn.must(tn.RemoveStack(t.Context(), name)) }()
	key, extra := filepath.Join(dir, "age.txt"), filepath.Join(dir, "extra.yml")
	tn.must(os.WriteFile(key, []byte(k.identity), 0o600))
	tn.must(os.WriteFile(extra, []byte("version: '3.8'\nservices: {skep: {secrets: [age]}}\nsecrets: {age: {file: "+key+"}}\n"), 0o644))
	deploy := func(version, config string) {
		t.Helper()
		path := filepath.Join(dir, version+".yml")
		tn.must(os.WriteFile(path, []byte(config), 0o644))
		tn.must(lab.DeploySkep(t.Context(), lab.Deployment{Stack: name, Root: tn.Root, Config: path, Version: tn.name + version, Image: skepImage, Extra: []string{extra}}))
	}
	good := tn.config(options{am: am.URL, repo: git.URL + "/" + tn.name + ".git", tenant: "    age_key_file: /run/secrets/age\n"})
	deploy("1", good)
	tn.eventually("skep in its container tells that the stack runs", func() (bool, string) {
		list, err := tn.inside(name)
		for _, s := range list {
			if s.Stack == tn.stack("web") && s.Commit == commit && s.Health == "healthy" && s.Sync == "synced" {
				return true, ""
			}
		}
		return false, fmt.Sprint(list, err)
	})
	id, err := tn.Container(t.Context(), name+"_skep")
	check(t, err)
	for path, content := range tn.inContainer(id) {
		tn.clean("the container's "+path, content, map[string]string{"secret": planted})
		if strings.HasPrefix(path, "bin/") || strings.HasPrefix(path, "usr/bin/") {
			t.Errorf("a program in the image: %s", path)
		}
	}

	got, err := tn.SecretIn(t.Context(), tn.stack("web")+"_web", "s")
	check(t, err)
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(planted))); got != want {
		t.Errorf("the secret in the container: SHA-256 %s, want %s", got, want)
	}

	deploy("2", good+"    no_such_key: 1\n")
	tn.eventually("the broken configuration is rolled back", func() (bool, string) {
		list, err := tn.Services(t.Context(), name)
		if err != nil {
			return false, err.Error()
		}
		s := list[name+"_skep"]
		if s.UpdateStatus == nil {
			return false, "no update status"
		}
		refs := s.Spec.TaskTemplate.ContainerSpec.Configs
		return s.UpdateStatus.State == "rollback_completed" && len(refs) == 1 && refs[0].ConfigName == "skep_"+tn.name+"1", string(s.UpdateStatus.State)
	})
	ran := tn.service("web", "web").Version
	second := tn.push("second", map[string]string{"other/stack.yml": plain()})
	running := func(stack, commit string) func() (bool, string) {
		return func() (bool, string) {
			list, err := tn.inside(name)
			for _, s := range list {
				if s.Stack == tn.stack(stack) && s.Commit == commit && s.Health == "healthy" {
					return true, ""
				}
			}
			return false, fmt.Sprint(list, err)
		}
	}
	tn.eventually("the old configuration runs", running("other", second))

	id, err = tn.Container(t.Context(), name+"_skep")
	check(t, err)
	tn.must(tn.Docker.ContainerKill(t.Context(), id, "KILL"))
	third := tn.push("third", map[string]string{"third/stack.yml": plain()})
	tn.eventually("skep is back", running("third", third))
	if now := tn.service("web", "web").Version; now != ran {
		t.Errorf("a restart wrote the service: version %v, want %v", now, ran)
	}
}

// inside asks the operator in its container for its stacks.
func (tn *tenant) inside(stack string) ([]lab.Stack, error) {
	id, err := tn.Container(tn.Context(), stack+"_skep")
	if err != nil {
		return nil, err
	}
	out, err := tn.Exec(tn.Context(), id, container.ExecOptions{Cmd: []string{"/skep", "status", "-o", "json"}})
	if err != nil {
		return nil, err
	}
	var st struct{ Stacks []lab.Stack }
	return st.Stacks, json.Unmarshal(out, &st)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
