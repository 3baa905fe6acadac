package stack

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// BenchmarkRender10 is one stack of ten everyday services.
func BenchmarkRender10(b *testing.B) {
	benchmarkTree(b, 1, 10)
}

// BenchmarkRender1000 is a tenant of a thousand stacks of two services.
func BenchmarkRender1000(b *testing.B) {
	benchmarkTree(b, 1000, 2)
}

func benchmarkTree(b *testing.B, stacks, services int) {
	fsys := fstest.MapFS{}
	for i := range stacks {
		fsys[fmt.Sprintf("s%04d/stack.yml", i)] = &fstest.MapFile{Data: []byte(benchmarkStack(services))}
		fsys[fmt.Sprintf("s%04d/app.conf", i)] = &fstest.MapFile{Data: []byte("listen = 8080\n")}
	}
	o := Options{Tenant: "bench", Prefix: "bench-", Variables: map[string]string{"TAG": "1.2.3"}}
	b.ReportAllocs()
	for b.Loop() {
		defs, err := Discover(fsys, o)
		if err != nil || len(defs) != stacks {
			b.Fatalf("found %d stacks, want %d: %v", len(defs), stacks, err)
		}
		for _, def := range defs {
			spec, err := Render(fsys, def, o)
			if err != nil || len(spec.Services) != services {
				b.Fatalf("%s: %d services, want %d: %v", def.Name, len(spec.Services), services, err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*stacks*services), "ns/service")
}

// BenchmarkConvert10 is convert alone: what is left when loading is cached.
func BenchmarkConvert10(b *testing.B) {
	fsys := fstest.MapFS{
		"stack.yml": &fstest.MapFile{Data: []byte(benchmarkStack(10))},
		"app.conf":  &fstest.MapFile{Data: []byte("listen = 8080\n")},
	}
	o := Options{Variables: map[string]string{"TAG": "1.2.3"}}
	m, err := load(fsys, Definition{Name: "bench", Dir: ".", Files: []string{"stack.yml"}}, o)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := convert(m, o); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkStack has n services of the size that people write.
func benchmarkStack(n int) string {
	var b strings.Builder
	b.WriteString("services:\n")
	for i := range n {
		fmt.Fprintf(&b, `  web%d:
    image: registry.example.com/team/web:${TAG}
    command: serve --listen :8080 --log json
    environment: {LOG_LEVEL: info, DATABASE_URL: postgres://db/app, WORKERS: 4}
    labels: [app=web, tier=front]
    configs: [{source: app, target: /etc/app.conf}]
    networks: [front, back]
    volumes: [data:/data, /etc/localtime:/etc/localtime:ro]
    healthcheck: {test: [CMD, /app, health], interval: 10s, timeout: 2s, retries: 3}
    deploy:
      replicas: 2
      labels: {traefik.enable: "true", traefik.http.routers.web.rule: Host(`+"`web.example.com`"+`)}
      update_config: {parallelism: 1, order: start-first, failure_action: rollback, monitor: 10s}
      resources: {limits: {cpus: "0.5", memory: 128M}, reservations: {memory: 64M}}
      placement: {constraints: [node.role == worker]}
`, i)
	}
	b.WriteString("networks: {front: {}, back: {driver_opts: {encrypted: 'true'}}}\nvolumes: {data: {}}\nconfigs: {app: {file: app.conf}}\n")
	return b.String()
}
