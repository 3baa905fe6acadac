package stack

import (
	"go.yaml.in/yaml/v4"
)

// confineDocument rewrites every path of a document that skep reads to the path
// from the root of the tree, and reports those that leave it. Bind mounts,
// build contexts and the like are not read and stay as they are.
func (l *loading) confineDocument(d *document) {
	eachEntry(child(d.root, "services"), func(name, service *yaml.Node) {
		for _, key := range []string{"env_file", "label_file"} {
			l.confineList(d, child(service, key), Finding{Service: name.Value, Key: "services." + name.Value + "." + key})
		}
	})
	for _, section := range []string{"secrets", "configs"} {
		eachEntry(child(d.root, section), func(name, object *yaml.Node) {
			l.confinePath(d, child(object, "file"), Finding{Key: section + "." + name.Value + ".file"})
		})
	}
}

// confineList rewrites a path, or a list of paths, or of mappings with path:.
// about is the finding to make of one that leaves the tree.
func (l *loading) confineList(d *document, n *yaml.Node, about Finding) {
	if n == nil || n.Kind != yaml.SequenceNode {
		l.confinePath(d, n, about)
		return
	}
	for _, item := range n.Content {
		if item.Kind == yaml.MappingNode {
			item = child(item, "path")
		}
		l.confinePath(d, item, about)
	}
}

func (l *loading) confinePath(d *document, n *yaml.Node, about Finding) {
	if !isText(n) {
		return
	}
	p, err := confine(d.dir, n.Value)
	if err != nil {
		about.Position, about.Severity, about.Err = Position{d.file, n.Line}, Error, err
		about.Text = about.Key + ": " + pathText(n.Value, err)
		l.report.add(about)
		return
	}
	n.Value = p
}

// eachEntry calls f for the keys and values of a mapping.
func eachEntry(n *yaml.Node, f func(key, value *yaml.Node)) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(n.Content[i], n.Content[i+1])
	}
}
