package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/stack"
)

func (a app) validateCommand() *cli.Command {
	return &cli.Command{
		Name:      "validate",
		Usage:     "tell what is wrong with one stack, or with every stack below a folder",
		ArgsUsage: "DIR",
		Description: "Needs neither Docker nor skep.yml. Prints file:line: severity: text for each finding.\n" +
			"Exit code 0: no error; 1: errors; 2: wrong usage.",
		DisableSliceFlagSeparator: true,
		Flags: append(treeFlags(),
			&cli.StringSliceFlag{Name: "stacks", Value: []string{"*"}, Usage: "`GLOB` of the folders below DIR that may be stacks; may be repeated"},
		),
		Action: func(_ context.Context, c *cli.Command) error {
			t, err := openTree(c)
			if err != nil {
				return err
			}
			defer t.close()
			return a.validate(t, c.StringSlice("stacks"))
		},
	}
}

func (a app) validate(t *tree, globs []string) error {
	stacks, err := t.stacks(globs)
	if err != nil {
		return err
	}
	specs, lists := make([]stack.Spec, len(stacks)), make([][]stack.Finding, len(stacks))
	for i, d := range stacks {
		specs[i], lists[i] = t.findings(d)
	}
	bad := 0
	for i, more := range stack.Together(specs) {
		found := append(lists[i], more...)
		for _, f := range found {
			fmt.Fprintln(a.out, t.shown(f))
		}
		if failed(found) {
			bad++
		}
	}
	fmt.Fprintf(a.err, "%d stacks, %d with errors\n", len(stacks), bad)
	if bad > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// stacks is the stack in the folder, else those below it; none is an error.
func (t *tree) stacks(globs []string) ([]stack.Definition, error) {
	d, ok, err := t.one()
	if err != nil {
		return nil, err
	}
	if ok {
		return []stack.Definition{d}, nil
	}
	if t.name != "" {
		return nil, usage("name: is for one stack, and %s holds no stack file", t.dir)
	}
	found, err := t.below(globs)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no stack file there or in a folder that matches %v (stack, docker-stack, compose or docker-compose, .yaml or .yml)", t.base, globs)
	}
	return found, nil
}
