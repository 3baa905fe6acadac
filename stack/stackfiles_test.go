package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// examples are stack files that stand for those in the wild; public ones, in a
// folder beside the repository, are tried too where they are present.
var examples = map[string]string{
	"traefik":  "version: '3.8'\nservices:\n  proxy:\n    image: traefik:v3.1\n    command: [--providers.swarm, --entrypoints.web.address=:80]\n    ports: ['80:80', {target: 443, published: 443, mode: host}]\n    volumes: ['/var/run/docker.sock:/var/run/docker.sock:ro']\n    networks: [public]\n    deploy: {placement: {constraints: [node.role == manager]}, labels: [traefik.enable=true]}\nnetworks: {public: {external: true}}\n",
	"postgres": "services:\n  db:\n    image: postgres:${PG:-16}\n    environment: {POSTGRES_PASSWORD_FILE: /run/secrets/pw}\n    secrets: [pw]\n    volumes: ['data:/var/lib/postgresql/data']\n    healthcheck: {test: [CMD-SHELL, 'pg_isready'], interval: 10s}\nsecrets: {pw: {file: ./pw.txt}}\nvolumes: {data: }\n",
}

// badExamples are public files that docker stack deploy refuses too, and why.
var badExamples = map[string]string{
	"docker+cli__cli~compose~loader~full-example.yml": "configs.config4: one of file|environment|content must be set",
}

func TestExamples(t *testing.T) {
	for name, text := range examples {
		t.Run(name, func(t *testing.T) { loadExample(t, name+".yml", text) })
	}
	public, err := filepath.Glob("../../shared/stackfiles/*.y*ml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range public {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			loadExample(t, file, string(text))
		})
	}
}

// loadExample loads a public stack file: all that it may lack are variables,
// and files, which are made up.
func loadExample(t *testing.T, file, text string) {
	t.Helper()
	o := Options{Tenant: "t", Variables: map[string]string{}}
	for _, m := range regexp.MustCompile(`\$\{?([A-Za-z_][A-Za-z0-9_]*)`).FindAllStringSubmatch(text, -1) {
		o.Variables[m[1]] = "1"
		if strings.HasSuffix(m[1], "_TYPE") { // of a mount
			o.Variables[m[1]] = "bind"
		}
	}
	m, err := load(made{fstest.MapFS{"s/compose.yml": {Data: []byte(text)}}}, Definition{Tenant: "t", Name: "s", Dir: "s", Files: []string{"s/compose.yml"}}, o)
	if want := badExamples[filepath.Base(file)]; want != "" {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(m.project.Services) == 0 {
		t.Error("no services")
	}
	for name, s := range m.project.Services {
		at := m.at("services." + name + ".image")
		if at.File != "s/compose.yml" || at.Line == 0 || s.Image == "" && s.Build == nil {
			t.Errorf("service %s: image %q at %v", name, s.Image, at)
		}
	}
}

// made makes up every file that a stack names, but for those that are optional.
type made struct{ fstest.MapFS }

func (m made) Open(name string) (fs.File, error) {
	f, err := m.MapFS.Open(name)
	if !errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(name, "/.env") || name == ".env" {
		return f, err
	}
	return fstest.MapFS{"f": {Data: []byte(fmt.Sprintf("NAME=%s\n", path.Base(name))), ModTime: time.Unix(0, 0)}}.Open("f")
}
