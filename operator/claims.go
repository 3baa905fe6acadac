package operator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skep-gitops/skep/deploy"
)

// claim finds names that two tenants, or two stacks, want at a time: the stack's
// own and those of its services ("a_b"+"c" is "a"+"b_c"). Who holds the live
// objects keeps the name; where nothing is live nobody gets it.
func (l *loop) claim() {
	if l.claimed {
		return
	}
	l.claimed = true
	stacks, services := map[string][]*kept{}, map[string][]*kept{}
	for _, k := range l.order {
		k.conflict = ""
		if k.newest == nil {
			continue
		}
		stacks[k.stack] = append(stacks[k.stack], k)
		if !k.newest.usable() {
			continue
		}
		for _, s := range k.newest.spec.Services {
			services[s.Spec.Name] = append(services[s.Spec.Name], k)
		}
	}
	for name, claimants := range stacks {
		if len(claimants) > 1 {
			l.contest(claimants, fmt.Sprintf("stack %q", name), func(k *kept) bool { return k.part.ours > 0 && k.part.owner == k.tenant })
		}
	}
	holders := l.holders(services)
	for name, claimants := range services {
		if len(claimants) > 1 && !oneName(claimants) {
			l.contest(claimants, fmt.Sprintf("service %q", name), func(k *kept) bool { return holders[name] == k.stackID })
		}
	}
}

// contest gives everybody but the holder the conflict.
func (l *loop) contest(claimants []*kept, what string, holds func(*kept) bool) {
	for _, k := range claimants {
		if holds(k) {
			continue
		}
		text := fmt.Sprintf("%s is wanted by %s: rename one, or set another prefix", what, others(k, claimants))
		if i := slices.IndexFunc(claimants, holds); i >= 0 {
			text = fmt.Sprintf("%s belongs to %s: rename yours, or set another prefix", what, describe(claimants[i]))
		}
		if k.conflict == "" {
			k.conflict = text
		}
	}
}

// holders tells which stack's live service has a name that several want.
func (l *loop) holders(claims map[string][]*kept) map[string]stackID {
	out := map[string]stackID{}
	for name, c := range claims {
		if s := l.services[name]; s != nil && len(c) > 1 {
			labels := deploy.OwnerLabels(s)
			out[name] = stackID{labels[deploy.LabelTenant], labels[deploy.LabelNamespace]}
		}
	}
	return out
}

// oneName says that all claimants have one stack name: that is contested already.
func oneName(claimants []*kept) bool {
	return !slices.ContainsFunc(claimants, func(k *kept) bool { return k.stack != claimants[0].stack })
}

func describe(k *kept) string { return fmt.Sprintf("stack %q of tenant %q", k.stack, k.tenant) }

func others(k *kept, all []*kept) string {
	var list []string
	for _, o := range all {
		if o != k {
			list = append(list, describe(o))
		}
	}
	slices.Sort(list)
	return strings.Join(list, " and ") + " too"
}
