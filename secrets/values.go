package secrets

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/getsops/sops/v3"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/stores"
)

// secrets are the decrypted values in the ways they may be met: as they are, and
// as the plaintext writes them. Each stands once, in the file's order.
func (d *decryption) secrets(out []byte, values []any) []string {
	if d.format == formatBinary {
		return []string{string(out)}
	}
	seen := make(map[string]bool)
	var all []string
	for _, v := range values {
		for _, s := range d.forms(v) {
			if s != "" && !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all
}

func (d *decryption) forms(v any) []string {
	if c, ok := v.(sops.Comment); ok {
		return []string{c.Value, strings.TrimSpace(c.Value)}
	}
	raw := stores.ValToString(v)
	forms := []string{raw}
	if b, err := sops.ToBytes(v); err == nil {
		forms = append(forms, string(b))
	}
	switch d.format {
	case formatYAML:
		if b, err := d.store().EmitValue(v); err == nil {
			forms = append(forms, strings.TrimSpace(string(b)))
		}
	case formatJSON:
		if b, err := json.Marshal(v); err == nil {
			forms = append(forms, strings.Trim(string(b), `"`))
		}
	case formatDotenv:
		forms = append(forms, strings.ReplaceAll(raw, "\n", `\n`), unquote(raw))
	}
	return forms
}

// unquote is what a reader of the env file takes for the value.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// maxShown is how many recipients an error lists.
const maxShown = 10

// recipientText finds recipients in a file whose metadata does not parse.
var recipientText = regexp.MustCompile(`recipient["']?\s*[:=]\s*["']?(age1[0-9a-z]{1,200}|ssh-[0-9a-z]+ [0-9A-Za-z+/=]{1,120})`)

// recipients are those whom the file names: age ones by their public key, others
// by their kind only, because they may hold an address with a password.
func (d *decryption) recipients() []string {
	var all []string
	if len(d.tree.Metadata.KeyGroups) == 0 {
		for _, m := range recipientText.FindAllSubmatch(d.content[:min(len(d.content), maxFile)], maxShown+1) {
			all = append(all, string(m[1]))
		}
	}
	for _, group := range d.tree.Metadata.KeyGroups {
		for _, k := range group {
			if a, ok := k.(*sopsage.MasterKey); ok {
				all = append(all, printable(a.Recipient))
			} else {
				all = append(all, "a key of type "+k.TypeToIdentifier())
			}
		}
	}
	if len(all) > maxShown {
		all = append(all[:maxShown], "and others")
	}
	return all
}

func ageKeys(m sops.Metadata) []*sopsage.MasterKey {
	var all []*sopsage.MasterKey
	for _, group := range m.KeyGroups {
		for _, k := range group {
			if a, ok := k.(*sopsage.MasterKey); ok {
				all = append(all, a)
			}
		}
	}
	return all
}
