package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"
)

// resolveEnvironment puts the variables of env_file below those of environment.
func (l *loading) resolveEnvironment(p *types.Project) {
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		if len(s.EnvFiles) == 0 {
			continue
		}
		merged := types.MappingWithEquals{}
		for i, f := range s.EnvFiles {
			l.readEnvFile(name, i, f, s.Environment, merged)
		}
		s.Environment = merged.OverrideBy(s.Environment)
		p.Services[name] = s
	}
}

// readEnvFile adds one env_file of a service to into.
func (l *loading) readEnvFile(service string, i int, f types.EnvFile, environment, into types.MappingWithEquals) {
	at := "services." + service + ".env_file." + strconv.Itoa(i)
	data, tainted, err := l.files.read(f.Path, maxFile)
	if errors.Is(err, fs.ErrNotExist) && !bool(f.Required) {
		return
	}
	if err != nil {
		l.report.add(Finding{Position: l.positions.at(at), Severity: Error, Service: service, Key: at, Err: err,
			Text: "env_file " + describe(f.Path, Position{}, err)})
		return
	}
	lines, err := l.parseEnvFile(data, f.Format, environment, into)
	if err != nil {
		l.envFileError(service, at, f.Path, err)
		return
	}
	if tainted {
		l.files.taint(lines)
	}
	for _, v := range lines {
		if v.set {
			into[v.name] = &v.value
		} else if value, ok := l.vars[v.name]; ok {
			into[v.name] = &value
		}
	}
}

// parseEnvFile reads an env_file in its format: as docker stack deploy does
// unless it says dotenv, the way of docker compose.
func (l *loading) parseEnvFile(data []byte, format string, environment, before types.MappingWithEquals) ([]variableLine, error) {
	switch format {
	case "", "raw":
		return parseRaw(data)
	case "dotenv":
		return parseDotenv(data, func(name string) (string, bool) {
			if v, ok := l.vars[name]; ok {
				return v, true
			}
			return valueIn(environment, name)
		}, func(name string) (string, bool) { return valueIn(before, name) })
	}
	return nil, fmt.Errorf("format %q is not known; it is raw, docker's own, or dotenv", format)
}

func valueIn(m types.MappingWithEquals, name string) (string, bool) {
	if v := m[name]; v != nil {
		return *v, true
	}
	return "", false
}

// envFileError reports an error inside an env or label file, at its line there.
func (l *loading) envFileError(service, at, file string, err error) {
	p, text := l.positions.at(at), file+": "+err.Error()
	var line *lineError
	if errors.As(err, &line) {
		p, text = Position{file, line.line}, line.err.Error()
	}
	l.report.add(Finding{Position: p, Severity: Error, Service: service, Key: at, Text: text, Err: err})
}

// resolveLabels puts the labels of label_file below those of labels.
func (l *loading) resolveLabels(p *types.Project) {
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		if len(s.LabelFiles) == 0 {
			continue
		}
		merged := types.Labels{}
		for i, file := range s.LabelFiles {
			l.readLabelFile(name, i, file, merged)
		}
		maps.Copy(merged, s.Labels)
		s.Labels = merged
		p.Services[name] = s
	}
}

// readLabelFile adds one label_file, in compose's dotenv form, to into.
func (l *loading) readLabelFile(service string, i int, file string, into types.Labels) {
	at := "services." + service + ".label_file." + strconv.Itoa(i)
	data, tainted, err := l.files.read(file, maxFile)
	if err != nil {
		l.report.add(Finding{Position: l.positions.at(at), Severity: Error, Service: service, Key: at, Err: err,
			Text: "label_file " + describe(file, Position{}, err)})
		return
	}
	lines, err := parseDotenv(data, in(nil), in(into))
	if err != nil {
		l.envFileError(service, at, file, err)
		return
	}
	if tainted {
		l.files.taint(lines)
	}
	for _, v := range lines {
		if v.set {
			into[v.name] = v.value
		}
	}
}
