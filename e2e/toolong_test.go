package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/skep-gitops/skep/deploy"
)

// age moves what is held of a stack into the past, in the swarm itself.
func (tn *tenant) age(stack string, by time.Duration) {
	tn.Helper()
	list, err := deploy.ReadMemories(tn.Context(), tn.Docker, tn.name)
	tn.must(err)
	for _, m := range list {
		if m.Stack != tn.stack(stack) {
			continue
		}
		if m.Frozen != nil {
			m.Frozen.Since = m.Frozen.Since.Add(-by)
		}
		if m.Pinned != nil {
			m.Pinned.Since = m.Pinned.Since.Add(-by)
		}
		_, err := deploy.WriteHolds(tn.Context(), tn.Docker, m)
		tn.must(err)
		return
	}
	tn.Fatalf("no memory of stack %s among %d", stack, len(list))
}

// soon is how long before a limit a hold is put: no event of the swarm marks
// the moment when it lasts too long.
const soon = 15 * time.Second

// TestFrozenTooLong: a freeze that lasts for more than a day is one alert, until
// it ends.
func TestFrozenTooLong(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain(), "other/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	tn.live("other", first)
	for _, s := range []string{"web", "other"} {
		tn.verb("freeze", tn.stack(s), "--reason", "a long weekend", "--by", "Ada")
	}
	tn.age("other", 23*time.Hour)
	tn.age("web", 24*time.Hour-soon)
	tn.said(tn.fires("SkepFrozenTooLong", tn.stack("web")).Annotations["description"], "Ada", "a long weekend", "skep unfreeze "+tn.stack("web"))
	tn.verb("unfreeze", tn.stack("web"))
	tn.quiet()
	tn.age("other", time.Hour)
	tn.fires("SkepFrozenTooLong", tn.stack("other"))
	tn.verb("unfreeze", tn.stack("other"))
	tn.quiet()
}

// TestPinnedTooLong: a pin that lasts for more than a week is one alert, until
// it ends.
func TestPinnedTooLong(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	first := tn.push("first", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", first)
	second := tn.push("second", map[string]string{"web/stack.yml": plain("hostname: second")})
	tn.live("web", second)
	tn.verb("rollback", tn.stack("web"), "--reason", "two is slow", "--by", "Ada")
	tn.hostname("web", "")
	tn.age("web", 7*24*time.Hour-soon)
	a := tn.fires("SkepPinnedTooLong", tn.stack("web"))
	tn.said(a.Annotations["description"], "Ada", "two is slow", first[:7], "skep unpin "+tn.stack("web"))
	tn.verb("unpin", tn.stack("web"))
	tn.live("web", second)
	tn.quiet()
}

// said checks that a text names each of the parts.
func (tn *tenant) said(text string, parts ...string) {
	tn.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			tn.Errorf("%q does not say %q", text, p)
		}
	}
}

// hostname waits until a stack's service web has this hostname.
func (tn *tenant) hostname(stack, want string) {
	tn.Helper()
	tn.eventually("hostname "+want, func() (bool, string) {
		got := tn.service(stack, "web").Spec.TaskTemplate.ContainerSpec.Hostname
		return got == want, got
	})
}
