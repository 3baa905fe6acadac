package stack

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"go.yaml.in/yaml/v4"
)

// inspect looks at what a document says that its merged form no longer shows,
// and at what would cost compose-go too much.
func (l *loading) inspect(d *document) {
	l.inspectWish(d)
	for _, section := range []string{"networks", "volumes", "secrets", "configs"} {
		eachEntry(child(d.root, section), func(key, object *yaml.Node) {
			l.inspectName(d, section, key)
			l.inspectObject(d, section+"."+key.Value, object)
		})
	}
	eachEntry(child(d.root, "services"), func(key, service *yaml.Node) {
		l.inspectName(d, "services", key)
		path := "services." + key.Value
		if k, _ := entry(service, wishKey); k != nil {
			l.report.add(Finding{Position: Position{d.file, k.Line}, Severity: Error, Service: key.Value, Key: path + "." + wishKey,
				Text: wishKey + " is known at the top of a stack file and on secrets and configs, not on a service"})
		}
		l.countPorts(d, key.Value, child(service, "ports"))
		l.countPorts(d, key.Value, child(service, "expose"))
		l.inspectTargets(d, key.Value, service)
		l.inspectOptions(d, key.Value, child(service, "volumes"))
		l.inspectLegacy(d, key.Value, service)
	})
}

// inspectWish warns of a key that is likely meant to be x-skep: compose takes
// any x-… in silence.
func (l *loading) inspectWish(d *document) {
	eachEntry(d.root, func(key, value *yaml.Node) {
		if key.Value == wishKey || !strings.HasPrefix(key.Value, "x-") {
			return
		}
		wishes := value.Kind == yaml.MappingNode && len(value.Content) > 0
		eachEntry(value, func(k, _ *yaml.Node) { wishes = wishes && slices.Contains(wishKeys, k.Value) })
		if strings.HasPrefix(strings.ToLower(key.Value), wishKey) || wishes && edits(key.Value, wishKey) < 3 {
			l.report.add(Finding{Position: Position{d.file, key.Line}, Severity: Warning, Key: key.Value,
				Text: fmt.Sprintf("%s: is nobody's; did you mean %s?", key.Value, wishKey)})
		}
	})
}

// keyName is compose's rule for the keys of services, networks, volumes, secrets and configs.
var keyName = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

func (l *loading) inspectName(d *document, section string, key *yaml.Node) {
	if keyName.MatchString(key.Value) {
		return
	}
	f := Finding{Position: Position{d.file, key.Line}, Severity: Error, Key: section + "." + key.Value}
	rule := fmt.Sprintf("a %s's name is made of a-z, A-Z, 0-9, -, _ and .", strings.TrimSuffix(section, "s"))
	if f.Text = f.Key + ": " + rule; key.Value == "" {
		f.Key, f.Text = section, section+": "+rule+"; one is empty"
	}
	l.report.add(f)
}

// inspectLegacy readies keys that docker stack deploy takes, and ignores, in a
// form that compose-go refuses.
func (l *loading) inspectLegacy(d *document, service string, n *yaml.Node) {
	if k, v := drop(n, "cgroupns_mode"); k != nil && v.Value != "" {
		path := "services." + service + ".cgroupns_mode"
		l.report.add(Finding{Position: Position{d.file, k.Line}, Severity: Warning, Service: service, Key: path, Text: path + ": ignored: " + setOnNodes})
	}
	switch v := child(n, "container_name"); {
	case !isText(v):
	case v.Value == "":
		drop(n, "container_name")
	default:
		set(n, "container_name", text("ignored", v.Line))
	}
}

