package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/client"
	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/deploy"
)

// swarmFlags are those of the verbs that act on the swarm itself. They need no
// running skep: the operator learns of what they did from the swarm.
func swarmFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		configFlag(),
		&cli.StringFlag{Name: "instance", Usage: "`NAME` of the instance (default: that of the configuration, if there is one, else default)"},
	}, more...)
}

// whyFlags are those of the verbs that a person answers for.
func whyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "reason", Aliases: []string{"r"}, Usage: "why, for everybody who looks at the stack; needed"},
		&cli.StringFlag{Name: "by", Usage: "`NAME` of who does it (default: this machine's user)"},
	}
}

// deed is who does something, and why.
type deed struct{ by, reason string }

// deed reads --by and --reason; the reason must be given.
func (a app) deed(c *cli.Command) (deed, error) {
	d := a.doer(c)
	d.reason = strings.TrimSpace(c.String("reason"))
	if d.reason == "" {
		return d, usage("reason: missing; say why (--reason TEXT)")
	}
	return d, nil
}

func (a app) doer(c *cli.Command) deed {
	for _, name := range []string{c.String("by"), a.getenv("SUDO_USER"), a.getenv("USER")} {
		if name != "" {
			return deed{by: name}
		}
	}
	return deed{by: "unknown"}
}

// hive is the swarm as a verb found it.
type hive struct {
	docker   *client.Client
	instance string
	tenants  []string // of the configuration, if there is one
	live     deploy.Live
}

// open looks at the swarm once. The caller closes hive.docker.
func (a app) open(ctx context.Context, c *cli.Command) (*hive, error) {
	h := &hive{instance: c.String("instance")}
	conf, err := readConfig(c.String("config"))
	switch {
	case err == nil:
		for _, t := range conf.Tenants {
			h.tenants = append(h.tenants, t.Name)
		}
		if h.instance == "" {
			h.instance = conf.Instance
		}
	case c.IsSet("config"):
		return nil, err
	case h.instance == "":
		h.instance = "default"
	}
	if h.docker, err = deploy.Connect(a.getenv); err != nil {
		return nil, err
	}
	h.live, err = deploy.Observe(ctx, h.docker, deploy.LookOptions{Instance: h.instance})
	if err != nil {
		h.docker.Close()
		return nil, err
	}
	return h, nil
}

// stack is the memory of a stack of the instance; one that has none yet gets an
// empty one, which writing creates.
func (h *hive) stack(name string) (deploy.Memory, error) {
	known := []string{}
	for _, m := range h.live.Memories {
		if m.Stack == name {
			return m, nil
		}
		if m.Stack != "" {
			known = append(known, m.Stack)
		}
	}
	for i := range h.live.Services {
		l := deploy.OwnerLabels(&h.live.Services[i])
		if l[deploy.LabelInstance] != h.instance || l[deploy.LabelTenant] == "" {
			continue
		}
		if l[deploy.LabelNamespace] == name {
			return deploy.Memory{Instance: h.instance, Tenant: l[deploy.LabelTenant], Stack: name}, nil
		}
		known = append(known, l[deploy.LabelNamespace])
	}
	slices.Sort(known)
	if known = slices.Compact(known); len(known) == 0 {
		return deploy.Memory{}, fmt.Errorf("no stack %q: instance %q has none in this swarm", name, h.instance)
	}
	return deploy.Memory{}, fmt.Errorf("no stack %q in instance %q; there are: %s", name, h.instance, strings.Join(known, ", "))
}

// tenant is the memory of a tenant as a whole.
func (h *hive) tenant(name string) (deploy.Memory, error) {
	known := slices.Contains(h.tenants, name)
	for _, m := range h.live.Memories {
		if m.Tenant != name {
			continue
		}
		if m.Stack == "" {
			return m, nil
		}
		known = true
	}
	if !known {
		return deploy.Memory{}, fmt.Errorf("no tenant %q in instance %q", name, h.instance)
	}
	return deploy.Memory{Instance: h.instance, Tenant: name}, nil
}

// onStack runs a verb that takes one STACK and writes what is held of it.
func (a app) onStack(ctx context.Context, c *cli.Command, change func(*hive, *deploy.Memory) (string, error)) error {
	words, err := arguments(c, 1, 1)
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
	said, err := change(h, &m)
	if err != nil {
		return err
	}
	if _, err := deploy.WriteHolds(ctx, h.docker, m); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, printable(said))
	return err
}
