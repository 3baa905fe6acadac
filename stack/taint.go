package stack

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
)

// Redacted stands wherever a value may not be shown.
const Redacted = "<redacted>"

// Bytes is content that is written to one Swarm object and shown nowhere.
type Bytes []byte

// Every way of printing Bytes gives its size alone.
func (b Bytes) String() string { return fmt.Sprintf("%s (%d bytes)", Redacted, len(b)) }

// GoString is String, for %#v.
func (b Bytes) GoString() string { return b.String() }

// Format is String for every verb, %x included.
func (b Bytes) Format(f fmt.State, _ rune) { fmt.Fprint(f, b.String()) }

// MarshalJSON is String as a JSON string.
func (b Bytes) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// LogValue is String, for log/slog.
func (b Bytes) LogValue() slog.Value { return slog.StringValue(b.String()) }

// Taint holds the values that came from encrypted files. Its zero value holds
// none. It shows nothing of itself when printed or marshalled.
type Taint struct {
	forms map[string][]string // each value and its encoded forms by their first minTaint bytes, longest first
}

// minTaint is the shortest value that can be looked for in a text without
// redacting half of it.
const minTaint = 4

// NewTaint makes a Taint of plaintext values. Shorter than four bytes, and the
// words true, false and null, are left out: they can't be told from any other text.
func NewTaint(values ...string) Taint {
	set := map[string]bool{}
	for _, v := range values {
		for _, f := range forms(v) {
			set[f] = true
		}
	}
	return indexed(set)
}

// indexed makes a Taint of forms, none shorter than minTaint.
func indexed(set map[string]bool) Taint {
	if len(set) == 0 {
		return Taint{}
	}
	t := Taint{forms: map[string][]string{}}
	for f := range set {
		t.forms[f[:minTaint]] = append(t.forms[f[:minTaint]], f)
	}
	for _, same := range t.forms {
		slices.SortFunc(same, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
		})
	}
	return t
}

// forms lists the ways in which a value may turn up in a text: itself, trimmed,
// line by line, without the name of a name=value in a list, and as base64, URL,
// JSON and Go escapes.
func forms(v string) []string {
	var out []string
	add := func(s string) {
		if len(s) >= minTaint && s != "true" && s != "false" && s != "null" {
			out = append(out, s)
		}
	}
	encoded := func(s string) {
		if len(s) < minTaint {
			return
		}
		add(s)
		add(base64.StdEncoding.EncodeToString([]byte(s)))
		add(base64.RawStdEncoding.EncodeToString([]byte(s)))
		add(base64.URLEncoding.EncodeToString([]byte(s)))
		add(base64.RawURLEncoding.EncodeToString([]byte(s)))
		add(url.QueryEscape(s))
		add(url.PathEscape(s))
		if b, err := json.Marshal(s); err == nil {
			add(string(b[1 : len(b)-1]))
		}
		q := fmt.Sprintf("%q", s)
		add(q[1 : len(q)-1])
	}
	encoded(v)
	encoded(strings.TrimSpace(v))
	if _, value, ok := strings.Cut(v, "="); ok && !strings.Contains(v, "\n") {
		encoded(value)
	}
	if lines := strings.Split(v, "\n"); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= 2*minTaint {
				encoded(l)
			}
		}
	}
	return out
}

// Join is the union of both.
func (t Taint) Join(u Taint) Taint {
	if len(u.forms) == 0 {
		return t
	}
	if len(t.forms) == 0 {
		return u
	}
	set := map[string]bool{}
	for _, forms := range []map[string][]string{t.forms, u.forms} {
		for _, same := range forms {
			for _, f := range same {
				set[f] = true
			}
		}
	}
	return indexed(set)
}

// Empty says that nothing is tainted.
func (t Taint) Empty() bool { return len(t.forms) == 0 }

// In says whether s holds a tainted value.
func (t Taint) In(s string) bool {
	for i := range len(s) {
		if t.at(s[i:]) > 0 {
			return true
		}
	}
	return false
}

// at gives the length of the longest form that s starts with.
func (t Taint) at(s string) int {
	if len(s) < minTaint {
		return 0
	}
	for _, f := range t.forms[s[:minTaint]] {
		if strings.HasPrefix(s, f) {
			return len(f)
		}
	}
	return 0
}

// Redact gives s with every tainted value replaced, values that overlap as one.
func (t Taint) Redact(s string) string {
	if t.Empty() {
		return s
	}
	var out strings.Builder
	end := 0 // of the value that was seen last
	for i := range len(s) {
		if n := t.at(s[i:]); n > 0 {
			if i >= end {
				out.WriteString(Redacted)
			}
			end = max(end, i+n)
		}
		if i >= end {
			out.WriteByte(s[i])
		}
	}
	return out.String()
}

// String, GoString, Format, MarshalJSON and LogValue show nothing.
func (t Taint) String() string { return Redacted }

// GoString is String, for %#v.
func (t Taint) GoString() string { return Redacted }

// Format is String for every verb.
func (t Taint) Format(f fmt.State, _ rune) { fmt.Fprint(f, Redacted) }

// MarshalJSON is String as a JSON string.
func (t Taint) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// LogValue is String, for log/slog.
func (t Taint) LogValue() slog.Value { return slog.StringValue(Redacted) }
