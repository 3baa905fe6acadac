package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const lines = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: measured: push to first write: 700ms\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"why it failed\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC/x","Output":"why it was skipped\n"}
{"Action":"skip","Package":"p","Test":"TestC/x"}
{"Action":"output","Package":"q","Output":"?   q  [no test files]\n"}
{"Action":"skip","Package":"q"}
{"Action":"fail","Package":"p"}
not json
`
	var out bytes.Buffer
	n, err := tally(strings.NewReader(lines), &out)
	if err != nil {
		t.Fatal(err)
	}
	if want := (count{passed: 1, failed: 2, skipped: 1}); n != want {
		t.Errorf("got %+v, want %+v", n, want)
	}
	for text, want := range map[string]bool{"why it failed": true, "why it was skipped": true, " measured: push to first write: 700ms\n": true, "a_test.go:7": false, "not json": true, "quiet": false, "no test files": false} {
		if strings.Contains(out.String(), text) != want {
			t.Errorf("%q printed: %v, want %v:\n%s", text, !want, want, out.String())
		}
	}
}

func TestEverySuiteIsNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range suites() {
		if s.name == "" || seen[s.name] || len(s.args) == 0 {
			t.Errorf("suite %+v", s)
		}
		seen[s.name] = true
	}
}
