package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// TestEveryStackFileIsWrittenOnce deploys every stack file that there is, looks
// again, restarts the operator, and listens: after the first time no swarm
// object of the tenant changes.
func TestEveryStackFileIsWrittenOnce(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{tenant: "    environment: lab\n    variables: {SKEPLAB: '1'}\n"})
	set := tn.collect()
	defer tn.externals(set)()
	t.Logf("%d stack files, %d left out as they are not valid or want what another file has", len(set.names), set.left)
	if len(set.names) < 100 {
		t.Fatalf("only %d stack files: %v", len(set.names), set.why)
	}
	commit := tn.push("everything", set.files)
	tn.start()
	settled := func() (bool, string) {
		list, err := tn.skep.Stacks(t.Context())
		if err != nil {
			return false, err.Error()
		}
		n := 0
		var rest []string
		for _, s := range list {
			if s.Commit == commit && s.Sync == "synced" && s.Health == "healthy" {
				n++
			} else {
				rest = append(rest, s.String())
			}
		}
		return n == len(set.names), fmt.Sprintf("%d of %d: %s", n, len(set.names), strings.Join(rest[:min(len(rest), 8)], "\n"))
	}
	tn.eventually("all are in sync", settled)
	tn.quiet()

	// What is remembered of a stack is written a little after the stack itself.
	last, since := tn.counts(), time.Now()
	tn.eventually("nothing is written for a while", func() (bool, string) {
		if now := tn.counts(); now.Writes != last.Writes {
			last, since = now, time.Now()
		}
		return time.Since(since) > 10*time.Second, fmt.Sprint(last)
	})
	heard := tn.listen()
	cycle := func() {
		t.Helper()
		before := tn.counts().Cycles
		tn.eventually("two cycles", func() (bool, string) { return tn.counts().Cycles >= before+2, "" })
	}
	tn.push("another commit", map[string]string{"README.md": "x"})
	cycle()
	tn.must(tn.skep.Stop())
	tn.start()
	tn.eventually("the operator answers", func() (bool, string) {
		_, err := tn.skep.Stacks(t.Context())
		return err == nil, fmt.Sprint(err)
	})
	commit = must(t, tn.repo.Head)
	tn.eventually("all are in sync again", settled)
	cycle()
	if list := heard(); len(list) > 0 {
		t.Errorf("%d events of a swarm that nobody changed: %v", len(list), list)
	}
}

func must(t *testing.T, f func(context.Context) (string, error)) string {
	t.Helper()
	s, err := f(t.Context())
	check(t, err)
	return s
}

// fileSet is a tenant's tree made of many stack files.
type fileSet struct {
	files    map[string]string
	names    []string
	networks []string
	secrets  []string
	configs  []string
	left     int
	why      []string
}

// collect gathers the parity test's files and, where they are, the public ones;
// an overlay keeps every service at no task, so that no image is needed.
func (tn *tenant) collect() fileSet {
	tn.Helper()
	var paths []string
	for _, glob := range []string{"parity/testdata/*.yml", "../shared/stackfiles/*.yml"} {
		list, err := filepath.Glob(filepath.Join(tn.Root, glob))
		tn.must(err)
		paths = append(paths, list...)
	}
	set := fileSet{files: map[string]string{}}
	taken := map[string]bool{}
	for i, path := range paths {
		b, err := os.ReadFile(path)
		tn.must(err)
		name := fmt.Sprintf("f%03d", i)
		if err := set.add(name, string(b), filepath.Dir(path), taken); err != nil {
			set.left++
			set.why = append(set.why, filepath.Base(path)+": "+err.Error())
		}
	}
	return set
}

