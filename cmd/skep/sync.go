package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v3"
	"golang.org/x/term"

	"github.com/skep-gitops/skep/operator"
)

func (a app) syncCommand() *cli.Command {
	return &cli.Command{
		Name:        "sync",
		Usage:       "bring the stacks to what git asks, once, for cron, CI and timers",
		Description: "Exit code 0: all is as git asks (with --wait: and runs); 1: something is not.",
		Flags: []cli.Flag{
			configFlag(),
			&cli.BoolFlag{Name: "once", Usage: "needed: one pass, then the end"},
			&cli.StringFlag{Name: "tenant", Aliases: []string{"t"}, Usage: "only this `TENANT`"},
			&cli.BoolFlag{Name: "wait", Usage: "until what was written runs, or failed to"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Minute, Usage: "how long at most"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			if _, err := arguments(c, 0, 0); err != nil {
				return err
			}
			if !c.Bool("once") {
				return usage("sync: say --once; skep run follows the repositories for good")
			}
			ctx, cancel := context.WithTimeout(ctx, c.Duration("timeout"))
			defer cancel()
			return a.sync(ctx, c)
		},
	}
}

func (a app) sync(ctx context.Context, c *cli.Command) error {
	op, release, err := a.operator(c.String("config"), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer release()
	p := progress(a.out)
	s, err := op.Once(ctx, c.String("tenant"), c.Bool("wait"), p.saw)
	p.end()
	if err != nil {
		return err
	}
	if bad := a.told(s, c.Bool("wait")); bad > 0 {
		return &exitError{exitFailed, fmt.Sprintf("not as git asks: %d", bad)}
	}
	return nil
}

// told prints how each stack came out and counts those that are not as git asks.
func (a app) told(s operator.Status, wait bool) int {
	bad := 0
	for _, t := range s.Tenants {
		if t.Reason != "" {
			bad++
			fmt.Fprintf(a.out, "tenant %s: %s\n", t.Tenant, printable(state("", t.Reason, t.Cause, t.Message)))
		}
	}
	for _, k := range s.Stacks {
		if k.Stack == "" {
			continue // the tenant's own line told it
		}
		if !fine(k, wait) {
			bad++
		}
		fmt.Fprintf(a.out, "stack %s: %s, %s, %s at %s: %s\n", k.Stack, k.Sync, k.Health, services(k.Services), short(k.Commit), printable(stackState(k)))
	}
	return bad
}

// fine says whether a stack is as git asks, or deliberately is not.
func fine(k operator.StackStatus, wait bool) bool {
	held := k.Frozen != nil || k.Pinned != nil || len(k.Drift) > 0
	return k.Reason == "" && (k.Sync == operator.Synced || held) && (!wait || k.Health == "healthy")
}

// watcher shows a pass while it is made.
type watcher interface {
	saw(operator.StackStatus)
	end()
}

// progress is a bar on a terminal, and plain lines elsewhere.
func progress(w io.Writer) watcher {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &bar{out: f, stacks: map[string]operator.StackStatus{}}
	}
	return lines{w}
}

// lines prints a line for each change.
type lines struct{ out io.Writer }

func (l lines) saw(k operator.StackStatus) {
	if k.Stack == "" {
		return // the end tells of tenants
	}
	fmt.Fprintf(l.out, "%s %s: %s, %s, %s: %s\n", now().Format(time.TimeOnly), k.Stack, k.Sync, k.Health, services(k.Services), printable(stackState(k)))
}

func (l lines) end() {}

// bar counts the tasks that run of those that should, and names a service that
// is not there yet.
type bar struct {
	out    *os.File
	stacks map[string]operator.StackStatus
	bar    *progressbar.ProgressBar
}

func (b *bar) saw(k operator.StackStatus) {
	b.stacks[k.Tenant+"/"+k.Stack] = k
	var running, desired uint64
	waiting := ""
	for _, s := range b.stacks {
		for _, v := range s.Services {
			running, desired = running+min(v.Running, v.Desired), desired+v.Desired
			if v.Running < v.Desired {
				waiting = s.Stack + "/" + v.Name
			}
		}
	}
	if desired == 0 {
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(int64(desired), progressbar.OptionSetWriter(b.out), progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(false), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	}
	b.bar.ChangeMax64(int64(desired))
	b.bar.Describe(printable(waiting))
	if running < desired { // a full bar is at its end and takes no more
		_ = b.bar.Set64(int64(running)) // a terminal that cannot be written is nobody's concern here
	}
}

func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Finish() // as above
	}
}
