package stack

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// Swarm's minima (swarmkit: controlapi, validateResources).
const (
	minNanoCPUs = 1_000_000
	minMemory   = 4 << 20
)

// resources is never nil.
func (s *scope) resources(r types.Resources) *swarm.ResourceRequirements {
	out := &swarm.ResourceRequirements{}
	if l := r.Limits; l != nil {
		out.Limits = &swarm.Limit{
			NanoCPUs:    s.cpus("limits", l.NanoCPUs),
			MemoryBytes: s.memory("limits", int64(l.MemoryBytes)),
			Pids:        l.Pids,
		}
		if l.Pids < 0 {
			s.errorf("deploy.resources.limits.pids", "%d is negative; 0 is no limit", l.Pids)
		}
	}
	if l := r.Reservations; l != nil {
		out.Reservations = &swarm.Resources{
			NanoCPUs:         s.cpus("reservations", l.NanoCPUs),
			MemoryBytes:      s.memory("reservations", int64(l.MemoryBytes)),
			GenericResources: s.generic(l.GenericResources),
		}
	}
	return out
}

// cpus reads the file's own digits: types.Project holds a float32, which is not exact.
func (s *scope) cpus(kind string, decoded types.NanoCPUs) int64 {
	key := "deploy.resources." + kind + ".cpus"
	text := strconv.FormatFloat(float64(decoded), 'f', -1, 32)
	switch v := dig(s.dict, "deploy", "resources", kind, "cpus").(type) {
	case string:
		text = strings.TrimSpace(v)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		text = strconv.Itoa(v)
	}
	if text == "" {
		return 0
	}
	cpus, ok := new(big.Rat).SetString(text)
	if !ok {
		s.errorf(key, "%q is not a number of CPUs such as 0.5", text)
		return 0
	}
	nano := cpus.Mul(cpus, big.NewRat(1e9, 1))
	if !nano.IsInt() || !nano.Num().IsInt64() {
		s.errorf(key, "%q is too precise: a billionth of a CPU is the smallest step", text)
		return 0
	}
	n := nano.Num().Int64()
	if n != 0 && n < minNanoCPUs {
		s.errorf(key, "%s is below Swarm's minimum of 0.001", text)
	}
	return n
}

func (s *scope) memory(kind string, n int64) int64 {
	if n != 0 && n < minMemory {
		s.errorf("deploy.resources."+kind+".memory", "%d bytes is below Swarm's minimum of 4 MiB (write 4M)", n)
	}
	return n
}

func (s *scope) generic(from []types.GenericResource) []swarm.GenericResource {
	var out []swarm.GenericResource
	for i, g := range from {
		d := g.DiscreteResourceSpec
		if d == nil || d.Kind == "" || d.Value < 1 {
			s.errorf(fmt.Sprintf("deploy.resources.reservations.generic_resources.%d", i), "needs discrete_resource_spec with a kind and a value of at least 1")
			continue
		}
		out = append(out, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: d.Kind, Value: d.Value}})
	}
	return out
}

// placement is never nil: Swarm's leader can crash on nil.
func (s *scope) placement(p types.Placement) *swarm.Placement {
	out := &swarm.Placement{
		Constraints: slices.Clone(p.Constraints),
		MaxReplicas: p.MaxReplicas,
		Platforms:   s.platforms(),
	}
	for i, c := range p.Constraints {
		s.checkConstraint(fmt.Sprintf("deploy.placement.constraints.%d", i), c)
	}
	for i, pref := range p.Preferences {
		key := fmt.Sprintf("deploy.placement.preferences.%d", i)
		if pref.Spread == "" {
			s.errorf(key, "needs spread: a node label such as node.labels.rack")
			continue
		}
		if !hasLabelPrefix(pref.Spread) {
			s.warnf(key, "%q is ignored by Swarm: it spreads over node.labels.NAME or engine.labels.NAME only", pref.Spread)
		}
		out.Preferences = append(out.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: pref.Spread}})
	}
	return out
}

