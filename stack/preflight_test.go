package stack

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestLimits renders stacks at a limit and just beyond it.
func TestLimits(t *testing.T) {
	t.Parallel()
	web := func(body string) string { return "services:\n  web:\n    image: a\n" + indent(4, body) }
	object := func(kind, extra string) string {
		return "services:\n  web:\n    image: a\n" + kind + ":\n  x:\n    file: data" + extra
	}
	// shop_ and KEY; 63 characters in all
	key58, key59 := strings.Repeat("k", 58), strings.Repeat("k", 59)
	name64, name65 := strings.Repeat("n", 64), strings.Repeat("n", 65)
	for _, c := range []struct {
		name  string
		stack string
		data  int    // bytes of the file "data"
		want  string // part of the only error; empty: none
		at    string // file:line of it
	}{
		{name: "a service name of 63 characters", stack: "services: {" + key58 + ": {image: a}}"},
		{name: "a service name of 64 characters", stack: "services: {" + key59 + ": {image: a}}", want: "has 64 characters, Swarm takes 63", at: "stack.yml:1"},
		{name: "a network name of 63 characters", stack: web("networks: ["+key58+"]\n") + "networks: {" + key58 + ": {}}"},
		{name: "a network name of 64 characters", stack: web("networks: ["+key59+"]\n") + "networks: {" + key59 + ": {}}", want: "has 64 characters, Swarm takes 63", at: "stack.yml:5"},
		{name: "a literal secret name of 64 characters", stack: object("secrets", "\n    name: "+name64), data: 1},
		{name: "a literal secret name of 65 characters", stack: object("secrets", "\n    name: "+name65), data: 1, want: "has 65 characters, Swarm takes 64", at: "stack.yml:5"},
		{name: "a secret key that is cut to fit", stack: web("") + "secrets: {" + name65 + ": {file: data}}", data: 1},
		{name: "a name that ends in a dash", stack: object("configs", "\n    name: x-"), data: 1, want: `name "x-" must be of`, at: "stack.yml:5"},

		{name: "an empty secret", stack: object("secrets", ""), want: "is empty: Swarm takes 1 to 511999 bytes", at: "stack.yml:5"},
		{name: "the largest secret", stack: object("secrets", ""), data: 511_999},
		{name: "a secret too large", stack: object("secrets", ""), data: 512_000, want: "holds 512000 bytes: Swarm takes 1 to 511999", at: "stack.yml:5"},
		{name: "an empty config", stack: object("configs", ""), want: "is empty: Swarm takes 1 to 1023999 bytes", at: "stack.yml:5"},
		{name: "the largest config", stack: object("configs", ""), data: 1_023_999},
		{name: "a config too large", stack: object("configs", ""), data: 1_024_000, want: "holds 1024000 bytes: Swarm takes 1 to 1023999", at: "stack.yml:5"},
		{name: "a service that can be updated", stack: web("environment: {A: " + strings.Repeat("x", 690_000) + "}")},
		{name: "a service too large to be updated", stack: web("environment: {A: " + strings.Repeat("x", 700_000) + "}"), want: "Swarm can't update more than 700000", at: "stack.yml:2"},

		{name: "the least CPU", stack: limits("cpus: '0.001'")},
		{name: "too little CPU", stack: limits("cpus: '0.0009'"), want: "0.0009 is below Swarm's minimum of 0.001", at: "stack.yml:7"},
		{name: "no CPU limit", stack: limits("cpus: 0")},
		{name: "a CPU of nine digits", stack: limits("cpus: '0.123456789'")},
		{name: "a CPU too precise", stack: limits("cpus: '0.1234567891'"), want: "too precise", at: "stack.yml:7"},
		{name: "negative CPU", stack: limits("cpus: '-1'"), want: "below Swarm's minimum", at: "stack.yml:7"},
		{name: "the least memory", stack: limits("memory: 4M")},
		{name: "too little memory", stack: limits("memory: 4095k"), want: "below Swarm's minimum of 4 MiB", at: "stack.yml:7"},
		{name: "negative pids", stack: limits("pids: -1"), want: "-1 is negative", at: "stack.yml:7"},
		{name: "a generic resource of nothing", stack: web("deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: gpu, value: 0}}]}}}"), want: "a value of at least 1", at: "stack.yml:4"},

		{name: "the shortest health check", stack: web("healthcheck: {test: x, interval: 1ms, timeout: 1ms, start_period: 1ms, start_interval: 1ms}")},
		{name: "an interval too short", stack: web("healthcheck: {test: x, interval: 999us}"), want: "999µs is below the engine's minimum of 1ms", at: "stack.yml:4"},
		{name: "a start interval too short", stack: web("healthcheck: {test: x, start_interval: 1us}"), want: "below the engine's minimum", at: "stack.yml:4"},
		{name: "a negative timeout", stack: web("healthcheck: {test: x, timeout: -1s}"), want: "below the engine's minimum", at: "stack.yml:4"},
		{name: "a test without CMD", stack: web("healthcheck: {test: [curl, x]}"), want: `not with "curl"`, at: "stack.yml:4"},
		{name: "CMD without a command", stack: web("healthcheck: {test: [CMD]}"), want: "CMD needs a command", at: "stack.yml:4"},
		{name: "a test that is disabled", stack: web("healthcheck: {test: x, disable: true}"), want: "test and disable", at: "stack.yml:4"},

		{name: "a ratio of 1", stack: web("deploy: {update_config: {max_failure_ratio: 1}}")},
		{name: "a ratio above 1", stack: web("deploy: {update_config: {max_failure_ratio: 1.1}}"), want: "1.1 is not between 0 and 1", at: "stack.yml:4"},
		{name: "a negative ratio", stack: web("deploy: {rollback_config: {max_failure_ratio: -0.1}}"), want: "-0.1 is not between 0 and 1", at: "stack.yml:4"},
		{name: "a negative delay", stack: web("deploy: {update_config: {delay: -1s}}"), want: "-1s is negative", at: "stack.yml:4"},
		{name: "a negative monitor", stack: web("deploy: {rollback_config: {monitor: -1s}}"), want: "-1s is negative", at: "stack.yml:4"},
		{name: "a negative restart delay", stack: web("deploy: {restart_policy: {delay: -1s}}"), want: "-1s is negative", at: "stack.yml:4"},
		{name: "a negative window", stack: web("deploy: {restart_policy: {window: -1s}}"), want: "-1s is negative", at: "stack.yml:4"},
		{name: "a negative grace period", stack: web("stop_grace_period: -1s"), want: "-1s is negative", at: "stack.yml:4"},
		{name: "negative replicas", stack: web("deploy: {replicas: -1}"), want: "-1 is negative", at: "stack.yml:4"},
		{name: "compose's restart word in a policy", stack: web("deploy: {restart_policy: {condition: always}}"), want: `"always" is not one of none, on-failure, any`, at: "stack.yml:4"},
		{name: "an unknown restart", stack: web("restart: sometimes"), want: `"sometimes" is not one of`, at: "stack.yml:4"},
		{name: "a count on always", stack: web("restart: 'always:3'"), want: `"always:3" is not one of`, at: "stack.yml:4"},
		{name: "an unknown failure action", stack: web("deploy: {update_config: {failure_action: explode}}"), want: `"explode" is not one of pause, continue, rollback`, at: "stack.yml:4"},
		{name: "a soft limit above the hard one", stack: web("ulimits: {nofile: {soft: 20, hard: 10}}"), want: "the soft limit 20 is above the hard limit 10", at: "stack.yml:4"},
		{name: "an unlimited limit", stack: web("ulimits: {memlock: {soft: -1, hard: -1}}")},
		{name: "a limit that does not exist", stack: web("ulimits: {files: 20}"), want: "there is no such limit", at: "stack.yml:4"},
		{name: "an unknown isolation", stack: web("isolation: strong"), want: `"strong" is not one of default, process, hyperv`, at: "stack.yml:4"},
		{name: "a host without an address", stack: web("extra_hosts: ['x:y']"), want: `"x:y" is not of the form name:IP`, at: "stack.yml:4"},
		{name: "a name server that is a name", stack: web("dns: dns.example.com"), want: "is not an IP address", at: "stack.yml:4"},
		{name: "two credential specs", stack: web("credential_spec: {file: a, registry: b}"), want: "exactly one of config, file and registry", at: "stack.yml:4"},
		{name: "a credential spec without its config", stack: web("credential_spec: {config: nothere}"), want: `config "nothere" is not defined`, at: "stack.yml:4"},
		{name: "an undefined network", stack: web("networks: [nothere]"), want: `network "nothere" is not defined`, at: "stack.yml:4"},
		{name: "two networks of one name", stack: web("networks: [a, b]\n") + "networks: {a: {name: x}, b: {name: x, external: true}}", want: `networks a and b are both named "x"`, at: "stack.yml:4"},
		{name: "too many ports", stack: web("ports: [{target: 1, published: '1-60000'}]"), want: "at most 2000", at: "stack.yml:4"},
		{name: "a template that join can't take", stack: web("hostname: '{{join}}'"), want: "bad template", at: "stack.yml:4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := renderFiles(t, map[string]string{"stack.yml": c.stack, "data": strings.Repeat("x", c.data)}, Options{})
			if c.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var refused *RenderError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
			var errs []Finding
			for _, f := range refused.Findings {
				if f.Severity == Error {
					errs = append(errs, f)
				}
			}
			if len(errs) != 1 || !strings.Contains(errs[0].Text, c.want) || errs[0].Position.String() != c.at {
				t.Errorf("got %v, want one error at %s with %q", errs, c.at, c.want)
			}
		})
	}
}

