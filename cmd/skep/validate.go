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
			found, err := look(c.StringSlice("stacks"))
			if err != nil {
				return err
			}
			return a.validate(t, found)
		},
	}
}

// found are the stacks to look at.
type found struct {
	stacks []stack.Definition
	alone  bool // one folder of a tenant, it may be: of the others nothing is known
	more   int  // stacks in folders below, which are not among them
}

// validate says all there is to say about stacks.
func (a app) validate(t *tree, f found) error {
	bad := 0
	for _, list := range t.allFindings(f) {
		for _, f := range list {
			fmt.Fprintln(a.out, t.shown(f))
		}
		if failed(list) {
			bad++
		}
	}
	hint := ""
	if f.more > 0 {
		hint = fmt.Sprintf("; %d more in folders below: --stacks '*' looks at them too", f.more)
	}
	fmt.Fprintf(a.err, "%d stacks, %d with errors%s\n", len(f.stacks), bad, hint)
	if bad > 0 {
		return &exitError{code: exitFailed}
	}
	return nil
}

// allFindings are those of each stack alone, then those that it has with the others.
func (t *tree) allFindings(f found) [][]stack.Finding {
	specs, lists := make([]stack.Spec, len(f.stacks)), make([][]stack.Finding, len(f.stacks))
	wishes := map[string]stack.Wishes{}
	for i, d := range f.stacks {
		specs[i], lists[i] = t.findings(d)
		wishes[d.Name] = specs[i].Wishes
	}
	for i, more := range stack.Together(specs) {
		lists[i] = append(lists[i], more...)
	}
	if f.alone {
		return lists
	}
	faults := stack.CheckOrder(wishes, t.options.Prefix)
	for i, d := range f.stacks {
		if fault, bad := faults[d.Name]; bad {
			lists[i] = append(lists[i], fault)
		}
	}
	return lists
}

// stacks is the stack in the folder; where it holds none, those below it.
func (t *tree) stacks(globs []string) (found, error) {
	d, ok, err := t.one()
	if err != nil {
		return found{}, err
	}
	if ok {
		below, err := t.below(globs)
		if err != nil {
			return found{}, err
		}
		others := keep(below, func(b stack.Definition) bool { return b.Dir != d.Dir })
		return found{stacks: []stack.Definition{d}, alone: true, more: len(others)}, nil
	}
	return t.some(globs)
}

// some are the stacks that globs name; none is an error.
func (t *tree) some(globs []string) (found, error) {
	if t.name != "" {
		return found{}, usage("name: is for one stack, and %s holds no stack file", t.dir)
	}
	stacks, err := t.below(globs)
	if err != nil {
		return found{}, err
	}
	if len(stacks) == 0 {
		return found{}, fmt.Errorf("%s: no stack file there or in a folder that matches %v (stack, docker-stack, compose or docker-compose, .yaml or .yml)", t.base, globs)
	}
	return found{stacks: stacks}, nil
}
