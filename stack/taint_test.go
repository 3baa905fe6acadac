package stack

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
)

func TestTaintFindsEveryForm(t *testing.T) {
	const value = "p&ss \"w\u00f6rd\"\n"
	quoted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	taint := NewTaint(value)
	for _, shown := range []string{
		value, strings.TrimSpace(value), base64.StdEncoding.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
		url.QueryEscape(value), url.PathEscape(value), string(quoted), fmt.Sprintf("%q", value),
	} {
		text := "before " + shown + " after"
		if !taint.In(text) {
			t.Errorf("not found in %s", text)
		}
		if got := taint.Redact(text); taint.In(got) || !strings.Contains(got, Redacted) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestTaintRedact(t *testing.T) {
	tests := []struct {
		values     []string
		text, want string
	}{
		{nil, "nothing tainted", "nothing tainted"},
		{[]string{"abcd"}, "xabcdx abcdabcd", "x<redacted>x <redacted><redacted>"},
		{[]string{"abcd", "cdefgh"}, "-abcdefgh-", "-<redacted>-"},               // overlapping
		{[]string{"abcd", "abcdefgh"}, "abcdefgh abcd", "<redacted> <redacted>"}, // one the start of another
		{[]string{"redacted"}, "abcd redacted", "abcd <redacted>"},
		{[]string{"abc", "true", "false", "null", ""}, "abc true false null", "abc true false null"}, // too common to look for
		{[]string{"line one is long\nline two is long"}, "only line two is long", "only <redacted>"},
	}
	for _, tt := range tests {
		if got := NewTaint(tt.values...).Redact(tt.text); got != tt.want {
			t.Errorf("%q in %q: got %q, want %q", tt.values, tt.text, got, tt.want)
		}
	}
}

func TestTaintJoin(t *testing.T) {
	a, b := NewTaint("first-value"), NewTaint("second-value")
	both := a.Join(b)
	if !both.In("x first-value") || !both.In("x second-value") || a.In("second-value") || b.In("first-value") {
		t.Error("the union must hold both, and leave both as they were")
	}
	if !(Taint{}).Join(Taint{}).Empty() || !(Taint{}).Join(a).In("first-value") || !a.Join(Taint{}).In("first-value") {
		t.Error("joining the zero value must change nothing")
	}
}

func TestSecretsPrintAsNothing(t *testing.T) {
	taint, secret := NewTaint(planted), Bytes(planted)
	spec := Spec{Taint: taint, Secrets: []Secret{{Key: "k", Data: secret}}}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "taint", taint, "bytes", secret, "spec", spec)
	marshalled, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(taint, secret, spec), fmt.Sprintf("%v %+v %#v %s %q %x %d", taint, taint, taint, taint, taint, taint, taint),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", spec, spec, spec), string(marshalled), log.String(),
	} {
		if strings.Contains(text, planted) || strings.Contains(text, fmt.Sprintf("%x", planted)) || strings.Contains(text, base64.StdEncoding.EncodeToString(secret)) {
			t.Errorf("the secret shows: %s", text)
		}
	}
	if got := secret.String(); got != "<redacted> (19 bytes)" {
		t.Errorf("got %s", got)
	}
}

// FuzzRedact holds that nothing tainted is left, whatever overlaps.
func FuzzRedact(f *testing.F) {
	f.Add("abcd", "cdef", "xabcdefx")
	f.Add("aaaa", "aaaaa", "aaaaaaaaa")
	f.Add("redacted", "<red", "<redacted>")
	f.Fuzz(func(t *testing.T, a, b, text string) {
		taint := NewTaint(a, b)
		got := taint.Redact(text)
		for _, rest := range strings.Split(got, Redacted) {
			if taint.In(rest) {
				t.Errorf("%q of %q, %q became %q", text, a, b, got)
			}
		}
	})
}
