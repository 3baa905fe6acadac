package stack

import (
	"strings"
	"testing"
	"time"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{ // part of the error; empty: none
		"{{.Node.Hostname}}-{{.Task.Slot}}":               "",
		`{{index .Service.Labels "a"}}`:                   "",
		`{{join "-" .Service.ID .Service.Name}}`:          "",
		`{{if eq .Node.Platform.OS "linux"}}a{{end}}`:     "",
		"{{.Service.Labels.a}}":                           "no entry for key",
		"{{.Node.Name}}":                                  "can't evaluate field Name",
		"{{.Task.Labels}}":                                "can't evaluate field Labels",
		"{{nosuch}}":                                      `function "nosuch" not defined`,
		"{{.Task.Slot":                                    "unclosed action",
		"{{join}}":                                        "slice bounds out of range",
		`{{secret "x"}}`:                                  `function "secret" not defined`,
		"{{range 1}}{{.Nope}}{{end}}":                     "", // parsed only
		`{{printf "%1000000d" 1}}`:                        "",
		`{{define "a"}}{{template "a"}}{{end}}`:           "",
		`{{$a := "x"}}{{$a}}`:                             "",
		strings.Repeat("{{.Task.ID}}", 5000):              "",
		"{{" + strings.Repeat("(", 20_000) + "1":          "max expression depth exceeded",
		strings.Repeat("{{if 1}}", 5000) + "{{.Task.ID}}": "unexpected EOF",
	} {
		err := expand(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
}

// TestExpandIsBounded: none of these may be executed, each would take ages or all memory.
func TestExpandIsBounded(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{{range 1000000000000}}x{{end}}",
		`{{with .Node}}{{range 1000000000000}}{{end}}{{end}}`,
		`{{$a := "xxxxxxxxxxxxxxxx"}}` + strings.Repeat(`{{$a = join "" $a $a}}`, 60),
		`{{"\\" ` + strings.Repeat("| js ", 60) + "}}",
		`{{define "a"}}` + strings.Repeat(`{{template "b"}}`, 1000) + `{{end}}{{define "b"}}` + strings.Repeat(`{{template "c"}}`, 1000) +
			`{{end}}{{define "c"}}` + strings.Repeat(`{{template "d"}}`, 1000) + `{{end}}{{define "d"}}x{{end}}{{template "a"}}`,
		`{{if true}}{{else}}{{range 1000000000000}}{{end}}{{end}}{{range 1000000000000}}{{end}}`,
	} {
		done := make(chan error, 1)
		go func() { done <- expand(text) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%.40s: %v", text, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%.40s was executed", text)
		}
	}
}
