package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
)

func (a app) pruneCommand() *cli.Command {
	return group("prune", "allow deletions that wait for a person", a.pruneConfirmCommand())
}

func (a app) pruneConfirmCommand() *cli.Command {
	return &cli.Command{
		Name:        "confirm",
		Usage:       "allow exactly the deletions that one commit asks for",
		ArgsUsage:   "TENANT",
		Description: "skep status, and the alert SkepPruneBlocked, tell what waits and for which commit.",
		Flags: swarmFlags(
			&cli.StringFlag{Name: "commit", Usage: "the `HASH` of the commit, or at least seven digits of it; needed"},
			&cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: "why"},
			&cli.StringFlag{Name: "by", Usage: "`NAME` of who does it (default: this machine's user)"}),
		Action: func(ctx context.Context, c *cli.Command) error {
			words, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			commit := strings.ToLower(c.String("commit"))
			if !commitShape.MatchString(commit) {
				return usage("commit: must be at least 7 digits of a commit's hash")
			}
			d := a.doer(c)
			d.reason = c.String("reason")
			h, err := a.open(ctx, c)
			if err != nil {
				return err
			}
			defer h.docker.Close()
			return a.confirm(ctx, h, words[0], commit, d)
		},
	}
}

// confirm writes the word of a person into the tenant's memory, where a pin has
// this meaning, and says which stacks it is known to allow.
func (a app) confirm(ctx context.Context, h *hive, tenant, commit string, d deed) error {
	m, err := h.tenant(tenant)
	if err != nil {
		return err
	}
	m.Pinned = &deploy.Pinned{Commit: commit, By: d.by, Reason: d.reason, Since: now()}
	if _, err := deploy.WriteHolds(ctx, h.docker, m); err != nil {
		return err
	}
	allowed := keep(h.live.Memories, func(m deploy.Memory) bool {
		at, _ := operator.Blocked(m)
		return m.Tenant == tenant && m.Stack != "" && strings.HasPrefix(at, commit)
	})
	fmt.Fprintf(a.out, "%s: the deletions of commit %s are allowed\n", tenant, short(commit))
	if len(allowed) == 0 {
		fmt.Fprintln(a.out, "  no whole stack is known to wait for it: see skep status")
	}
	for _, m := range allowed {
		fmt.Fprintf(a.out, "  %s will be removed\n", m.Stack)
	}
	return nil
}
