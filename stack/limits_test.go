package stack

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostileFilesCostLittle loads files that would keep compose-go busy for up
// to a minute. The bound is wide: it must hold on a slow machine too.
func TestHostileFilesCostLittle(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "    k%d: v\n", i)
		}
		return b.String()
	}
	services := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "  s%d: {image: x, ports: ['%d-%d:1-900']}\n", i, 1000+i, 1899+i)
		}
		return "services:\n" + b.String()
	}
	chain := func(n int) string {
		var b strings.Builder
		b.WriteString("services:\n  s0: {image: x}\n")
		for i := 1; i < n; i++ {
			fmt.Fprintf(&b, "  s%d: {extends: s%d}\n", i, i-1)
		}
		return b.String()
	}
	tests := []struct {
		name, text, want string
	}{
		{"aliases of aliases", bomb.String(), "alias"},
		{"merge keys of merge keys", "x: &a {b: 1}\ny: &c {<<: [*a, *a]}\nservices: {s: {image: x, labels: {<<: [" + strings.Repeat("*c, ", 9000) + "]}}}", "values"},
		{"an alias of itself", "a: &a {b: *a}", "itself"},
		{"deep lists", "a: " + strings.Repeat("[", 9000), "s/compose.yml:1: not YAML"},
		{"deep lists that close", "a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "nested deeper than 64 levels"},
		{"deep maps", strings.Repeat("{a: ", 5000) + "x" + strings.Repeat("}", 5000), "nested deeper than 64 levels"},
		{"deep blocks", deepBlocks(900), "nested deeper than 64 levels"},
		{"many keys", "services:\n  a:\n   labels:\n" + keys(50_000), "more than 20000 values"},
		{"a large file", "services: {a: {image: '" + strings.Repeat("x", 2<<20) + "'}}", "larger than 1048576 bytes"},
		{"a long key", "services: {a: {image: x, labels: {" + strings.Repeat("k", 2000) + ": x}}}", "key longer than 1000 bytes"},
		{"many ports", services(20), "ports in one stack"},
		{"a long chain of extends", chain(400), "more than 50 services extend one another"},
		{"a variable that grows", "services: {a: {image: '" + strings.Repeat("$V", 2000) + "'}}", "longer than"},
		{"a long value behind many aliases", "x: &a '" + strings.Repeat("x", 900_000) + "'\ny: [" + strings.Repeat("*a, ", 9000) + "]", "bytes in one file, aliases written out"},
		{"a long variable in many places", "services: {a: {image: x, command: [" + strings.Repeat("$V, ", 15_000) + "]}}", "bytes of variables in one stack"},
		{"variables in variables", "services: {a: {image: '" + strings.Repeat("${A:-", 100_000) + strings.Repeat("}", 100_000) + "'}}", "inside one another"},
		{"an open variable", "services: {a: {image: '" + strings.Repeat("${A:-", 100_000) + "'}}", "closing brace"},
		{"many errors", "services:\n" + manyErrors(3000), "not set"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := loadText(tt.text, "s/.env: V="+strings.Repeat("v", 1000))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300v, want an error with %q", err, tt.want)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			if err != nil && len(err.Error()) > (maxFinding+1)*(maxText+100) {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func deepBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func manyErrors(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  s%d: {image: $NONE}\n", i)
	}
	return b.String()
}

func TestAnEnvFileThatGrowsCostsLittle(t *testing.T) {
	start := time.Now()
	_, err := loadText("services: {a: {image: x}}", "s/.env: A="+strings.Repeat("x", 100_000)+"\n"+strings.Repeat("A=$A$A\n", 4))
	if err == nil || !strings.Contains(err.Error(), "s/.env:5: A: value longer than") {
		t.Errorf("got %v", err)
	}
	_, err = loadText("services: {a: {image: x}}", "s/.env: A="+strings.Repeat("x", 100_000)+"\n"+strings.Repeat("B=$A\n", 100_000))
	if err == nil || !strings.Contains(err.Error(), "bytes of values in one file") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

// TestTheLargestAllowedStackLoads shows that the limits leave room for real stacks.
func TestTheLargestAllowedStackLoads(t *testing.T) {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  s%d:\n    image: x:1\n    environment: {A: a, B: b, C: c}\n    labels: {l: m}\n", i)
	}
	m, err := loadText(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(m.project.Services); got != 200 {
		t.Errorf("got %d services", got)
	}
}

func TestTheNumberOfFilesIsBounded(t *testing.T) {
	files := []string{}
	var list strings.Builder
	for i := range maxFiles + 10 {
		files = append(files, fmt.Sprintf("s/e%d.env: A%d=1", i, i))
		fmt.Fprintf(&list, "e%d.env, ", i)
	}
	_, err := loadText("services: {a: {image: x, env_file: ["+list.String()+"]}}", files...)
	if err == nil || !strings.Contains(err.Error(), "more than 200 files in one stack") {
		t.Errorf("got %.300v", err)
	}
}

func TestOddBytes(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"a BOM", "\ufeffservices: {a: {image: x}}", ""},
		{"CRLF", "services:\r\n  a:\r\n    image: x\r\n    command: [\"a\"]\r\n", ""},
		{"a trailing document mark", "---\nservices: {a: {image: x}}\n---\n", ""},
		{"not UTF-8", "services: {a: {image: \xff\xfe}}", "s/compose.yml:1: not YAML"},
		{"NUL", "services: {a: {image: x\x00}}", "s/compose.yml:1: not YAML"},
		{"control characters", "services: {a: {image: \"x\", labels: {a: \"\\u0007\\u0085\\ufeff\"}}}", ""},
		{"an escape sequence in an error", "services: {a: {\"\\e[31mimage\": x}}", "key �[31mimage is not known"},
	} {
		_, err := loadText(tt.text)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}
