package stack

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write what was got into the golden files")

// TestConvertGolden renders the stack.yml of each testdata/convert/*.txtar. The
// other files lie beside it, the archive's comment may give options such as
// api=1.41 and profiles=a,b, and want.json and findings are what must come out.
func TestConvertGolden(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/convert/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			golden(t, path)
		})
	}
}

func golden(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	files, want, kept := map[string]string{}, map[string]string{}, []txtar.File{}
	for _, f := range archive.Files {
		if f.Name == "want.json" || f.Name == "findings" {
			want[f.Name] = string(f.Data)
			continue
		}
		files[f.Name] = string(f.Data)
		kept = append(kept, f)
	}
	spec, err := renderFiles(t, files, goldenOptions(t, string(archive.Comment)))
	got := map[string]string{"want.json": specJSON(t, spec, err), "findings": findingLines(spec, err)}
	if *update {
		archive.Files = kept
		for _, name := range []string{"want.json", "findings"} {
			if got[name] != "" {
				archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
			}
		}
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range []string{"want.json", "findings"} {
		if d := cmp.Diff(want[name], got[name]); d != "" {
			t.Errorf("%s (-want +got; go test -run Golden -update writes it):\n%s", name, d)
		}
	}
}

func goldenOptions(t *testing.T, comment string) Options {
	t.Helper()
	var o Options
	for _, word := range strings.Fields(comment) {
		key, value, ok := strings.Cut(word, "=")
		switch {
		case !ok: // prose
		case key == "api":
			o.API = value
		case key == "profiles":
			o.Profiles = strings.Split(value, ",")
		default:
			t.Fatalf("unknown option %q", word)
		}
	}
	return o
}

// renderFiles renders files["stack.yml"] as the stack shop.
func renderFiles(t testing.TB, files map[string]string, o Options) (Spec, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	o.Tenant = "acme"
	return Render(fsys, Definition{Tenant: "acme", Name: "shop", Dir: ".", Files: []string{"stack.yml"}}, o)
}

// specJSON is what the swarm would be told; empty where the stack was refused.
func specJSON(t *testing.T, spec Spec, err error) string {
	t.Helper()
	if err != nil {
		return ""
	}
	type service struct {
		Spec      any
		DependsOn []Dependency `json:",omitempty"`
	}
	view := struct {
		Networks []Network          `json:",omitempty"`
		Secrets  []Secret           `json:",omitempty"`
		Configs  []Config           `json:",omitempty"`
		Services map[string]service `json:",omitempty"`
	}{spec.Networks, spec.Secrets, spec.Configs, map[string]service{}}
	for _, s := range spec.Services {
		view.Services[s.Key] = service{s.Spec, s.DependsOn}
	}
	b, jerr := json.MarshalIndent(view, "", "  ")
	if jerr != nil {
		t.Fatal(jerr)
	}
	return string(b) + "\n"
}

func findingLines(spec Spec, err error) string {
	findings := spec.Warnings
	var refused *RenderError
	if errors.As(err, &refused) {
		findings = refused.Findings
	}
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// TestConvertIsPure converts each golden model twice: equal results, and the model as it was.
func TestConvertIsPure(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("testdata/convert/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fsys := fstest.MapFS{}
		for _, f := range archive.Files {
			fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		}
		o := goldenOptions(t, string(archive.Comment))
		def := Definition{Tenant: "acme", Name: "shop", Dir: ".", Files: []string{"stack.yml"}}
		m, err := load(fsys, def, o)
		if err != nil {
			continue // refused before there is a model
		}
		before, err := load(fsys, def, o)
		if err != nil {
			t.Fatal(err)
		}
		one, err1 := convert(m, o)
		two, err2 := convert(m, o)
		if !reflect.DeepEqual(one, two) || !reflect.DeepEqual(err1, err2) {
			t.Errorf("%s: two conversions of one model differ", path)
		}
		if !reflect.DeepEqual(m.project, before.project) || !reflect.DeepEqual(m.dict, before.dict) ||
			!reflect.DeepEqual(m.content, before.content) || !reflect.DeepEqual(m.findings, before.findings) {
			t.Errorf("%s: convert changed its model", path)
		}
		scribble(&one)
		three, err3 := convert(m, o)
		if !reflect.DeepEqual(two, three) || !reflect.DeepEqual(err2, err3) {
			t.Errorf("%s: the spec shares memory with its model", path)
		}
	}
}

// scribble writes into every map and slice that a caller of Render may think its own.
func scribble(s *Spec) {
	for i := range s.Services {
		c := s.Services[i].Spec.TaskTemplate.ContainerSpec
		c.Labels["scribble"] = "x"
		for _, list := range [][]string{c.Args, c.Command, c.Groups} {
			for j := range list {
				list[j] = "x"
			}
		}
		if c.Sysctls != nil {
			c.Sysctls["scribble"] = "x"
		}
		for j := range c.Mounts {
			if v := c.Mounts[j].VolumeOptions; v != nil && v.DriverConfig != nil {
				v.DriverConfig.Options["scribble"] = "x"
			}
		}
		for j := range s.Services[i].Spec.TaskTemplate.Networks {
			for k := range s.Services[i].Spec.TaskTemplate.Networks[j].Aliases {
				s.Services[i].Spec.TaskTemplate.Networks[j].Aliases[k] = "x"
			}
		}
	}
	for i := range s.Configs {
		for j := range s.Configs[i].Data {
			s.Configs[i].Data[j] = 'x'
		}
	}
}
