package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

const alertmanagerImage = "skep-lab/alertmanager:1"

// withAlertmanager puts a service am with two tasks and no virtual address
// beside skep's, on a network of both.
const withAlertmanager = `version: '3.8'
services:
  skep: {networks: [am]}
  am:
    image: ` + alertmanagerImage + `
    networks: [am]
    stop_grace_period: 1s
    deploy: {replicas: 2, endpoint_mode: dnsrr}
networks: {am: {driver: overlay}}
`

// TestEveryTaskOfAlertmanagerIsTold: skep, a Swarm service, tells every task of
// an Alertmanager service by the name tasks.am, also those that come later.
func TestEveryTaskOfAlertmanagerIsTold(t *testing.T) {
	t.Parallel()
	gateway, err := shared.Gateway(t.Context())
	check(t, err)
	git, err := lab.NewGit(filepath.Join(shared.Dir, "git"), gateway+":0")
	check(t, err)
	t.Cleanup(func() { git.Close() })
	tn := newTenant(t, options{})
	const image = "skep-lab/skep:peers"
	tn.must(tn.SkepImage(t.Context(), image))
	tn.must(tn.AlertmanagerImage(t.Context(), alertmanagerImage))
	tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})

	name, dir := tn.name+"-skep", t.TempDir()
	defer func() { tn.must(tn.RemoveStack(t.Context(), name)) }()
	config, extra := filepath.Join(dir, "skep.yml"), filepath.Join(dir, "extra.yml")
	tn.must(os.WriteFile(config, []byte(tn.config(options{am: "http://am:9093\n    dns: tasks.am", repo: git.URL + "/" + tn.name + ".git"})), 0o644))
	tn.must(os.WriteFile(extra, []byte(withAlertmanager), 0o644))
	tn.must(lab.DeploySkep(t.Context(), lab.Deployment{Stack: name, Root: tn.Root, Config: config, Version: tn.name + "1", Image: image, Extra: []string{extra}}))

	tn.told(name+"_am", 2, "SkepStackFailed")
	tn.scale(name+"_am", 3)
	tn.told(name+"_am", 3, "SkepStackFailed")
	tn.scale(name+"_am", 1)
	tn.told(name+"_am", 1, "SkepStackFailed")
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain("deploy: {replicas: 0}")})
	tn.told(name+"_am", 1, "")
	tn.eventually("the stack runs", func() (bool, string) {
		list, err := tn.inside(name)
		return err == nil && len(list) == 1 && list[0].Commit == fixed && list[0].Sync == "synced", fmt.Sprint(list, err)
	})
}

// told waits until so many tasks of an Alertmanager service run and each of them
// knows of this alert alone, or of none.
func (tn *tenant) told(service string, tasks int, alert string) {
	tn.Helper()
	tn.eventually(fmt.Sprintf("%d tasks are told %q", tasks, alert), func() (bool, string) {
		hosts, err := tn.Addresses(tn.Context(), service)
		if err != nil || len(hosts) != tasks {
			return false, fmt.Sprint(hosts, err)
		}
		for _, h := range hosts {
			list, err := lab.Firing(tn.Context(), "http://"+h+":9093", tn.name)
			known := ""
			for _, a := range list {
				known += a.Labels["alertname"]
			}
			if err != nil || known != alert {
				return false, fmt.Sprintf("%s knows of %q: %v", h, known, err)
			}
		}
		return true, ""
	})
}

// scale sets how many tasks a service has.
func (tn *tenant) scale(service string, tasks uint64) {
	tn.Helper()
	s, _, err := tn.Docker.ServiceInspectWithRaw(tn.Context(), service, swarm.ServiceInspectOptions{})
	tn.must(err)
	s.Spec.Mode.Replicated.Replicas = &tasks
	_, err = tn.Docker.ServiceUpdate(tn.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{})
	tn.must(err)
}
