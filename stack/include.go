package stack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// imported are the sections that an include brings in (compose-go, importResources).
var imported = []string{"services", "volumes", "networks", "secrets", "configs"}

// add puts one of the stack's own files, and before it what it includes, at the
// end of the documents.
func (l *loading) add(file string) {
	d := l.open(file, l.def.Dir, Position{file, 1})
	if d == nil {
		return
	}
	d.own = true
	l.wish(d)
	drop(d.root, "name")
	drop(d.root, "version")
	l.include(d, []string{file})
	l.documents = append(l.documents, d)
}

// include puts what a document includes before it. The first of two includes
// that set the same thing wins, as in compose, so the last goes first. chain is
// the files that led here, to find cycles.
func (l *loading) include(d *document, chain []string) {
	key, value := drop(d.root, "include")
	if key == nil || value.ShortTag() == "!!null" {
		return
	}
	if value.Kind != yaml.SequenceNode {
		l.report.errorf(Position{d.file, value.Line}, "include must be a list of files")
		return
	}
	for _, entry := range slices.Backward(value.Content) {
		dir := ""
		for _, p := range l.includePaths(d, entry) {
			at := Position{d.file, p.Line}
			file, err := confine(d.dir, p.Value)
			if err != nil {
				l.report.fail(at, err, "include: %s", pathText(p.Value, err))
				continue
			}
			if dir == "" {
				dir = folderOf(file)
			}
			if included := l.includeFile(file, dir, at, chain); included != nil {
				d.included = append(d.included, included...)
			}
		}
	}
}

// includePaths gives the paths of one entry of include: a file, or files that
// are merged.
func (l *loading) includePaths(d *document, entry *yaml.Node) []*yaml.Node {
	if isText(entry) {
		return []*yaml.Node{entry}
	}
	if entry.Kind != yaml.MappingNode {
		l.report.errorf(Position{d.file, entry.Line}, "include must list files, or mappings with path:")
		return nil
	}
	var paths []*yaml.Node
	for i := 0; i+1 < len(entry.Content); i += 2 {
		key, value := entry.Content[i], entry.Content[i+1]
		switch {
		case key.Value != "path":
			l.report.errorf(Position{d.file, key.Line}, "include.%s is not supported; variables come from .env files beside the stack or at the root, paths start at the included file", key.Value)
		case isText(value):
			paths = append(paths, value)
		case value.Kind == yaml.SequenceNode && !slices.ContainsFunc(value.Content, func(n *yaml.Node) bool { return !isText(n) }):
			paths = append(paths, value.Content...)
		default:
			l.report.errorf(Position{d.file, value.Line}, "include.path must be a file or a list of files")
		}
	}
	return paths
}

// includeFile loads one included file and what it includes itself. A file that
// two includes reach is merged once.
func (l *loading) includeFile(file, dir string, from Position, chain []string) []*document {
	if slices.Contains(chain, file) {
		l.report.errorf(from, "include: the files include each other: %s", strings.Join(append(slices.Clone(chain), file), " → "))
		return nil
	}
	for _, d := range l.documents {
		if d.file == file && d.dir == dir {
			return append([]*document{d}, d.included...)
		}
	}
	d := l.open(file, dir, from)
	if d == nil {
		return nil
	}
	l.keepImported(d)
	l.include(d, append(slices.Clone(chain), file))
	l.documents = append(l.documents, d)
	return append([]*document{d}, d.included...)
}

// keepImported drops what an include does not bring in.
func (l *loading) keepImported(d *document) {
	for i := 0; i+1 < len(d.root.Content); {
		key := d.root.Content[i]
		if slices.Contains(imported, key.Value) || key.Value == "include" {
			i += 2
			continue
		}
		if key.Value == wishKey {
			l.report.warnf(Position{d.file, key.Line}, "%s is read in the stack file only, not in included files", wishKey)
		} else if key.Value != "name" && key.Value != "version" && !strings.HasPrefix(key.Value, "x-") {
			l.report.errorf(Position{d.file, key.Line}, "key %s is not known in an included file%s", key.Value, suggest(key.Value, imported))
		}
		drop(d.root, key.Value)
	}
}

// folderOf is path.Dir for slash paths of a tree.
func folderOf(file string) string {
	if i := strings.LastIndexByte(file, '/'); i >= 0 {
		return file[:i]
	}
	return "."
}

// pathText words what is wrong with a path.
func pathText(p string, err error) string {
	var escape *EscapeError
	if errors.As(err, &escape) {
		return err.Error()
	}
	if p == "" {
		return err.Error()
	}
	return fmt.Sprintf("%s: %v", p, err)
}