// inspectOptions warns of options of a short mount, such as the last part of
// /a:/b:ro,cached, that compose-go drops.
func (l *loading) inspectOptions(d *document, service string, n *yaml.Node) {
	if n == nil {
		return
	}
	for i, item := range n.Content {
		v, err := format.ParseVolume(item.Value)
		options, ok := strings.CutPrefix(item.Value, v.Source+":"+v.Target+":")
		if item.Kind != yaml.ScalarNode || err != nil || !ok {
			continue
		}
		for o := range strings.SplitSeq(options, ",") {
			why := "it is not one of ro, rw, nocopy, z, Z and the propagations such as rslave"
			switch {
			case slices.Contains([]string{"ro", "rw", "nocopy", "z", "Z"}, o), slices.Contains(format.Propagations, o):
				continue
			case slices.Contains([]string{"cached", "delegated", "consistent"}, o):
				why = "Swarm has no consistency for mounts"
			}
			path := fmt.Sprintf("services.%s.volumes.%d", service, i)
			l.report.add(Finding{Position: Position{d.file, item.Line}, Severity: Warning, Service: service, Key: path,
				Text: fmt.Sprintf("%s: option %q is ignored: %s", path, o, why)})
		}
	}
}

// inspectObject notes a literal name and the old form of external, which
// compose-go would warn of on stderr, and checks x-skep.
func (l *loading) inspectObject(d *document, path string, object *yaml.Node) {
	if name := child(object, "name"); name != nil && name.ShortTag() != "!!null" {
		l.literal[path] = true
	}
	section, _, _ := strings.Cut(path, ".")
	if k, v := entry(object, wishKey); k != nil {
		l.inspectKey(d, section, path, k, v)
	}
	_, external := entry(object, "external")
	if external == nil || external.Kind != yaml.MappingNode {
		return
	}
	name := child(external, "name")
	own := child(object, "name")
	if own != nil && name != nil && own.Value != name.Value {
		l.report.add(Finding{Position: Position{d.file, external.Line}, Severity: Error, Key: path + ".external", Text: "name and external.name differ; keep name"})
		return
	}
	if name != nil {
		l.literal[path] = true
		set(object, "name", name)
		l.report.add(Finding{Position: Position{d.file, name.Line}, Severity: Warning, Key: path + ".external", Text: "external.name is an old form; write name: and external: true"})
	}
	set(object, "external", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: external.Line})
}

// inspectKey checks x-skep on a secret or config: {key: path of a value in its file}.
func (l *loading) inspectKey(d *document, section, path string, k, v *yaml.Node) {
	fail := func(n *yaml.Node, format string, args ...any) {
		l.report.add(Finding{Position: Position{d.file, n.Line}, Severity: Error, Key: path + "." + wishKey, Text: fmt.Sprintf(format, args...)})
	}
	if section != "secrets" && section != "configs" {
		fail(k, "%s is known at the top of a stack file and on secrets and configs, not on %s", wishKey, section)
		return
	}
	if v.Kind != yaml.MappingNode {
		fail(v, "%s must be a mapping such as {key: db.password}", wishKey)
		return
	}
	eachEntry(v, func(key, value *yaml.Node) {
		switch {
		case key.Value != "key":
			fail(key, "%s.%s is not known%s; the one key here is key", wishKey, key.Value, suggest(key.Value, []string{"key"}))
		case value.Kind != yaml.ScalarNode || value.Value == "" || value.ShortTag() == "!!null":
			fail(value, "%s.key must name a value of the file, such as db.password", wishKey)
		}
	})
}

// countPorts bounds port ranges, which compose-go writes out one by one.
func (l *loading) countPorts(d *document, service string, n *yaml.Node) {
	if n == nil {
		return
	}
	for _, item := range n.Content {
		text := item.Value
		if item.Kind == yaml.MappingNode {
			if p := child(item, "published"); p != nil {
				text = p.Value
			}
		}
		count, err := portCount(text)
		if l.ports += count; err == nil && l.ports > maxPorts {
			err = fmt.Errorf("more than %d ports in one stack", maxPorts)
		}
		if err != nil {
			l.report.add(Finding{Position: Position{d.file, item.Line}, Severity: Error, Service: service, Key: "services." + service + ".ports", Text: "ports: " + err.Error()})
			return
		}
	}
}

// suggest gives "; did you mean X?" for the word that is nearest to s, or "".
func suggest(s string, words []string) string {
	best, distance := "", 3
	for _, w := range slices.Sorted(slices.Values(words)) {
		if n := edits(s, w); n < distance && n < max(len(s), len(w))-1 {
			best, distance = w, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// edits counts the letters to add, drop or change to get from a to b; more than
// 100 letters are not looked at.
func edits(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
