package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/shlex"
	"go.yaml.in/yaml/v4"
)

// load reads one stack's files, confined to fsys. The error is a *RenderError.
//
// Every file is read here and given to compose-go from memory: includes become
// files of their own, the bases of extends become services of a reserved name,
// and variables are put in first. compose-go opens no file, so it can neither
// leave the tree nor leave plaintext anywhere.
func load(fsys fs.FS, def Definition, o Options) (m *model, err error) {
	l := newLoading(fsys, def, o)
	defer func() {
		if p := recover(); p != nil {
			l.recovered(p)
			m, err = nil, l.failure()
		}
	}()
	if m = l.run(); l.report.errors > 0 || m == nil {
		return nil, l.failure()
	}
	m.findings = append(l.report.sorted(m.taint), l.later...)
	return m, nil
}

// loading is the state of one load.
type loading struct {
	def       Definition
	o         Options
	files     *files
	report    *report
	vars      map[string]string
	documents []*document          // what is merged, lowest first
	opened    map[string]*document // bases of extends, by file
	positions *positions
	nodes     int               // in all files
	ports     int               // published by all files, ranges written out
	bytes     int               // of values with variables, written out
	bases     int               // services that extends brought in
	borrowed  map[string]string // their reserved names → their own
	leftOut   []string          // paths that compose-go objected to
	literal   map[string]bool
	later     []Finding // errors that convert reports with its own
	wishes    Wishes
}

func newLoading(fsys fs.FS, def Definition, o Options) *loading {
	return &loading{
		def: def, o: o, files: newFiles(fsys), report: &report{},
		opened: map[string]*document{}, positions: newPositions(def), borrowed: map[string]string{}, literal: map[string]bool{},
	}
}

// failure is all findings as an error.
func (l *loading) failure() error {
	return &RenderError{Tenant: l.def.Tenant, Stack: l.def.Name, Findings: l.report.sorted(l.taint())}
}

func (l *loading) taint() Taint { return NewTaint(l.files.secrets...) }

// recovered turns a panic, which only compose-go could raise on a file that
// passed its schema, into a finding. Values a panic may carry are not shown.
func (l *loading) recovered(p any) {
	text := "a value has a form that can't be read"
	if e, ok := p.(runtime.Error); ok {
		text += ": " + e.Error()
	}
	l.report.errorf(l.positions.whole(), "%s", text)
}

// run loads the stack step by step and stops where a step found errors.
func (l *loading) run() *model {
	for _, w := range l.def.Warnings {
		l.report.add(w)
	}
	if l.def.Err != nil {
		l.noStack(l.def.Err)
		return nil
	}
	if err := checkEnvironment(l.o.Environment); err != nil {
		l.report.fail(l.positions.whole(), err, "%v", err)
		return nil
	}
	l.vars = variables(l.files, l.def.Dir, l.o, ownVariables(l.o, l.def.Name), l.report)
	for _, file := range l.def.Files {
		l.add(file)
	}
	if l.report.errors > 0 {
		return nil
	}
	for _, d := range l.documents {
		l.positions.record(d.file, "", d.root)
		l.inspect(d)
	}
	for _, d := range l.documents {
		l.extend(d)
	}
	if l.report.errors > 0 {
		return nil
	}
	return l.compose()
}

// noStack reports what keeps the folder from being a stack, each fault at its place.
func (l *loading) noStack(err error) {
	if joined, many := err.(interface{ Unwrap() []error }); many {
		for _, e := range joined.Unwrap() {
			l.noStack(e)
		}
		return
	}
	var placed *placedError
	if errors.As(err, &placed) {
		l.report.fail(placed.at, err, "%s", placed.text())
		return
	}
	l.report.fail(l.positions.whole(), err, "%s", strings.TrimPrefix(err.Error(), l.def.Dir+": "))
}

// compose hands the documents to compose-go and finishes what it gives back.
func (l *loading) compose() *model {
	dict := l.merge()
	if dict == nil {
		return nil
	}
	l.splitCommands(dict)
	details := l.details()
	options := loader.ToOptions(&details, []func(*loader.Options){l.configure})
	project, err := loader.ModelToProject(copyDict(dict), options, details)
	if err != nil {
		l.reword(err)
		return nil
	}
	dropDisabled(dict, project)
	if len(project.Services) == 0 {
		l.report.errorf(l.positions.at("services"), "no services (are profiles off?); to remove a stack, delete its folder")
	}
	l.checkIgnored(project)
	l.resolveEnvironment(project)
	l.resolveLabels(project)
	m := &model{def: l.def, project: project, dict: dict, literal: l.literal, at: l.positions.at, wishes: l.wishes}
	m.content = l.content(project)
	m.taint = l.taint()
	l.warnTainted(m)
	return m
}

// How many errors of compose-go, which stops at the first, are looked for in
// one stack: one only where its size makes each try costly.
const (
	maxTries   = 30
	costlyTree = 2000 // nodes
)

