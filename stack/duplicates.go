package stack

import (
	"fmt"
	"path"

	"github.com/compose-spec/compose-go/v2/format"
	"go.yaml.in/yaml/v4"
)

// inspectTargets refuses two entries of one list that want the same place in
// the container. compose-go takes the second for an overlay of the first, even
// in one file, and drops the first without a word. Loading goes on, so that
// convert reports these with all else that it finds.
func (l *loading) inspectTargets(d *document, service string, n *yaml.Node) {
	for _, key := range []string{"volumes", "secrets", "configs"} {
		list := child(n, key)
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		seen := map[string]int{}
		for i, item := range list.Content {
			target := itemTarget(key, item)
			place := target
			if key == "volumes" && item.Kind == yaml.ScalarNode && target != "" {
				place = path.Clean(target) // as compose-go does to the short form
			}
			first, taken := seen[place]
			if taken && target != "" {
				l.later = append(l.later, Finding{
					Position: Position{d.file, item.Line}, Severity: Error, Service: service,
					Key:  fmt.Sprintf("services.%s.%s.%d", service, key, i),
					Text: fmt.Sprintf("services.%s.%s.%d: target %q is taken by %s.%d", service, key, i, target, key, first),
				})
				continue
			}
			seen[place] = i
		}
	}
}

// itemTarget is what compose-go tells entries of volumes, secrets and configs
// apart by (override/uncity.go); empty where it can't be told, which is another
// check's business. Targets that differ in writing only are convert's business.
func itemTarget(key string, item *yaml.Node) string {
	dir := map[string]string{"secrets": "/run/secrets/", "configs": "/"}[key]
	if item.Kind == yaml.ScalarNode {
		if key != "volumes" {
			return dir + item.Value
		}
		v, err := format.ParseVolume(item.Value)
		if err != nil {
			return ""
		}
		return v.Target
	}
	if target := child(item, "target"); target != nil {
		return target.Value
	}
	if source := child(item, "source"); source != nil && key != "volumes" {
		return dir + source.Value
	}
	return ""
}
