package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/operator"
)

// restartTries is how often a verb tries again where somebody else wrote at the
// same time.
const restartTries = 5

func (a app) restartCommand() *cli.Command {
	return &cli.Command{
		Name:        "restart",
		Usage:       "replace the tasks of a stack, or of one of its services",
		ArgsUsage:   "STACK[/SERVICE]",
		Description: "As the service's update_config says, and once: it is no drift, and the stack's history tells it.",
		Flags:       swarmFlags(whyFlags()...),
		Action: func(ctx context.Context, c *cli.Command) error {
			d, err := a.deed(c)
			if err != nil {
				return err
			}
			words, err := arguments(c, 1, 1)
			if err != nil {
				return err
			}
			name, service, one := strings.Cut(words[0], "/")
			if name == "" || one && service == "" {
				return usage("%q: must be STACK or STACK/SERVICE", words[0])
			}
			h, err := a.open(ctx, c)
			if err != nil {
				return err
			}
			defer h.docker.Close()
			return a.restart(ctx, h, name, service, d)
		},
	}
}

func (a app) restart(ctx context.Context, h *hive, name, service string, d deed) error {
	m, err := h.stack(name)
	if err != nil {
		return err
	}
	list, err := h.services(name, service)
	if err != nil {
		return err
	}
	began := now()
	var changes []string
	var errs []error
	for _, s := range list {
		if err := deploy.Restart(ctx, h.docker, s); err != nil {
			errs = append(errs, err)
			continue
		}
		changes = append(changes, "services."+strings.TrimPrefix(s.Spec.Name, name+"_"))
		fmt.Fprintf(a.out, "%s restarts\n", s.Spec.Name)
	}
	if len(changes) > 0 {
		e := operator.Entry{Time: began, Commit: operator.Good(m), Author: d.by, Trigger: "restart", Result: "restarted", Changes: changes, Text: d.reason}
		errs = append(errs, h.remember(ctx, m, e))
	}
	return errors.Join(errs...)
}

// services are those of a stack of ours, by name; service "" is all.
func (h *hive) services(stack, service string) ([]swarm.Service, error) {
	var out []swarm.Service
	var known []string
	for _, s := range h.live.Services {
		l := deploy.OwnerLabels(&s)
		if l[deploy.LabelNamespace] != stack || l[deploy.LabelInstance] != h.instance {
			continue
		}
		key := strings.TrimPrefix(s.Spec.Name, stack+"_")
		known = append(known, key)
		if service == "" || key == service {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		slices.Sort(known)
		return nil, fmt.Errorf("no service %q in stack %q; there are: %s", service, stack, strings.Join(known, ", "))
	}
	return out, nil
}

// remember adds an entry to a stack's history. The operator may write it at the
// same time; then the memory is read again.
func (h *hive) remember(ctx context.Context, m deploy.Memory, e operator.Entry) error {
	for try := 0; ; try++ {
		_, err := deploy.WriteMemory(ctx, h.docker, operator.Remembered(m, e))
		if err == nil || !errors.Is(err, deploy.ErrStale) || try == restartTries {
			return err
		}
		all, err := deploy.ReadMemories(ctx, h.docker, h.instance)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(all, func(o deploy.Memory) bool { return o.Stack == m.Stack }); i >= 0 {
			m = all[i]
		}
	}
}
