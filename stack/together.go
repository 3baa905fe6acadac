package stack

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Together gives, for each of a tenant's stacks, what is wrong with it that it does
// not show alone: names in the swarm that another one wants too ("a_b" with service
// c has the one of "a" with service b_c).
func Together(specs []Spec) [][]Finding {
	out := make([][]Finding, len(specs))
	claims := map[string][]claim{}
	for i := range specs {
		for _, c := range claimsOf(i, &specs[i]) {
			id := c.kind + "\x00" + c.name
			claims[id] = append(claims[id], c)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(claims)) {
		for i, c := range claims[id] {
			if f, shared := c.contested(slices.Concat(claims[id][:i], claims[id][i+1:])); shared {
				out[c.stack] = append(out[c.stack], f)
			}
		}
	}
	for _, list := range out {
		slices.SortStableFunc(list, func(a, b Finding) int {
			return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
		})
	}
	return out
}

// claim is one object that a stack is to have in the swarm, under this name.
type claim struct {
	stack           int // its place among the specs
	spec            *Spec
	kind, key, name string
	at              Position
}

// claimsOf are the objects whose names another stack's could be. Networks, secrets
// and configs without a name of their own bear their stack's.
func claimsOf(stack int, s *Spec) []claim {
	var out []claim
	add := func(kind, key, name string, external bool, at Position) {
		if name != "" && !external {
			out = append(out, claim{stack, s, kind, key, name, at})
		}
	}
	for _, v := range s.Services {
		add("service", v.Key, v.Spec.Name, false, v.Pos)
	}
	for _, n := range s.Networks {
		add("network", n.Key, n.Name, n.External, n.Pos)
	}
	for _, v := range s.Secrets {
		add("secret", v.Key, v.Name, v.External, v.Pos)
	}
	for _, v := range s.Configs {
		add("config", v.Key, v.Name, v.External, v.Pos)
	}
	return out
}

// contested says that other stacks want the name too, without a tainted value.
func (c claim) contested(others []claim) (Finding, bool) {
	var list []string
	show := func(text string) string { return cut(c.spec.Taint.Redact(text)) }
	for _, o := range others {
		if o.stack != c.stack {
			list = append(list, o.spec.Taint.Redact(fmt.Sprintf("%s %s of stack %q (%s)", o.kind, o.key, o.spec.Name, o.at)))
		}
	}
	key := c.kind + "s." + c.key
	f := Finding{Position: c.at, Severity: Error, Key: show(key),
		Text: show(fmt.Sprintf("%s: its name in the swarm is %q, as that of %s; rename one", key, c.name, strings.Join(list, ", ")))}
	if c.kind == "service" {
		f.Service = show(c.key)
	}
	return f, len(list) > 0
}
