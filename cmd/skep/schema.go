package main

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// schema is the JSON schema of skep.yml, made from the same tags as the reader.
func schema() (*jsonschema.Schema, error) {
	s, err := jsonschema.For[config](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[duration](): {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`},
	}})
	if err != nil {
		return nil, err
	}
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "skep.yml"
	s.Description = "The configuration of skep."
	annotate(s, reflect.TypeFor[config]())
	s.Properties["tenants"].Items.Required = []string{"name", "repo"}
	for _, key := range personal() {
		delete(s.Properties["defaults"].Properties, key)
	}
	s.Properties["defaults"].PropertyOrder = slices.DeleteFunc(s.Properties["defaults"].PropertyOrder, func(key string) bool {
		return slices.Contains(personal(), key)
	})
	return s, nil
}

// annotate adds what the tags say beyond the types, in s and below it.
func annotate(s *jsonschema.Schema, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		p := s.Properties[keyOf(f)]
		for _, word := range strings.Fields(f.Tag.Get("enum")) {
			p.Enum = append(p.Enum, word)
		}
		if text := f.Tag.Get("default"); text != "" && !strings.HasPrefix(text, "NAME") {
			p.Default = defaultJSON(f.Type, text)
		}
		if len(p.Types) > 0 { // a list or mapping that may be null in Go may not be so in the file
			p.Types = slices.DeleteFunc(p.Types, func(t string) bool { return t == "null" })
			p.Type, p.Types = p.Types[0], nil
		}
		switch f.Type.Kind() {
		case reflect.Struct:
			annotate(p, f.Type)
		case reflect.Slice:
			if f.Type.Elem().Kind() == reflect.Struct {
				annotate(p.Items, f.Type.Elem())
			}
		case reflect.Map: // any scalar is taken as it is written
			p.AdditionalProperties = &jsonschema.Schema{Types: []string{"string", "number", "boolean"}}
		}
	}
}

// defaultJSON is a default tag as JSON.
func defaultJSON(t reflect.Type, text string) json.RawMessage {
	switch t.Kind() {
	case reflect.Bool:
		return json.RawMessage(text)
	case reflect.Slice:
		return json.RawMessage(strings.ReplaceAll(text, "'", `"`))
	default:
		b, _ := json.Marshal(text) // a string always has a form in JSON
		return b
	}
}
