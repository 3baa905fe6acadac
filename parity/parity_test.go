package parity

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

// stackName is that of every case.
const stackName = "shop"

// Case is one stack: its files, lowest first, and the variables.
type testCase struct {
	name  string
	files []string
	env   map[string]string
}

// TestParity compares docker's and skep's idea of every case. A difference that
// differences.txt does not list fails, and so does a line there that nothing matches.
func TestParity(t *testing.T) {
	list := readDifferences(t)
	var both, refused int
	for _, c := range allCases(t) {
		dir := t.TempDir()
		files := c.lay(t, dir)
		want, ignored, errDocker := byDocker(stackName, dir, files, c.env)
		got, warnings, errSkep := bySkep(stackName, dir, files, c.env)
		switch {
		case errDocker == nil && errSkep == nil:
			both++
		case errDocker != nil && errSkep != nil:
			refused++
			t.Logf("%s: refused by both\n\tdocker: %v\n\tskep:   %v", c.name, firstLine(errDocker), firstLine(errSkep))
		}
		for _, d := range differences(want, got, errDocker, errSkep) {
			if !list.allows(c.name, d.path) {
				t.Errorf("%s: %s\n\tdocker: %s\n\tskep:   %s", c.name, d.path, d.docker, d.skep)
			}
		}
		if errSkep == nil {
			checkSaid(t, c.name, ignored, warnings)
		}
	}
	t.Logf("%d stacks rendered by both, %d refused by both", both, refused)
	if both < 250 {
		t.Errorf("only %d stacks were compared", both)
	}
	for _, stale := range list.unused() {
		t.Errorf("differences.txt: nothing matches %q", stale)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// checkSaid: what docker says that it ignores, skep says too, with a place.
func checkSaid(t *testing.T, name string, ignored []string, warnings []stack.Finding) {
	t.Helper()
	for _, key := range ignored {
		said := slices.ContainsFunc(warnings, func(f stack.Finding) bool {
			return strings.HasSuffix(f.Key, "."+key) && f.Line > 0
		})
		// docker says so of restart although it maps it, and of security_opt, which skep maps.
		if !said && key != "restart" && key != "security_opt" {
			t.Errorf("%s: docker says that it ignores %s, skep says nothing", name, key)
		}
	}
}

// difference is one leaf that is not the same, or one side that refused.
type difference struct{ path, docker, skep string }

func differences(want, got outcome, errDocker, errSkep error) []difference {
	switch {
	case errDocker != nil && errSkep != nil:
		return nil
	case errDocker != nil:
		return []difference{{"docker refuses", errDocker.Error(), "renders it"}}
	case errSkep != nil:
		return []difference{{"skep refuses", "renders it", errSkep.Error()}}
	}
	var out []difference
	compare("", tree(want), tree(got), &out)
	return out
}

// tree is an outcome as plain JSON, in the form that specs of one meaning share,
// with what a nil pointer and an empty struct mean to Swarm kept apart.
func tree(o outcome) any {
	nils := map[string]any{}
	for key, s := range o.Services {
		c := s.TaskTemplate.ContainerSpec
		nils[key] = map[string]bool{
			"resources": s.TaskTemplate.Resources == nil, "placement": s.TaskTemplate.Placement == nil,
			"restart": s.TaskTemplate.RestartPolicy == nil, "log": s.TaskTemplate.LogDriver == nil,
			"endpoint": s.EndpointSpec == nil, "update": s.UpdateConfig == nil, "rollback": s.RollbackConfig == nil,
			"privileges": c.Privileges == nil, "health": c.Healthcheck == nil, "dns": c.DNSConfig == nil,
			"grace": c.StopGracePeriod == nil, "init": c.Init == nil,
			"limits":       s.TaskTemplate.Resources != nil && s.TaskTemplate.Resources.Limits == nil,
			"reservations": s.TaskTemplate.Resources != nil && s.TaskTemplate.Resources.Reservations == nil,
		}
	}
	normal := map[string]swarm.ServiceSpec{}
	for key, s := range o.Services {
		normal[key] = deploy.Normalize(s, "")
	}
	b, err := json.Marshal(map[string]any{
		"networks": o.Networks, "external": o.External, "secrets": o.Secrets, "configs": o.Configs, "services": normal, "nil": nils,
	})
	if err != nil {
		panic(err)
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

// compare walks two JSON trees. Nothing, null and empty are one.
func compare(path string, want, got any, out *[]difference) {
	if empty(want) && empty(got) {
		return
	}
	sub := func(key string) string { return strings.TrimPrefix(path+"."+key, ".") }
	wm, ok1 := want.(map[string]any)
	gm, ok2 := got.(map[string]any)
	if ok1 && ok2 {
		keys := map[string]bool{}
		for k := range wm {
			keys[k] = true
		}
		for k := range gm {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			compare(sub(k), wm[k], gm[k], out)
		}
		return
	}
	wl, ok1 := want.([]any)
	gl, ok2 := got.([]any)
	if ok1 && ok2 && len(wl) == len(gl) {
		for i := range wl {
			compare(sub(strconv.Itoa(i)), wl[i], gl[i], out)
		}
		return
	}
	w, g := show(want), show(got)
	if w != g {
		*out = append(*out, difference{path, w, g})
	}
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// servicesByKey puts docker's names and IDs in the place of skep's stack keys.
func servicesByKey(spec stack.Spec, secrets, configs map[string]string) map[string]swarm.ServiceSpec {
	out := map[string]swarm.ServiceSpec{}
	for _, s := range spec.Services {
		c := s.Spec.TaskTemplate.ContainerSpec
		for _, r := range c.Secrets {
			r.SecretName = secrets[r.SecretName]
			r.SecretID = idOf(r.SecretName)
		}
		for _, r := range c.Configs {
			r.ConfigName = configs[r.ConfigName]
			r.ConfigID = idOf(r.ConfigName)
		}
		if cs := c.Privileges.CredentialSpec; cs != nil && cs.Config != "" {
			cs.Config = idOf(configs[cs.Config])
		}
		out[s.Key] = s.Spec
	}
	return out
}

// allCases are the small files of testdata, the merges below it, and the public
// stack files in a folder of that name beside the repository, where there is one.
func allCases(t *testing.T) []testCase {
	t.Helper()
	env := map[string]string{"TAG": "1.2", "FROM_ENV": "from the environment", "EMPTY": "", "THREE": "3", "TRUE": "true", "PORT": "8080"}
	var out []testCase
	small := glob(t, "testdata/*.yml")
	if len(small) < 150 {
		t.Fatalf("testdata has %d stack files, want at least 150", len(small))
	}
	for _, f := range small {
		out = append(out, testCase{strings.TrimSuffix(filepath.Base(f), ".yml"), []string{f}, env})
	}
	for _, d := range glob(t, "testdata/merge/*") {
		out = append(out, testCase{"merge_" + filepath.Base(d), []string{filepath.Join(d, "base.yml"), filepath.Join(d, "overlay.yml")}, env})
	}
	for _, f := range glob(t, "../../*/stackfiles/*.yml") {
		out = append(out, testCase{"public_" + strings.TrimSuffix(filepath.Base(f), ".yml"), []string{f}, nil})
	}
	for _, f := range glob(t, "../../*/stackfiles/*.yaml") {
		out = append(out, testCase{"public_" + strings.TrimSuffix(filepath.Base(f), ".yaml"), []string{f}, nil})
	}
	return out
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// lay copies a case's files into dir, with every file that they refer to, and
// gives the names there. Public files get values for their variables, and absolute
// bind mounts.
func (c *testCase) lay(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for i, f := range c.files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if c.env == nil {
			c.env = variables(b)
			b = absoluteBinds(b)
		}
		name := "stack.yml"
		if i > 0 {
			name = fmt.Sprintf("overlay%d.yml", i)
		}
		write(t, filepath.Join(dir, name), b)
		names = append(names, name)
		for _, aux := range referred(b) {
			layFile(t, dir, aux, filepath.Dir(f))
		}
	}
	return names
}

// layFile copies an auxiliary file from beside the stack file or from
// testdata/files, else makes one up.
func layFile(t *testing.T, dir, name, beside string) {
	t.Helper()
	if !filepath.IsLocal(name) {
		return
	}
	for _, from := range []string{filepath.Join("testdata/files", name), filepath.Join(beside, name)} {
		b, err := os.ReadFile(from)
		if err == nil {
			write(t, filepath.Join(dir, name), b)
			return
		}
		if !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, name), []byte("MADE_UP=yes\n"))
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
