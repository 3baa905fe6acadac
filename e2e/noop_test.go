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

// TestEveryStackFile takes every stack file that there is through the swarm. Its
// parts want the same names and ports, so one comes after the other.
func TestEveryStackFile(t *testing.T) {
	t.Parallel()
	t.Run("is written once", writtenOnce)
	t.Run("is adopted as it is", adoptedAsItIs)
}

// writtenOnce deploys every stack file, looks again, restarts the operator, and
// listens: after the first time no swarm object of the tenant changes.
func writtenOnce(t *testing.T) {
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
	origin   map[string]string // what parity/differences.txt calls a file
	specs    map[string]stack.Spec
	networks []string
	secrets  []string
	configs  []string
	left     int
	why      []string
}

// sample is one stack file, and what is merged on top of it, if anything.
type sample struct{ origin, base, overlay string }

// samples are the parity test's files and, where they are, the public ones.
func (tn *tenant) samples() []sample {
	tn.Helper()
	var list []sample
	each := func(glob, prefix string, add func(path, origin string)) {
		paths, err := filepath.Glob(filepath.Join(tn.Root, glob))
		tn.must(err)
		for _, path := range paths {
			add(path, prefix+strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)))
		}
	}
	alone := func(path, origin string) { list = append(list, sample{origin, path, ""}) }
	each("parity/testdata/*.yml", "", alone)
	each("parity/testdata/merge/*", "merge_", func(path, origin string) {
		list = append(list, sample{origin, filepath.Join(path, "base.yml"), filepath.Join(path, "overlay.yml")})
	})
	each("../shared/stackfiles/*.y*ml", "public_", alone)
	return list
}

// collect gathers the samples that can be deployed side by side.
func (tn *tenant) collect() fileSet {
	tn.Helper()
	set := newFileSet()
	taken := map[string]bool{}
	for i, s := range tn.samples() {
		if err := set.add(fmt.Sprintf("f%03d", i), s, taken); err != nil {
			set.left++
			set.why = append(set.why, s.origin+": "+err.Error())
		}
	}
	return set
}

func newFileSet() fileSet {
	return fileSet{files: map[string]string{}, origin: map[string]string{}, specs: map[string]stack.Spec{}}
}

// add tries one file; what it refers to is taken from beside it, or made up.
func (set *fileSet) add(name string, s sample, taken map[string]bool) error {
	files := fstest.MapFS{}
	def := stack.Definition{Tenant: "x", Name: "x-" + name, Dir: name}
	for as, from := range map[string]string{"/stack.yml": s.base, "/stack.lab.yml": s.overlay} {
		if from == "" {
			continue
		}
		b, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		files[name+as] = &fstest.MapFile{Data: b}
		def.Files = append(def.Files, name+as)
	}
	slices.Sort(def.Files)
	slices.Reverse(def.Files) // stack.yml, stack.lab.yml
	o := stack.Options{Tenant: "x", Prefix: "x-", Variables: map[string]string{"SKEPLAB": "1"}, API: "1.41"}
	var spec stack.Spec
	for range 60 {
		var err error
		if spec, err = stack.Render(files, def, o); err == nil {
			break
		}
		if !set.supply(files, name, filepath.Dir(s.base), err.Error()) {
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
	text := "services: {}\n"
	if f := files[over]; f != nil {
		text = string(f.Data)
	} else {
		def.Files = append(def.Files, over)
	}
	text, err := still(text, spec)
	if err != nil {
		return err
	}
	files[over] = &fstest.MapFile{Data: []byte(text)}
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
	set.origin[name], set.specs[name] = s.origin, spec
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
