package parity

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of differences into docs/compose.md")

// allowed is one reason of differences.txt, with the lines below it.
type allowed struct {
	reason  string
	entries []*entry
}

// entry allows the paths that match one glob in the cases that match another.
type entry struct {
	cases, path string
	used        bool
}

type differenceList []*allowed

// readDifferences reads differences.txt: a line "= reason", then a line for each
// glob of cases and glob of paths, with blanks between. # starts a comment.
func readDifferences(t *testing.T) differenceList {
	t.Helper()
	f, err := os.Open("differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list differenceList
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "= "):
			list = append(list, &allowed{reason: line[2:]})
		default:
			cases, p, ok := strings.Cut(line, " ")
			if !ok || len(list) == 0 {
				t.Fatalf("differences.txt:%d: want a reason, or cases and a path", n)
			}
			last := list[len(list)-1]
			last.entries = append(last.entries, &entry{cases: cases, path: strings.TrimSpace(p)})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func (l differenceList) allows(name, at string) bool {
	found := false
	for _, a := range l {
		for _, e := range a.entries {
			if matches(e.cases, name) && matches(e.path, at) {
				e.used, found = true, true
			}
		}
	}
	return found
}

func matches(glob, s string) bool {
	ok, err := path.Match(glob, strings.ReplaceAll(s, "/", "~"))
	return err == nil && ok
}

// unused are the entries that no difference needed. Cases of public files are
// left out where these are not there.
func (l differenceList) unused() []string {
	_, err := os.Stat(publicMarker())
	var out []string
	for _, a := range l {
		for _, e := range a.entries {
			if !e.used && (err == nil || !strings.HasPrefix(e.cases, "public_")) {
				out = append(out, e.cases+" "+e.path)
			}
		}
	}
	return out
}

// TestDocumented holds the table of docs/compose.md to differences.txt; -update writes it.
func TestDocumented(t *testing.T) {
	const file = "../docs/compose.md"
	const begin, end = "<!-- differences: written by go test -run Documented -update in parity/ -->\n", "<!-- end of differences -->\n"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(b), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no lines %q and %q", file, begin, end)
	}
	want := differenceTable(readDifferences(t))
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s differs from differences.txt; go test -run Documented -update writes it", file)
	}
}

func differenceTable(l differenceList) string {
	var b strings.Builder
	b.WriteString("\n| docker stack deploy | skep, and why |\n|---|---|\n")
	for _, a := range l {
		docker, skep, ok := strings.Cut(a.reason, " => ")
		if !ok {
			docker, skep = "", a.reason
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.ReplaceAll(docker, "|", `\|`), strings.ReplaceAll(skep, "|", `\|`))
	}
	b.WriteString("\n")
	return b.String()
}

// publicMarker is a folder that is there when the public stack files are.
func publicMarker() string {
	found, err := os.ReadDir("../..")
	if err != nil {
		return ""
	}
	for _, d := range found {
		if dir := path.Join("../..", d.Name(), "stackfiles"); d.IsDir() {
			if _, err := os.Stat(dir); err == nil {
				return dir
			}
		}
	}
	return ""
}
