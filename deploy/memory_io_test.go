package deploy_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

func fresh() deploy.Memory {
	return deploy.Memory{Instance: instance, Tenant: tenant, Stack: "shop", State: json.RawMessage(`{"n":1}`)}
}

// remembered reads the one memory there is.
func remembered(t *testing.T, s *swarmtest.Swarm) deploy.Memory {
	t.Helper()
	list, err := deploy.ReadMemories(t.Context(), s, instance)
	fatal(t, err)
	if len(list) != 1 {
		t.Fatalf("got %d memories, want 1", len(list))
	}
	return list[0]
}

func TestMemoryComesBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	m, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	since := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m.Frozen = &deploy.Frozen{By: "ann", Reason: "market day", Since: since, Until: since.Add(time.Hour)}
	m.Pinned = &deploy.Pinned{Commit: "abc", By: "bob", Since: since, UntilNext: "def"}
	m, err = deploy.WriteHolds(t.Context(), s, m)
	fatal(t, err)
	got := remembered(t, s)
	if string(got.State) != `{"n":1}` || !cmp.Equal(got.Frozen, m.Frozen) || !cmp.Equal(got.Pinned, m.Pinned) || got.Version != m.Version || got.ID != m.ID {
		t.Errorf("got %+v, want %+v", got, m)
	}
	configs, err := s.ConfigList(t.Context(), swarm.ConfigListOptions{})
	fatal(t, err)
	c := configs[0].Spec
	if !strings.HasPrefix(c.Name, "skep.test.shop.") || len(c.Data) != 1 || c.Labels[deploy.LabelNamespace] != "" || !strings.Contains(c.Labels[deploy.LabelFrozen], "2026-01-02T03:04:05Z") {
		t.Errorf("got config %+v, want one byte, no namespace and RFC 3339", c)
	}
}

func TestMemoryKeepsTheOtherSide(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	operators, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	verbs := operators
	verbs.Frozen = &deploy.Frozen{By: "ann"}
	verbs.State = nil // a verb can't write it
	_, err = deploy.WriteHolds(t.Context(), s, verbs)
	fatal(t, err)
	operators.State = json.RawMessage(`{"n":2}`) // from before the freeze
	got, err := deploy.WriteMemory(t.Context(), s, operators)
	fatal(t, err)
	if got.Frozen == nil || got.Frozen.By != "ann" || string(got.State) != `{"n":2}` {
		t.Errorf("got %+v, want the new state and the freeze", got)
	}
	got.Frozen = nil
	got, err = deploy.WriteHolds(t.Context(), s, got)
	fatal(t, err)
	if got.Frozen != nil || string(got.State) != `{"n":2}` {
		t.Errorf("got %+v, want the state without the freeze", got)
	}
}

func TestTwoOperatorsOneMemory(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	first, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	second := first
	second.State = json.RawMessage(`{"n":2}`)
	_, err = deploy.WriteMemory(t.Context(), s, second)
	fatal(t, err)
	first.State = json.RawMessage(`{"n":3}`)
	if _, err := deploy.WriteMemory(t.Context(), s, first); !errors.Is(err, deploy.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
	if got := remembered(t, s); string(got.State) != `{"n":2}` {
		t.Errorf("got state %s, want that of the one who came first", got.State)
	}
	late := fresh() // both saw none
	late.State = json.RawMessage(`{"n":4}`)
	if _, err := deploy.WriteMemory(t.Context(), s, late); !errors.Is(err, deploy.ErrStale) {
		t.Errorf("got %v, want ErrStale", err)
	}
}

func TestMemoryThatVanishedIsMadeAgain(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	m, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	fatal(t, s.ConfigRemove(t.Context(), m.ID))
	m.State = json.RawMessage(`{"n":2}`)
	_, err = deploy.WriteMemory(t.Context(), s, m)
	fatal(t, err)
	if got := remembered(t, s); string(got.State) != `{"n":2}` {
		t.Errorf("got %+v, want the state", got)
	}
}

func TestMemoryThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	m, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	c, _, err := s.ConfigInspectWithRaw(t.Context(), m.ID)
	fatal(t, err)
	c.Spec.Labels[deploy.LabelFrozen], c.Spec.Labels[deploy.LabelState] = `{"by":`, "not json"
	fatal(t, s.ConfigUpdate(t.Context(), c.ID, c.Version, c.Spec))
	got := remembered(t, s)
	if got.Frozen != nil || got.State != nil || got.Stack != "shop" {
		t.Errorf("got %+v, want what can be read", got)
	}
	got.State = json.RawMessage(`{}`)
	_, err = deploy.WriteMemory(t.Context(), s, got)
	fatal(t, err)
	c, _, err = s.ConfigInspectWithRaw(t.Context(), m.ID)
	fatal(t, err)
	if c.Spec.Labels[deploy.LabelFrozen] != `{"by":` || c.Spec.Labels[deploy.LabelState] != "{}" {
		t.Errorf("got labels %v, want the verbs' side as it was", c.Spec.Labels)
	}
}

