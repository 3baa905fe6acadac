package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/e2e/lab"
)

// engines gives this swarm's one node an engine of another version, and puts a
// second node beside it.
func engines(own, second string, state swarm.NodeState) func([]swarm.Node) []swarm.Node {
	return func(list []swarm.Node) []swarm.Node {
		for i := range list {
			list[i].Description.Engine.EngineVersion = own
		}
		n := list[0]
		n.ID, n.Description.Hostname, n.ManagerStatus = "second"+n.ID, "second", nil
		n.Spec.Role, n.Spec.Availability = swarm.NodeRoleWorker, swarm.NodeAvailabilityActive
		n.Description.Engine.EngineVersion, n.Status.State = second, state
		return append(list, n)
	}
}

// TestLowestEngineDecides: what the oldest ready node would drop in silence is
// refused or told, for as long as that node is there.
func TestLowestEngineDecides(t *testing.T) {
	t.Parallel()
	tn, p := proxied(t, options{})
	old := engines("28.5.2", "20.10.24", swarm.NodeStateReady)
	p.Pretend("1.48", old)
	mount := "volumes: [{type: volume, source: v, target: /data, volume: {subpath: inner/data}}]"
	first := tn.push("first", map[string]string{
		"web/stack.yml":     plain(),
		"subpath/stack.yml": plain("deploy: {replicas: 0}", mount) + "volumes: {v: {}}\n",
		"start/stack.yml":   plain("deploy: {replicas: 0}", "healthcheck: {test: [CMD, /app, health], start_period: 5s, start_interval: 1s}"),
	})
	tn.start()
	tn.live("web", first)
	ran := tn.tasks("web", "web")
	refused := func() {
		t.Helper()
		st := tn.fails("subpath", "RenderFailed")
		tn.said(st.Message, "subpath/stack.yml:", "volume.subpath", "needs API 1.45 (Engine 26) on every node")
	}
	refused()
	warned := func(want bool) {
		t.Helper()
		tn.wait(tn.stack("start"), func(s lab.Stack) bool {
			is := slices.ContainsFunc(s.Warnings, func(w string) bool {
				return strings.Contains(w, "start_interval") && strings.Contains(w, "needs API 1.44 (Engine 25) on every node")
			})
			return s.Sync == "synced" && is == want
		})
	}
	warned(true)
	sent := func(text string) bool {
		return slices.ContainsFunc(p.Bodies(), func(b string) bool { return strings.Contains(b, text) })
	}
	if sent("StartInterval") || sent("Subpath") {
		t.Error("a field was sent that the old engine does not know")
	}

	p.Pretend("1.48", engines("28.5.2", "20.10.24", swarm.NodeStateDown))
	tn.live("subpath", first)
	if !sent(`"Subpath":"inner/data"`) {
		t.Error("the mount was sent without its subpath")
	}
	warned(false)

	p.Pretend("1.48", old) // it is back
	refused()
	warned(true)
	tn.service("subpath", "web")

	p.Pretend("1.48", engines("28.5.2", "26.1.3", swarm.NodeStateReady))
	tn.live("subpath", first)
	second := tn.push("second", map[string]string{"start/stack.yml": plain("deploy: {replicas: 0}", "healthcheck: {test: [CMD, /app, health], start_period: 5s, start_interval: 2s}")})
	tn.live("start", second)
	warned(false)
	if !sent(`"StartInterval":2000000000`) {
		t.Error("start_interval was not sent to engines that know it")
	}

	p.Pretend("1.41", engines("20.10.24", "28.5.2", swarm.NodeStateReady)) // the other way round
	refused()
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("tasks of a stack that no engine's age concerns: %s, want %s", now, ran)
	}
}
