package stack

import (
	"regexp"
	"strings"
)

// swarmkit's own patterns (manager/constraint).
var (
	constraintKey   = regexp.MustCompile(`^(?i)[a-z_][a-z0-9\-_.]+$`)
	constraintValue = regexp.MustCompile(`^(?i)[a-z0-9:\-_\s\.\*\(\)\?\+\[\]\\\^\$\|\/]+$`)
)

// constraintKeys are those that a node can be matched by, beside labels. With any other key no node ever matches.
var constraintKeys = []string{"node.id", "node.hostname", "node.ip", "node.role", "node.platform.os", "node.platform.arch"}

// checkConstraint says before the first write what Swarm answers as a plain 500, or not at all.
func (s *scope) checkConstraint(path, text string) {
	name, value, ok := strings.Cut(text, "==")
	if !ok {
		name, value, ok = strings.Cut(text, "!=")
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	switch {
	case !ok:
		s.errorf(path, "%q has no == or !=", text)
	case !constraintKey.MatchString(name):
		s.errorf(path, "%q is not a key that Swarm can read", name)
	case !constraintValue.MatchString(value):
		s.errorf(path, "value %q of %s is empty, or holds a character that Swarm refuses", value, name)
	case !knownConstraint(name):
		s.errorf(path, "no node can match %q; keys are %s, node.labels.NAME and engine.labels.NAME", name, strings.Join(constraintKeys, ", "))
	case strings.EqualFold(name, "node.role") && !strings.EqualFold(value, "manager") && !strings.EqualFold(value, "worker"):
		s.errorf(path, "node.role is manager or worker, not %q", value)
	}
}

func knownConstraint(name string) bool {
	for _, k := range constraintKeys {
		if strings.EqualFold(k, name) {
			return true
		}
	}
	return hasLabelPrefix(name)
}

func hasLabelPrefix(name string) bool {
	for _, p := range []string{"node.labels.", "engine.labels."} {
		if len(name) > len(p) && strings.EqualFold(name[:len(p)], p) {
			return true
		}
	}
	return false
}
