package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/operator"
)

func (a app) statusCommand() *cli.Command {
	return &cli.Command{
		Name:        "status",
		Usage:       "show how tenants and stacks are",
		Description: "The remote's commit and the times of the last and the next look tell why a push is not there yet.",
		Flags: append(askFlags(),
			outputFlag("table", "json"),
			&cli.StringFlag{Name: "tenant", Aliases: []string{"t"}, Usage: "only this `TENANT`"},
		),
		Action: func(ctx context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			format, err := output(c, "table", "json")
			if err != nil {
				return err
			}
			s, err := askStatus(ctx, c)
			if err != nil {
				return err
			}
			s = only(s, c.String("tenant"))
			if format == "json" {
				return printJSON(a.out, s)
			}
			return printStatus(a.out, s, time.Now())
		},
	}
}

// outputFlag is --output; the first choice is the default.
func outputFlag(choices ...string) cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: choices[0], Usage: strings.Join(choices, " or ")}
}

// output is what --output asks for.
func output(c *cli.Command, choices ...string) (string, error) {
	if o := c.String("output"); slices.Contains(choices, o) {
		return o, nil
	}
	return "", usage("output: %s", strings.Join(choices, " or "))
}

func askStatus(ctx context.Context, c *cli.Command) (operator.Status, error) {
	body, code, err := ask(ctx, c, "/api/v1/status")
	if err != nil {
		return operator.Status{}, err
	}
	if code != http.StatusOK {
		return operator.Status{}, fmt.Errorf("skep answered %d %s", code, http.StatusText(code))
	}
	var s operator.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return operator.Status{}, fmt.Errorf("the answer is not skep's: %w", err)
	}
	return s, nil
}

// only is s without the other tenants; "" keeps all.
func only(s operator.Status, tenant string) operator.Status {
	if tenant == "" {
		return s
	}
	s.Tenants = keep(s.Tenants, func(t operator.TenantStatus) bool { return t.Tenant == tenant })
	s.Stacks = keep(s.Stacks, func(t operator.StackStatus) bool { return t.Tenant == tenant })
	s.Orphans = keep(s.Orphans, func(o operator.Orphan) bool { return o.Tenant == tenant })
	return s
}

func keep[T any](list []T, wanted func(T) bool) []T {
	out := []T{}
	for _, v := range list {
		if wanted(v) {
			out = append(out, v)
		}
	}
	return out
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printStatus is the status for people.
func printStatus(w io.Writer, s operator.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = oneLine(cells[i]) // names that were refused may hold anything
		}
		fmt.Fprintln(t, printable(strings.Join(cells, "\t")))
	}
	if s.Config != "" {
		row("configuration refused, the former one is followed: " + oneLine(s.Config))
	}
	if s.Swarm != "" {
		row("swarm not readable: " + oneLine(s.Swarm))
	}
	for _, p := range s.Peers {
		if p.LastError != "" {
			row("Alertmanager " + p.URL + ", last told " + ago(p.LastOK, now) + ": " + oneLine(p.LastError))
		}
	}
	row("TENANT", "REF", "COMMIT", "LAST LOOK", "NEXT LOOK", "STATE")
	for _, n := range s.Tenants {
		row(n.Tenant, dash(n.Ref), short(n.Commit), ago(n.LastLook, now), ahead(n.NextLook, now), state("ok", n.Reason, n.Cause, n.Message))
	}
	row("")
	row("STACK", "TENANT", "SYNC", "HEALTH", "COMMIT", "DEPLOYED", "SERVICES", "STATE")
	for _, n := range s.Stacks {
		if n.Stack == "" {
			continue // the tenant's own line tells it
		}
		row(n.Stack, n.Tenant, string(n.Sync), n.Health, short(n.Commit), short(n.Deployed), services(n.Services), stackState(n))
	}
	for _, o := range s.Orphans {
		row(o.Stack, o.Tenant, "-", "-", "-", "-", "-", "orphan: its tenant is not configured; it keeps running")
	}
	return t.Flush()
}

func stackState(s operator.StackStatus) string {
	fine := "ok"
	switch {
	case s.Sync == operator.SyncUnknown:
		fine = "not known yet"
	case s.Sync != operator.Synced || s.Health != "healthy":
		fine = "on its way"
	}
	text := state(fine, s.Reason, s.Cause, s.Message)
	if len(s.Drift) > 0 {
		text += "; differs and is left: " + strings.Join(s.Drift, ", ")
	}
	if s.Frozen != nil {
		text += "; frozen by " + s.Frozen.By + ": " + s.Frozen.Reason
	}
	if s.Pinned != nil {
		text += "; pinned at " + short(s.Pinned.Commit) + " by " + s.Pinned.By + ": " + s.Pinned.Reason
	}
	return text
}

// state is the reason with its cause and message, or the word for none.
func state(fine string, r operator.Reason, cause, message string) string {
	switch {
	case r == "" && message == "":
		return fine
	case r == "":
		return oneLine(message)
	case cause == "":
		return string(r) + ": " + oneLine(message)
	default:
		return string(r) + " (" + cause + "): " + oneLine(message)
	}
}

// services is how many tasks run of those that should.
func services(list []operator.ServiceStatus) string {
	var running, desired uint64
	for _, s := range list {
		running, desired = running+s.Running, desired+s.Desired
	}
	return fmt.Sprintf("%d/%d", running, desired)
}

func short(commit string) string {
	if len(commit) > 8 {
		return commit[:8]
	}
	return dash(commit)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return max(now.Sub(t), 0).Round(time.Second).String() + " ago"
}

func ahead(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return "in " + max(t.Sub(now), 0).Round(time.Second).String()
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// printable is s without what could make a terminal do something: commit
// messages and file names come from tenants.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}
