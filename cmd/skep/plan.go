package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
	"github.com/skep-gitops/skep/source"
)

// exitChanges says that something would change.
const exitChanges = 3

func (a app) planCommand() *cli.Command {
	return &cli.Command{
		Name:        "plan",
		Usage:       "show what would change in the swarm, and why, without a write",
		Description: "Exit code 0: nothing; 3: something; 1: something is wrong.",
		Flags:       []cli.Flag{configFlag(), outputFlag("text", "json")},
		Action: func(ctx context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			format, err := output(c, "text", "json")
			if err != nil {
				return err
			}
			op, release, err := a.operator(c.String("config"), slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer release()
			plans, err := op.Plan(ctx)
			if err != nil {
				return err
			}
			return a.showPlans(plans, format)
		},
	}
}

// operator makes an operator for one pass, from a skep.yml. release gives back
// what it holds.
func (a app) operator(name string, log *slog.Logger) (op *operator.Operator, release func(), err error) {
	c, err := readConfig(name)
	if err != nil {
		return nil, nil, err
	}
	oc, err := operatorConfig(c, log)
	if err != nil {
		return nil, nil, err
	}
	docker, err := deploy.Connect(a.getenv)
	if err != nil {
		return nil, nil, err
	}
	cache, unlock, err := lockCache(c.Cache)
	if err != nil {
		docker.Close()
		return nil, nil, err
	}
	oc.Cache = cache
	release = func() {
		unlock()
		docker.Close()
	}
	if op, err = operator.New(oc, docker, log); err != nil {
		release()
		return nil, nil, err
	}
	return op, release, nil
}

// lockCache makes the cache folder where there is none, and takes it or a folder
// of this process' own below it.
func lockCache(dir string) (string, func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("cache: %w", err)
	}
	return source.Lock(dir)
}

// showPlans prints the plans; the error is the exit code.
func (a app) showPlans(plans []operator.TenantPlan, format string) error {
	var err error
	if format == "json" {
		err = printJSON(a.out, plans)
	} else {
		printPlans(a.out, plans)
	}
	changes, wrong := weigh(plans)
	switch {
	case err != nil:
		return err
	case wrong:
		return &exitError{code: exitFailed}
	case changes:
		return &exitError{code: exitChanges}
	}
	return nil
}

// weigh says whether something would change and whether something is wrong.
func weigh(plans []operator.TenantPlan) (changes, wrong bool) {
	for _, t := range plans {
		wrong = wrong || t.Reason != ""
		for _, s := range t.Stacks {
			wrong = wrong || s.Reason != ""
			changes = changes || !s.Empty()
		}
	}
	return changes, wrong
}

func printPlans(w io.Writer, plans []operator.TenantPlan) {
	say := func(indent int, format string, args ...any) {
		fmt.Fprintln(w, strings.Repeat("  ", indent)+printable(oneLine(fmt.Sprintf(format, args...))))
	}
	for _, t := range plans {
		say(0, "tenant %s at %s", t.Tenant, short(t.Commit))
		if t.Reason != "" {
			say(1, "%s", state("", t.Reason, t.Cause, t.Message))
		}
		for _, s := range t.Stacks {
			printStackPlan(s, say)
		}
	}
}

func printStackPlan(s operator.StackPlan, say func(indent int, format string, args ...any)) {
	say(1, "stack %s%s", s.Stack, verdictOf(s))
	if s.Reason != "" {
		say(2, "%s", state("", s.Reason, "", s.Message))
	}
	for _, warning := range s.Warnings {
		say(2, "warning: %s", warning)
	}
	for _, p := range []deploy.Plan{s.Plan, s.Leftover} {
		for _, step := range p.Steps {
			printStep(step, say)
		}
		for _, d := range p.Deferred {
			say(2, "service %s waits until %s is %s", d.Service, d.On, strings.TrimPrefix(d.Condition, "service_"))
		}
		for _, note := range p.Notes {
			say(2, "note: %s", note)
		}
	}
}

// verdictOf is what would become of a stack, in a few words.
func verdictOf(s operator.StackPlan) string {
	switch {
	case s.Held != "":
		return ": left as it is, " + s.Held
	case s.Reason != "" && s.Empty():
		return ""
	case s.Removed:
		return ": left git, would be removed"
	case s.Empty():
		return ": nothing to do"
	case s.Drift:
		return ": was changed in the swarm, would be taken back"
	default:
		return ": would change to " + short(s.Commit)
	}
}

func printStep(s deploy.Step, say func(indent int, format string, args ...any)) {
	why := ""
	if s.Restarts {
		why = " (its tasks restart)"
	}
	if s.Why != "" {
		why += ": " + s.Why
	}
	say(2, "%s %s %s%s", s.Action, s.Kind, s.Name, why)
	for _, c := range s.Changes {
		if c.From == "" && c.To == "" {
			say(3, "%s", c.Field)
			continue
		}
		say(3, "%s: %s → %s", c.Field, dash(c.From), dash(c.To))
	}
}
