package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// Labels that docker stack deploy writes, so that docker stack ls, ps and services show skep's stacks.
const (
	labelNamespace = "com.docker.stack.namespace"
	labelImage     = "com.docker.stack.image"
)

// reservedName starts the names and labels that are skep's own.
const reservedName = "skep."

// convert maps a loaded stack to Swarm objects and checks every limit that can
// be known before the first write. It reads m and changes nothing of it. The
// error is a *RenderError that holds all findings, not only the first.
func convert(m *model, o Options) (Spec, error) {
	c := &converter{m: m, api: parseAPI(o.API)}
	for _, f := range m.findings {
		c.report.add(f)
	}
	c.checkAPI(o.API)
	c.checkKeys()
	spec := Spec{Tenant: m.def.Tenant, Name: m.def.Name, Wishes: m.wishes, Taint: m.taint}
	spec.Services = c.services()
	spec.Networks = c.networks()
	spec.Secrets = c.secrets()
	spec.Configs = c.configs()
	c.checkStack(spec)
	findings := c.report.sorted(m.taint)
	if c.report.errors > 0 {
		return Spec{}, &RenderError{Tenant: m.def.Tenant, Stack: m.def.Name, Findings: findings}
	}
	spec.Warnings = findings
	return spec, nil
}

// converter is one run of convert: the model, the engine's API and what was found so far.
type converter struct {
	m      *model
	api    int // minor version; every newer feature is off
	report report
}

// errorf says why the stack can't be deployed. service may be empty.
func (c *converter) errorf(service, path, format string, args ...any) {
	c.add(Error, service, path, fmt.Sprintf(format, args...))
}

// warnf says what Swarm will not honour.
func (c *converter) warnf(service, path, format string, args ...any) {
	c.add(Warning, service, path, fmt.Sprintf(format, args...))
}

// add: the report takes tainted values out at the end.
func (c *converter) add(s Severity, service, path, text string) {
	c.report.add(Finding{Position: c.at(path), Severity: s, Service: service, Key: path, Text: path + ": " + text})
}

// at is the place of a compose path, or of its nearest known parent.
func (c *converter) at(path string) Position {
	if c.m.at == nil {
		return Position{}
	}
	return c.m.at(path)
}

// scoped is the name that docker stack deploy gives to an object of this stack.
func (c *converter) scoped(key string) string { return c.m.def.Name + "_" + key }

// nameOf is an object's name in the swarm: that of an external one, the literal
// `name:`, or the scoped key. kind is networks, volumes, secrets or configs.
func (c *converter) nameOf(kind, key, name string, external bool) string {
	switch {
	case external && name == "":
		return key
	case external, c.m.literal[kind+"."+key]:
		return name
	}
	return c.scoped(key)
}

// labels is a copy of the tenant's labels with the namespace label added.
// Labels that skep or docker write themselves are findings.
func (c *converter) labels(service, path string, from map[string]string) map[string]string {
	out := make(map[string]string, len(from)+1)
	for _, k := range sortedKeys(from) {
		switch {
		case strings.HasPrefix(k, reservedName):
			c.errorf(service, path, "label %q is refused: labels that start with %q are skep's own", k, reservedName)
		case k == labelNamespace, k == labelImage:
			c.warnf(service, path, "label %q is written by skep: the value here is ignored", k)
		}
		out[k] = from[k]
	}
	out[labelNamespace] = c.m.def.Name
	return out
}

// services converts every service that is on, sorted by key.
func (c *converter) services() []Service {
	var out []Service
	for _, key := range sortedKeys(c.m.project.Services) {
		s := &scope{converter: c, key: key, path: "services." + key, svc: c.m.project.Services[key], dict: c.serviceDict(key)}
		out = append(out, s.service())
	}
	c.checkCycles(out)
	return out
}

// serviceDict is a service as it stood before types.Project; nil where unknown.
func (c *converter) serviceDict(key string) map[string]any {
	d, _ := dig(c.m.dict, "services", key).(map[string]any)
	return d
}

// driver is a *swarm.Driver of that name, nil for none.
func driver(name string, options map[string]string) *swarm.Driver {
	if name == "" {
		return nil
	}
	return &swarm.Driver{Name: name, Options: maps.Clone(options)}
}

// dig follows keys into nested maps; nil where one is missing.
func dig(v any, keys ...string) any {
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

func sortedKeys[M ~map[string]V, V any](m M) []string { return slices.Sorted(maps.Keys(m)) }
