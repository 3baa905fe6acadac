package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

var errEmpty = errors.New("empty file; write services: into it, or delete it")

// parse reads one YAML document: a mapping without aliases, merge keys,
// duplicate keys and tags of other languages. Every error names its line.
func parse(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\ufeff"))))
	var doc yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, errEmpty
	} else if err != nil {
		return nil, syntaxError(data, err)
	}
	var next yaml.Node
	if err := decoder.Decode(&next); err == nil && !blank(&next) {
		return nil, &lineError{max(next.Line, 1), errors.New("second YAML document; a stack file holds one")}
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxError(data, err)
	}
	if len(doc.Content) != 1 {
		return nil, errEmpty
	}
	x := expander{active: map[*yaml.Node]bool{}}
	root, err := x.expand(doc.Content[0], 0)
	if err != nil {
		return nil, err
	}
	switch {
	case root.ShortTag() == "!!null":
		return nil, errEmpty
	case root.Kind != yaml.MappingNode:
		return nil, &lineError{root.Line, errors.New("a stack file is a mapping, such as services: …")}
	}
	return root, nil
}

// blank says whether a document holds nothing, as behind a closing ---.
func blank(doc *yaml.Node) bool {
	return len(doc.Content) == 0 || doc.Content[0].ShortTag() == "!!null"
}

var (
	syntaxLine    = regexp.MustCompile(`(?:at )?line (\d+)(?:, column \d+)?:? ?`)
	syntaxOffset  = regexp.MustCompile(`^offset (\d{1,9}): `)
	syntaxNowhere = regexp.MustCompile(` ?(?:at )?<unknown position>:?`) // line 1
	syntaxNoise   = regexp.MustCompile(`^(yaml: |go-yaml [^:]*: |[^:]*: (?:yaml: )?construct errors?:\s*)+`)
)

// syntaxError words an error of the YAML parser and finds its line.
func syntaxError(data []byte, err error) error {
	text := syntaxNoise.ReplaceAllString(err.Error(), "")
	line := 0
	if syntaxNowhere.MatchString(text) {
		line = 1
	}
	if m := syntaxOffset.FindStringSubmatch(text); m != nil {
		offset, _ := strconv.Atoi(m[1]) // digits
		line = 1 + bytes.Count(data[:min(offset, len(data))], []byte("\n"))
		text = text[len(m[0]):]
	}
	text = syntaxNowhere.ReplaceAllString(text, "")
	if m := syntaxLine.FindAllStringSubmatch(text, -1); m != nil {
		at := m[len(m)-1]
		if strings.Contains(text, "end of stream") { // what was not closed matters, not where the file ends
			at = m[0]
		}
		line, _ = strconv.Atoi(at[1]) // digits
	}
	text = strings.Trim(strings.TrimSpace(syntaxLine.ReplaceAllString(text, "")), " :")
	if n := tabLine(data, line); n > 0 {
		return &lineError{n, errors.New("a tab indents this line; YAML wants spaces")}
	}
	if strings.Contains(text, "excessive aliasing") {
		return errors.New("too many nodes behind YAML aliases")
	}
	if line == 0 {
		return fmt.Errorf("not YAML: %s", text)
	}
	return &lineError{line, fmt.Errorf("not YAML: %s", text)}
}

// tabLine finds a line that a tab indents, at most two lines away from where the parser stumbled.
func tabLine(data []byte, near int) int {
	lines := bytes.Split(data, []byte("\n"))
	for _, n := range []int{near, near + 1, near - 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		if indent := lines[n-1][:len(lines[n-1])-len(bytes.TrimLeft(lines[n-1], " \t"))]; bytes.ContainsRune(indent, '\t') {
			return n
		}
	}
	return 0
}

// expander writes out aliases and merge keys, so that each place of the
// document has a node, and a line, of its own.
type expander struct {
	nodes  int
	bytes  int
	active map[*yaml.Node]bool // anchors that are being written out
}

func (x *expander) expand(n *yaml.Node, depth int) (*yaml.Node, error) {
	if x.nodes++; x.nodes > maxNodes {
		return nil, &lineError{n.Line, fmt.Errorf("more than %d values in one file, aliases written out", maxNodes)}
	}
	if x.bytes += len(n.Value); x.bytes > maxBytes {
		return nil, &lineError{n.Line, fmt.Errorf("more than %d bytes in one file, aliases written out", maxBytes)}
	}
	if depth > maxDepth {
		return nil, &lineError{n.Line, fmt.Errorf("nested deeper than %d levels", maxDepth)}
	}
	if n.Kind == yaml.AliasNode {
		return x.alias(n, depth)
	}
	tag := n.ShortTag()
	if tag == "!reset" {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!reset", Value: "null", Line: n.Line, Column: n.Column}, nil
	}
	if !slices.Contains(knownTags, tag) {
		return nil, &lineError{n.Line, fmt.Errorf("YAML tag %s is not known here", tag)}
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Style: n.Style, Value: n.Value, Line: n.Line, Column: n.Column}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			e, err := x.expand(item, depth+1)
			if err != nil {
				return nil, err
			}
			out.Content = append(out.Content, e)
		}
	case yaml.MappingNode:
		content, err := x.mapping(n, depth)
		if err != nil {
			return nil, err
		}
		out.Content = content
	}
	return out, nil
}

// knownTags are YAML's own and compose's two.
var knownTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!timestamp", "!override"}

func (x *expander) alias(n *yaml.Node, depth int) (*yaml.Node, error) {
	if n.Alias == nil || x.active[n.Alias] {
		return nil, &lineError{n.Line, fmt.Errorf("alias *%s holds itself", n.Value)}
	}
	x.active[n.Alias] = true
	defer delete(x.active, n.Alias)
	return x.expand(n.Alias, depth)
}

