package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// nodeLimit bounds how much a skep.yml may come to when its aliases are expanded.
const nodeLimit = 100_000

// decoder reads YAML into structs, strictly: it collects every problem with its
// line and remembers where each key stands.
type decoder struct {
	lines    map[string]int // of each key that is given, by path such as tenants[0].name
	problems []problem
	nodes    int
}

// config reads the whole file. What is wrong is in d.problems.
func (d *decoder) config(data []byte) config {
	root, ok := d.document(data)
	if !ok {
		return config{}
	}
	var c config
	fill(reflect.ValueOf(&c).Elem())
	d.value(root, reflect.ValueOf(&c).Elem(), "")
	d.tenants(&c, root)
	return c
}

// document is the one YAML document that data holds.
func (d *decoder) document(data []byte) (*yaml.Node, bool) {
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		d.problem(0, "the file is empty")
		return nil, false
	case err != nil:
		d.syntax(err)
		return nil, false
	}
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		d.problem(more.Line, "a second YAML document; skep.yml is one")
		return nil, false
	}
	return doc.Content[0], true
}

var yamlLine = regexp.MustCompile(`\s*(?:at )?line (\d+)(?:, column \d+)?`)

// nowhere is how the parser tells of a mistake on the first line.
var nowhere = regexp.MustCompile(` ?(?:at )?<unknown position>:?`)

// syntax turns the parser's error into a problem at its line.
func (d *decoder) syntax(err error) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if nowhere.MatchString(text) {
		line, text = 1, nowhere.ReplaceAllString(text, "")
	}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.TrimLeft(yamlLine.ReplaceAllString(text, ""), ": ")
	}
	d.problem(line, "not YAML: %s", text)
}

// tenants reads defaults and tenants once more, this time each tenant on top of
// the defaults. Problems were noted in the first pass.
func (d *decoder) tenants(c *config, root *yaml.Node) {
	quiet := &decoder{lines: map[string]int{}}
	for i, n := range items(entry(root, "tenants")) {
		if i >= len(c.Tenants) {
			return
		}
		t := c.Defaults
		t.Variables, t.Labels = maps.Clone(t.Variables), maps.Clone(t.Labels)
		t.Profiles, t.Stacks, t.Registries = slices.Clone(t.Profiles), slices.Clone(t.Stacks), slices.Clone(t.Registries)
		quiet.value(n, reflect.ValueOf(&t).Elem(), fmt.Sprintf("tenants[%d]", i))
		if !d.given(i, "prefix") {
			t.Prefix = t.Name + "-"
		}
		c.Tenants[i] = t
	}
}

// given says whether a tenant, or the defaults, hold a key.
func (d *decoder) given(i int, key string) bool {
	return d.lines[fmt.Sprintf("tenants[%d].%s", i, key)] > 0 || d.lines["defaults."+key] > 0
}

// line is where a key stands; where it is not given, the nearest key above it.
func (d *decoder) line(path string) int {
	for path != "" {
		if l := d.lines[path]; l > 0 {
			return l
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

// tenantLine is line for a tenant's key, which may come from the defaults.
func (d *decoder) tenantLine(i int, key string) int {
	if d.inherited(i, key) {
		return d.lines["defaults."+key]
	}
	return d.line(fmt.Sprintf("tenants[%d].%s", i, key))
}

// inherited says whether a tenant has a key from the defaults alone.
func (d *decoder) inherited(i int, key string) bool {
	return d.lines[fmt.Sprintf("tenants[%d].%s", i, key)] == 0 && d.lines["defaults."+key] > 0
}

func (d *decoder) problem(line int, format string, args ...any) {
	p := problem{Line: line, Text: printable(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))}
	if !slices.Contains(d.problems, p) {
		d.problems = append(d.problems, p)
	}
}

func (d *decoder) sorted() []problem {
	slices.SortFunc(d.problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return d.problems
}

// value reads n into v. path is v's place in the file.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	n = resolved(n)
	if d.nodes++; d.nodes > nodeLimit {
		if d.nodes == nodeLimit+1 {
			d.problem(n.Line, "too many values")
		}
		return
	}
	if v.Type() == reflect.TypeFor[duration]() {
		d.duration(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.Map:
		d.strings(n, v, path)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
			d.problem(n.Line, "%s: must be true or false", path)
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	default:
		if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Style&yaml.TaggedStyle != 0 && n.Tag != "!!str" {
			d.problem(n.Line, "%s: must be a string", path)
			return
		}
		v.SetString(n.Value)
	}
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, path string) {
	t, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		d.problem(n.Line, "%s: must be a duration such as 30s or 5m", path)
		return
	}
	v.SetInt(int64(t))
}

// mapping reads a mapping with known keys.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	fields := fieldsOf(v.Type())
	d.pairs(n, path, func(key *yaml.Node, value *yaml.Node, at string) {
		i, known := fields[key.Value]
		if !known {
			d.unknown(key, path, slices.Sorted(maps.Keys(fields)))
			return
		}
		d.value(value, v.Field(i), at)
	})
}

// strings reads a mapping with any keys.
func (d *decoder) strings(n *yaml.Node, v reflect.Value, path string) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	d.pairs(n, path, func(key *yaml.Node, value *yaml.Node, at string) {
		var s string
		d.value(value, reflect.ValueOf(&s).Elem(), at)
		v.SetMapIndex(reflect.ValueOf(key.Value), reflect.ValueOf(s))
	})
}

