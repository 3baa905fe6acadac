package main

import (
	"os"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/operator"
)

// read gives a file of the repository's root.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryAlertIsDocumented(t *testing.T) {
	text := read(t, "docs/operating.md")
	for _, r := range operator.AlertRules() {
		limit := ""
		if r.For > 0 {
			limit = strings.TrimSuffix(r.For.String(), "0s")
			if r.For.Seconds() < 60 {
				limit = r.For.String()
			}
			limit += " "
		}
		if row := "| " + r.Name + " | " + r.Severity + " | " + limit + "|"; !strings.Contains(text, row) {
			t.Errorf("docs/operating.md has no row %q", row)
		}
	}
}

func TestEveryReasonIsDocumented(t *testing.T) {
	text := read(t, "docs/operating.md")
	for _, r := range []operator.Reason{
		operator.FetchFailed, operator.VerifyFailed, operator.DecryptFailed, operator.RenderFailed, operator.PolicyDenied, operator.Conflict,
		operator.DependencyNotReady, operator.ApplyFailed, operator.RolloutFailed, operator.RolledBack, operator.PruneBlocked, operator.PruneFailed,
	} {
		if !strings.Contains(text, "| "+string(r)+" |") {
			t.Errorf("docs/operating.md has no row for %s", r)
		}
	}
}

// TestEveryVerbIsDocumented looks for each verb in the README or the documents
// that it links to.
func TestEveryVerbIsDocumented(t *testing.T) {
	text := read(t, "README.md") + read(t, "docs/operating.md") + read(t, "docs/configuration.md") + read(t, "docs/migrating.md") + read(t, "CHANGELOG.md")
	for _, c := range (app{}).root().Commands {
		verb := c.Name
		for _, sub := range c.Commands {
			verb = c.Name + " " + sub.Name
		}
		if c.Name != "version" && !strings.Contains(text, "skep "+verb) {
			t.Errorf("skep %s is documented nowhere", verb)
		}
	}
}
