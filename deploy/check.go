package deploy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
)

// Check says how a stack runs, from the live objects alone. A Health whose State
// is empty could not be told without tasks: look again with LookOptions.Tasks.
func Check(live Live, name string, o CheckOptions, now time.Time) Health {
	x := live.Indexed().index
	services := x.members[name]
	if len(services) == 0 {
		return Health{State: Missing, Message: "nothing of the stack runs"}
	}
	h := Health{State: Healthy, Services: make([]ServiceHealth, 0, len(services))}
	for _, s := range services {
		sh, again := look{x: x, listed: live.Listed, timeout: o.Timeout, now: now}.service(s)
		sh.Key = strings.TrimPrefix(sh.Name, name+"_")
		h.Services = append(h.Services, sh)
		if !again.IsZero() && (h.Again.IsZero() || again.Before(h.Again)) {
			h.Again = again
		}
	}
	slices.SortFunc(h.Services, func(a, b ServiceHealth) int { return strings.Compare(a.Name, b.Name) })
	sum(&h)
	return h
}

// sum fills in what the services come to: the worst of them gives state,
// outcome and message.
func sum(h *Health) {
	worst := h.Services[0]
	for _, s := range h.Services {
		if gravity(s.State) > gravity(h.State) {
			h.State = s.State
		}
		if badness(s.Outcome) > badness(h.Outcome) {
			h.Outcome = s.Outcome
		}
		if cmp.Or(cmp.Compare(badness(s.Outcome), badness(worst.Outcome)), cmp.Compare(gravity(s.State), gravity(worst.State))) > 0 {
			worst = s
		}
	}
	if h.State != Healthy || h.Outcome != None {
		h.Message = worst.message()
	}
}

// gravity orders states: what is not known outweighs all, since a look at the
// tasks may tell anything.
func gravity(s State) int {
	return slices.Index([]State{Healthy, Progressing, Missing, Degraded, ""}, s)
}

func badness(o Outcome) int {
	return slices.Index([]Outcome{None, RolledBack, TimedOut, Paused, Failed}, o)
}

// message is the service's line: what, where, why, and what to do next.
func (s ServiceHealth) message() string {
	var b strings.Builder
	fmt.Fprintf(&b, "service %q: ", s.Key)
	switch s.Outcome {
	case RolledBack:
		b.WriteString("swarm rolled the update back")
	case Paused:
		b.WriteString(s.paused())
	case TimedOut:
		fmt.Fprintf(&b, "no progress in time, %d of %d running", s.Running, s.Desired)
	case Failed:
		fmt.Fprintf(&b, "failed, %d of %d running", s.Running, s.Desired)
	default:
		fmt.Fprintf(&b, "%d of %d running", s.Running, s.Desired)
	}
	if s.Error == "" {
		return b.String()
	}
	fmt.Fprintf(&b, ": %s", s.Error)
	if s.Exit != 0 && !strings.Contains(s.Error, fmt.Sprintf("(%d)", s.Exit)) {
		fmt.Fprintf(&b, " (exit code %d)", s.Exit)
	}
	if s.Node != "" {
		fmt.Fprintf(&b, ", on node %s", s.Node)
	}
	if hint := causeOf(s.Error).hint; hint != "" {
		if strings.HasSuffix(hint, "docker service logs") {
			hint += " " + s.Name
		}
		fmt.Fprintf(&b, "; %s", hint)
	}
	return b.String()
}

func (s ServiceHealth) paused() string {
	if s.halfBack {
		return "swarm rolled the update back and paused half-way"
	}
	return "swarm paused the update"
}

// look is one look at services: what is the same for all of them.
type look struct {
	x       *index
	listed  bool
	timeout time.Duration
	now     time.Time
}

// How often to look at what moves, and at what is broken: tasks send no events.
const (
	soon  = time.Second
	later = 5 * time.Second
)

// settle is how long after a write Swarm may need until UpdateStatus and tasks
// show it.
const settle = 5 * time.Second

// service says how one service runs, and when to look again at the latest.
func (l look) service(s *swarm.Service) (ServiceHealth, time.Time) {
	r := l.rollout(s)
	h := ServiceHealth{Key: s.Spec.Name, Name: s.Spec.Name, ID: s.ID, Desired: r.desired(), Updated: s.UpdatedAt}
	if !l.listed {
		return r.glance(h)
	}
	return r.judge(h)
}

// completed says that a service which ends by itself has ended well, everywhere.
func (l look) completed(s *swarm.Service) bool {
	r := l.rollout(s)
	if !r.oneShot() {
		return false
	}
	if !l.listed {
		return r.job() && s.ServiceStatus != nil && s.ServiceStatus.CompletedTasks >= r.desired()
	}
	ended := uint64(0)
	for _, tasks := range r.slots {
		if slices.ContainsFunc(tasks, func(t *swarm.Task) bool { return t.Status.State == swarm.TaskStateComplete }) {
			ended++
		}
	}
	return ended >= r.desired()
}

func (l look) rollout(s *swarm.Service) *rollout {
	r := &rollout{look: l, service: s, spec: Normalize(swarm.ServiceSpec{Mode: s.Spec.Mode, UpdateConfig: s.Spec.UpdateConfig,
		TaskTemplate: swarm.TaskSpec{RestartPolicy: s.Spec.TaskTemplate.RestartPolicy, Placement: s.Spec.TaskTemplate.Placement}}, "")}
	if l.listed {
		r.sort(l.x.tasks[s.ID])
	}
	return r
}

// glance judges by the counters of the service list alone: it tells only what
// they prove.
func (r *rollout) glance(h ServiceHealth) (ServiceHealth, time.Time) {
	status := r.service.ServiceStatus
	if status == nil || r.moving() || r.failing() || r.now.Sub(r.service.UpdatedAt) < settle+r.monitor() {
		return h, r.now
	}
	if h.Running = status.RunningTasks; r.job() {
		h.Running = status.CompletedTasks
	}
	if h.Running != h.Desired {
		return h, r.now
	}
	h.State = Healthy
	if r.state() == swarm.UpdateStateRollbackCompleted {
		h.Outcome, h.Error = RolledBack, r.service.UpdateStatus.Message
	}
	return h, time.Time{}
}
