package stack

import (
	"fmt"
	"strconv"
	"strings"
)

// verdict is what skep does with a compose key.
type verdict int

const (
	mapped  verdict = iota // as docker stack deploy
	extra                  // docker stack deploy refuses or drops it, Swarm can do it
	unused                 // means nothing in Swarm and loses nothing
	warned                 // a warning, then ignored
	refused                // an error
)

// keyRule is one row of docs/compose.md. In path, * is any name and [] any list
// entry. note says what the key becomes, or what to use instead.
type keyRule struct {
	path    string
	verdict verdict
	note    string
}

// keyNode is keyRules as a tree.
type keyNode struct {
	rule     *keyRule
	children map[string]*keyNode
}

// keyTree is read only. A key that is in no rule is refused, so that one which
// compose gains later is never dropped in silence.
var keyTree = plantKeys(keyRules)

func plantKeys(rules []keyRule) *keyNode {
	root := &keyNode{}
	for i := range rules {
		n := root
		for part := range strings.SplitSeq(rules[i].path, ".") {
			if n.children == nil {
				n.children = map[string]*keyNode{}
			}
			next := n.children[part]
			if next == nil {
				next = &keyNode{}
				n.children[part] = next
			}
			n = next
		}
		n.rule = &rules[i]
	}
	return root
}

// child is the rule for a key below n. Extensions (x-*) without a rule of their
// own are nobody's business; ok is false where the key is unknown.
func (n *keyNode) child(key string) (c *keyNode, ok bool) {
	if c = n.children[key]; c != nil {
		return c, true
	}
	if c = n.children["*"]; c != nil {
		return c, true
	}
	return nil, strings.HasPrefix(key, "x-") || n.children == nil
}

// checkKeys looks at every key of the file, as it stands after overlays,
// extends and includes, except those of services that no profile turned on.
func (c *converter) checkKeys() {
	for _, key := range sortedKeys(c.m.dict) {
		if key == "services" {
			continue
		}
		c.checkKey(keyTree, "", "", key, c.m.dict[key])
	}
	for _, key := range sortedKeys(c.m.project.Services) {
		c.checkKey(keyTree.children["services"], key, "services", key, dig(c.m.dict, "services", key))
	}
}

// checkKey looks at one key below n and at what it holds.
func (c *converter) checkKey(n *keyNode, service, parent, key string, value any) {
	path := strings.TrimPrefix(parent+"."+key, ".")
	next, ok := n.child(key)
	if !ok {
		c.errorf(service, path, "skep does not know this key")
		return
	}
	if next == nil {
		return
	}
	if r := next.rule; r != nil && r.verdict >= warned {
		c.unsupported(service, path, r, value)
		return
	}
	c.checkBelow(next, service, path, value)
}

func (c *converter) checkBelow(n *keyNode, service, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			c.checkKey(n, service, path, k, v[k])
		}
	case []any:
		item := n.children["[]"]
		if item == nil {
			return
		}
		for i, e := range v {
			p := path + "." + strconv.Itoa(i)
			if item.rule != nil && item.rule.verdict >= warned {
				c.unsupported(service, p, item.rule, e)
				continue
			}
			c.checkBelow(item, service, p, e)
		}
	}
}

// unsupported is one finding for a key that Swarm does not have. What asks for nothing
// (privileged: false, an empty list) is none.
func (c *converter) unsupported(service, path string, r *keyRule, value any) {
	if asksNothing(value) {
		return
	}
	if r.verdict == refused {
		c.errorf(service, path, "not possible in Swarm: %s", r.note)
		return
	}
	c.warnf(service, path, "ignored: %s", r.note)
}

func asksNothing(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == "" || v == "false"
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// String is the word that docs/compose.md has for it.
func (v verdict) String() string {
	switch v {
	case mapped:
		return "mapped"
	case extra:
		return "mapped (beyond docker)"
	case unused:
		return "no effect"
	case warned:
		return "warning, ignored"
	case refused:
		return "refused"
	}
	panic(fmt.Sprintf("verdict %d", int(v)))
}
