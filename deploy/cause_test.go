package deploy

import (
	"strings"
	"testing"
)

func TestCauses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     string
		passing bool
		moved   bool
		hint    string
	}{
		{"No such image: web:9", true, false, "registries"},
		{"manifest for 127.0.0.1:5555/web:9 not found: manifest unknown: manifest unknown", true, false, "registries"},
		{"pull access denied for acme/web, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", true, false, "registries"},
		{`failed to resolve reference "docker.io/acme/web:9": docker.io/acme/web:9: not found`, true, false, "registries"},
		{"unauthorized: authentication required", true, false, "registries"},
		{"no matching manifest for linux/arm64/v8 in the manifest list entries", true, false, "platform"},
		{"toomanyrequests: You have reached your unauthenticated pull rate limit", true, false, "pulls"},
		{`Get "http://registry.test:5000/v2/": dial tcp 192.0.2.1:5000: connect: connection refused`, true, false, "reach the image's registry"},
		{`Head "https://registry.test/v2/web/manifests/9": context deadline exceeded`, true, false, "reach the image's registry"},
		{"no suitable node (scheduling constraints not satisfied on 3 nodes)", true, false, "constraints"},
		{"no suitable node (insufficient resources on 1 node; host-mode port already in use on 1 node)", true, false, "port"},
		{"unsupported platform on 1 node", true, false, "platform"},
		{"no suitable node (2 nodes not available for new tasks)", true, false, "docker node ls"},
		{"assigned node no longer meets constraints", true, true, ""},
		{"node is missing network attachments, ip addresses may be exhausted", true, false, "subnet"},
		{"invalid pool request: Pool overlaps with other one on this address space", true, false, "removed"},
		{"could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network", false, false, "before 27"},
		{`invalid mount config for type "bind": bind source path does not exist: /data`, false, false, "create the path"},
		{`starting container failed: exec: "nginx": executable file not found in $PATH`, false, false, "entrypoint"},
		{"task: non-zero exit (137): dockerexec: unhealthy container", false, false, "health check"},
		{"task: non-zero exit (1)", false, false, "docker service logs"},
		{"", false, false, "docker service logs"},
	} {
		got := causeOf(c.err)
		if got.passing != c.passing || got.moved != c.moved || !strings.Contains(got.hint, c.hint) {
			t.Errorf("causeOf(%q) = %+v", c.err, got)
		}
		if !got.moved && (got.fatal < 2 || got.fatal > crashes) {
			t.Errorf("causeOf(%q) is fatal after %d failures", c.err, got.fatal)
		}
	}
}
