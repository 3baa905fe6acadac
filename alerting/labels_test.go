package alerting

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestClean(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for about, c := range map[string]struct {
		labels, external, want map[string]string
	}{
		"valid names stay": {
			map[string]string{"alertname": "A", "_x9": "y"}, nil, map[string]string{"alertname": "A", "_x9": "y"}},
		"other characters become underscores": {
			map[string]string{"com.docker-stack": "a", "9lives": "b", "größe": "c", "a b\n": "d"}, nil,
			map[string]string{"com_docker_stack": "a", "_9lives": "b", "gr__e": "c", "a_b_": "d"}},
		"empty names and values go": {
			map[string]string{"": "x", "a": "", "b": "1"}, nil, map[string]string{"b": "1"}},
		"the valid one of two names wins, then the first": {
			map[string]string{"a-b": "no", "a_b": "yes", "x-y": "first", "x.y": "second"}, nil, map[string]string{"a_b": "yes", "x_y": "first"}},
		"the alert's own labels win": {
			map[string]string{"tenant": "shop"}, map[string]string{"tenant": "spoof", "cluster-name": "prod"},
			map[string]string{"tenant": "shop", "cluster_name": "prod"}},
		"odd values stay as they are": {
			map[string]string{"a": "\"{{ .X }}\"\n", "b": "\xff"}, nil, map[string]string{"a": "\"{{ .X }}\"\n", "b": "\uFFFD"}},
	} {
		got, ok := clean(Alert{Labels: c.labels}, c.external, now)
		if diff := cmp.Diff(c.want, got.Labels); diff != "" || !ok {
			t.Errorf("%s (-want +got):\n%s", about, diff)
		}
	}
	if _, ok := clean(Alert{Labels: map[string]string{"": "x", "a": ""}}, nil, now); ok {
		t.Error("an alert without labels is kept")
	}
	for about, start := range map[string]time.Time{"none": {}, "in the future": now.Add(time.Hour)} {
		if a, _ := clean(Alert{StartsAt: start}, nil, now); !a.StartsAt.Equal(now) {
			t.Errorf("start %s: got %v", about, a.StartsAt)
		}
	}
	a, _ := clean(Alert{Annotations: map[string]string{"d": strings.Repeat("ä", 5000)}}, nil, now)
	if d := a.Annotations["d"]; len(d) > maxAnnotation || !utf8.ValidString(d) || !strings.HasSuffix(d, "ä…") {
		t.Errorf("a long annotation has %d bytes and ends in %q", len(d), d[len(d)-8:])
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "alertname", "9", "a-b", "größe", "\xff\xfe", "a\x00b", strings.Repeat("é", 3000), "{{ }}", "\"\n"} {
		f.Add(s, s)
	}
	valid := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	f.Fuzz(func(t *testing.T, name, value string) {
		got := cleanSet(map[string]string{name: value}, maxLabel)
		for k, v := range got {
			if !valid.MatchString(k) || len(k) > maxName || v == "" || !utf8.ValidString(v) || len(v) > 3*maxLabel {
				t.Errorf("%q=%q gives %q=%q", name, value, k, v)
			}
		}
		if (name == "" || value == "") != (len(got) == 0) {
			t.Errorf("%q=%q gives %d labels", name, value, len(got))
		}
		if again := cleanSet(got, maxLabel); cmp.Diff(got, again) != "" && len(value) <= maxLabel {
			t.Errorf("cleaning twice differs: %q, %q", got, again)
		}
	})
}
