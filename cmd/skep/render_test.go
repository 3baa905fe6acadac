package main

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// TestRenderShowsNothingTainted plants a secret wherever a spec can hold one.
func TestRenderShowsNothingTainted(t *testing.T) {
	const secret = "correct horse battery"
	spec := stack.Spec{
		Tenant: "t", Name: "s",
		Secrets: []stack.Secret{{Key: "a", Data: stack.Bytes("x" + secret), Labels: map[string]string{"l": secret}}},
		Configs: []stack.Config{
			{Key: "b", Data: stack.Bytes("another " + secret), Tainted: true},
			{Key: "c", Data: stack.Bytes("plain")},
		},
		Services: []stack.Service{{Key: "w", Spec: swarm.ServiceSpec{
			Annotations: swarm.Annotations{Name: "s_w", Labels: map[string]string{secret: "key", "value": "a " + secret + " b"}},
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{
				Image: "i", Env: []string{"PASSWORD=" + secret}, Args: []string{"--password", secret}, Command: []string{base64.StdEncoding.EncodeToString([]byte(secret))},
			}},
		}}},
		Taint: stack.NewTaint(secret),
	}
	shown, err := shownSpec(spec)
	if err != nil {
		t.Fatal(err)
	}
	var json, yaml bytes.Buffer
	if err := printJSON(&json, shown); err != nil {
		t.Fatal(err)
	}
	if err := printYAML(&yaml, shown); err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{json.String(), yaml.String()} {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte("another " + secret))} {
			if strings.Contains(out, form) {
				t.Errorf("%q is shown:\n%s", form, out)
			}
		}
		if want := base64.StdEncoding.EncodeToString([]byte("plain")); !strings.Contains(out, want) {
			t.Errorf("the plain config is not shown:\n%s", out)
		}
	}
}
