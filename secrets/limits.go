package secrets

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"regexp/syntax"

	"github.com/getsops/sops/v3"
	yamlv3 "go.yaml.in/yaml/v3"
)

// What one encrypted file can cost. A tenant encrypts for its own key whatever
// it likes, so a valid file may be hostile too.
const (
	maxFile    = 5 << 20 // bytes, encrypted
	maxKeys    = 500     // in all key groups
	maxGroups  = 50
	maxKeyText = 256 << 10 // bytes of all encrypted data keys
	maxLeaves  = 10_000    // values and comments; sops' JSON takes quadratic time in them
	maxParts   = 20_000    // of a YAML file: lines, commas and brackets; five to an encrypted value
	maxFlow    = 4_000     // of these, brackets and braces
	maxNesting = 20_000    // parts of flattened keys
	maxProgram = 1_000     // instructions of a rule's regular expression, which sops compiles for each value
	maxNotes   = 1_000     // comments, where a rule goes by them: quadratic too
)

// checkSource refuses what sops must not even parse.
func checkSource(f format, content []byte) error {
	if len(content) > maxFile {
		return fmt.Errorf("is larger than %d MiB, the most that an encrypted file may have", maxFile>>20)
	}
	switch f {
	case formatYAML:
		return checkYAML(content)
	case formatJSON, formatBinary:
		// encoding/json bounds the nesting here, but not where sops reads tokens.
		if blockFormat(content) == formatJSON && !stdjson.Valid(content) {
			return errors.New("is damaged: not valid JSON; restore it, or encrypt it again")
		}
	}
	if bytes.Count(content, []byte("__map_"))+bytes.Count(content, []byte("__list_")) > maxNesting {
		return errors.New("has too deep or too many metadata entries")
	}
	return nil
}

// checkYAML refuses aliases: sops writes none, and expands those of all
// documents but the first without a bound. It counts text before it parses: the
// parser takes quadratic time in the keys of a mapping and in flow nesting.
func checkYAML(content []byte) error {
	part := func(s string) int { return bytes.Count(content, []byte(s)) }
	flow := part("{") + part("[") - part("ENC[")
	breaks := part("\n") + part("\r") + part("\u0085") + part("\u2028") + part("\u2029")
	if breaks+part(",")+part("[")+part("{") > maxParts || flow > maxFlow {
		return errors.New("has too many parts to be read as YAML; split it, or encrypt it as a binary file")
	}
	d := yamlv3.NewDecoder(bytes.NewReader(content))
	for {
		var n yamlv3.Node
		if d.Decode(&n) != nil {
			return nil // the end, or what the store finds too and tells
		}
		if err := checkNode(&n); err != nil {
			return err
		}
	}
}

// checkNode refuses what the decoder takes long for: aliases, and keys that
// stand more than once, of which it lists every pair.
func checkNode(n *yamlv3.Node) error {
	if n.Kind == yamlv3.AliasNode {
		return errors.New("holds YAML aliases, which sops never writes; encrypt it again")
	}
	if n.Kind == yamlv3.MappingNode {
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind == yamlv3.ScalarNode && seen[k.Value] {
				return fmt.Errorf("is damaged near line %d: a key stands twice in one mapping; restore it, or encrypt it again", k.Line)
			}
			seen[k.Value] = true
		}
	}
	for _, c := range n.Content {
		if err := checkNode(c); err != nil {
			return err
		}
	}
	return nil
}

// checkTree refuses what would take long to decrypt.
func checkTree(t sops.Tree) error {
	m := t.Metadata
	if len(m.KeyGroups) > maxGroups || m.MasterKeyCount() > maxKeys {
		return fmt.Errorf("has %d keys in %d groups, more than %d and %d are not read", m.MasterKeyCount(), len(m.KeyGroups), maxKeys, maxGroups)
	}
	text := 0
	for _, g := range m.KeyGroups {
		for _, k := range g {
			text += len(k.EncryptedDataKey())
		}
	}
	if text > maxKeyText {
		return fmt.Errorf("has %d KiB of encrypted data keys, more than %d are not read", text>>10, maxKeyText>>10)
	}
	for _, rule := range []string{m.EncryptedRegex, m.UnencryptedRegex, m.EncryptedCommentRegex, m.UnencryptedCommentRegex} {
		if err := checkRule(rule); err != nil {
			return err
		}
	}
	leaves, notes := count(t.Branches)
	if leaves > maxLeaves {
		return fmt.Errorf("holds %d values, more than %d are not read; split it, or encrypt it as a binary file", leaves, maxLeaves)
	}
	if notes > maxNotes && m.EncryptedCommentRegex+m.UnencryptedCommentRegex != "" {
		return fmt.Errorf("has a rule that goes by comments and %d of these, more than %d are not read", notes, maxNotes)
	}
	return nil
}

func checkRule(rule string) error {
	if rule == "" {
		return nil
	}
	re, err := syntax.Parse(rule, syntax.Perl)
	if err != nil {
		return errors.New("has a rule in its metadata that is no regular expression")
	}
	program, err := syntax.Compile(re.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return errors.New("has a regular expression in its metadata that is too complex")
	}
	return nil
}

// count gives the number of values and comments, and of the comments alone.
func count(v any) (leaves, notes int) {
	add := func(v any) {
		l, n := count(v)
		leaves, notes = leaves+l, notes+n
	}
	switch v := v.(type) {
	case sops.TreeBranches:
		for _, b := range v {
			add(b)
		}
	case sops.TreeBranch:
		for _, item := range v {
			if _, ok := item.Key.(sops.Comment); ok {
				leaves, notes = leaves+1, notes+1
				continue
			}
			add(item.Value)
		}
	case []any:
		for _, item := range v {
			add(item)
		}
	case sops.Comment:
		return 1, 1
	default:
		return 1, 0
	}
	return leaves, notes
}
