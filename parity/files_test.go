package parity

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/docker/cli/cli/compose/loader"
)

// variablePattern finds $NAME and ${NAME…}, with what follows the name.
var variablePattern = regexp.MustCompile(`\$\{?([_a-zA-Z][_a-zA-Z0-9]*)(:?-)?`)

// variables gives a value to each variable of a file that has no default.
func variables(b []byte) map[string]string {
	env := map[string]string{}
	for _, m := range variablePattern.FindAllSubmatch(b, -1) {
		if len(m[2]) == 0 {
			env[string(m[1])] = valueFor(string(m[1]))
		}
	}
	return env
}

// valueFor is a value that fits most places where a variable of that name stands.
func valueFor(name string) string {
	switch {
	case strings.Contains(name, "TYPE"):
		return "bind"
	case strings.Contains(name, "PATH"), strings.Contains(name, "DIR"):
		return "/srv/"
	}
	return "1"
}

// relativeBind is a bind mount that only the machine of whoever wrote the file can have.
var relativeBind = regexp.MustCompile(`(?m)^(\s*- ["']?[.~]/[^:\n]*:|\s*(?:- )?source: ["']?[.~]/)`)

// absoluteBinds lets a file be compared that skep would refuse for its relative bind mounts.
func absoluteBinds(b []byte) []byte {
	return relativeBind.ReplaceAllFunc(b, func(m []byte) []byte {
		i := bytes.IndexAny(m, ".~")
		return slices.Concat(m[:i], []byte("/srv"), m[i+1:])
	})
}

// referred lists the files that a stack file names, as written.
func referred(b []byte) []string {
	d, err := loader.ParseYAML(b)
	if err != nil {
		return nil
	}
	var out []string
	for _, kind := range []string{"secrets", "configs"} {
		objects, _ := d[kind].(map[string]any)
		for _, o := range objects {
			m, _ := o.(map[string]any)
			if f, ok := m["file"].(string); ok {
				out = append(out, f)
			}
		}
	}
	services, _ := d["services"].(map[string]any)
	for _, s := range services {
		m, _ := s.(map[string]any)
		for _, key := range []string{"env_file", "label_file"} {
			switch v := m[key].(type) {
			case string:
				out = append(out, v)
			case []any:
				for _, e := range v {
					if f, ok := e.(string); ok {
						out = append(out, f)
					}
				}
			}
		}
	}
	return out
}
