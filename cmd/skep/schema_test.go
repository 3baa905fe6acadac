package main

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

func TestSchemaIsCheckedIn(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := printJSON(&want, s); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../skep.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("skep.schema.json is not what the types say: make schema")
	}
}

func TestSchemaTakesWhatTheReaderTakes(t *testing.T) {
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		whole:                                   true,
		"tenants: []":                           true,
		"cluster: x":                            false,
		"clustr: x\ntenants: []":                false,
		"interval: soon\ntenants: []":           false,
		"tenants: [{name: a}]":                  false,
		"tenants: [{name: a, repo: b, x: y}]":   false,
		"defaults: {name: a}\ntenants: []":      false,
		"defaults: {drift: mend}\ntenants: []":  false,
		"defaults: {adopt: maybe}\ntenants: []": false,
	} {
		if got := r.Validate(plain(t, text)) == nil; got != want {
			t.Errorf("valid %v, want %v:\n%s", got, want, text)
		}
	}
}

// plain is YAML as the values that JSON has.
func plain(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestEveryKeyIsDocumented compares the tables of docs/configuration.md with the
// types: key, type and default.
func TestEveryKeyIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\| ([^|]+) \\| ([^|]*) \\|")
	got := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		got[m[1]] = strings.TrimSpace(m[2]) + ", default " + strings.Trim(strings.TrimSpace(m[3]), "`")
	}
	want := map[string]string{}
	describe(want, "", reflect.TypeFor[config]())
	for key, text := range want {
		if got[key] != text {
			t.Errorf("%s: docs/configuration.md says %q, the reader %q", key, got[key], text)
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: documented and not known", key)
		}
	}
}

// describe lists the keys of t with their type and default.
func describe(out map[string]string, path string, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := join(path, keyOf(f))
		kind := f.Type
		if kind.Kind() == reflect.Slice && kind.Elem().Kind() == reflect.Struct {
			describe(out, key+"[]", kind.Elem())
		}
		if kind.Kind() == reflect.Struct && key != "defaults" {
			describe(out, key, kind)
		}
		out[key] = typeName(f) + ", default " + f.Tag.Get("default")
	}
}

func typeName(f reflect.StructField) string {
	switch {
	case f.Type == reflect.TypeFor[duration]():
		return "duration"
	case f.Tag.Get("enum") != "":
		return strings.ReplaceAll(f.Tag.Get("enum"), " ", ", ")
	case f.Tag.Get("file") != "":
		return "path"
	}
	switch f.Type.Kind() {
	case reflect.Slice:
		if f.Type.Elem().Kind() == reflect.Struct {
			return "list of mappings"
		}
		return "list of strings"
	case reflect.Struct:
		return "mapping"
	case reflect.Map:
		return "mapping of strings"
	case reflect.Bool:
		return "boolean"
	default:
		return "string"
	}
}

func TestEveryDefaultDurationIsOne(t *testing.T) {
	typ := reflect.TypeFor[config]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		if f.Type != reflect.TypeFor[duration]() {
			continue
		}
		if _, err := time.ParseDuration(f.Tag.Get("default")); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