// platforms: nodes report ARM as armv6l, armv7l and so on, hence docker asks for
// any architecture there, and so do we.
func (s *scope) platforms() []swarm.Platform {
	if s.svc.Platform == "" {
		return nil
	}
	parts := strings.Split(s.svc.Platform, "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		s.errorf("platform", "%q is not of the form os/arch", s.svc.Platform)
		return nil
	}
	p := swarm.Platform{OS: parts[0]}
	if len(parts) > 1 {
		p.Architecture = parts[1]
	}
	if p.Architecture == "arm" {
		s.warnf("platform", "Swarm can't select the variant of ARM; use deploy.placement.constraints: node.platform.arch==armv7l")
		p.Architecture = ""
	}
	return []swarm.Platform{p}
}

// mode maps deploy.mode with replicas or scale.
func (s *scope) mode(d types.DeployConfig) swarm.ServiceMode {
	n := s.replicas(d)
	switch d.Mode {
	case "", "replicated":
		return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: n}}
	case "replicated-job":
		job := &swarm.ReplicatedJob{MaxConcurrent: n}
		if n != nil {
			total := *n
			job.TotalCompletions = &total
		}
		return swarm.ServiceMode{ReplicatedJob: job}
	case "global", "global-job":
		if n != nil {
			s.errorf("deploy.replicas", "replicas and scale go with the modes replicated and replicated-job, not with %s", d.Mode)
		}
		if d.Mode == "global" {
			return swarm.ServiceMode{Global: &swarm.GlobalService{}}
		}
		return swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	}
	s.errorf("deploy.mode", "%q is not one of replicated, global, replicated-job, global-job", d.Mode)
	return swarm.ServiceMode{}
}

func (s *scope) replicas(d types.DeployConfig) *uint64 {
	n, key := d.Replicas, "deploy.replicas"
	if s.svc.Scale != nil {
		if n != nil && *n != *s.svc.Scale {
			s.errorf("scale", "scale is %d and deploy.replicas is %d: remove one", *s.svc.Scale, *n)
		}
		n, key = s.svc.Scale, "scale"
	}
	if n == nil {
		return nil
	}
	if *n < 0 {
		s.errorf(key, "%d is negative", *n)
		return nil
	}
	u := uint64(*n)
	return &u
}

// updateConfig: nil stays nil. Parallelism is 1 unless given, and 0 is all at once.
func (s *scope) updateConfig(key string, u *types.UpdateConfig) *swarm.UpdateConfig {
	if u == nil {
		return nil
	}
	out := &swarm.UpdateConfig{
		Parallelism:     1,
		Delay:           time.Duration(u.Delay),
		FailureAction:   u.FailureAction,
		Monitor:         time.Duration(u.Monitor),
		MaxFailureRatio: u.MaxFailureRatio,
		Order:           u.Order,
	}
	if u.Parallelism != nil {
		out.Parallelism = *u.Parallelism
	}
	s.checkUpdate(key, out)
	return out
}

func (s *scope) checkUpdate(key string, u *swarm.UpdateConfig) {
	switch u.FailureAction {
	case "", swarm.UpdateFailureActionPause, swarm.UpdateFailureActionContinue:
	case swarm.UpdateFailureActionRollback:
		if key == "deploy.rollback_config" {
			s.warnf(key+".failure_action", "a roll-back is never rolled back: Swarm treats rollback as pause here")
		}
	default:
		s.errorf(key+".failure_action", "%q is not one of pause, continue, rollback", u.FailureAction)
	}
	switch u.Order {
	case "", swarm.UpdateOrderStopFirst, swarm.UpdateOrderStartFirst:
	default:
		s.errorf(key+".order", "%q is not one of stop-first, start-first", u.Order)
	}
	if u.Delay < 0 {
		s.errorf(key+".delay", "%v is negative", u.Delay)
	}
	if u.Monitor < 0 {
		s.errorf(key+".monitor", "%v is negative", u.Monitor)
	}
	if !(u.MaxFailureRatio >= 0 && u.MaxFailureRatio <= 1) {
		s.errorf(key+".max_failure_ratio", "%v is not between 0 and 1", u.MaxFailureRatio)
	}
}
