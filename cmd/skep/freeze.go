package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
)

func (a app) freezeCommand() *cli.Command {
	return &cli.Command{
		Name:        "freeze",
		Usage:       "change nothing of a stack any more, but keep watching it",
		ArgsUsage:   "STACK",
		Description: "The freeze is kept in the swarm. It ends after --for, or with skep unfreeze.",
		Flags: swarmFlags(append(whyFlags(),
			&cli.DurationFlag{Name: "for", Usage: "how long, such as 2h (default: until unfreeze)"})...),
		Action: func(ctx context.Context, c *cli.Command) error {
			d, err := a.deed(c)
			if err != nil {
				return err
			}
			if c.IsSet("for") && c.Duration("for") <= 0 {
				return usage("for: must be a time such as 2h")
			}
			return a.onStack(ctx, c, func(_ *hive, m *deploy.Memory) (string, error) {
				m.Frozen = &deploy.Frozen{By: d.by, Reason: d.reason, Since: now()}
				if !c.IsSet("for") {
					return fmt.Sprintf("%s is frozen until skep unfreeze %s", m.Stack, m.Stack), nil
				}
				m.Frozen.Until = now().Add(c.Duration("for"))
				return fmt.Sprintf("%s is frozen until %s", m.Stack, m.Frozen.Until.Format(time.RFC3339)), nil
			})
		},
	}
}

func (a app) unfreezeCommand() *cli.Command {
	return &cli.Command{
		Name:      "unfreeze",
		Usage:     "let a frozen stack follow git again",
		ArgsUsage: "STACK",
		Flags:     swarmFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			return a.onStack(ctx, c, func(_ *hive, m *deploy.Memory) (string, error) {
				if m.Frozen == nil {
					return "", fmt.Errorf("%s is not frozen", m.Stack)
				}
				m.Frozen = nil
				return m.Stack + " follows git again", nil
			})
		},
	}
}

// now is the time as it is written into the swarm: whole seconds, the same everywhere.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
