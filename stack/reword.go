package stack

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/compose-spec/compose-go/v2/transform"
	"go.yaml.in/yaml/v4"
)

// reword turns an error of compose-go into findings with places and plain
// words. compose-go's text is kept where it says more than we could. It gives
// the path of each.
func (l *loading) reword(err error) []string {
	text := err.Error()
	text = text[:min(len(text), maxReword)] // it may quote values; what is shown is cut further
	text = strings.TrimSpace(validating.ReplaceAllString(strings.TrimSpace(text), ""))
	list, many := strings.CutPrefix(text, decoding)
	if !many {
		return []string{l.rewordOne(text)}
	}
	var paths []string
	for _, line := range strings.Split(list, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			paths = append(paths, l.rewordOne(line))
		}
	}
	return paths
}

// maxReword is how many bytes of an error of compose-go are looked at.
const maxReword = 20_000

// decoding is what mapstructure puts before its list of errors.
const decoding = "decoding failed due to the following error(s):"

func (l *loading) rewordOne(text string) string {
	if text == "empty compose file" && len(l.leftOut) > 0 {
		return "" // nothing is left of what it objected to
	}
	path, rest := l.splitPath(text)
	if path == "" && !additional.MatchString(text) {
		path, rest = l.culprit(text), text
	}
	key, plain := l.phrase(path, rest)
	if service, base, ok := l.positions.owner(key); ok { // say it once, of the base itself
		key, plain = l.phrase("services."+base+strings.TrimPrefix(path, "services."+service), rest)
	}
	path, rest = key, plain
	if slices.ContainsFunc(l.leftOut, func(gone string) bool { return path != "" && strings.HasPrefix(gone, path+".") }) {
		return path // it misses what was left out
	}
	f := Finding{Position: l.positions.at(path), Severity: Error, Key: path, Text: rest}
	if s, ok := strings.CutPrefix(path, "services."); ok {
		f.Service = l.serviceIn(s)
	}
	f.Service, f.Key, f.Text = l.ownNames(f.Service), l.ownNames(f.Key), l.ownNames(f.Text)
	l.report.add(f)
	return path
}

var (
	validating = regexp.MustCompile(`(?s)^(?:validating|failed to parse) [^:]*: `)
	bracketed  = regexp.MustCompile(`^'?([a-z_]+)\[([^\]]+)\](\.[^' ]+)?'? `)
	additional = regexp.MustCompile(`^additional propert(?:y|ies) (.*) not allowed`)
	quoted     = regexp.MustCompile(`'([^']*)'`)
	madeUp     = regexp.MustCompile(regexp.QuoteMeta(basePrefix) + `\d+`)
	noTarget   = regexp.MustCompile(`^service ports (services\..+\.ports)\.\[\d+\] is missing a target port`)
	notNumber  = regexp.MustCompile(`strconv\.\w+: parsing ("[^"]*"): (invalid syntax|value out of range)`)
)

// plainWords replaces words of the schema's.
var plainWords = strings.NewReplacer("must be a integer", "must be a whole number", "must be a array", "must be a list", "must be a object", "must be a mapping")

// splitPath finds the compose path that an error of compose-go starts with: the
// longest start of the text that is a place in the stack's files. Keys may hold
// blanks and dots, so words alone don't tell.
func (l *loading) splitPath(text string) (path, rest string) {
	if m := bracketed.FindStringSubmatch(text); m != nil {
		return m[1] + "." + m[2] + m[3], strings.TrimSpace(text[len(m[0]):])
	}
	for i := len(text); i > 0; i-- {
		if i < len(text) && text[i] != ' ' && text[i] != ':' {
			continue
		}
		if _, known := l.positions.exact(text[:i]); known {
			return text[:i], strings.TrimLeft(text[i:], " :")
		}
	}
	return "", text
}

// ownNames puts the names that tenants know in place of those that extends made up.
func (l *loading) ownNames(s string) string {
	return madeUp.ReplaceAllStringFunc(s, func(hidden string) string {
		if own, ok := l.borrowed[hidden]; ok {
			return own
		}
		return hidden
	})
}

// serviceIn gives the service's name at the start of a path below services.
func (l *loading) serviceIn(path string) string {
	for i := range len(path) + 1 {
		if i < len(path) && path[i] != '.' {
			continue
		}
		if _, known := l.positions.known["services."+path[:i]]; known {
			return path[:i]
		}
	}
	return ""
}

