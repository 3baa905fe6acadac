package stack

import (
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
)

// TestEveryKeyHasAVerdict holds keyRules against compose's own list of attributes:
// each is in a rule, or below one that speaks for all of it.
func TestEveryKeyHasAVerdict(t *testing.T) {
	t.Parallel()
	for _, p := range schema.AttributePaths() {
		if !covered(string(p)) {
			t.Errorf("%s: no rule says what skep does with it", p)
		}
	}
}

func covered(path string) bool {
	n := keyTree
	for part := range strings.SplitSeq(path, ".") {
		if n.rule != nil && (n.rule.verdict >= warned || n.children == nil) {
			return true
		}
		next := n.children[part]
		if next == nil {
			next = n.children["*"]
		}
		if next == nil {
			// what becomes of labels, options and the like is said at their parent
			return part == "*" && n.rule != nil
		}
		n = next
	}
	return true
}

// TestRulesAreOfCompose finds rules for keys that compose does not have, other
// than those of docker stack deploy and skep's own.
func TestRulesAreOfCompose(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, p := range schema.AttributePaths() {
		known[string(p)] = true
		known[strings.ReplaceAll(string(p), ".[].", ".*.")] = true
	}
	for _, r := range keyRules {
		last := r.path[strings.LastIndexByte(r.path, '.')+1:]
		switch {
		case known[r.path], strings.HasPrefix(last, "x-"):
		case strings.HasSuffix(r.path, ".log_driver"), strings.HasSuffix(r.path, ".log_opt"), strings.HasSuffix(r.path, ".net"), strings.HasSuffix(r.path, ".volume_driver"),
			strings.HasSuffix(r.path, ".dockerfile"), strings.HasSuffix(r.path, ".cgroupns_mode"):
			// keys of version 1 and 3, which docker stack deploy forbids or ignores by name
		default:
			t.Errorf("%s: compose has no such key", r.path)
		}
		if r.verdict >= warned && r.note == "" {
			t.Errorf("%s: does not say what to use instead", r.path)
		}
	}
}

// TestUnknownKeyIsRefused: a key that compose gains later is never dropped in silence.
func TestUnknownKeyIsRefused(t *testing.T) {
	t.Parallel()
	for path, value := range map[string]any{
		"services.web.teleport":             true,
		"services.web.deploy.teleport":      map[string]any{"a": 1},
		"services.web.ports.0.teleport":     "x",
		"services.web.healthcheck.teleport": "x",
		"networks.n.ipam.teleport":          "x",
		"teleport":                          "x",
	} {
		c := &converter{m: &model{at: func(string) Position { return Position{File: "f", Line: 1} }}}
		c.checkKey(keyTree, "", "", strings.SplitN(path, ".", 2)[0], nest(path, value))
		if c.report.errors != 1 || c.report.findings[0].Key != path {
			t.Errorf("%s: %v", path, c.report.findings)
		}
	}
}

// nest gives the value of path's first part, with value at the end of it.
func nest(path string, value any) any {
	_, rest, ok := strings.Cut(path, ".")
	if !ok {
		return value
	}
	key, _, _ := strings.Cut(rest, ".")
	if key == "0" {
		return []any{nest(rest, value)}
	}
	return map[string]any{key: nest(rest, value)}
}

// TestDocumentedKeys holds the tables of docs/compose.md to keyRules; -update writes them.
func TestDocumentedKeys(t *testing.T) {
	const file = "../docs/compose.md"
	const begin, end = "<!-- keys: written by go test ./stack -run DocumentedKeys -update -->\n", "<!-- end of keys -->\n"
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(doc), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	want := keyTables()
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s differs from keyRules; go test ./stack -run DocumentedKeys -update writes it", file)
	}
}

// keyTables is keyRules as markdown, a table for each part of a compose file.
func keyTables() string {
	var b strings.Builder
	for _, part := range []struct{ title, prefix string }{
		{"The top of the file", ""}, {"Services", "services.*."}, {"Networks", "networks.*."},
		{"Volumes", "volumes.*."}, {"Secrets", "secrets.*."}, {"Configs", "configs.*."},
	} {
		b.WriteString("\n### " + part.title + "\n\n| key | skep | becomes, or what to use instead |\n|---|---|---|\n")
		for _, r := range keyRules {
			key, ok := strings.CutPrefix(r.path, part.prefix)
			if ok && (part.prefix != "" || !strings.Contains(r.path, ".")) {
				b.WriteString("| `" + key + "` | " + r.verdict.String() + " | " + strings.ReplaceAll(r.note, "|", `\|`) + " |\n")
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}
