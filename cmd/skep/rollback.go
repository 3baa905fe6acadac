package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
)

// commitShape is a whole hash (SHA-1 or SHA-256), or at least seven digits of one.
var commitShape = regexp.MustCompile(`^[0-9a-f]{7,64}$`)

func (a app) rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "deploy an earlier commit of a stack and hold it there",
		ArgsUsage: "STACK [COMMIT]",
		Description: "Without COMMIT it is the last one of the history that ran well before the one that runs. The stack stays there\n" +
			"until skep unpin, or with --until-next until the repository asks for another commit.",
		Flags: swarmFlags(append(whyFlags(),
			&cli.BoolFlag{Name: "until-next", Usage: "only until the repository's next commit"})...),
		Action: func(ctx context.Context, c *cli.Command) error {
			d, err := a.deed(c)
			if err != nil {
				return err
			}
			words, err := arguments(c, 1, 2)
			if err != nil {
				return err
			}
			return a.rollback(ctx, c, d, append(words, "")[:2])
		},
	}
}

func (a app) rollback(ctx context.Context, c *cli.Command, d deed, words []string) error {
	h, err := a.open(ctx, c)
	if err != nil {
		return err
	}
	defer h.docker.Close()
	m, err := h.stack(words[0])
	if err != nil {
		return err
	}
	commit, err := earlier(m, words[1])
	if err != nil {
		return err
	}
	m.Pinned = &deploy.Pinned{Commit: commit, By: d.by, Reason: d.reason, Since: now()}
	end := "skep unpin " + m.Stack
	if c.Bool("until-next") {
		t, err := h.tenant(m.Tenant)
		if err != nil {
			return err
		}
		if m.Pinned.UntilNext = operator.Asked(t); m.Pinned.UntilNext == "" {
			return fmt.Errorf("what the repository of %s asks for is not known yet: without --until-next, or try again once skep has looked at it", m.Tenant)
		}
		end = "the repository's next commit"
	}
	if _, err := deploy.WriteHolds(ctx, h.docker, m); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s goes to %s and stays there until %s\n", m.Stack, short(commit), end)
	return err
}

// earlier is the commit to go back to: the one that is asked for, whole where the
// history knows it, or the last good one before what runs.
func earlier(m deploy.Memory, asked string) (string, error) {
	history := operator.History(m)
	if asked == "" {
		runs := operator.Runs(m)
		for i := len(history) - 1; i >= 0; i-- {
			if e := history[i]; e.Result == "deployed" && e.Commit != runs {
				return e.Commit, nil
			}
		}
		return "", fmt.Errorf("the history of %s holds no earlier commit that ran well: name one (skep history %s)", m.Stack, m.Stack)
	}
	asked = strings.ToLower(asked)
	if !commitShape.MatchString(asked) {
		return "", usage("%q is not a commit: at least 7 digits of its hash", asked)
	}
	for _, e := range history {
		if strings.HasPrefix(e.Commit, asked) {
			return e.Commit, nil
		}
	}
	if len(asked) != 40 && len(asked) != 64 {
		return "", fmt.Errorf("the history of %s holds no commit %s: give its whole hash", m.Stack, asked)
	}
	return asked, nil
}

func (a app) unpinCommand() *cli.Command {
	return &cli.Command{
		Name:      "unpin",
		Usage:     "let a stack that was rolled back follow git again",
		ArgsUsage: "STACK",
		Flags:     swarmFlags(),
		Action: func(ctx context.Context, c *cli.Command) error {
			return a.onStack(ctx, c, func(_ *hive, m *deploy.Memory) (string, error) {
				if m.Pinned == nil {
					return "", fmt.Errorf("%s is not pinned", m.Stack)
				}
				m.Pinned = nil
				return m.Stack + " follows git again", nil
			})
		},
	}
}
