package stack

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
)

// TestNoTaintedValueInFindings puts one secret value wherever a finding could quote it.
func TestNoTaintedValueInFindings(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-Hunter2"
	const text = `
services:
  web:
    image: "Bad SECRET"
    hostname: "{{.SECRET}}\n"
    isolation: SECRET
    restart: SECRET
    labels: {skep.SECRET: SECRET}
    environment: {A: "{{SECRET", SECRET: "{{.Nope}}"}
    extra_hosts: ["SECRET:x"]
    dns: [SECRET]
    platform: SECRET/SECRET/SECRET/SECRET
    security_opt: ["SECRET:x", "seccomp:SECRET", "label:SECRET"]
    healthcheck: {test: [SECRET]}
    networks: {n: {aliases: [SECRET]}}
    ports: [{target: 1, published: SECRET, mode: SECRET, protocol: SECRET}]
    secrets: [{source: s, uid: SECRET, gid: SECRET}]
    cap_add: [SECRET]
    cap_drop: [SECRET]
    stop_signal: SECRET
    working_dir: SECRET
    user: "SECRET\n"
    tmpfs: ["/x:SECRET=1", "SECRET"]
    volumes:
      - {type: bind, source: SECRET, target: /b, bind: {propagation: SECRET}}
      - {type: volume, source: v, target: SECRET}
      - "./SECRET:/c"
    deploy:
      mode: SECRET
      endpoint_mode: SECRET
      placement: {constraints: ["SECRET", "SECRET==SECRET", "node.role==SECRET"], preferences: [{spread: SECRET}]}
      restart_policy: {condition: SECRET}
      update_config: {failure_action: SECRET}
    depends_on: {web2: {condition: service_started}}
  web2: {image: a}
networks:
  n: {name: skep.SECRET, ipam: {config: [{subnet: SECRET, gateway: SECRET}]}}
volumes:
  v: {name: "-SECRET"}
secrets:
  s: {file: f, name: "skep.SECRET-", template_driver: SECRET}
configs:
  c: {content: "{{ SECRET", template_driver: golang}
`
	fsys := fstest.MapFS{
		"stack.yml": &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, "SECRET", secret))},
		"f":         &fstest.MapFile{Data: []byte("x")},
	}
	m, err := load(fsys, Definition{Name: "shop", Dir: ".", Files: []string{"stack.yml"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.taint = NewTaint(secret)
	_, err = convert(m, Options{})
	var refused *RenderError
	if !errors.As(err, &refused) || len(refused.Findings) < 30 {
		t.Fatalf("got %v, want 30 findings or more", err)
	}
	for _, f := range refused.Findings {
		// a parser's words may be parts of the value
		for _, part := range []string{"hunter2", "Hunter2", "HUNTER2"} {
			if all := f.String() + f.Key + f.Service; strings.Contains(all, part) {
				t.Errorf("%q shows %q", all, part)
			}
		}
	}
}