// add tries one file; what it refers to is taken from beside it, or made up.
func (set *fileSet) add(name, text, beside string, taken map[string]bool) error {
	files := fstest.MapFS{name + "/stack.yml": {Data: []byte(text)}}
	def := stack.Definition{Tenant: "x", Name: "x-" + name, Dir: name, Files: []string{name + "/stack.yml"}}
	o := stack.Options{Tenant: "x", Prefix: "x-", Variables: map[string]string{"SKEPLAB": "1"}, API: "1.41"}
	var spec stack.Spec
	for range 60 {
		var err error
		if spec, err = stack.Render(files, def, o); err == nil {
			break
		}
		if !set.supply(files, name, beside, err.Error()) {
			return err
		}
	}
	if len(spec.Services) == 0 {
		return fmt.Errorf("no services")
	}
	if err := plugins(spec); err != nil {
		return err
	}
	over := name + "/stack.lab.yml"
	files[over] = &fstest.MapFile{Data: []byte(overlay(spec))}
	def.Files = append(def.Files, over)
	if _, err := stack.Render(files, def, o); err != nil {
		return fmt.Errorf("with no task: %w", err)
	}
	if err := claim(spec, taken); err != nil {
		return err
	}
	for path, f := range files {
		set.files[path] = string(f.Data)
	}
	set.names = append(set.names, name)
	for _, n := range spec.Networks {
		if n.External && !slices.Contains([]string{"host", "bridge", "none", "ingress"}, n.Name) {
			set.networks = append(set.networks, n.Name)
		}
	}
	for _, s := range spec.Secrets {
		if s.External {
			set.secrets = append(set.secrets, s.Name)
		}
	}
	for _, c := range spec.Configs {
		if c.External {
			set.configs = append(set.configs, c.Name)
		}
	}
	return nil
}

var (
	missingFile     = regexp.MustCompile(`(?m)([\w./-]+): (?:file does not exist|no such file)`)
	missingVariable = regexp.MustCompile(`(?:variable|\$)[ "{]*([A-Z_a-z][A-Z_a-z0-9]*)`)
)

// supply makes up what an error says is missing; false: nothing it knows of.
func (set *fileSet) supply(files fstest.MapFS, name, beside, why string) bool {
	changed := false
	for _, m := range missingFile.FindAllStringSubmatch(why, -1) {
		path := m[1]
		if !strings.HasPrefix(path, name+"/") {
			path = filepath.Join(name, path)
		}
		if files[path] == nil {
			b, err := os.ReadFile(filepath.Join(beside, strings.TrimPrefix(path, name+"/")))
			if err != nil {
				b = []byte("MADE=up\n")
			}
			files[path] = &fstest.MapFile{Data: b}
			changed = true
		}
	}
	env := name + "/.env"
	for _, m := range missingVariable.FindAllStringSubmatch(why, -1) {
		var text string
		if f := files[env]; f != nil {
			text = string(f.Data)
		}
		if !strings.Contains("\n"+text, "\n"+m[1]+"=") {
			files[env] = &fstest.MapFile{Data: []byte(text + m[1] + "=1\n")}
			changed = true
		}
	}
	return changed
}

// claim refuses a stack whose literal names or published ports another one has.
// Many stacks may expect the same object, but then none may make it.
func claim(spec stack.Spec, taken map[string]bool) error {
	var own, outer []string
	name := func(kind, name, usual string, external bool) {
		switch {
		case external:
			outer = append(outer, kind+" "+name)
		case name != usual:
			own = append(own, kind+" "+name)
		}
	}
	for _, n := range spec.Networks {
		name("network", n.Name, spec.Name+"_"+n.Key, n.External)
	}
	for _, s := range spec.Secrets {
		name("secret", s.Name, "", s.External)
	}
	for _, c := range spec.Configs {
		name("config", c.Name, "", c.External)
	}
	for _, s := range spec.Services {
		if e := s.Spec.EndpointSpec; e != nil {
			for _, p := range e.Ports {
				if p.PublishedPort != 0 {
					own = append(own, fmt.Sprintf("port %d/%s", p.PublishedPort, p.Protocol))
				}
			}
		}
	}
	for _, w := range own {
		if taken[w] || taken["external "+w] {
			return fmt.Errorf("%s is taken by another file", w)
		}
	}
	for _, w := range outer {
		if taken[w] {
			return fmt.Errorf("%s is made by another file", w)
		}
	}
	for _, w := range own {
		taken[w] = true
	}
	for _, w := range outer {
		taken["external "+w] = true
	}
	return nil
}