func TestMemoryNames(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	long := strings.Repeat("a-long-name", 5)
	for _, m := range []deploy.Memory{
		{Instance: instance, Tenant: "a"}, {Instance: instance, Tenant: "b"},
		{Instance: instance, Tenant: "a", Stack: "tenant"}, {Instance: instance, Tenant: "a", Stack: long}, {Instance: instance, Tenant: "a", Stack: long + "x"},
		{Instance: strings.Repeat("i", 40), Tenant: "a", Stack: long},
		// Folders may be called anything; a stack that can't be named so still has its alerts.
		{Instance: instance, Tenant: "a", Stack: "my shop"}, {Instance: instance, Tenant: "a", Stack: "my-shop"},
		{Instance: instance, Tenant: "a", Stack: "esc\x1b[31m"}, {Instance: instance, Tenant: "a", Stack: strings.Repeat("é", 30)},
	} {
		if _, err := deploy.WriteMemory(t.Context(), s, m); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	}
	names, err := s.ConfigList(t.Context(), swarm.ConfigListOptions{Filters: filters.NewArgs(filters.Arg("name", "skep.test.tenant."))})
	fatal(t, err)
	if len(names) != 3 {
		t.Errorf("got %d memories under tenant, want those of two tenants and of the stack of that name", len(names))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	m := fresh()
	m.State = json.RawMessage(`"` + strings.Repeat("x", 8192) + `"`)
	if _, err := deploy.WriteMemory(t.Context(), s, m); err == nil || !strings.Contains(err.Error(), "8192") || s.Writes() > 0 {
		t.Errorf("got %v after %d writes, want an error with the limit", err, s.Writes())
	}
}

func TestDeleteMemory(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	m, err := deploy.WriteMemory(t.Context(), s, fresh())
	fatal(t, err)
	frozen := m
	frozen.Frozen = &deploy.Frozen{By: "ann"}
	now, err := deploy.WriteHolds(t.Context(), s, frozen)
	fatal(t, err)
	if err := deploy.DeleteMemory(t.Context(), s, m); !errors.Is(err, deploy.ErrStale) {
		t.Errorf("got %v for one that was frozen since, want ErrStale", err)
	}
	fatal(t, deploy.DeleteMemory(t.Context(), s, now))
	fatal(t, deploy.DeleteMemory(t.Context(), s, now))
	fatal(t, deploy.DeleteMemory(t.Context(), s, deploy.Memory{}))
	list, err := deploy.ReadMemories(t.Context(), s, instance)
	fatal(t, err)
	if len(list) > 0 {
		t.Errorf("got %+v, want none", list)
	}
}

// FuzzReadMemory plants any labels: reading never fails.
func FuzzReadMemory(f *testing.F) {
	f.Add(`{"by":"ann","since":"2026-01-02T03:04:05Z"}`, `{"commit":"abc"}`, `{"n":1}`)
	f.Add(`{"by":`, `[]`, `nil`)
	f.Add(`{"since":"yesterday"}`, `{"until_next":7}`, "\x00")
	f.Fuzz(func(t *testing.T, frozen, pinned, state string) {
		s := swarmtest.New()
		_, err := s.ConfigCreate(t.Context(), swarm.ConfigSpec{Data: []byte("."), Annotations: swarm.Annotations{Name: "x", Labels: map[string]string{
			deploy.LabelKind: "memory", deploy.LabelInstance: instance, deploy.LabelFrozen: frozen, deploy.LabelPinned: pinned, deploy.LabelState: state,
		}}})
		if err != nil {
			return // too large for a swarm
		}
		m := remembered(t, s)
		if m.State != nil && !json.Valid(m.State) {
			t.Errorf("got state %q, want JSON", m.State)
		}
	})
}