// merge gives the documents as one canonical map, or nil. What compose-go
// objects to is left out and the rest tried again, so that a tenant sees more
// than the first error.
func (l *loading) merge() map[string]any {
	tries := maxTries
	if l.nodes > costlyTree {
		tries = 1
	}
	for range tries {
		dict, err := l.mergeOnce()
		if err == nil {
			if l.report.errors > 0 {
				return nil
			}
			return dict
		}
		for _, path := range l.reword(err) {
			if !l.leaveOut(path) {
				return nil
			}
		}
	}
	return nil
}

func (l *loading) mergeOnce() (map[string]any, error) {
	details := l.details()
	dict, err := loader.LoadModelWithContext(context.Background(), details, l.configure)
	if err != nil {
		return nil, err
	}
	removeBases(dict)
	dict["name"] = l.def.Name
	return loader.Normalize(dict, details.Environment)
}

// leaveOut removes the value at path from all documents and says whether one had it.
func (l *loading) leaveOut(path string) bool {
	l.leftOut = append(l.leftOut, path)
	found := false
	for _, d := range l.documents {
		if path != "" && removeAt(d.root, path) {
			found = true
		}
	}
	return found
}

// details is what compose-go is given: the documents in memory, and a copy of
// the variables, because it writes to them.
func (l *loading) details() types.ConfigDetails {
	d := types.ConfigDetails{WorkingDir: "/", Environment: maps.Clone(l.vars)}
	for _, doc := range l.documents {
		d.ConfigFiles = append(d.ConfigFiles, types.ConfigFile{Filename: doc.file, Content: encode(doc.root)})
	}
	return d
}

// configure sets compose-go's options. Defaults and consistency are left to
// convert, which knows Swarm's rules; normalising waits until the bases of
// extends are gone.
func (l *loading) configure(o *loader.Options) {
	o.SetProjectName(l.def.Name, true)
	o.Profiles = l.o.Profiles
	o.Interpolate = nil
	o.SkipInclude = true
	o.ResolvePaths = false
	o.SkipNormalization = true
	o.SkipConsistencyCheck = true
	o.SkipDefaultValues = true
	o.SkipResolveEnvironment = true
	o.SkipResolveLabels = true
	o.ResourceLoaders = []loader.ResourceLoader{closed{}}
}

// closed refuses every file that compose-go might want to open.
type closed struct{}

var _ loader.ResourceLoader = closed{}

func (closed) Accept(string) bool { return true }
func (closed) Dir(string) string  { return "." }
func (closed) Load(_ context.Context, p string) (string, error) {
	return "", fmt.Errorf("%s: %w", p, errors.ErrUnsupported)
}

// splitCommands makes lists of commands that are one string, with the words
// that docker makes of them: compose-go's own splitting ends at ; | & < >.
func (l *loading) splitCommands(dict map[string]any) {
	taint := l.taint()
	services, _ := dict["services"].(map[string]any)
	for name, s := range services {
		service, _ := s.(map[string]any)
		for _, key := range []string{"command", "entrypoint"} {
			line, ok := service[key].(string)
			if !ok {
				continue
			}
			words, err := shlex.Split(line)
			if err != nil {
				at := "services." + name + "." + key
				l.report.add(Finding{Position: l.positions.at(at), Severity: Error, Service: name, Key: at, Text: fmt.Sprintf("%s: not a command line: %v", at, err)})
			}
			list := make([]any, len(words))
			for i, w := range words {
				list[i] = w
				if taint.In(line) && !strings.Contains(line, w) { // its quotes may have been the value's
					l.files.secrets = append(l.files.secrets, w)
				}
			}
			service[key] = list
		}
	}
}

// dropDisabled leaves out services whose profile is off.
func dropDisabled(dict map[string]any, p *types.Project) {
	services, _ := dict["services"].(map[string]any)
	for name := range services {
		if _, on := p.Services[name]; !on {
			delete(services, name)
		}
	}
}

// copyDict copies maps and lists; ModelToProject writes to what it is given.
func copyDict(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = copyValue(v)
	}
	return out
}

func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return copyDict(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copyValue(e)
		}
		return out
	}
	return v
}

// document is one file as compose-go will see it.
type document struct {
	file     string // from the root of the tree
	dir      string // where its relative paths start
	root     *yaml.Node
	tainted  bool        // came from an encrypted file
	own      bool        // one of the stack's own files, not an included one
	included []*document // whose services its own may extend
}

// open reads, parses, bounds and interpolates one file. It reports what is
// wrong and gives nil.
func (l *loading) open(file, dir string, from Position) *document {
	data, tainted, err := l.files.read(file, maxFile)
	if err != nil {
		l.report.fail(from, err, "%s", describe(file, from, err))
		return nil
	}
	root, err := parse(data)
	if err != nil {
		l.report.failLine(file, err)
		return nil
	}
	if l.nodes += size(root); l.nodes > maxTotal {
		l.report.errorf(Position{file, 1}, "more than %d values in all files of the stack", maxTotal)
		return nil
	}
	d := &document{file: file, dir: dir, root: root, tainted: tainted}
	before := l.report.errors
	l.interpolateDocument(d)
	if l.report.errors > before {
		return nil
	}
	l.confineDocument(d)
	return d
}

// describe words a file that can't be read; the position may name it already.
func describe(file string, from Position, err error) string {
	if from.File == file || strings.HasPrefix(err.Error(), file+":") {
		return err.Error()
	}
	return file + ": " + err.Error()
}
