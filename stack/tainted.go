package stack

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// warnTainted warns of values from encrypted files where everybody who may look
// at the swarm sees them: labels, images, names and command lines.
func (l *loading) warnTainted(m *model) {
	if m.taint.Empty() {
		return
	}
	w := showing{l, m.taint}
	for _, name := range slices.Sorted(maps.Keys(m.project.Services)) {
		s := m.project.Services[name]
		at := "services." + name
		w.check(name, at, "a service's name", name)
		w.check(name, at+".image", "an image", s.Image)
		w.check(name, at+".hostname", "a name", s.Hostname)
		w.list(name, at+".command", "a command line", s.Command)
		w.list(name, at+".entrypoint", "a command line", s.Entrypoint)
		w.labels(name, at+".labels", s.Labels)
		if s.Deploy != nil {
			w.labels(name, at+".deploy.labels", s.Deploy.Labels)
		}
		if s.HealthCheck != nil {
			w.list(name, at+".healthcheck.test", "a command line", s.HealthCheck.Test)
		}
	}
	for key, n := range m.project.Networks {
		w.object("networks."+key, n.Name, n.Labels)
	}
	for key, v := range m.project.Volumes {
		w.object("volumes."+key, v.Name, v.Labels)
	}
	for key, s := range m.project.Secrets {
		w.object("secrets."+key, s.Name, s.Labels)
	}
	for key, c := range m.project.Configs {
		w.object("configs."+key, c.Name, c.Labels)
	}
}

// showing looks for tainted values in what the swarm shows.
type showing struct {
	l     *loading
	taint Taint
}

func (w showing) check(service, at, where string, values ...string) {
	for _, v := range values {
		if w.taint.In(v) {
			w.l.report.add(Finding{Position: w.l.positions.at(at), Severity: Warning, Service: service, Key: at,
				Text: fmt.Sprintf("%s: a value from an encrypted file stands in %s, where everybody who sees the swarm can read it; use a secret", at, where)})
			return
		}
	}
}

func (w showing) list(service, at, where string, words []string) {
	for i, word := range words {
		w.check(service, at+"."+strconv.Itoa(i), where, word)
	}
}

func (w showing) labels(service, at string, labels map[string]string) {
	for key, value := range labels {
		w.check(service, at+"."+key, "a label", key, value)
	}
}

func (w showing) object(at, name string, labels map[string]string) {
	w.check("", at+".name", "a name", name)
	w.labels("", at+".labels", labels)
}
