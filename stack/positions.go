package stack

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// positions knows where each compose path was set last.
type positions struct {
	first   string // the stack file; the folder, where it has none
	folder  string
	known   map[string]Position
	shared  map[string]bool   // lists that two files set: their items' numbers mean nothing
	extends map[string]string // service → the one it extends
}

func newPositions(def Definition) *positions {
	p := &positions{first: def.Dir, folder: def.Dir, known: map[string]Position{}, shared: map[string]bool{}, extends: map[string]string{}}
	if len(def.Files) > 0 {
		p.first = def.Files[0]
	}
	return p
}

// whole is the start of the stack file; the folder, where it has none.
func (p *positions) whole() Position {
	if p.first == p.folder {
		return Position{File: p.folder}
	}
	return Position{p.first, 1}
}

// record takes down where n, at path, and all below it stand. What is recorded
// later wins.
func (p *positions) record(file, path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			sub := join(path, key.Value)
			p.known[sub] = Position{file, key.Line}
			p.record(file, sub, value)
		}
	case yaml.SequenceNode:
		if _, twice := p.known[join(path, "0")]; twice {
			p.shared[path] = true
		}
		for i, item := range n.Content {
			sub := join(path, strconv.Itoa(i))
			p.known[sub] = Position{file, item.Line}
			p.record(file, sub, item)
			if name, _, ok := strings.Cut(item.Value, "="); ok && isText(item) {
				p.known[join(path, name)] = Position{file, item.Line}
			}
		}
	}
}

// at gives where path was set last: in its own service, in one that it extends,
// else where its nearest parent stands.
func (p *positions) at(path string) Position {
	for ; path != ""; path = parent(path) {
		if pos, ok := p.exact(path); ok && !p.inShared(path) {
			return pos
		}
	}
	return p.whole()
}

// inShared says whether path is an item, by number, of a list that two files set, or below one.
func (p *positions) inShared(path string) bool {
	for ; path != ""; path = parent(path) {
		up := parent(path)
		if !p.shared[up] {
			continue
		}
		if _, err := strconv.Atoi(path[len(up)+1:]); err == nil {
			return true
		}
	}
	return false
}

// exact looks path up, also under the services that its service extends.
func (p *positions) exact(path string) (Position, bool) {
	if pos, ok := p.known[path]; ok {
		return pos, true
	}
	service, base, ok := p.owner(path)
	if !ok {
		return Position{}, false
	}
	return p.known["services."+base+strings.TrimPrefix(path, "services."+service)], true
}

// owner gives the service that path starts with, and the one among those it
// extends that sets path; false: the service sets it itself, or none does.
func (p *positions) owner(path string) (service, base string, ok bool) {
	rest, ok := strings.CutPrefix(path, "services.")
	if _, own := p.known[path]; !ok || own {
		return "", "", false
	}
	for service, base := range p.bases(rest) {
		if _, ok := p.known["services."+base+strings.TrimPrefix(rest, service)]; ok {
			return service, base, true
		}
	}
	return "", "", false
}

// bases yields the services that the one at the start of path extends, nearest first.
func (p *positions) bases(path string) func(yield func(service, base string) bool) {
	return func(yield func(service, base string) bool) {
		service, base, ok := p.extending(path)
		for range maxExtends {
			if !ok || !yield(service, base) {
				return
			}
			base, ok = p.extends[base]
		}
	}
}

// extending gives the service at the start of path, whose name may hold dots,
// and the one it extends.
func (p *positions) extending(path string) (service, base string, ok bool) {
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '.' {
			continue
		}
		if base, ok := p.extends[path[:i]]; ok {
			return path[:i], base, true
		}
	}
	return "", "", false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '.'), 0)]
}
