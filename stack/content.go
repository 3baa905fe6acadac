package stack

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// content reads what the project's secrets and configs hold: files first, so
// that what is written in line can be told to hold a secret of one of them.
func (l *loading) content(p *types.Project) map[string]content {
	objects := map[string]types.FileObjectConfig{}
	for key, s := range p.Secrets {
		objects["secrets."+key] = types.FileObjectConfig(s)
	}
	for key, c := range p.Configs {
		objects["configs."+key] = types.FileObjectConfig(c)
	}
	out := map[string]content{}
	paths := slices.Sorted(maps.Keys(objects))
	for _, path := range paths {
		if o := objects[path]; l.checkObject(path, o) && o.File != "" {
			l.objectFile(out, path, o.File, objectKey(o))
		}
	}
	taint := l.taint()
	for _, path := range paths {
		if value, ok := l.inline(path, objects[path]); ok {
			out[path] = content{[]byte(value), taint.In(value)}
		}
	}
	return out
}

// given says whether the content of a secret or config is skep's to give:
// external ones, and those of a driver, have none.
func given(o types.FileObjectConfig) bool { return !bool(o.External) && o.Driver == "" }

// checkObject says whether a secret or config has content, and reports an
// x-skep that has no file to look into.
func (l *loading) checkObject(path string, o types.FileObjectConfig) bool {
	if objectKey(o) != "" && (!given(o) || o.File == "") {
		l.objectError(path, wishKey, nil, wishKey+".key needs a file: to look into")
		return false
	}
	return given(o)
}

// inline gives the content that stands in the stack file or in a variable.
func (l *loading) inline(path string, o types.FileObjectConfig) (string, bool) {
	if !given(o) || o.File != "" {
		return "", false
	}
	if o.Environment == "" {
		return o.Content, o.Content != ""
	}
	value, set := l.vars[o.Environment]
	if !set {
		l.objectError(path, "environment", &undefinedError{o.Environment}, fmt.Sprintf("variable %s is not set; set it in .env", o.Environment))
	}
	return value, set
}

func (l *loading) objectError(path, key string, cause error, text string) {
	at := path + "." + key
	l.report.add(Finding{Position: l.positions.at(at), Severity: Error, Key: at, Text: path + ": " + text, Err: cause})
}

// objectKey gives x-skep.key of a secret or config.
func objectKey(o types.FileObjectConfig) string {
	wish, _ := o.Extensions[wishKey].(map[string]any)
	if wish["key"] == nil {
		return ""
	}
	return fmt.Sprint(wish["key"])
}

// objectFile reads a file, or one value out of it.
func (l *loading) objectFile(out map[string]content, path, file, key string) {
	data, tainted, err := l.files.read(file, maxContent)
	if err != nil {
		l.objectError(path, "file", err, describe(file, Position{}, err))
		return
	}
	if bytes.HasPrefix(data, []byte("version https://git-lfs.github.com/spec/")) {
		l.objectError(path, "file", nil, file+": is a Git LFS pointer, and LFS is not fetched; commit the file itself")
		return
	}
	if key != "" {
		if data, err = valueAt(data, key); err != nil {
			l.objectError(path, wishKey, nil, fmt.Sprintf("%s: key %s: %v", file, key, err))
			return
		}
	}
	out[path] = content{data, tainted}
}

// valueAt takes the value at a dotted path out of a YAML or JSON file. Its
// errors hold nothing of the file.
func valueAt(data []byte, path string) ([]byte, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("file larger than %d bytes", maxFile)
	}
	root, err := parse(data)
	if err != nil {
		var l *lineError
		if errors.As(err, &l) {
			return nil, fmt.Errorf("line %d is not YAML or JSON that can be read", l.line)
		}
		return nil, errors.New("not a YAML or JSON mapping")
	}
	n := descend(root, path)
	switch {
	case n == nil:
		return nil, errors.New("no such key in the file")
	case n.Kind != yaml.ScalarNode:
		return nil, errors.New("holds several values; name one of them")
	case n.ShortTag() == "!!null":
		return nil, errors.New("has no value")
	}
	return []byte(n.Value), nil
}

// descend follows a dotted path; keys may hold dots themselves, the shortest
// key that leads on is taken.
func descend(n *yaml.Node, path string) *yaml.Node {
	if path == "" {
		return n
	}
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '.' {
			continue
		}
		next := item(n, path[:i])
		if next == nil {
			continue
		}
		if found := descend(next, strings.TrimPrefix(path[i:], ".")); found != nil {
			return found
		}
	}
	return nil
}

// item gives a key of a mapping or an entry of a list, counted from 0.
func item(n *yaml.Node, key string) *yaml.Node {
	if n.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
		return nil
	}
	return child(n, key)
}
