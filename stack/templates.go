package stack

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/template"
	syntax "text/template/parse"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// templateContext is what Swarm's templates may ask for (swarmkit: template/context.go).
type templateContext struct {
	Service struct {
		ID, Name string
		Labels   map[string]string
	}
	Node struct {
		ID, Hostname string
		Platform     struct{ Architecture, OS string }
	}
	Task struct{ ID, Name, Slot string }
}

// templateFuncs are swarmkit's own.
var templateFuncs = template.FuncMap{
	"join": func(s ...string) string { return strings.Join(s[1:], s[0]) },
}

// payloadFuncs are those of templated secrets and configs. A template with one of
// them is only parsed: what they give is known on the node alone.
var payloadFuncs = template.FuncMap{
	"secret": func(string) (string, error) { return "", nil },
	"config": func(string) (string, error) { return "", nil },
	"env":    func(string) (string, error) { return "", nil },
}

// expand does with a template what Swarm's manager does when it is given the
// service. What could cost more than its own length is only parsed.
func expand(text string) error {
	return execute(template.New("template").Option("missingkey=error").Funcs(templateFuncs), text)
}

func execute(t *template.Template, text string) (err error) {
	defer func() {
		if p := recover(); p != nil { // join without arguments panics in the agent too
			err = fmt.Errorf("%v", p)
		}
	}()
	if t, err = t.Parse(text); err != nil {
		return err
	}
	for _, part := range t.Templates() {
		if !bounded(part.Root) {
			return nil
		}
	}
	return t.Execute(io.Discard, &templateContext{})
}

// boundedFuncs give no more than they are given. Not among them: printf with its
// widths, and html, js and urlquery, which grow what they escape.
var boundedFuncs = map[string]bool{
	"join": true, "index": true, "len": true, "and": true, "or": true, "not": true,
	"eq": true, "ne": true, "lt": true, "le": true, "gt": true, "ge": true,
}

// bounded says that executing n costs no more than a few times its length: a
// tenant's {{range 1000000000}} must not stop the operator.
func bounded(n syntax.Node) bool {
	switch n := n.(type) {
	case *syntax.ListNode:
		return n == nil || all(n.Nodes, bounded)
	case *syntax.TextNode, *syntax.CommentNode, *syntax.FieldNode, *syntax.DotNode, *syntax.NilNode, *syntax.BoolNode, *syntax.NumberNode, *syntax.StringNode:
		return true
	case *syntax.ActionNode:
		return bounded(n.Pipe)
	case *syntax.PipeNode:
		return len(n.Decl) == 0 && all(n.Cmds, func(c *syntax.CommandNode) bool { return all(c.Args, bounded) })
	case *syntax.ChainNode:
		return bounded(n.Node)
	case *syntax.IdentifierNode:
		return boundedFuncs[n.Ident]
	case *syntax.IfNode:
		return bounded(n.Pipe) && bounded(n.List) && bounded(n.ElseList)
	}
	return false // range, with, template, variables and what Go may add
}

func all[T any](list []T, ok func(T) bool) bool {
	return !slices.ContainsFunc(list, func(v T) bool { return !ok(v) })
}

// checkTemplates looks at every field that Swarm expands: others keep their braces.
func (s *scope) checkTemplates(spec swarm.ServiceSpec) {
	c := spec.TaskTemplate.ContainerSpec
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		s.checkTemplate("environment."+name, value)
	}
	s.checkTemplate("hostname", c.Hostname)
	for _, m := range c.Mounts {
		s.checkTemplate("volumes", m.Source)
		s.checkTemplate("volumes", m.Target)
		if m.VolumeOptions == nil {
			continue
		}
		s.checkTemplateMap(m.VolumeOptions.Labels)
		if d := m.VolumeOptions.DriverConfig; d != nil {
			s.checkTemplateMap(d.Options)
		}
	}
}

func (s *scope) checkTemplateMap(values map[string]string) {
	for _, k := range sortedKeys(values) {
		s.checkTemplate("volumes", values[k])
	}
}

func (s *scope) checkTemplate(key, text string) {
	if !strings.Contains(text, "{{") {
		return
	}
	if err := expand(text); err != nil {
		s.errorf(key, "%s", s.templateError(text, err))
	}
}

// templatePlace is the expression that could not be executed.
var templatePlace = regexp.MustCompile(`executing .* at <(.*?)>: `)

const templateKeys = `.Service.ID, .Service.Name, index .Service.Labels "NAME", .Node.ID, .Node.Hostname, .Node.Platform.OS, .Node.Platform.Architecture, .Task.ID, .Task.Name, .Task.Slot`

// templateError quotes nothing where the text is tainted: the parser's words are parts of it.
func (c *converter) templateError(text string, err error) string {
	if c.m.taint.In(text) {
		return "bad template (its text came from an encrypted file)"
	}
	if at := templatePlace.FindStringSubmatch(err.Error()); at != nil {
		return fmt.Sprintf("bad template: {{%s}} has no value; Swarm knows %s", at[1], templateKeys)
	}
	return "bad template: " + strings.TrimPrefix(err.Error(), "template: ")
}

// checkTemplateDriver: golang is the only driver, and a bad template fails each task at its start.
func (c *converter) checkTemplateDriver(path string, cfg types.FileObjectConfig, data Bytes) {
	switch cfg.TemplateDriver {
	case "":
		return
	case "golang":
	default:
		c.errorf("", path+".template_driver", "%q is not golang, the only template driver of Swarm", cfg.TemplateDriver)
		return
	}
	err := execute(template.New("template").Funcs(templateFuncs).Funcs(payloadFuncs), string(data))
	if err == nil {
		return
	}
	if c.m.content[path].tainted || strings.HasPrefix(path, "secrets.") {
		c.errorf("", path, "bad template (its text is not shown)")
		return
	}
	c.errorf("", path, "%s", c.templateError(string(data), err))
}
