package alerting

import (
	"sort"
	"strings"
	"time"
)

// What one alert may carry; the rest is cut off.
const (
	maxName       = 256
	maxLabel      = 1 << 10
	maxAnnotation = 4 << 10
)

// clean is the alert as every Alertmanager accepts it, with the external labels
// that it does not have itself. It is false where no label is left.
func clean(a Alert, external map[string]string, now time.Time) (Alert, bool) {
	labels := cleanSet(external, maxLabel)
	for k, v := range cleanSet(a.Labels, maxLabel) {
		labels[k] = v
	}
	start := a.StartsAt
	if start.IsZero() || start.After(now) {
		start = now
	}
	return Alert{Labels: labels, Annotations: cleanSet(a.Annotations, maxAnnotation), StartsAt: start}, len(labels) > 0
}

// cleanSet makes valid names, drops empty values and cuts long ones. Where two
// names become one, the one that was valid wins, then the first in the alphabet.
func cleanSet(in map[string]string, limit int) map[string]string {
	names := make([]string, 0, len(in))
	for k := range in {
		names = append(names, k)
	}
	sort.Slice(names, func(i, j int) bool {
		vi, vj := cleanName(names[i]) == names[i], cleanName(names[j]) == names[j]
		if vi != vj {
			return vi
		}
		return names[i] < names[j]
	})
	out := make(map[string]string, len(in))
	for _, k := range names {
		name, value := cleanName(k), cleanValue(in[k], limit)
		if _, taken := out[name]; !taken && name != "" && value != "" {
			out[name] = value
		}
	}
	return out
}

// cleanName makes [a-zA-Z_][a-zA-Z0-9_]* of a name; Alertmanager before 0.27
// refuses all else.
func cleanName(s string) string {
	if s == "" {
		return ""
	}
	if s[0] >= '0' && s[0] <= '9' {
		s = "_" + s
	}
	s = strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
	return s[:min(len(s), maxName)]
}

// cleanValue is valid UTF-8 of at most limit bytes.
func cleanValue(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit-len("…")] // may end inside a character; what is left of it goes
		return strings.ToValidUTF8(strings.ToValidUTF8(s, ""), "\uFFFD") + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
