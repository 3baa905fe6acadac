package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"

	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/e2e/lab"
)

// adoptedAsItIs takes over what docker stack deploy made of every stack file that
// it takes (but for networks that it makes in another way, which Swarm can't
// change), and of three whose tasks run: services stay as they are but for the
// owner's labels, no task restarts, no object is made again, and then nothing is
// written any more.
func adoptedAsItIs(t *testing.T) {
	addr, err := lab.FreePort("127.0.0.1")
	check(t, err)
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	tn := newTenant(t, options{tenant: "    environment: lab\n    adopt: true\n    variables: {SKEPLAB: '1', SHOP_PORT: '" + port + "'}\n"})
	set := tn.adoptable()
	defer tn.externals(set)()
	defer tn.removeStacks(set.names)
	refused := tn.deployAll(set, "SKEPLAB=1", "SHOP_PORT="+port)
	some(slices.Collect(maps.Keys(refused)), func(name string) {
		if err := tn.RemoveStack(t.Context(), tn.stack(name)); err != nil {
			t.Error(err)
		}
	})
	set.leave(func(name string) bool { return refused[name] != nil })
	t.Logf("%d stack files are adopted, %d others docker stack deploy does not take", len(set.names), len(refused))
	if len(set.names) < 150 {
		t.Fatalf("only %d stack files: %v", len(set.names), refused)
	}
	for _, name := range running() {
		switch err := refused[name]; {
		case err == nil:
			tn.settled(name)
		case !strings.Contains(err.Error(), "Unknown mode: "): // jobs, as docker stack deploy says before 23.0
			t.Fatal(err)
		}
	}
	before := tn.facts(set.names)
	commit := tn.push("adopt all", set.files)
	tn.start()
	inSync := func() (bool, string) {
		list, err := tn.skep.Stacks(t.Context())
		for _, s := range list {
			if s.Commit != commit || s.Sync != "synced" || s.Health != "healthy" {
				return false, s.String()
			}
		}
		return len(list) == len(set.names), fmt.Sprintf("%d of %d: %v", len(list), len(set.names), err)
	}
	tn.eventually("all are adopted", inSync)
	now, former := tn.facts(set.names), tn.former()
	for _, name := range set.names {
		origin := set.origin[name]
		if slices.Contains(former, origin) || len(tn.differences(origin)) > 0 {
			continue
		}
		if diff := cmp.Diff(before[name], now[name]); diff != "" {
			t.Errorf("%s (%s) changed when it was adopted: %s", name, origin, diff)
		}
	}
	heard := tn.listen()
	commit = tn.push("another commit", map[string]string{"README.md": "x"})
	tn.eventually("the next commit is looked at", inSync)
	cycles := tn.counts().Cycles
	tn.eventually("two cycles", func() (bool, string) { return tn.counts().Cycles >= cycles+2, "" })
	if list := heard(); len(list) > 0 {
		t.Errorf("%d events of a swarm that nobody changed: %v", len(list), list)
	}
}

// running are the stacks of testdata/adopt: their tasks run.
func running() []string { return []string{"shop", "agents", "batch"} }

// adoptable gives the stacks as docker stack deploy and skep are both to have
// them: those of all stack files run no task.
func (tn *tenant) adoptable() fileSet {
	tn.Helper()
	set := tn.collect()
	set.leave(func(name string) bool {
		return slices.ContainsFunc(tn.differences(set.origin[name]), func(at string) bool { return strings.HasPrefix(at, "networks.") })
	})
	for _, name := range set.names {
		text, err := still(set.files[name+"/stack.yml"], set.specs[name])
		tn.must(err)
		set.files[name+"/stack.yml"] = text
		if !strings.HasPrefix(set.origin[name], "merge_") {
			delete(set.files, name+"/stack.lab.yml") // docker stack deploy merges in ways of its own
		}
	}
	beside := filepath.Join(tn.Root, "parity", "testdata", "files")
	for _, name := range running() {
		b, err := os.ReadFile(filepath.Join(tn.Root, "e2e", "testdata", "adopt", name+".yml"))
		tn.must(err)
		set.files[name+"/stack.yml"] = "version: '3.9'\n" + string(b)
		set.names = append(set.names, name)
		for _, aux := range []string{"plain.txt", "x.json", "plain.env", "second.env"} {
			b, err := os.ReadFile(filepath.Join(beside, aux))
			tn.must(err)
			set.files[name+"/files/"+aux] = string(b)
		}
	}
	return set
}

// leave takes stacks out of a set.
func (set *fileSet) leave(out func(name string) bool) {
	for _, name := range set.names {
		if out(name) {
			maps.DeleteFunc(set.files, func(path, _ string) bool { return strings.HasPrefix(path, name+"/") })
		}
	}
	set.names = slices.DeleteFunc(set.names, out)
}

// differences are the paths at which skep makes something else of a stack file
// than docker stack deploy, as parity/differences.txt tells.
func (tn *tenant) differences(origin string) []string {
	tn.Helper()
	b, err := os.ReadFile(filepath.Join(tn.Root, "parity", "differences.txt"))
	tn.must(err)
	var paths []string
	for line := range strings.Lines(string(b)) {
		glob, at, _ := strings.Cut(strings.TrimSpace(line), " ")
		if ok, err := path.Match(glob, origin); ok && err == nil {
			paths = append(paths, at)
		}
	}
	return paths
}