// mapping gives the keys and values of n: its own, then what merge keys add.
func (x *expander) mapping(n *yaml.Node, depth int) ([]*yaml.Node, error) {
	lines := map[string]int{}
	var content, merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode && key.Alias != nil {
			key = key.Alias
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		if err := checkKey(key); err != nil {
			return nil, err
		}
		if line, twice := lines[key.Value]; twice {
			return nil, &lineError{key.Line, fmt.Errorf("key %s is set already on line %d", key.Value, line)}
		}
		lines[key.Value] = key.Line
		e, err := x.expand(value, depth+1)
		if err != nil {
			return nil, err
		}
		content = append(content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key.Value, Line: key.Line, Column: key.Column}, e)
	}
	for _, m := range merges {
		added, err := x.merged(m, depth)
		if err != nil {
			return nil, err
		}
		for i := 0; i < len(added); i += 2 {
			if _, set := lines[added[i].Value]; !set {
				lines[added[i].Value] = added[i].Line
				content = append(content, added[i], added[i+1])
			}
		}
	}
	return content, nil
}

func checkKey(key *yaml.Node) error {
	switch {
	case key.Kind != yaml.ScalarNode:
		return &lineError{key.Line, errors.New("a key must be text")}
	case key.ShortTag() != "!!str":
		return &lineError{key.Line, fmt.Errorf("key %s is not text; put it in quotes", key.Value)}
	case len(key.Value) > maxKey:
		return &lineError{key.Line, fmt.Errorf("key longer than %d bytes", maxKey)}
	}
	return nil
}

// merged gives the keys and values that one merge key, <<, adds.
func (x *expander) merged(n *yaml.Node, depth int) ([]*yaml.Node, error) {
	e, err := x.expand(n, depth+1)
	if err != nil {
		return nil, err
	}
	sources := []*yaml.Node{e}
	if e.Kind == yaml.SequenceNode {
		sources = e.Content
	}
	var out []*yaml.Node
	for _, s := range sources {
		if s.Kind != yaml.MappingNode {
			return nil, &lineError{n.Line, errors.New("<< takes a mapping or a list of mappings")}
		}
		out = append(out, s.Content...)
	}
	return out, nil
}

// encode writes n as JSON with YAML's tags where JSON has no word for a value.
// It is what compose-go is given: text without aliases, styles and comments.
func encode(n *yaml.Node) []byte {
	var out bytes.Buffer
	encodeTo(&out, n)
	return out.Bytes()
}

func encodeTo(out *bytes.Buffer, n *yaml.Node) {
	if n.Tag == "!reset" {
		out.WriteString("!reset null")
		return
	}
	if n.Tag == "!override" {
		out.WriteString("!override ")
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				out.WriteString(",\n")
			}
			encodeText(out, n.Content[i].Value)
			out.WriteString(": ")
			encodeTo(out, n.Content[i+1])
		}
		out.WriteByte('}')
	case yaml.SequenceNode:
		out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				out.WriteString(",\n")
			}
			encodeTo(out, item)
		}
		out.WriteByte(']')
	default:
		encodeScalar(out, n)
	}
}

func encodeScalar(out *bytes.Buffer, n *yaml.Node) {
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		out.WriteString("null")
	case tag == "!!float" && strings.ContainsAny(n.Value, "nN"): // .inf and .nan have no place in JSON
		encodeText(out, n.Value)
	case tag == "!!int" || tag == "!!bool" || tag == "!!float":
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) == 0 {
			out.WriteString(n.Value)
			return
		}
		out.WriteString(n.ShortTag() + " ")
		encodeText(out, n.Value)
	default:
		encodeText(out, n.Value)
	}
}

// encodeText writes s as a JSON string that YAML, too, reads as s.
func encodeText(out *bytes.Buffer, s string) {
	quoted, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic(err)
	}
	for _, r := range string(quoted) {
		// JSON leaves these as they are, YAML refuses them.
		if r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
}

// child gives the value of a key of a mapping, or nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if _, value := entry(n, key); value != nil {
		return value
	}
	return nil
}

// entry gives a key of a mapping and its value, or nil.
func entry(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// drop removes a key from a mapping and gives it and its value, or nil.
func drop(n *yaml.Node, key string) (k, v *yaml.Node) {
	if k, v = entry(n, key); k == nil {
		return nil, nil
	}
	i := slices.Index(n.Content, k)
	n.Content = slices.Delete(n.Content, i, i+2)
	return k, v
}

// set puts a key into a mapping, or replaces its value.
func set(n *yaml.Node, key string, value *yaml.Node) {
	if k, _ := entry(n, key); k != nil {
		n.Content[slices.Index(n.Content, k)+1] = value
		return
	}
	n.Content = append(n.Content, text(key, value.Line), value)
}

// removeAt removes the key at a dotted path below a mapping, and says whether
// it was there. Keys may hold dots themselves.
func removeAt(n *yaml.Node, path string) bool {
	if n == nil || n.Kind != yaml.MappingNode {
		return false
	}
	if k, _ := drop(n, path); k != nil {
		return true
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		rest, below := strings.CutPrefix(path, n.Content[i].Value+".")
		if below && removeAt(n.Content[i+1], rest) {
			return true
		}
	}
	return false
}

// text is a string as a node.
func text(s string, line int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s, Line: line}
}

// isText says whether n is a string.
func isText(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str"
}

// clone copies n and all below it.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = clone(child)
	}
	return &c
}

// size counts n and all below it.
func size(n *yaml.Node) int {
	total := 1
	for _, c := range n.Content {
		total += size(c)
	}
	return total
}
