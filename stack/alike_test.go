package stack

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// TestIncludeAndExtendMergeAsComposeDoes holds the rewriting of includes and
// extends to compose-go's own, which reads files from a disk.
func TestIncludeAndExtendMergeAsComposeDoes(t *testing.T) {
	for _, name := range []string{"include", "include_diamond", "include_clash", "extends", "extends_override", "overlay", "variables", "external", "commands"} {
		t.Run(name, func(t *testing.T) {
			c := readLoadCase(t, filepath.Join("testdata/load", name+".txtar"))
			defs, err := Discover(c.fsys, c.o)
			if err != nil || len(defs) != 1 {
				t.Fatalf("%v, %v", defs, err)
			}
			m, err := load(c.fsys, defs[0], c.o)
			if err != nil {
				t.Fatal(err)
			}
			want := composeLoad(t, c, defs[0])
			if diff := cmp.Diff(withoutPaths(want), withoutPaths(m.dict)); diff != "" {
				t.Errorf("-compose-go +skep\n%s", diff)
			}
		})
	}
}

// composeLoad writes a case's files to a disk and loads them with compose-go alone.
func composeLoad(t *testing.T, c loadCase, def Definition) map[string]any {
	t.Helper()
	dir := t.TempDir()
	for name, f := range c.fsys {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	details := types.ConfigDetails{
		WorkingDir:  filepath.Join(dir, def.Dir),
		Environment: variables(newFiles(c.fsys), def.Dir, c.o, ownVariables(c.o, def.Name), &report{}),
	}
	for _, file := range def.Files {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, file)})
	}
	dict, err := loader.LoadModelWithContext(context.Background(), details, func(o *loader.Options) {
		o.SetProjectName(def.Name, true)
		o.SkipConsistencyCheck = true
		o.SkipDefaultValues = true
		o.SkipResolveEnvironment = true
		o.SkipResolveLabels = true
	})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoading(c.fsys, def, c.o)
	l.splitCommands(dict)
	return dict
}

// withoutPaths leaves out what the two write differently on purpose: paths,
// which skep gives from the root of the tree, and skep's own extension.
func withoutPaths(dict map[string]any) map[string]any {
	out := copyDict(dict)
	delete(out, wishKey)
	services, _ := out["services"].(map[string]any)
	for _, s := range services {
		service := s.(map[string]any)
		delete(service, "env_file")
		delete(service, "label_file")
	}
	for _, section := range []string{"secrets", "configs"} {
		objects, _ := out[section].(map[string]any)
		for _, o := range objects {
			delete(o.(map[string]any), "file")
		}
	}
	return out
}
