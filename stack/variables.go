package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"
)

// reserved is what the names of the variables that skep alone sets start with.
const reserved = "SKEP_"

// variables gives what the files of the stack in dir may use, low to high: .env
// at the root, .env of the stack, <environment>.env at the root and of the
// stack, the tenant's variables, --var; and skep's own. The process environment
// is no part of it.
func variables(f *files, dir string, o Options, own map[string]string, r *report) map[string]string {
	fixed := map[string]string{}
	maps.Copy(fixed, o.Variables)
	maps.Copy(fixed, o.Overrides)
	for name := range fixed {
		if strings.HasPrefix(name, reserved) {
			r.errorf(Position{File: dir}, "variable %s is not yours to set: skep sets all that start with %s", name, reserved)
		}
	}
	maps.Copy(fixed, own)
	values := map[string]string{}
	for _, name := range envFiles(dir, o.Environment) {
		readVariables(f, name, fixed, values, r)
	}
	maps.Copy(values, fixed)
	return values
}

// envFiles lists the files that set variables, lowest first.
func envFiles(dir, environment string) []string {
	out := []string{".env"}
	if dir != "." {
		out = append(out, path.Join(dir, ".env"))
	}
	if environment == "" {
		return out
	}
	out = append(out, environment+".env")
	if dir != "." {
		out = append(out, path.Join(dir, environment+".env"))
	}
	return out
}

// readVariables adds the variables of one file to values. A missing file adds none.
func readVariables(f *files, name string, fixed, values map[string]string, r *report) {
	data, tainted, err := f.read(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		at := Position{name, 1}
		r.fail(at, err, "%s", describe(name, at, err))
		return
	}
	lines, err := parseDotenv(data, in(fixed), in(values))
	if err != nil {
		r.failLine(name, err)
		return
	}
	if tainted {
		f.taint(lines)
	}
	for _, v := range lines {
		if strings.HasPrefix(v.name, reserved) {
			r.errorf(Position{name, v.line}, "variable %s is not yours to set: skep sets all that start with %s", v.name, reserved)
			continue
		}
		if v.set {
			values[v.name] = v.value
		}
	}
}

// in looks variables up in m.
func in(m map[string]string) lookup {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

// ownVariables are those that skep sets for a stack; no file can set them.
func ownVariables(o Options, stack string) map[string]string {
	own := map[string]string{"SKEP_TENANT": o.Tenant, "SKEP_ENVIRONMENT": o.Environment}
	if stack != "" {
		own["SKEP_STACK"] = stack
	}
	return own
}

// checkEnvironment refuses environments whose name could not be part of a file's.
func checkEnvironment(name string) error {
	if name == "" {
		return nil
	}
	if strings.ContainsAny(name, "/\\\x00") || strings.HasPrefix(name, ".") || name == "override" {
		return fmt.Errorf("environment %q: the name becomes part of a file's name and may not be override, start with a dot or hold a slash", name)
	}
	return nil
}
