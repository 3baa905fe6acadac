// Command suite runs every test of the project, one suite after the other, and
// says how long each took. It ends with one line, "N passed, N failed, N skipped",
// and fails where a test failed, was skipped, or a suite held none.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// suite is one group of tests. Without test it is a check that only succeeds or fails.
type suite struct {
	name string
	dir  string   // "" is the module's root
	args []string // of go
	race bool
	test bool
}

// suites are all there are, in order: the cheap ones first. The packages that
// reach sops are apart, since their race build takes minutes. Everything without
// the race detector is built with the flags of make build, so that the large
// dependencies are compiled twice in all, not once more for each kind of build.
func suites() []suite {
	race := []string{"test", "-json", "-race", "-shuffle=on", "-timeout=15m"}
	plain := []string{"test", "-json", "-trimpath", "-count=1", "-timeout=25m"}
	return []suite{
		{name: "vet", args: []string{"vet", "-trimpath", "./..."}},
		{name: "stack, source, deploy, alerting, web", race: true, test: true, args: join(race, ".", "./stack/...", "./source/...", "./deploy/...", "./alerting/...", "./web/...", "./internal/suite/...")},
		{name: "secrets, operator, cmd", race: true, test: true, args: join(race, "./secrets/...", "./operator/...", "./cmd/...", "./bench/...")},
		{name: "parity with docker stack deploy", dir: "parity", test: true, args: join(plain, "./...")},
		{name: "end to end", test: true, args: join(plain, "-parallel=8", "./e2e/...")},
	}
}

func join(a []string, b ...string) []string { return append(append([]string{}, a...), b...) }

// count is how the tests of a suite ended.
type count struct{ passed, failed, skipped int }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !run(ctx, os.Stdout) {
		stop()
		os.Exit(1)
	}
}

// run runs all suites, also after one failed, and says whether all is well.
func run(ctx context.Context, out io.Writer) bool {
	var total count
	ok := formatted(ctx, out)
	for _, s := range suites() {
		if ctx.Err() != nil {
			return false
		}
		began := time.Now()
		n, err := s.run(ctx, out)
		if err == nil && s.test && n.passed == 0 {
			err = errors.New("no test ran")
		}
		verdict := "ok"
		if err != nil || n.failed > 0 || n.skipped > 0 {
			verdict, ok = "FAILED", false
		}
		if err != nil && n.failed == 0 {
			fmt.Fprintf(out, "%s: %v\n", s.name, err)
			n.failed++
		}
		fmt.Fprintf(out, "%-8s %-40s %6.1fs  %d passed, %d failed, %d skipped\n", verdict, s.name, time.Since(began).Seconds(), n.passed, n.failed, n.skipped)
		total = count{total.passed + n.passed, total.failed + n.failed, total.skipped + n.skipped}
	}
	if !ok && total.failed+total.skipped == 0 {
		total.failed++ // gofmt
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	return ok
}

// formatted says whether gofmt would leave every file as it is.
func formatted(ctx context.Context, out io.Writer) bool {
	began := time.Now()
	list, err := exec.CommandContext(ctx, "gofmt", "-l", ".").Output()
	ok := err == nil && len(list) == 0
	verdict := "ok"
	if !ok {
		verdict = "FAILED"
		fmt.Fprintf(out, "gofmt: %v\n%s", err, list)
	}
	fmt.Fprintf(out, "%-8s %-40s %6.1fs\n", verdict, "gofmt", time.Since(began).Seconds())
	return ok
}

// run runs one suite. What failed, and why, goes to out.
func (s suite) run(ctx context.Context, out io.Writer) (count, error) {
	cmd := exec.CommandContext(ctx, "go", s.args...)
	cmd.Dir = s.dir
	if !s.race {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	var errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return count{}, err
	}
	if err := cmd.Start(); err != nil {
		return count{}, err
	}
	n, readErr := tally(pipe, out)
	err = errors.Join(cmd.Wait(), readErr)
	if err != nil {
		fmt.Fprint(out, errs.String())
	}
	return n, err
}

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// measured marks lines that are printed also where a test passed.
const measured = "measured: "

// tally counts the tests in the output of go test -json and prints what those
// that failed or were skipped said, and what the others measured.
func tally(r io.Reader, out io.Writer) (count, error) {
	var n count
	said := map[string]*strings.Builder{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // vet's, or a message of go itself
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if said[key] == nil {
				said[key] = &strings.Builder{}
			}
			said[key].WriteString(e.Output)
			continue
		case "pass":
			n.passed += one(e.Test)
			figures(out, said[key])
		case "fail":
			n.failed += max(one(e.Test), one(e.Package))
		case "skip":
			n.skipped += one(e.Test) // a package without tests is skipped with no test's name
		default:
			continue
		}
		if b := said[key]; b != nil && e.Action != "pass" && (e.Action == "fail" || e.Test != "") {
			fmt.Fprintf(out, "--- %s: %s\n%s", strings.ToUpper(e.Action), key, b)
		}
		delete(said, key)
	}
	if b := said[" "]; b != nil {
		fmt.Fprint(out, b) // what did not build
	}
	return n, lines.Err()
}

// figures prints the lines of a passing test's output that tell what it measured.
func figures(out io.Writer, b *strings.Builder) {
	if b == nil {
		return
	}
	for line := range strings.Lines(b.String()) {
		if _, text, ok := strings.Cut(line, measured); ok {
			fmt.Fprintf(out, "%8s %s%s", "", measured, text)
		}
	}
}

func one(s string) int {
	if s == "" {
		return 0
	}
	return 1
}