// plugins refuses a stack that wants a plugin of the engine.
func plugins(spec stack.Spec) error {
	for _, n := range spec.Networks {
		if d := n.Create.Driver; !n.External && d != "" && d != "overlay" {
			return fmt.Errorf("network driver %s is a plugin", d)
		}
	}
	for _, s := range spec.Secrets {
		if s.Driver != nil {
			return fmt.Errorf("secret driver %s is a plugin", s.Driver.Name)
		}
	}
	return nil
}

// overlay keeps every service of a stack without a task.
func overlay(spec stack.Spec) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for _, s := range spec.Services {
		if s.Spec.Mode.Replicated != nil || s.Spec.Mode.ReplicatedJob != nil {
			fmt.Fprintf(&b, "  %s: {deploy: {replicas: 0}}\n", s.Key)
		} else {
			fmt.Fprintf(&b, "  %s: {deploy: {placement: {constraints: ['node.labels.skep-lab == nowhere']}}}\n", s.Key)
		}
	}
	return b.String()
}

// externals makes what the files expect to be there already, and gives what
// removes it again.
func (tn *tenant) externals(set fileSet) func() {
	tn.Helper()
	ctx := context.WithoutCancel(tn.Context())
	var undo []func() error
	for _, n := range distinct(set.networks) {
		r, err := tn.Docker.NetworkCreate(ctx, n, network.CreateOptions{Driver: "overlay", Attachable: true})
		tn.must(err)
		undo = append(undo, func() error { return tn.Docker.NetworkRemove(ctx, r.ID) })
	}
	for _, n := range distinct(set.secrets) {
		r, err := tn.Docker.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: n}, Data: []byte("x")})
		tn.must(err)
		undo = append(undo, func() error { return tn.Docker.SecretRemove(ctx, r.ID) })
	}
	for _, n := range distinct(set.configs) {
		r, err := tn.Docker.ConfigCreate(ctx, swarm.ConfigSpec{Annotations: swarm.Annotations{Name: n}, Data: []byte("x")})
		tn.must(err)
		undo = append(undo, func() error { return tn.Docker.ConfigRemove(ctx, r.ID) })
	}
	return func() {
		if err := tn.skep.Stop(); err != nil {
			tn.Error(err)
		}
		if err := tn.RemoveInstance(ctx, tn.name); err != nil {
			tn.Error(err)
		}
		for _, f := range undo {
			if err := f(); err != nil {
				tn.Error(err)
			}
		}
	}
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// listen collects the swarm's events about this tenant's objects from now on.
func (tn *tenant) listen() func() []string {
	tn.Helper()
	ctx, cancel := context.WithCancel(tn.Context())
	ch, errs := tn.Docker.Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("scope", "swarm"))})
	var mu sync.Mutex
	var list []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case e := <-ch:
				name := e.Actor.Attributes["name"]
				// The tenant's own memory holds the commit that was read last.
				mine := strings.HasPrefix(name, tn.name) || strings.HasPrefix(name, "skep."+tn.name) && !strings.HasPrefix(name, "skep."+tn.name+".tenant.")
				if mine {
					mu.Lock()
					list = append(list, fmt.Sprintf("%s %s %s", e.Type, e.Action, name))
					mu.Unlock()
				}
			case <-errs:
				return
			}
		}
	}()
	return func() []string {
		time.Sleep(time.Second) // what is on its way arrives
		cancel()
		<-done
		mu.Lock()
		defer mu.Unlock()
		return list
	}
}