// phrase says in plain words what the schema objects to; key is where.
func (l *loading) phrase(path, text string) (key, plain string) {
	if m := noTarget.FindStringSubmatch(text); m != nil {
		return m[1], m[1] + ": an entry has no target port, which is between 1 and 65535"
	}
	if m := additional.FindStringSubmatch(text); m != nil {
		var names []string
		for _, q := range quoted.FindAllStringSubmatch(m[1], -1) {
			names = append(names, q[1])
		}
		if len(names) > 0 {
			return join(path, names[0]), l.unknownKey(join(path, names[0]))
		}
	}
	if up, rule := ruledOut(l.ownNames(path)); rule != nil {
		return up, fmt.Sprintf("%s: not possible in Swarm: %s", up, rule.note)
	}
	if strings.HasPrefix(text, "false schema") {
		return path, l.unknownKey(path)
	}
	text = plainWords.Replace(notNumber.ReplaceAllString(text, "$1 is not a number in range"))
	switch parts := strings.Split(path, "."); {
	case strings.HasSuffix(path, ".oom_score_adj"):
		text = "must be a number from -1000 to 1000"
	case len(parts) == 4 && parts[2] == "ulimits":
		text = "must be a number, or have both soft and hard"
	case strings.HasSuffix(text, "must be a string"):
		text += " (put a number in quotes)"
	}
	if strings.HasPrefix(text, path) || path == "" {
		return path, text
	}
	return path, path + ": " + text
}

// unknownKey says that no such key exists, and which may be meant.
func (l *loading) unknownKey(path string) string {
	path = l.ownNames(path)
	if up, rule := ruledOut(path); rule != nil {
		return fmt.Sprintf("%s: not possible in Swarm: %s", up, rule.note)
	}
	up := parent(path)
	name := strings.TrimPrefix(path[len(up):], ".")
	where := "at the top of a stack file"
	if up != "" {
		where = "in " + up
	}
	if name == "" || strings.ContainsAny(name, " \t") {
		name = strconv.Quote(name)
	}
	return fmt.Sprintf("key %s is not known %s%s", name, where, suggest(name, siblings(up)))
}

// ruledOut gives the part of path that skep refuses whatever is below it, and its rule.
func ruledOut(path string) (string, *keyRule) {
	n, done := keyTree, 0
	for part := range strings.SplitSeq(path, ".") {
		next, ok := n.child(part)
		if !ok || next == nil {
			return "", nil
		}
		done += len(part) + 1
		if next.rule != nil && next.rule.verdict == refused {
			return path[:done-1], next.rule
		}
		n = next
	}
	return "", nil
}

// siblings lists the keys that the schema knows below path.
func siblings(path string) []string {
	depth := 0
	if path != "" {
		depth = strings.Count(path, ".") + 1
	}
	set := map[string]bool{}
	for _, p := range schema.AttributePaths() {
		parts := p.Parts()
		if len(parts) > depth && matches(parts[:depth], path) {
			set[parts[depth]] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// matches says whether a schema path, with * and [] for any key, fits path.
func matches(pattern []string, path string) bool {
	if len(pattern) == 0 {
		return path == ""
	}
	for i, part := range strings.Split(path, ".") {
		if pattern[i] != part && pattern[i] != "*" && pattern[i] != "[]" {
			return false
		}
	}
	return true
}

// culprit finds the key of the service at which compose-go stumbled, for errors
// that name none: it is the one that gives the same error alone.
func (l *loading) culprit(text string) string {
	for _, d := range l.documents {
		found := ""
		eachEntry(child(d.root, "services"), func(name, service *yaml.Node) {
			eachEntry(service, func(key, value *yaml.Node) {
				if found == "" && stumbles(name.Value, key.Value, value, text) {
					found = "services." + name.Value + "." + key.Value
				}
			})
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// stumbles says whether one key of a service gives the error text.
func stumbles(service, key string, value *yaml.Node, text string) (yes bool) {
	defer func() {
		if recover() != nil { // compose-go expects what its schema would have refused
			yes = false
		}
	}()
	var v any
	if err := yaml.Unmarshal(encode(value), &v); err != nil {
		return false
	}
	_, err := transform.Canonical(map[string]any{"services": map[string]any{service: map[string]any{key: v}}}, false)
	return err != nil && strings.Contains(text, err.Error())
}
