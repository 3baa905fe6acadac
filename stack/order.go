package stack

import (
	"fmt"
	"strings"
)

// CheckOrder gives, by stack, what is wrong with its x-skep.depends_on: it names a
// stack that is not there, or the stack waits for itself in the end. stacks are the
// wishes of all of a tenant's stacks by name; those of one that can't be rendered
// are not known, and empty.
func CheckOrder(stacks map[string]Wishes, prefix string) map[string]Finding {
	o := order{stacks, prefix}
	out := map[string]Finding{}
	for name, w := range stacks {
		if text := o.fault(name); text != "" {
			out[name] = Finding{Position: w.DependsAt, Severity: Error, Key: wishKey + ".depends_on", Text: wishKey + ".depends_on: " + text}
		}
	}
	return out
}

// order is which stacks wait for which.
type order struct {
	stacks map[string]Wishes
	prefix string
}

// fault says what is wrong with a stack's depends_on; "" is nothing.
func (o order) fault(name string) string {
	for _, d := range o.stacks[name].DependsOn {
		if _, there := o.find(d); !there {
			return fmt.Sprintf("there is no stack %q in this repository: it has %s", d, o.names())
		}
	}
	if loop := o.circle(name); loop != nil {
		return "the stacks wait for each other in a circle: " + strings.Join(loop, " → ")
	}
	return ""
}

// find gives the stack that a depends_on means: with the tenant's prefix, or by
// its whole name.
func (o order) find(name string) (string, bool) {
	if _, ok := o.stacks[o.prefix+name]; ok {
		return o.prefix + name, true
	}
	_, ok := o.stacks[name]
	return name, ok
}

// circle follows depends_on and gives the way back to the stack, if there is one.
func (o order) circle(name string) []string {
	seen := map[string]bool{}
	var walk func(at string, way []string) []string
	walk = func(at string, way []string) []string {
		for _, d := range o.stacks[at].DependsOn {
			next, ok := o.find(d)
			if !ok {
				continue
			}
			if next == name {
				return append(way, next)
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			if found := walk(next, append(way, next)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(name, []string{name})
}

// names lists the stacks without the prefix.
func (o order) names() string {
	var list []string
	for _, n := range sortedKeys(o.stacks) {
		list = append(list, strings.TrimPrefix(n, o.prefix))
	}
	return strings.Join(list, ", ")
}
