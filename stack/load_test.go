package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// loadCase is one archive of testdata/load: options and questions in its
// comment, files of the tree, and under want/ what must come out.
type loadCase struct {
	archive *txtar.Archive
	fsys    fstest.MapFS
	o       Options
	stack   string
	at      []string // compose paths whose place is asked for
}

func readLoadCase(t *testing.T, file string) loadCase {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := loadCase{archive: archive, fsys: fstest.MapFS{}, o: Options{Tenant: "t"}}
	for _, f := range archive.Files {
		if !strings.HasPrefix(f.Name, "want/") {
			c.fsys[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		key, value, ok := strings.Cut(line, " = ")
		if !ok {
			continue
		}
		switch key {
		case "environment":
			c.o.Environment = value
		case "prefix":
			c.o.Prefix = value
		case "profile":
			c.o.Profiles = append(c.o.Profiles, value)
		case "stack":
			c.stack = value
		case "at":
			c.at = append(c.at, value)
		default:
			t.Fatalf("%s: unknown option %q", file, key)
		}
	}
	return c
}

// outcome is what one load comes to, by the name of the golden file.
func (c loadCase) outcome(t *testing.T) map[string]string {
	t.Helper()
	defs, err := Discover(c.fsys, c.o)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(defs, func(d Definition) bool { return c.stack == "" || d.Name == c.stack })
	if i < 0 {
		t.Fatalf("no stack %q among %v", c.stack, defs)
	}
	m, err := load(c.fsys, defs[i], c.o)
	if err != nil {
		var r *RenderError
		if !errors.As(err, &r) {
			t.Fatalf("got %T, want a *RenderError", err)
		}
		return map[string]string{"want/findings": listFindings(r.Findings)}
	}
	out := map[string]string{}
	if len(m.findings) > 0 {
		out["want/findings"] = listFindings(m.findings)
	}
	project, err := m.project.MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	out["want/project"] = string(project)
	if !cmp.Equal(m.wishes, Wishes{}) {
		out["want/wishes"] = fmt.Sprintf("%+v\n", m.wishes)
	}
	for _, path := range slices.Sorted(maps.Keys(m.content)) {
		out["want/content"] += fmt.Sprintf("%s tainted=%t %q\n", path, m.content[path].tainted, m.content[path].data)
	}
	for _, path := range c.at {
		out["want/at"] += fmt.Sprintf("%s = %s\n", path, m.at(path))
	}
	return out
}

func listFindings(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s [%s]\n", f, f.Key)
	}
	return b.String()
}

func TestLoad(t *testing.T) {
	cases, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			c := readLoadCase(t, file)
			got, want := c.outcome(t), map[string]string{}
			for _, f := range c.archive.Files {
				if strings.HasPrefix(f.Name, "want/") {
					want[f.Name] = string(f.Data)
				}
			}
			if *update {
				writeLoadCase(t, file, c, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got (go test -run TestLoad -update writes it)\n%s", diff)
			}
		})
	}
}

func writeLoadCase(t *testing.T, file string, c loadCase, got map[string]string) {
	t.Helper()
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return strings.HasPrefix(f.Name, "want/") })
	for _, name := range slices.Sorted(maps.Keys(got)) {
		c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
	}
	if err := os.WriteFile(file, txtar.Format(c.archive), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestLoadIsRepeatable loads each case again and again: maps must not show.
func TestLoadIsRepeatable(t *testing.T) {
	cases, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range cases {
		c := readLoadCase(t, file)
		first := c.outcome(t)
		for range 3 {
			if diff := cmp.Diff(first, c.outcome(t)); diff != "" {
				t.Fatalf("%s: two loads differ:\n%s", file, diff)
			}
		}
	}
}

// loadText loads one stack file, s/compose.yml, beside others.
func loadText(text string, others ...string) (*model, error) {
	return loadFS(repo(append(others, "s/compose.yml: "+text)...))
}

func loadFS(fsys fs.FS) (*model, error) {
	return load(fsys, Definition{Tenant: "t", Name: "s", Dir: "s", Files: []string{"s/compose.yml"}}, Options{Tenant: "t"})
}

func TestLoadNeverPanics(t *testing.T) {
	for _, value := range []string{"null", "[]", "{}", "3", "x", "[3]", "[null]", "[[x]]", "{x: null}", "{x: [y]}", "'${X:-}'", "!reset null", "!override [x]", "2001-01-01", "1e400", "true"} {
		for _, path := range []string{"", "services", "services.a", "services.a.image", "services.a.ports", "services.a.volumes", "services.a.environment", "services.a.env_file",
			"services.a.label_file", "services.a.extends", "services.a.deploy", "services.a.deploy.resources", "services.a.healthcheck", "services.a.secrets", "services.a.configs", "services.a.networks",
			"services.a.ulimits", "services.a.links", "services.a.network_mode", "services.a.depends_on", "services.a.build", "services.a.scale", "services.a.x-skep", "services.a.command",
			"networks", "networks.a", "networks.a.external", "networks.a.ipam", "networks.a.name", "volumes.a", "secrets", "secrets.a", "secrets.a.file", "secrets.a.external", "secrets.a.x-skep", "configs.a", "configs.a.content",
			"include", "x-skep", "x-other", "name", "version", "models", "jobs"} {
			text := value
			for _, key := range slices.Backward(strings.FieldsFunc(path, func(r rune) bool { return r == '.' })) {
				text = fmt.Sprintf("{%s: %s}", key, text)
			}
			_, err := loadText(text)
			if err != nil && strings.Contains(err.Error(), "a value has a form") {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

func TestValidateGivesErrorsAndWarningsInOrder(t *testing.T) {
	fsys := repo("s/compose.yml: services:\n  a:\n    imag: x\n    env_file: ../../x\n", "s/docker-compose.yml")
	defs, err := Discover(fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := listFindings(Validate(fsys, defs[0], Options{}))
	want := "s/compose.yml:4: error: services.a.env_file: ../../x: path leaves the tenant's folder; keep a copy inside it [services.a.env_file]\n" +
		"s/docker-compose.yml: warning: not read: compose.yml is the stack file of this folder; remove one of them []\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
