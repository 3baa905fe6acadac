package secrets_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/secrets"
	"github.com/skep-gitops/skep/secrets/sopstest"
)

// Any content gives itself, its plaintext, or a *DecryptError without a value.
func FuzzOpen(f *testing.F) {
	me := newTenant(f)
	for name, plain := range map[string]string{"a.yaml": "a: [" + canary + ", {b: 1}]\n", "a.json": `{"a": "` + canary + `"}`, ".env": "A=" + canary, "a.ini": "[s]\na = " + canary, "a": canary} {
		sealed := sopstest.Encrypt(f, name, []byte(plain), me.recipient)
		f.Add(name, sealed)
		f.Add(name, sealed[:len(sealed)/2])
		f.Add(name, sealed[len(sealed)/2:])
		f.Add(name, []byte(plain))
		f.Add(name, []byte(strings.Replace(string(sealed), "ENC[", "ENC", 1)))
	}
	f.Add("a.yaml", []byte("sops:\n    mac: 1\n    lastmodified: 2\n    age: [{recipient: x, enc: y}]\n"))
	f.Add("a.yaml", []byte("? {a: b}\n: ENC[AES256_GCM,data:AA,iv:AA,tag:AA,type:str]\nsops: {mac: a, lastmodified: '2026-01-01T00:00:00Z', age: [{enc: x}]}\n"))
	f.Add(".env", []byte("sops_age__list_9__map_enc=1\nsops_lastmodified=\nsops_mac=ENC[AES256_GCM,data:A"))
	f.Fuzz(func(t *testing.T, name string, content []byte) {
		if name == "" || strings.ContainsAny(name, "/\\\x00") || name == "." || name == ".." {
			return
		}
		got, values, err := read(me.Keyring, name, content)
		var d *secrets.DecryptError
		if err != nil {
			if errors.As(err, &d) && strings.Contains(d.Error(), canary) {
				t.Errorf("the error shows the value: %v", d)
			}
			return
		}
		if values == nil && got != string(content) {
			t.Errorf("a plain file changed: %q, was %q", got, content)
		}
	})
}
