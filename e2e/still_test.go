package e2e

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/skep-gitops/skep/stack"
)

// nowhere is a constraint that no node meets.
const nowhere = "node.labels.skep-lab == nowhere"

// still gives a stack file with every service of it kept without a task, so that
// no image is needed, and with a version, which docker stack deploy
// wants before 23.0. What the file says is otherwise the same.
func still(text string, spec stack.Spec) (string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	root := alone(doc.Content[0])
	if find(root, "version") == nil {
		set(root, "version", &yaml.Node{Kind: yaml.ScalarNode, Value: "3.9", Style: yaml.DoubleQuotedStyle})
	}
	services := own(root, "services")
	for _, s := range spec.Services {
		deploy := own(own(services, s.Key), "deploy")
		if s.Spec.Mode.Replicated != nil || s.Spec.Mode.ReplicatedJob != nil {
			set(deploy, "replicas", &yaml.Node{Kind: yaml.ScalarNode, Value: "0"})
			continue
		}
		placement := own(deploy, "placement")
		constraints := &yaml.Node{Kind: yaml.SequenceNode}
		if old := find(placement, "constraints"); old != nil {
			constraints.Content = slices.Clone(old.Content)
		}
		constraints.Content = append(constraints.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: nowhere, Style: yaml.SingleQuotedStyle})
		set(placement, "constraints", constraints)
	}
	b, err := yaml.Marshal(root)
	return string(b), err
}

// find gives the value of a key, also one that a merge key brings.
func find(m *yaml.Node, key string) *yaml.Node {
	if m.Kind != yaml.MappingNode {
		return nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(m.Content); i += 2 {
		switch value := m.Content[i+1]; {
		case m.Content[i].Value == key:
			return value
		case m.Content[i].Value == "<<" && value.Kind == yaml.SequenceNode:
			merged = append(merged, value.Content...)
		case m.Content[i].Value == "<<":
			merged = append(merged, value)
		}
	}
	for _, m := range merged {
		if v := find(m, key); v != nil {
			return v
		}
	}
	return nil
}

// own gives the mapping that is a key's value, the merged one's copy if need be.
func own(m *yaml.Node, key string) *yaml.Node {
	mine := &yaml.Node{Kind: yaml.MappingNode}
	if old := find(m, key); old != nil && old.Kind == yaml.MappingNode {
		mine = alone(old)
	}
	set(m, key, mine)
	return mine
}

// alone copies a node with everything that it refers to.
func alone(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return alone(n.Alias)
	}
	c := *n
	c.Anchor, c.Content = "", make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = alone(child)
	}
	return &c
}

// set gives a mapping's key a value.
func set(m *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			m.Content[i+1] = value
			return
		}
	}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, value)
}

func TestStill(t *testing.T) {
	file := `x-d: &d
  deploy: {placement: {constraints: [node.role == worker]}}
services:
  a: &a {image: i, command: "x  y"}
  b:
    <<: *d
    image: j
  c: *a
`
	spec := stack.Spec{Services: []stack.Service{{Key: "a"}, {Key: "b"}, {Key: "c"}}}
	got, err := still(file, spec)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Version  string
		Services map[string]struct {
			Image, Command string
			Deploy         struct {
				Placement struct{ Constraints []string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(got), &out); err != nil {
		t.Fatalf("%v\n%s", err, got)
	}
	if out.Version == "" || out.Services["a"].Command != "x  y" || out.Services["c"].Image != "i" {
		t.Errorf("the file changed:\n%s", got)
	}
	for name, want := range map[string]string{"a": nowhere, "b": "node.role == worker " + nowhere, "c": nowhere} {
		if c := strings.Join(out.Services[name].Deploy.Placement.Constraints, " "); c != want {
			t.Errorf("constraints of %s = %q, want %q\n%s", name, c, want, got)
		}
	}
}
