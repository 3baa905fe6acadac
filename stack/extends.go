package stack

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// basePrefix starts the names of services that stand for the bases of extends.
// A service of a stack can't have it: Swarm allows no dots.
const basePrefix = "skep.base."

// maxExtends bounds a chain of extends.
const maxExtends = 50

// ref is a service in a file.
type ref struct{ file, service string }

func (r ref) String() string { return fmt.Sprintf("%s in %s", r.service, r.file) }

// extend brings the bases that a document's services extend from other files
// into the document, under reserved names.
func (l *loading) extend(d *document) {
	services := child(d.root, "services")
	if services == nil || services.Kind != yaml.MappingNode {
		return
	}
	b := borrowing{l: l, into: services, known: map[ref]string{}}
	own := len(services.Content) // bases are appended and see to themselves
	for i := 0; i+1 < own; i += 2 {
		name := services.Content[i]
		if strings.HasPrefix(name.Value, basePrefix) {
			l.report.errorf(Position{d.file, name.Line}, "service names may not start with %s", basePrefix)
			continue
		}
		b.resolve(d, name.Value, name.Value, []ref{{d.file, name.Value}})
	}
}

// borrowing brings bases into one document.
type borrowing struct {
	l     *loading
	into  *yaml.Node     // its services
	known map[ref]string // bases that are there already, by what they stand for
}

// resolve points the extends of service name, which stands in document d and is
// called as in the document that is made, to a service of that document.
func (b *borrowing) resolve(d *document, name, as string, chain []ref) {
	service := child(b.into, as)
	key, value := entry(service, "extends")
	if key == nil {
		return
	}
	at := place{Position{d.file, key.Line}, b.l.ownNames(as)}
	base, file, ok := b.l.extendsTarget(d, value, at)
	if !ok {
		drop(service, "extends")
		return
	}
	from, target := b.l.base(d, base, file, at)
	if target == nil {
		drop(service, "extends")
		return
	}
	r := ref{from.file, base}
	if slices.Contains(chain, r) {
		b.l.extendsError(at, nil, "the services extend each other: %s", cycle(append(chain, r)))
		drop(service, "extends")
		return
	}
	if len(chain) > maxExtends {
		b.l.extendsError(at, nil, "more than %d services extend one another", maxExtends)
		drop(service, "extends")
		return
	}
	chain = append(slices.Clone(chain), r)
	if from == d && as == name { // compose-go finds it beside the service
		b.l.positions.extends[as] = base
		set(service, "extends", text(base, key.Line))
		b.resolve(d, base, base, chain)
		return
	}
	hidden := b.borrow(from, base, r, target, chain)
	b.l.positions.extends[as] = hidden
	set(service, "extends", text(hidden, key.Line))
}

func cycle(chain []ref) string {
	var names []string
	for _, r := range chain {
		names = append(names, r.String())
	}
	return strings.Join(names, " → ")
}

// borrow copies a service of another document into this one and gives its name here.
func (b *borrowing) borrow(from *document, name string, r ref, target *yaml.Node, chain []ref) string {
	if hidden, ok := b.known[r]; ok {
		return hidden
	}
	b.l.bases++
	hidden := fmt.Sprintf("%s%d", basePrefix, b.l.bases)
	b.known[r] = hidden
	b.l.borrowed[hidden] = name
	c := clone(target)
	if b.l.nodes += size(c); b.l.nodes > maxTotal {
		b.l.report.errorf(Position{from.file, 1}, "more than %d values in all files of the stack", maxTotal)
		return hidden
	}
	set(b.into, hidden, c)
	b.l.positions.record(from.file, "services."+hidden, c)
	b.resolve(from, name, hidden, chain)
	return hidden
}

// place is an extends: where it stands and whose it is.
type place struct {
	Position
	service string
}

func (l *loading) extendsError(at place, cause error, format string, args ...any) {
	l.report.add(Finding{Position: at.Position, Severity: Error, Service: at.service, Key: "services." + at.service + ".extends",
		Text: "extends: " + fmt.Sprintf(format, args...), Err: cause})
}

// extendsTarget reads an extends: a service, or a service and a file.
func (l *loading) extendsTarget(d *document, n *yaml.Node, at place) (service, file string, ok bool) {
	if isText(n) {
		return n.Value, "", true
	}
	s, f := child(n, "service"), child(n, "file")
	if !isText(s) || f != nil && !isText(f) || n.Kind != yaml.MappingNode || len(n.Content) > 4 || len(n.Content) == 4 && f == nil {
		l.extendsError(at, nil, "takes a service's name, or service: and file:")
		return "", "", false
	}
	if f == nil {
		return s.Value, "", true
	}
	file, err := confine(d.dir, f.Value)
	if err != nil {
		l.extendsError(place{Position{d.file, f.Line}, at.service}, err, "%s", pathText(f.Value, err))
		return "", "", false
	}
	return s.Value, file, true
}

// base finds the service that one of d's extends: in file, or, without one, in d
// and what d includes.
func (l *loading) base(d *document, service, file string, at place) (*document, *yaml.Node) {
	if file != "" && file != d.file {
		from := l.baseFile(file, at)
		if from == nil {
			return nil, nil
		}
		return l.inDocuments([]*document{from}, service, at)
	}
	return l.inDocuments(append([]*document{d}, d.included...), service, at)
}

// inDocuments finds the one document that has a service.
func (l *loading) inDocuments(docs []*document, service string, at place) (*document, *yaml.Node) {
	var found *document
	var node *yaml.Node
	for _, d := range docs {
		n := child(child(d.root, "services"), service)
		if n == nil || d == found {
			continue
		}
		if found != nil {
			l.extendsError(at, nil, "service %s is set both in %s and in %s; which is meant is not clear, rename one", service, found.file, d.file)
			return nil, nil
		}
		found, node = d, n
	}
	if found == nil {
		l.extendsError(at, nil, "no service %s in %s", service, docs[0].file)
	}
	return found, node
}

// baseFile opens a file that services extend from. What it includes is no part of it.
func (l *loading) baseFile(file string, at place) *document {
	if d, ok := l.opened[file]; ok {
		return d
	}
	d := l.open(file, folderOf(file), at.Position)
	l.opened[file] = d
	return d
}

// removeBases takes the services that extends brought in out again.
func removeBases(dict map[string]any) {
	services, _ := dict["services"].(map[string]any)
	for name := range services {
		if strings.HasPrefix(name, basePrefix) {
			delete(services, name)
		}
	}
}
