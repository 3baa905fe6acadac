package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/urfave/cli/v3"
	"go.yaml.in/yaml/v4"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/stack"
)

func (a app) renderCommand() *cli.Command {
	return &cli.Command{
		Name:      "render",
		Usage:     "print the Swarm objects that one stack asks for",
		ArgsUsage: "DIR",
		Description: "Needs neither Docker nor skep.yml. Field names are those of the Docker API. Data of secrets, and all that came\n" +
			"from an encrypted file, is not shown. Names of secrets and configs end in zeros: the real ones need the swarm's key.",
		DisableSliceFlagSeparator: true,
		Flags:                     append(treeFlags(), outputFlag("json", "yaml")),
		Action: func(_ context.Context, c *cli.Command) error {
			format, err := output(c, "json", "yaml")
			if err != nil {
				return err
			}
			t, err := openTree(c)
			if err != nil {
				return err
			}
			defer t.close()
			return a.render(t, format)
		},
	}
}

func (a app) render(t *tree, format string) error {
	d, ok, err := t.one()
	if err != nil {
		return err
	}
	if !ok {
		return usage("%s: no stack file there; skep validate looks at every stack below a folder", t.dir)
	}
	spec, found := t.findings(d)
	for _, f := range found {
		fmt.Fprintln(a.err, t.shown(f))
	}
	if failed(found) {
		return &exitError{code: exitFailed}
	}
	shown, err := shownSpec(spec)
	if err != nil {
		return err
	}
	if format == "yaml" {
		return printYAML(a.out, shown)
	}
	return printJSON(a.out, shown)
}

// rendered is what render prints: plain JSON values without anything tainted.
type rendered struct {
	Name     string `json:"name"`
	Networks any    `json:"networks"`
	Secrets  any    `json:"secrets"`
	Configs  any    `json:"configs"`
	Services any    `json:"services"`
}

type shownNetwork struct {
	Name string
	network.CreateOptions
}

// shownObject is a secret or config with the field names of the Docker API.
// Data is the content of a plain config, else a text that tells its size.
type shownObject struct {
	Name       string
	Labels     map[string]string `json:",omitempty"`
	Data       any               `json:",omitempty"`
	Driver     *swarm.Driver     `json:",omitempty"`
	Templating *swarm.Driver     `json:",omitempty"`
}

// shownSpec is a spec as render prints it.
func shownSpec(spec stack.Spec) (rendered, error) {
	offline := deploy.Offline(spec)
	out := rendered{Name: spec.Name}
	for _, part := range []struct {
		to   *any
		from any
	}{
		{&out.Networks, shownNetworks(offline)},
		{&out.Secrets, shownSecrets(offline)},
		{&out.Configs, shownConfigs(offline)},
		{&out.Services, shownServices(offline)},
	} {
		v, err := redacted(part.from, spec.Taint)
		if err != nil {
			return rendered{}, err
		}
		*part.to = v
	}
	return out, nil
}

func shownNetworks(spec stack.Spec) []shownNetwork {
	out := []shownNetwork{}
	for _, n := range spec.Networks {
		if !n.External {
			out = append(out, shownNetwork{n.Name, n.Create})
		}
	}
	return out
}

func shownSecrets(spec stack.Spec) []shownObject {
	out := []shownObject{}
	for _, s := range spec.Secrets {
		if s.External {
			continue
		}
		o := shownObject{Name: s.Name, Labels: s.Labels, Driver: s.Driver, Templating: s.Templating}
		if s.Driver == nil {
			o.Data = s.Data
		}
		out = append(out, o)
	}
	return out
}

func shownConfigs(spec stack.Spec) []shownObject {
	out := []shownObject{}
	for _, c := range spec.Configs {
		if c.External {
			continue
		}
		o := shownObject{Name: c.Name, Labels: c.Labels, Data: []byte(c.Data), Templating: c.Templating}
		if c.Tainted {
			o.Data = c.Data
		}
		out = append(out, o)
	}
	return out
}

func shownServices(spec stack.Spec) []swarm.ServiceSpec {
	out := []swarm.ServiceSpec{}
	for _, s := range spec.Services {
		out = append(out, s.Spec)
	}
	return out
}

// redacted is v as plain JSON values without what the taint holds.
func redacted(v any, taint stack.Taint) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	return redactValue(plain, taint), nil
}

func redactValue(v any, taint stack.Taint) any {
	switch v := v.(type) {
	case string:
		return taint.Redact(v)
	case []any:
		for i := range v {
			v[i] = redactValue(v[i], taint)
		}
		return v
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[taint.Redact(k)] = redactValue(e, taint)
		}
		return out
	default:
		return v
	}
}

// findingsOf is what a failed render has to say.
func findingsOf(err error, d stack.Definition) []stack.Finding {
	var e *stack.RenderError
	if errors.As(err, &e) {
		return e.Findings
	}
	return []stack.Finding{{Position: stack.Position{File: d.Dir}, Severity: stack.Error, Text: err.Error()}}
}

// printYAML prints plain JSON values as YAML.
func printYAML(w interface{ Write([]byte) (int, error) }, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var n yaml.Node // JSON is YAML: the node keeps numbers as they are written
	if err := yaml.Unmarshal(b, &n); err != nil {
		return err
	}
	block(&n)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&n); err != nil {
		return err
	}
	return e.Close()
}

// block takes JSON's style from a document, so that it reads as YAML does.
func block(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		block(c)
	}
}
