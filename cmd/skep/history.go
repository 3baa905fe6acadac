package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/operator"
)

func (a app) historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "show what was deployed of a stack, newest first",
		ArgsUsage: "STACK",
		Flags:     swarmFlags(outputFlag("table", "json")),
		Action: func(ctx context.Context, c *cli.Command) error {
			words, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			format, err := output(c, "table", "json")
			if err != nil {
				return err
			}
			h, err := a.open(ctx, c)
			if err != nil {
				return err
			}
			defer h.docker.Close()
			m, err := h.stack(words[0])
			if err != nil {
				return err
			}
			list := operator.History(m)
			if format == "json" {
				return printJSON(a.out, append([]operator.Entry{}, list...))
			}
			return printHistory(a.out, list)
		},
	}
}

func printHistory(w io.Writer, list []operator.Entry) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(t, printable(strings.Join(cells, "\t"))) }
	row("TIME", "COMMIT", "TRIGGER", "RESULT", "TOOK", "AUTHOR", "SUBJECT", "WHAT")
	for i := len(list) - 1; i >= 0; i-- {
		e := list[i]
		what := append([]string{}, e.Changes...)
		if e.Text != "" {
			what = append(what, e.Text)
		}
		row(e.Time.UTC().Format(time.RFC3339), short(e.Commit), e.Trigger, e.Result, e.Duration.Round(100*time.Millisecond).String(),
			dash(oneLine(e.Author)), dash(oneLine(e.Subject)), dash(oneLine(strings.Join(what, ", "))))
	}
	return t.Flush()
}
