package operator

import (
	"fmt"
	"sort"
	"strings"
)

// checkOrder makes every stack whose x-skep.depends_on names a stack that git
// does not hold, or that waits for itself in the end, a RenderFailed. It changes
// revisions in place, by copies: a revision itself is never changed.
func checkOrder(revisions []*revision, prefix string) {
	byName := map[string]*revision{}
	for _, r := range revisions {
		byName[r.name] = r
	}
	for i, r := range revisions {
		if !r.usable() {
			continue
		}
		if text := orderFault(r, byName, prefix); text != "" {
			bad := *r
			bad.verdict = verdict{reason: RenderFailed, cause: "depends-on", message: text}
			revisions[i] = &bad
		}
	}
}

// orderFault says what is wrong with a stack's depends_on; "" is nothing.
func orderFault(r *revision, byName map[string]*revision, prefix string) string {
	for _, d := range r.spec.Wishes.DependsOn {
		if dependency(byName, prefix, d) == nil {
			return fmt.Sprintf("x-skep.depends_on: there is no stack %q in this repository: it has %s", d, names(byName, prefix))
		}
	}
	if loop := circle(r, byName, prefix); loop != nil {
		return "x-skep.depends_on: the stacks wait for each other in a circle: " + strings.Join(loop, " → ")
	}
	return ""
}

// dependency finds the stack that a depends_on means: with the tenant's prefix,
// or by its whole name.
func dependency(byName map[string]*revision, prefix, name string) *revision {
	if r := byName[prefix+name]; r != nil {
		return r
	}
	return byName[name]
}

// circle follows depends_on from r and gives the way back to r, if there is one.
func circle(r *revision, byName map[string]*revision, prefix string) []string {
	seen := map[string]bool{}
	var walk func(at *revision, way []string) []string
	walk = func(at *revision, way []string) []string {
		for _, d := range at.spec.Wishes.DependsOn {
			next := dependency(byName, prefix, d)
			if next == nil {
				continue
			}
			if next.name == r.name {
				return append(way, next.name)
			}
			if seen[next.name] {
				continue
			}
			seen[next.name] = true
			if found := walk(next, append(way, next.name)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(r, []string{r.name})
}

// names lists the stacks without the prefix.
func names(byName map[string]*revision, prefix string) string {
	var list []string
	for n := range byName {
		list = append(list, strings.TrimPrefix(n, prefix))
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}