// limits is a stack whose service has one resource limit, on line 7.
func limits(limit string) string {
	return "services:\n  web:\n    image: a\n    deploy:\n      resources:\n        limits:\n          " + limit + "\n"
}

func indent(n int, text string) string {
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+pad) + "\n"
}

// TestOldConfigLimit: engines before 20.10.15 are only told from later ones by the API's floor.
func TestOldConfigLimit(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"stack.yml": "services: {web: {image: a}}\nconfigs: {x: {file: data}}", "data": strings.Repeat("x", 512_000),
	}
	for api, want := range map[string]int{"": 0, "1.41": 1, "1.42": 0} {
		spec, err := renderFiles(t, files, Options{API: api})
		if err != nil || len(spec.Warnings) != want {
			t.Errorf("API %q: %v, %v, want %d warnings", api, spec.Warnings, err, want)
		}
	}
}

// TestAllFindingsAtOnce: a tenant sees everything that is wrong with a push, not the first of it.
func TestAllFindingsAtOnce(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  s%d: {image: a, cpus: 1, privileged: true, deploy: {mode: x}}\n", i)
	}
	_, err := renderFiles(t, map[string]string{"stack.yml": b.String()}, Options{})
	var refused *RenderError
	if !errors.As(err, &refused) || len(refused.Findings) != 60 {
		t.Fatalf("got %v, want 60 findings", err)
	}
	for i, f := range refused.Findings {
		if f.Line != 2+i/3 || f.File != "stack.yml" || !strings.HasPrefix(f.Service, "s") || !strings.HasPrefix(f.Key, "services.s") {
			t.Errorf("finding %d: %+v", i, f)
		}
	}
}
