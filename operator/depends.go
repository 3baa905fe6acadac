package operator

import (
	"fmt"
	"strings"

	"github.com/skep-gitops/skep/deploy"
)

// waiting says in words for which stacks this one waits; "" is for none.
func (l *loop) waiting(k *kept) string {
	var lines []string
	for _, d := range k.goal.want.Wishes.DependsOn {
		if dep := l.dependency(k, d); dep == nil || !l.ready(dep) {
			lines = append(lines, fmt.Sprintf("waits for stack %q", d))
		}
	}
	return strings.Join(lines, ", ")
}

// dependency is the stack that a depends_on means.
func (l *loop) dependency(k *kept, name string) *kept {
	if dep := l.stacks[stackID{k.tenant, l.tenants[k.tenant].Prefix + name}]; dep != nil {
		return dep
	}
	return l.stacks[stackID{k.tenant, name}]
}

// ready says that a stack runs as git asks.
func (l *loop) ready(k *kept) bool {
	return k.newest.usable() && k.goal.reason == "" && k.problem.reason == "" && !k.busy && l.seen >= k.fresh &&
		k.clean != "" && k.clean == k.print() && k.rec.Attempt == nil && k.health.State == deploy.Healthy && !k.blind
}

// broken says why a stack that others wait for will not become ready by itself.
func (l *loop) broken(k *kept) bool {
	return k.newest != nil && k.newest.reason != "" || k.goal.reason != "" || k.problem.reason != "" ||
		k.rec.Failed != nil || k.health.State == deploy.Degraded || k.conflict != ""
}