// pairs calls f for each key of a mapping, once.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key, value *yaml.Node, at string)) {
	if n.Kind != yaml.MappingNode {
		d.problem(n.Line, "%s: must be a mapping of keys to values", named(path))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := resolved(n.Content[i])
		if key.Kind != yaml.ScalarNode {
			d.problem(key.Line, "%s: a key must be a word", named(path))
			continue
		}
		if first := seen[key.Value]; first > 0 {
			d.problem(key.Line, "%s: given twice, first in line %d", join(path, key.Value), first)
			continue
		}
		seen[key.Value] = key.Line
		at := join(path, key.Value)
		d.lines[at] = key.Line
		f(key, n.Content[i+1], at)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n.Line, "%s: must be a list; an empty one is written []", path)
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.lines[at] = item.Line
		fill(out.Index(i))
		d.value(item, out.Index(i), at)
	}
	v.Set(out)
}

// unknown says what may have been meant by a key that does not exist.
func (d *decoder) unknown(key *yaml.Node, path string, known []string) {
	at := join(path, key.Value)
	switch {
	case slices.Contains(later()[unindexed(path)], key.Value):
		d.problem(key.Line, "%s: not supported yet", at)
	case slices.Contains(known, key.Value+"_file"):
		d.problem(key.Line, "%s: unknown key; secrets are given as files: use %s_file", at, key.Value)
	case key.Value == "<<":
		d.problem(key.Line, "%s: merge keys are not supported; use defaults", at)
	default:
		hint := ""
		if near := nearest(key.Value, known); near != "" {
			hint = fmt.Sprintf("; did you mean %s?", near)
		}
		d.problem(key.Line, "%s: unknown key%s", at, hint)
	}
}

// fieldsOf is the number of the field for each key.
func fieldsOf(t reflect.Type) map[string]int {
	out := map[string]int{}
	for i := range t.NumField() {
		out[keyOf(t.Field(i))] = i
	}
	return out
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return key
}

// fill gives each field of a struct the default of its tag, except where that
// one depends on other keys (prefix).
func fill(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f, text := v.Field(i), v.Type().Field(i).Tag.Get("default")
		switch {
		case f.Kind() == reflect.Struct:
			fill(f)
		case text == "" || strings.HasPrefix(text, "NAME"):
		case f.Type() == reflect.TypeFor[duration]():
			t, _ := time.ParseDuration(text) // a test reads every default
			f.SetInt(int64(t))
		case f.Kind() == reflect.String:
			f.SetString(text)
		case f.Kind() == reflect.Slice:
			f.Set(reflect.ValueOf([]string{strings.Trim(text, "[']")}))
		}
	}
}

// resolved follows an alias to what it stands for.
func resolved(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// entry is the value of a mapping's key; nil where there is none.
func entry(n *yaml.Node, key string) *yaml.Node {
	if n = resolved(n); n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolved(n.Content[i+1])
		}
	}
	return nil
}

func items(n *yaml.Node) []*yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func named(path string) string {
	if path == "" {
		return "skep.yml"
	}
	return path
}

var index = regexp.MustCompile(`\[\d+\]`)

func unindexed(path string) string { return index.ReplaceAllString(path, "") }

// nearest is the known word that a misspelt one is at most two letters away from.
func nearest(word string, known []string) string {
	best, far := "", 3
	for _, k := range known {
		if n := distance(strings.ToLower(word), k); n < far && n < len(k) {
			best, far = k, n
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
