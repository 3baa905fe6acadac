package stack

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestTogether finds the names that several stacks of one tenant want.
func TestTogether(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing in common", map[string]string{"a": "services: {web: {image: x}}", "b": "services: {web: {image: x}}"}, ""},
		{"one service name", map[string]string{"a": "services:\n  b_c: {image: x}", "a_b": "services:\n\n  c: {image: x}"},
			"a/stack.yml:2: error: services.b_c: its name in the swarm is \"a_b_c\", as that of service c of stack \"a_b\" (a_b/stack.yml:3); rename one [services.b_c]\n" +
				"a_b/stack.yml:3: error: services.c: its name in the swarm is \"a_b_c\", as that of service b_c of stack \"a\" (a/stack.yml:2); rename one [services.c]"},
		{"three stacks", map[string]string{"a": "services: {b_c_d: {image: x}}", "a_b": "services: {c_d: {image: x}}", "a_b_c": "services: {d: {image: x}}"},
			"a/stack.yml:1: error: services.b_c_d: its name in the swarm is \"a_b_c_d\", as that of service c_d of stack \"a_b\" (a_b/stack.yml:1), service d of stack \"a_b_c\" (a_b_c/stack.yml:1); rename one [services.b_c_d]\n" +
				"a_b/stack.yml:1: error: services.c_d: its name in the swarm is \"a_b_c_d\", as that of service b_c_d of stack \"a\" (a/stack.yml:1), service d of stack \"a_b_c\" (a_b_c/stack.yml:1); rename one [services.c_d]\n" +
				"a_b_c/stack.yml:1: error: services.d: its name in the swarm is \"a_b_c_d\", as that of service b_c_d of stack \"a\" (a/stack.yml:1), service c_d of stack \"a_b\" (a_b/stack.yml:1); rename one [services.d]"},
		{"a literal network", map[string]string{
			"a": "services: {web: {image: x, networks: [n]}}\nnetworks: {n: {name: shared}}",
			"b": "services: {web: {image: x, networks: [n]}}\nnetworks: {n: {name: shared}}",
			"c": "services: {web: {image: x, networks: [n]}}\nnetworks: {n: {name: shared, external: true}}"},
			"a/stack.yml:2: error: networks.n: its name in the swarm is \"shared\", as that of network n of stack \"b\" (b/stack.yml:2); rename one [networks.n]\n" +
				"b/stack.yml:2: error: networks.n: its name in the swarm is \"shared\", as that of network n of stack \"a\" (a/stack.yml:2); rename one [networks.n]"},
		{"a literal config beside a literal secret", map[string]string{
			"a": "services: {web: {image: x}}\nconfigs: {n: {name: shared, content: x}}",
			"b": "services: {web: {image: x}}\nsecrets: {n: {name: shared, file: f}}"}, ""},
		{"a literal config", map[string]string{
			"a": "services: {web: {image: x}}\nconfigs: {n: {name: shared, content: x}}",
			"b": "services: {web: {image: x}}\nconfigs: {m: {name: shared, content: x}}"},
			"a/stack.yml:2: error: configs.n: its name in the swarm is \"shared\", as that of config m of stack \"b\" (b/stack.yml:2); rename one [configs.n]\n" +
				"b/stack.yml:2: error: configs.m: its name in the swarm is \"shared\", as that of config n of stack \"a\" (a/stack.yml:2); rename one [configs.m]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fsys := fstest.MapFS{}
			for dir, text := range c.files {
				fsys[dir+"/stack.yml"] = &fstest.MapFile{Data: []byte(text)}
				fsys[dir+"/f"] = &fstest.MapFile{Data: []byte("f")}
			}
			defs, err := Discover(fsys, Options{})
			if err != nil {
				t.Fatal(err)
			}
			var specs []Spec
			for _, d := range defs {
				spec, err := Render(fsys, d, Options{})
				if err != nil {
					t.Fatal(err)
				}
				specs = append(specs, spec)
			}
			var got []string
			for _, list := range Together(specs) {
				for _, f := range list {
					got = append(got, f.String()+" ["+f.Key+"]")
				}
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}
