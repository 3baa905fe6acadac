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
			"A stack right in DIR is looked at alone, unless --stacks asks for those below it too.\n" +
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
			look := t.stacks
			if c.IsSet("stacks") {
				look = t.some
			}
			stacks, more, err := look(c.StringSlice("stacks"))
			if err != nil {
				return err
			}
			return a.validate(t, stacks, more)
		},
	}
}

// validate says all there is to say about stacks; more is how many others there are.
func (a app) validate(t *tree, stacks []stack.Definition, more int) error {
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
	hint := ""
	if more > 0 {
		hint = fmt.Sprintf("; %d more in folders below: --stacks '*' looks at them too", more)
	}
	fmt.Fprintf(a.err, "%d stacks, %d with errors%s\n", len(stacks), bad, hint)
	if bad > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// stacks is the stack in the folder, and how many are below it beside; where it
// holds none, those below it.
func (t *tree) stacks(globs []string) (stacks []stack.Definition, more int, err error) {
	d, ok, err := t.one()
	if err != nil {
		return nil, 0, err
	}
	if ok {
		below, err := t.below(globs)
		if err != nil {
			return nil, 0, err
		}
		others := keep(below, func(b stack.Definition) bool { return b.Dir != d.Dir })
		return []stack.Definition{d}, len(others), nil
	}
	return t.some(globs)
}

// some are the stacks that globs name; none is an error. More there never are.
func (t *tree) some(globs []string) (stacks []stack.Definition, more int, err error) {
	if t.name != "" {
		return nil, 0, usage("name: is for one stack, and %s holds no stack file", t.dir)
	}
	found, err := t.below(globs)
	if err != nil {
		return nil, 0, err
	}
	if len(found) == 0 {
		return nil, 0, fmt.Errorf("%s: no stack file there or in a folder that matches %v (stack, docker-stack, compose or docker-compose, .yaml or .yml)", t.base, globs)
	}
	return found, 0, nil
}
