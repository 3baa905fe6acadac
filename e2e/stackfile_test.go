package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/volume"

	"github.com/skep-gitops/skep/e2e/lab"
)

// small are files of the parity test, one feature each. None publishes a port or
// has a name of its own, so that they meet nothing else on the engine, and none
// has what docker stack deploy merges in a way of its own with the second file.
var small = strings.Fields(`
	anchors cap_both command_text_03 command_text_07 config_long config_template constraints cpus_3
	credential_registry deploy_labels_list dns_list dns_search_text endpoint_dnsrr entrypoint_text env_file_quotes
	environment_null environment_order generic healthcheck_disable healthcheck_shell hosts_twice image_3 image_4
	labels_null logging logging_options_only memory_3 mode_global_job networks_aliases networks_driver_opts
	network_ipam network_options preferences resources_empty restart_no restart_on_failure_3
	restart_policy_none rollback_config secret_long secret_template stop_grace_2
	sysctls_list ulimits unsupported_cap update_empty update_parallelism_zero upper_service volume_bind volume_labels
	volume_long_anonymous volume_nfs volume_tmpfs volumes_order volumes_short_05`)

// TestAdoptionOfManyStacks takes over what docker stack deploy made of many
// stack files: their services stay as they are but for the owner's labels, no
// task restarts, no object is made again, and then nothing is written any more.
func TestAdoptionOfManyStacks(t *testing.T) {
	t.Parallel()
	addr, err := lab.FreePort("127.0.0.1")
	check(t, err)
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	tn := newTenant(t, options{tenant: "    environment: lab\n    adopt: true\n    variables: {PORT: '" + port + "'}\n"})
	names, files := tn.adoptable()
	defer tn.removeStacks(names)
	tn.deployAll(names, files, "PORT="+port)
	for _, name := range []string{"shop", "agents", "batch"} {
		tn.settled(name)
	}
	before := tn.facts(names)
	commit := tn.push("adopt all", files)
	tn.start()
	inSync := func() (bool, string) {
		list, err := tn.skep.Stacks(t.Context())
		n := 0
		for _, s := range list {
			if s.Commit != commit || s.Sync != "synced" || s.Health != "healthy" {
				return false, s.String()
			}
			n++
		}
		return n == len(names), fmt.Sprintf("%d of %d: %v", n, len(names), err)
	}
	tn.eventually("all are adopted", inSync)
	for name, now := range tn.facts(names) {
		if want := before[name]; now != want {
			t.Errorf("%s changed when it was adopted:\n%s\nbefore:\n%s", name, now, want)
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

// adoptable gives the stacks' names and their files. The small ones run no task;
// those of testdata/adopt do.
func (tn *tenant) adoptable() ([]string, map[string]string) {
	tn.Helper()
	set := fileSet{files: map[string]string{}}
	beside := filepath.Join(tn.Root, "parity", "testdata")
	for _, file := range small {
		b, err := os.ReadFile(filepath.Join(beside, file+".yml"))
		tn.must(err)
		if err := set.add(strings.ReplaceAll(file, "_", "-"), string(b), filepath.Join(beside, "files"), map[string]bool{}); err != nil {
			tn.Fatalf("%s: %v", file, err)
		}
	}
	for _, name := range []string{"shop", "agents", "batch"} {
		b, err := os.ReadFile(filepath.Join(tn.Root, "e2e", "testdata", "adopt", name+".yml"))
		tn.must(err)
		set.files[name+"/stack.yml"] = string(b)
		set.files[name+"/stack.lab.yml"] = "services: {}\n"
		set.names = append(set.names, name)
		for _, aux := range []string{"plain.txt", "x.json", "plain.env", "second.env"} {
			b, err := os.ReadFile(filepath.Join(beside, "files", aux))
			tn.must(err)
			set.files[name+"/files/"+aux] = string(b)
		}
	}
	return set.names, set.files
}

// deployAll runs docker stack deploy for each stack, some at a time.
func (tn *tenant) deployAll(names []string, files map[string]string, env ...string) {
	tn.Helper()
	dir := tn.T.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		tn.must(os.MkdirAll(filepath.Dir(path), 0o755))
		tn.must(os.WriteFile(path, []byte(text), 0o644))
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i, name := range names {
		wg.Add(1)
		go func() {
			defer wg.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			cmd := exec.CommandContext(tn.Context(), "docker", "stack", "deploy", "--resolve-image", "never", "--detach=true",
				"-c", "stack.yml", "-c", "stack.lab.yml", tn.stack(name))
			cmd.Dir = filepath.Join(dir, name)
			cmd.Env = append(os.Environ(), env...)
			if b, err := cmd.CombinedOutput(); err != nil {
				errs[i] = fmt.Errorf("docker stack deploy %s: %w\n%s", name, err, b)
			}
		}()
	}
	wg.Wait()
	tn.must(errors.Join(errs...))
}

// settled waits until a stack's services run as docker stack deploy asked.
func (tn *tenant) settled(stack string) {
	tn.Helper()
	tn.eventually(stack+" runs", func() (bool, string) {
		list, err := tn.Services(tn.Context(), tn.stack(stack))
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

// facts are what adoption must leave alone, by service: its ID, its spec but for
// the labels that say whose it is, its tasks; and by stack its other objects.
func (tn *tenant) facts(stacks []string) map[string]string {
	tn.Helper()
	out := map[string]string{}
	for _, stack := range stacks {
		name := tn.stack(stack)
		services, err := tn.Services(tn.Context(), name)
		tn.must(err)
		all, err := tn.Docker.TaskList(tn.Context(), swarm.TaskListOptions{Filters: filters.NewArgs(filters.Arg("label", "com.docker.stack.namespace="+name))})
		tn.must(err)
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
			spec, err := json.MarshalIndent(s.Spec, "", " ")
			tn.must(err)
			out[s.Spec.Name] = fmt.Sprintf("%s\n%s\n%v", s.ID, spec, tasks)
		}
		o, err := tn.Stack(tn.Context(), name)
		tn.must(err)
		for _, list := range [][]string{o.Services, o.Networks, o.Secrets, o.Configs} {
			slices.Sort(list)
		}
		out[name] = fmt.Sprint(o)
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
	for _, name := range stacks {
		if err := tn.RemoveStack(ctx, tn.stack(name)); err != nil {
			tn.Error(err)
		}
	}
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
