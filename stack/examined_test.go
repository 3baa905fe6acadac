package stack

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestFilesOfStrangers renders what people write who know docker stack deploy
// better than skep: what docker takes is taken, what Swarm has no place for is
// said with its line, and an error says what to write instead.
func TestFilesOfStrangers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, service, rest string
		want                string // the only finding; empty: none
	}{
		{"cgroupns_mode", "cgroupns_mode: host", "", "stack.yml:4: warning: services.web.cgroupns_mode: ignored: Swarm has no such setting for a service; set it on the nodes"},
		{"container_name of one letter", "container_name: x", "", "stack.yml:4: warning: services.web.container_name: ignored: Swarm names the containers; reach the service by its key, or give it a network alias"},
		{"container_name with a template", "container_name: 'web-{{.Task.Slot}}'", "", "stack.yml:4: warning: services.web.container_name: ignored: Swarm names the containers; reach the service by its key, or give it a network alias"},
		{"container_name of nothing", "container_name: ''", "", ""},
		{"depends_on somebody else", "depends_on: [db]", "", `stack.yml:4: warning: services.web.depends_on.db: there is no service "db" in this stack: nothing is waited for`},
		{"depends_on the health of somebody else", "depends_on: {db: {condition: service_healthy}}", "", `stack.yml:4: error: services.web.depends_on.db: there is no service "db" in this stack`},
		{"two mounts, one target", "volumes: ['/a:/b', '/c:/b/']", "", `stack.yml:4: error: services.web.volumes.1: target "/b/" is taken by volumes.0`},
		{"a mount's consistency", "volumes: ['/a:/b:ro,cached']", "", `stack.yml:4: warning: services.web.volumes.0: option "cached" is ignored: Swarm has no consistency for mounts`},
		{"a mount's unknown option", "volumes: ['/a:/b:ro,exec']", "", `stack.yml:4: warning: services.web.volumes.0: option "exec" is ignored: it is not one of ro, rw, nocopy, z, Z and the propagations such as rslave`},
		{"net", "net: host", "", "stack.yml:4: error: services.web.net: not possible in Swarm: use networks"},
		{"log_driver", "log_driver: syslog", "", "stack.yml:4: error: services.web.log_driver: not possible in Swarm: use logging.driver"},
		{"volume_driver", "volume_driver: x", "", "stack.yml:4: error: services.web.volume_driver: not possible in Swarm: give the volume at the top of the file a driver"},
		{"dockerfile", "dockerfile: Dockerfile.web", "", "stack.yml:4: error: services.web.dockerfile: not possible in Swarm: push the image to a registry that the nodes can reach"},
		{"jobs", "", "jobs: {nightly: {}}", "stack.yml:4: error: jobs: not possible in Swarm: use a service with deploy.mode: replicated-job, and a scheduler such as swarm-cronjob"},
		{"endless number", "environment: {A: .inf, B: -.Inf, C: .nan}", "", ""},
		{"a port without target", "ports: ['80', {published: 8080}]", "", "stack.yml:4: error: services.web.ports: an entry has no target port, which is between 1 and 65535"},
		{"a port 0", "ports: ['80:0']", "", "stack.yml:4: error: services.web.ports: an entry has no target port, which is between 1 and 65535"},
		{"a service's name", "", "  wéb: {image: x}", `stack.yml:4: error: services.wéb: a service's name is made of a-z, A-Z, 0-9, -, _ and .`},
		{"a service without a name", "", "  '': {image: x}", `stack.yml:4: error: services: a service's name is made of a-z, A-Z, 0-9, -, _ and .; one is empty`},
		{"a secret's name", "", "secrets:\n  'a b': {file: x}", `stack.yml:5: error: secrets.a b: a secret's name is made of a-z, A-Z, 0-9, -, _ and .`},
		{"a templated config that asks for what is not there", "", "configs: {c: {template_driver: golang, content: '{{ .Nope }}'}}", "stack.yml:4: error: configs.c: bad template: {{.Nope}} has no value; Swarm knows " + templateKeys},
		{"a templated config that asks for a label and a secret", "", "configs: {c: {template_driver: golang, content: '{{ .Service.Labels.team }} {{ secret \"s\" }}'}}", ""},
		{"a templated config that asks for a label", "", "configs: {c: {template_driver: golang, content: '{{ .Service.Labels.team }}'}}", ""},
		{"two secrets, one place", "secrets: [{source: s, target: /etc//s}, {source: s, target: /etc/s}]", "secrets: {s: {external: true}}", `stack.yml:4: error: services.web.secrets.1: "s" and "s" have the same target "/etc/s"`},
		{"a label without a name", "labels: {'': x}", "", `stack.yml:4: error: key "" is not known in services.web.labels`},
		{"a list that is none", "ports: '80:80'", "", "stack.yml:4: error: services.web.ports: must be a list"},
		{"a number for text", "user: 1000", "", "stack.yml:4: error: services.web.user: must be a string (put a number in quotes)"},
		{"half a limit", "ulimits: {nofile: {soft: 5}}", "", "stack.yml:4: error: services.web.ulimits.nofile: must be a number, or have both soft and hard"},
		{"a score out of range", "oom_score_adj: 10000", "", "stack.yml:4: error: services.web.oom_score_adj: must be a number from -1000 to 1000"},
		{"x-skep misspelt", "", "x-skepp: {replace: true}", "stack.yml:4: warning: x-skepp: is nobody's; did you mean x-skep?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := "services:\n  web:\n    image: nginx:1.27\n"
			if tt.service != "" {
				text += "    " + tt.service + "\n"
			}
			spec, err := renderFiles(t, map[string]string{"stack.yml": text + tt.rest + "\n"}, Options{})
			if got := strings.TrimSpace(findingLines(spec, err)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestFolderFaultsNameTheirFile: what keeps a folder from being a stack is told
// at the file and line like everything else.
func TestFolderFaultsNameTheirFile(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"too large", strings.Repeat("#", maxFile+1), "s/stack.yml:1: error: larger than 1048576 bytes"},
		{"a name that is no text", "x: 1\nname: [a]\nservices: {}", "s/stack.yml:2: error: name: must be text; put it in quotes"},
		{"a name with a variable", "name: ${NOPE}\nservices: {}", "s/stack.yml:1: error: name: variable NOPE is not set; set it in .env or give a default: ${NOPE:-default}"},
		{"keys of something else", "db: 1\narr: [a]\n", "s/stack.yml:1: error: key db is not known at the top of a stack file\ns/stack.yml:2: error: key arr is not known at the top of a stack file"},
		{"a name in a broken file", "name: a\nservices: [", "s/stack.yml:2: error: not YAML: while parsing a flow node did not find expected node content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fsys := fstest.MapFS{"s/stack.yml": {Data: []byte(tt.text)}}
			defs, err := Discover(fsys, Options{Tenant: "t"})
			if err != nil || len(defs) != 1 {
				t.Fatalf("%v %v", defs, err)
			}
			found := Validate(fsys, defs[0], Options{Tenant: "t"})
			var got []string
			for _, f := range found {
				got = append(got, f.String())
			}
			if strings.Join(got, "\n") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