// former are files of which docker stack deploy makes the same as skep since 23.0 only.
func (tn *tenant) former() []string {
	tn.Helper()
	out, err := exec.CommandContext(tn.Context(), "docker", "version", "--format", "{{.Client.Version}}").Output()
	tn.must(err)
	major, _, _ := strings.Cut(string(out), ".")
	if n, err := strconv.Atoi(major); err != nil || n >= 23 {
		return nil
	}
	return []string{"hosts_equals", "hosts_v6", "merge_command", "merge_entrypoint"}
}

// deployAll runs docker stack deploy for each stack, some at a time, and tells
// which it does not take.
func (tn *tenant) deployAll(set fileSet, env ...string) map[string]error {
	tn.Helper()
	dir := tn.T.TempDir()
	for name, text := range set.files {
		path := filepath.Join(dir, name)
		tn.must(os.MkdirAll(filepath.Dir(path), 0o755))
		tn.must(os.WriteFile(path, []byte(text), 0o644))
	}
	var mu sync.Mutex
	refused := map[string]error{}
	some(set.names, func(name string) {
		args := []string{"stack", "deploy", "--resolve-image", "never", "-c", "stack.yml"}
		if set.files[name+"/stack.lab.yml"] != "" {
			args = append(args, "-c", "stack.lab.yml")
		}
		cmd := exec.CommandContext(tn.Context(), "docker", append(args, tn.stack(name))...)
		cmd.Dir = filepath.Join(dir, name)
		cmd.Env = append(append(os.Environ(), env...), strings.Fields(set.files[name+"/.env"])...)
		if b, err := cmd.CombinedOutput(); err != nil {
			mu.Lock()
			defer mu.Unlock()
			refused[name] = fmt.Errorf("%s: %w\n%s", set.origin[name], err, b)
		}
	})
	return refused
}

// some does something for each name, a few at a time.
func some(names []string, do func(name string)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			do(name)
		})
	}
	wg.Wait()
}

// settled waits until a stack's services run as docker stack deploy asked.
func (tn *tenant) settled(key string) {
	tn.Helper()
	tn.eventually(key+" runs", func() (bool, string) {
		list, err := tn.Services(tn.Context(), tn.stack(key))
		if err != nil {
			return false, err.Error()
		}
		for name, s := range list {
			switch st := s.ServiceStatus; {
			case strings.HasSuffix(name, "_cron"): // it ends and is not started again
			case st == nil, st.RunningTasks < st.DesiredTasks && st.CompletedTasks < st.DesiredTasks:
				return false, fmt.Sprintf("%s: %+v", name, st)
			}
		}
		return len(list) > 0, ""
	})
}

// fact is what adoption must leave alone of one stack.
type fact struct {
	Objects  lab.Objects
	Services map[string]serviceFact
}

// serviceFact is a service: the labels that say whose it is do not count.
type serviceFact struct {
	ID    string
	Spec  swarm.ServiceSpec
	Tasks []string
}

// facts are those of each stack.
func (tn *tenant) facts(stacks []string) map[string]fact {
	tn.Helper()
	out := map[string]fact{}
	for _, key := range stacks {
		name := tn.stack(key)
		services, err := tn.Services(tn.Context(), name)
		tn.must(err)
		all, err := tn.Docker.TaskList(tn.Context(), swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("label", "com.docker.stack.namespace="+name))})
		tn.must(err)
		f := fact{Services: map[string]serviceFact{}}
		for _, s := range services {
			delete(s.Spec.Labels, "skep.tenant")
			delete(s.Spec.Labels, "skep.instance")
			var tasks []string
			for _, t := range all {
				if t.ServiceID == s.ID {
					tasks = append(tasks, t.ID)
				}
			}
			slices.Sort(tasks)
			f.Services[s.Spec.Name] = serviceFact{s.ID, s.Spec, tasks}
		}
		f.Objects, err = tn.Stack(tn.Context(), name)
		tn.must(err)
		for _, list := range [][]string{f.Objects.Services, f.Objects.Networks, f.Objects.Secrets, f.Objects.Configs} {
			slices.Sort(list)
		}
		out[key] = f
	}
	return out
}

// removeStacks stops the operator and removes stacks with their volumes: adopted
// networks and jobs don't say whose they are.
func (tn *tenant) removeStacks(stacks []string) {
	ctx := context.WithoutCancel(tn.Context())
	if err := tn.skep.Stop(); err != nil {
		tn.Error(err)
	}
	some(stacks, func(name string) {
		if err := tn.RemoveStack(ctx, tn.stack(name)); err != nil {
			tn.Error(err)
		}
	})
	mine := filters.NewArgs(filters.Arg("name", tn.name))
	err := lab.Poll(ctx, time.Minute, func() (bool, string) {
		list, err := tn.Docker.VolumeList(ctx, volume.ListOptions{Filters: mine})
		if err != nil {
			return false, err.Error()
		}
		var errs bytes.Buffer
		for _, v := range list.Volumes {
			if err := tn.Docker.VolumeRemove(ctx, v.Name, true); err != nil {
				errs.WriteString(err.Error())
			}
		}
		return errs.Len() == 0, errs.String()
	})
	if err != nil {
		tn.Error(err)
	}
}
