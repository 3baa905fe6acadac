package stack

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	interp "github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// interpolateDocument puts variables into every value of a document and, as
// compose does, makes numbers and booleans of strings where the schema wants
// them. Values are put into the parsed document, so they can't change its structure.
func (l *loading) interpolateDocument(d *document) {
	s := substitution{l: l, file: d.file, casts: casts()}
	if d.tainted {
		s.taint = l.taint()
	}
	s.walk(d.root, "")
}

type substitution struct {
	l     *loading
	file  string
	casts map[string][]cast
	taint Taint // of an encrypted file
}

// cast turns the text at a path into a number or a boolean.
type cast struct {
	pattern tree.Path
	to      interp.Cast
}

// casts are compose-go's, by the last part of their path.
func casts() map[string][]cast {
	out := map[string][]cast{}
	for pattern, to := range loader.ToOptions(&types.ConfigDetails{}, nil).Interpolate.TypeCastMapping {
		last := pattern.Last()
		out[last] = append(out[last], cast{pattern, to})
	}
	return out
}

func (s substitution) walk(n *yaml.Node, path tree.Path) {
	switch {
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			s.walk(n.Content[i+1], path.Next(n.Content[i].Value))
		}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			s.walk(item, path.Next(tree.PathMatchList))
		}
	case isText(n):
		s.value(n, path)
	}
}

func (s substitution) value(n *yaml.Node, path tree.Path) {
	value, err := interpolate(n.Value, in(s.l.vars))
	if err != nil {
		s.fail(n, path, err, err.Error())
		return
	}
	if value != n.Value {
		if s.l.bytes += len(value); s.l.bytes > maxBytes {
			s.fail(n, path, nil, fmt.Sprintf("more than %d bytes of variables in one stack", maxBytes))
			return
		}
		if s.taint.In(n.Value) { // as it comes out too
			s.l.files.secrets = append(s.l.files.secrets, value)
		}
		n.Value, n.Style = value, yaml.DoubleQuotedStyle
	}
	to := s.castFor(path)
	if to == nil {
		return
	}
	v, err := castText(to, value)
	if err != nil {
		s.fail(n, path, err, fmt.Sprintf("%s: %q is %s", last(path), value, castError(err)))
		return
	}
	n.Style = 0
	switch v := v.(type) {
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case float32:
		n.Tag, n.Value = "!!float", strconv.FormatFloat(float64(v), 'f', -1, 32)
	case float64:
		n.Tag, n.Value = "!!float", strconv.FormatFloat(v, 'f', -1, 64)
	default: // int, int64, uint64
		n.Tag, n.Value = "!!int", fmt.Sprint(v)
	}
}

// fail reports a value; its own text names it, the key says where it stands.
func (s substitution) fail(n *yaml.Node, path tree.Path, cause error, text string) {
	f := Finding{Position: Position{s.file, n.Line}, Severity: Error, Key: path.String(), Text: text}
	if parts := path.Parts(); len(parts) > 2 && parts[0] == "services" {
		f.Service = parts[1]
	}
	var undefined *undefinedError
	var required *requiredError
	if errors.As(cause, &undefined) || errors.As(cause, &required) {
		f.Err = cause
	}
	s.l.report.add(f)
}

func last(path tree.Path) string { return tree.Path(path.Last()).String() }

func (s substitution) castFor(path tree.Path) interp.Cast {
	parts := path.Parts()
	for _, key := range []string{parts[len(parts)-1], tree.PathMatchAll} {
		for _, c := range s.casts[key] {
			if path.Matches(c.pattern) {
				return c.to
			}
		}
	}
	return nil
}

// castText casts; the words that YAML 1.1 has for booleans are handled here,
// because compose-go's cast prints a warning for them.
func castText(to interp.Cast, value string) (any, error) {
	v := value
	switch strings.ToLower(value) {
	case "y", "yes", "on":
		v = "true"
	case "n", "no", "off":
		v = "false"
	}
	return to(v)
}

// castError says what a value should have been.
func castError(err error) string {
	var number *strconv.NumError
	switch {
	case errors.As(err, &number) && errors.Is(err, strconv.ErrRange):
		return "out of range"
	case errors.As(err, &number):
		return "not a number"
	}
	return "neither true nor false"
}
