package stack

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// wishKey is the extension that holds what a tenant asks of skep.
const wishKey = "x-skep"

// wishKeys are the keys of x-skep at the top of a stack file.
var wishKeys = []string{"depends_on", "timeout", "prune", "drift", "ignore", "rollback", "replace", "resolve"}

// wish takes x-skep out of one of the stack's own files and reads it. A key that
// a later file sets replaces the earlier one's.
func (l *loading) wish(d *document) {
	key, n := drop(d.root, wishKey)
	if key == nil || n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.report.errorf(Position{d.file, n.Line}, "%s must be a mapping of %s", wishKey, strings.Join(wishKeys, ", "))
		return
	}
	eachEntry(n, func(key, value *yaml.Node) {
		if text := l.wishes.read(key.Value, value); text != "" {
			l.report.add(Finding{Position: Position{d.file, value.Line}, Severity: Error, Key: wishKey + "." + key.Value, Text: text})
		}
		if key.Value == "depends_on" {
			l.wishes.DependsAt = Position{d.file, key.Line}
		}
		for _, item := range append([]*yaml.Node{value}, value.Content...) {
			l.positions.known[join(wishKey+"."+key.Value, item.Value)] = Position{d.file, item.Line}
		}
	})
	for _, name := range l.wishes.DependsOn {
		if l.o.Prefix+name == l.def.Name {
			l.report.errorf(Position{d.file, n.Line}, "%s.depends_on: the stack depends on itself", wishKey)
		}
	}
}

// read takes one key of x-skep over and gives what is wrong with it.
func (w *Wishes) read(key string, n *yaml.Node) (wrong string) {
	switch key {
	case "depends_on":
		w.DependsOn, wrong = textList(n, dependsName)
	case "timeout":
		w.Timeout, wrong = duration(n)
	case "prune":
		w.Prune, wrong = oneOf(n, "auto", "confirm", "never")
	case "drift":
		w.Drift, wrong = oneOf(n, "heal", "warn", "ignore")
	case "ignore":
		w.Ignore, wrong = textList(n, ignorePath)
	case "rollback":
		w.Rollback, wrong = truth(n)
	case "replace":
		w.Replace, wrong = truth(n)
	case "resolve":
		w.Resolve, wrong = oneOf(n, "once", "never")
	default:
		return fmt.Sprintf("%s.%s is not known%s; the keys are %s", wishKey, key, suggest(key, wishKeys), strings.Join(wishKeys, ", "))
	}
	if wrong != "" {
		return fmt.Sprintf("%s.%s: %s", wishKey, key, wrong)
	}
	return ""
}

func oneOf(n *yaml.Node, words ...string) (string, string) {
	if n.Kind == yaml.ScalarNode && slices.Contains(words, n.Value) {
		return n.Value, ""
	}
	return "", "must be one of " + strings.Join(words, ", ")
}

func truth(n *yaml.Node) (bool, string) {
	if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!bool" || isText(n)) {
		if v, err := strconv.ParseBool(strings.ToLower(n.Value)); err == nil {
			return v, ""
		}
	}
	return false, "must be true or false"
}

// duration reads a time such as 90s or 5m.
func duration(n *yaml.Node) (time.Duration, string) {
	if v, err := time.ParseDuration(n.Value); err == nil && v > 0 && n.Kind == yaml.ScalarNode {
		return v, ""
	}
	return 0, "must be a positive time with a unit, such as 90s or 5m"
}

// textList reads a string or a list of strings, each checked.
func textList(n *yaml.Node, check func(string) string) ([]string, string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	var out []string
	for _, item := range items {
		if !isText(item) {
			return nil, "must be a list of names"
		}
		if wrong := check(item.Value); wrong != "" {
			return nil, wrong
		}
		if !slices.Contains(out, item.Value) {
			out = append(out, item.Value)
		}
	}
	return out, ""
}

func dependsName(s string) string {
	if nameRule.MatchString(s) {
		return ""
	}
	return fmt.Sprintf("%q can't be a stack's name; names stand here without the prefix", s)
}

// ignored are the parts of a service that another program may own, as compose
// paths below services.NAME; * is any key. The deploy package knows the same.
var ignored = []string{
	"image", "command", "entrypoint", "environment", "environment.*", "labels", "labels.*", "sysctls", "sysctls.*",
	"hostname", "user", "working_dir", "group_add", "stop_signal", "stop_grace_period", "tty", "stdin_open", "read_only",
	"init", "isolation", "platform", "extra_hosts", "dns", "dns_search", "dns_opt", "cap_add", "cap_drop", "ulimits",
	"oom_score_adj", "healthcheck", "logging", "networks", "ports", "volumes", "tmpfs", "secrets", "configs",
	"security_opt", "credential_spec",
	"deploy.mode", "deploy.replicas", "deploy.labels", "deploy.labels.*", "deploy.endpoint_mode",
	"deploy.placement", "deploy.placement.constraints", "deploy.placement.preferences", "deploy.placement.max_replicas_per_node",
	"deploy.resources", "deploy.resources.limits", "deploy.resources.limits.cpus", "deploy.resources.limits.memory", "deploy.resources.limits.pids",
	"deploy.resources.reservations", "deploy.resources.reservations.cpus", "deploy.resources.reservations.memory", "deploy.resources.reservations.generic_resources",
	"deploy.restart_policy", "deploy.update_config", "deploy.rollback_config",
}

// servicePath splits services.NAME.rest; a service's name in a swarm has no dot.
var servicePath = regexp.MustCompile(`^services\.([a-zA-Z0-9_-]+)\.(.+)$`)

// ignorePath checks one path of x-skep's ignore.
func ignorePath(s string) string {
	m := servicePath.FindStringSubmatch(s)
	if m == nil {
		return fmt.Sprintf("%q must be a path such as services.web.deploy.replicas", s)
	}
	for _, p := range ignored {
		prefix, any := strings.CutSuffix(p, "*")
		if m[2] == p && !any || any && strings.HasPrefix(m[2], prefix) && len(m[2]) > len(prefix) {
			return ""
		}
	}
	return fmt.Sprintf("%q can't be left to others%s; what can are whole keys of a service, and single ones such as environment.NAME, deploy.labels.NAME or deploy.resources.limits.memory", s, suggest(m[2], ignored))
}

// checkIgnored reports paths of services that the stack does not have.
func (l *loading) checkIgnored(p *types.Project) {
	for _, path := range l.wishes.Ignore {
		name := servicePath.FindStringSubmatch(path)[1] // ignorePath saw to the shape
		_, on := p.Services[name]
		_, off := p.DisabledServices[name]
		if !on && !off {
			l.report.add(Finding{Position: l.positions.at(wishKey + ".ignore." + path), Severity: Error, Key: wishKey + ".ignore",
				Text: fmt.Sprintf("%s.ignore: the stack has no service %s%s", wishKey, name, suggest(name, p.ServiceNames()))})
		}
	}
}
