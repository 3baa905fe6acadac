package e2e

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// TestPlantedSecretIsNowhere plants one value for each way in which a secret can
// enter, then makes everything fail that can, and searches all output.
func TestPlantedSecretIsNowhere(t *testing.T) {
	t.Parallel()
	k := identity(t)
	tn := newTenant(t, options{tenant: keyFile(t, k), env: []string{"SKEP_TEST=1"}})
	planted := map[string]string{}
	for _, way := range []string{"secret", "envfile", "dotenv", "config", "compose"} {
		planted[way] = "planted-" + way + "-" + unique() + unique() + "/+="
	}
	files := map[string]string{
		"web/stack.yml": "services:\n" + service("web", "secrets: [s]", "configs: [c]", "env_file: [more.env]", "environment: {TOKEN: '${TOKEN}'}") +
			"secrets: {s: {file: s.yaml, x-skep: {key: db.password}}}\nconfigs: {c: {file: c.json}}\n",
		"web/s.yaml":         encrypt(t, "yaml", "db:\n  password: "+planted["secret"]+"\n", k),
		"web/more.env":       encrypt(t, "dotenv", "MORE="+planted["envfile"]+"\n", k),
		"web/.env":           encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
		"web/c.json":         encrypt(t, "json", `{"password":"`+planted["config"]+`"}`, k),
		"compose/stack.yml":  encrypt(t, "yaml", plain("environment: {X: "+planted["compose"]+"}"), k),
		"label/stack.yml":    plain("labels: {l: '${TOKEN}'}"),
		"label/.env":         encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
		"broken/stack.yml":   plain("image: '${TOKEN}'"),
		"broken/.env":        encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
		"type/stack.yml":     plain("stop_grace_period: '${TOKEN}'"),
		"type/.env":          encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
		"command/stack.yml":  plain("command: ['${TOKEN}']"),
		"command/.env":       encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
		"notfound/stack.yml": "services: {web: {image: 'skep-lab/app:1', entrypoint: ['/${TOKEN}'], deploy: {restart_policy: {delay: 1s}}}}\n",
		"notfound/.env":      encrypt(t, "dotenv", "TOKEN="+strings.ReplaceAll(planted["dotenv"], "/", "x")+"\n", k),
		"mount/stack.yml":    plain("volumes: ['/not/there/${TOKEN}:/x']"),
		"mount/.env":         encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"\n", k),
	}
	first := tn.push("first", files)
	tn.start()
	tn.live("web", first)
	tn.live("compose", first)
	tn.arrived(planted)

	// Once more with changes, so that diffs are shown and healed.
	s := tn.service("web", "web")
	s.Spec.TaskTemplate.ContainerSpec.Env = append(s.Spec.TaskTemplate.ContainerSpec.Env, "EVIL=1")
	_, err := tn.Docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	tn.must(err)
	tn.eventually("drift is healed", func() (bool, string) {
		return len(tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env) == 2, "not yet"
	})
	second := tn.push("second", map[string]string{"web/.env": encrypt(t, "dotenv", "TOKEN="+planted["dotenv"]+"2\n", k)})
	tn.live("web", second)
	tn.wait(tn.stack("notfound"), func(s lab.Stack) bool { return s.Reason != "" })
	tn.wait(tn.stack("mount"), func(s lab.Stack) bool { return s.Reason != "" })

	said := map[string][]byte{"log": []byte(tn.skep.Output())}
	for _, path := range []string{"/api/v1/stacks", "/api/v1/status", "/api/v1/tenants", "/metrics"} {
		b, err := tn.skep.Get(t.Context(), path)
		tn.must(err)
		said[path] = b
	}
	age := filepath.Join(t.TempDir(), "age.txt")
	tn.must(os.WriteFile(age, []byte(k.identity), 0o600))
	for name := range files {
		if !strings.HasSuffix(name, "/stack.yml") {
			continue
		}
		dir := filepath.Join(tn.repo.Dir, filepath.Dir(name))
		for _, args := range [][]string{
			{"render", "-o", "json", "--age-key-file", age, "--root", tn.repo.Dir, dir},
			{"validate", "--age-key-file", age, "--root", tn.repo.Dir, dir},
		} {
			out, _, err := tn.skep.Run(t.Context(), args...)
			tn.must(err)
			said[strings.Join(args[:1], " ")+" "+filepath.Dir(name)] = []byte(out)
		}
	}
	out, _, err := tn.skep.Run(t.Context(), "plan", "--config", tn.skep.Config)
	tn.must(err)
	said["plan"] = []byte(out)
	out, _, err = tn.skep.Run(t.Context(), "status", "--config", tn.skep.Config)
	tn.must(err)
	said["status"] = []byte(out)
	alerts, err := json.Marshal(tn.alerts())
	tn.must(err)
	said["alerts"] = alerts
	configs, err := tn.Docker.ConfigList(t.Context(), swarm.ConfigListOptions{})
	tn.must(err)
	for _, c := range configs {
		if c.Spec.Labels["skep.kind"] == "memory" {
			b, err := json.Marshal(c)
			tn.must(err)
			said["memory "+c.Spec.Name] = b
		}
	}
	for where, text := range said {
		tn.clean(where, text, planted)
	}
	tn.must(filepath.WalkDir(filepath.Dir(tn.skep.Config), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		tn.clean(path, b, planted)
		return err
	}))
}

// arrived says that each planted value is in the one object that it was written
// for, so that searching for it elsewhere means something.
func (tn *tenant) arrived(planted map[string]string) {
	tn.Helper()
	env := strings.Join(tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Env, "\n")
	for _, way := range []string{"envfile", "dotenv"} {
		if !strings.Contains(env, planted[way]) {
			tn.Errorf("the value of way %s did not reach its service", way)
		}
	}
	if env := tn.service("compose", "web").Spec.TaskTemplate.ContainerSpec.Env; !strings.Contains(strings.Join(env, "\n"), planted["compose"]) {
		tn.Error("the value of the encrypted stack file did not reach its service")
	}
	id := tn.service("web", "web").Spec.TaskTemplate.ContainerSpec.Configs[0].ConfigID
	c, _, err := tn.Docker.ConfigInspectWithRaw(tn.Context(), id)
	tn.must(err)
	if !bytes.Contains(c.Spec.Data, []byte(planted["config"])) {
		tn.Error("the value of the config did not reach it")
	}
}

// clean searches a text for the planted values in every form.
func (tn *tenant) clean(where string, text []byte, planted map[string]string) {
	tn.Helper()
	for way, v := range planted {
		j, _ := json.Marshal(v)
		forms := []string{v, base64.StdEncoding.EncodeToString([]byte(v)), url.QueryEscape(v), url.PathEscape(v), strings.Trim(string(j), `"`), strings.ReplaceAll(v, "/", "x")}
		for _, f := range forms {
			if i := bytes.Index(text, []byte(f)); i >= 0 {
				tn.Errorf("the secret of way %s is in %s: …%s", way, where, text[max(0, i-200):i])
			}
		}
	}
}

// inContainer lists the names and contents of a container's own files.
func (tn *tenant) inContainer(id string) map[string][]byte {
	tn.Helper()
	r, err := tn.Docker.ContainerExport(tn.Context(), id)
	tn.must(err)
	defer r.Close()
	out := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		tn.must(err)
		b, err := io.ReadAll(tr)
		tn.must(err)
		out[h.Name] = b
	}
}
