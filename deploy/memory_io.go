package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
)

const (
	kindMemory = "memory"

	// maxState is how large a memory's State may be, in bytes. Labels travel with
	// every list of memories.
	maxState = 8 << 10

	maxMemoryStack = 40 // characters of the stack in a memory's name
	maxObjectName  = 64 // Swarm's limit for configs and secrets
	writeTries     = 5
)

// side is what one writer of a memory owns of it.
type side []string

// The verbs own the holds, the operator the state.
func operatorSide() side { return side{LabelState} }
func verbSide() side     { return side{LabelFrozen, LabelPinned} }

// ReadMemories lists what skep remembers of an instance's stacks and tenants. A
// label whose content can't be read counts as absent; it is kept as it is until
// its owner writes it again.
func ReadMemories(ctx context.Context, r Reader, instance string) ([]Memory, error) {
	configs, err := listed(ctx, "memories", func(ctx context.Context) ([]swarm.Config, error) {
		return r.ConfigList(ctx, swarm.ConfigListOptions{Filters: filters.NewArgs(
			filters.Arg("label", LabelKind+"="+kindMemory), filters.Arg("label", LabelInstance+"="+instance))})
	})
	if err != nil {
		return nil, err
	}
	memories := make([]Memory, 0, len(configs))
	for _, c := range configs {
		memories = append(memories, readMemory(c))
	}
	return memories, nil
}

// WriteMemory writes m.State, the operator's side of a memory, and creates the
// memory where there is none. Frozen and Pinned stay as they are in the swarm,
// also where m has not seen their newest values. It gives the memory as it is
// then. Where another operator wrote the state since m was read, it is ErrStale
// and nothing is written.
func WriteMemory(ctx context.Context, w Writer, m Memory) (Memory, error) {
	return writeMemory(ctx, w, m, operatorSide())
}

// WriteHolds writes m.Frozen and m.Pinned, the verbs' side of a memory, and
// creates the memory where there is none; it is otherwise like WriteMemory.
func WriteHolds(ctx context.Context, w Writer, m Memory) (Memory, error) {
	return writeMemory(ctx, w, m, verbSide())
}

func writeMemory(ctx context.Context, w Writer, m Memory, own side) (Memory, error) {
	labels, err := memoryLabels(m)
	if err != nil {
		return Memory{}, err
	}
	was := m
	if m.ID != "" && m.raw == nil { // made by hand: what the other side wrote is not known
		if was, err = memoryByID(ctx, w, m.ID); err != nil {
			return Memory{}, fmt.Errorf("write memory of %s: %w", m.subject(), err)
		}
	}
	for range writeTries {
		var next Memory
		if was.ID == "" {
			next, err = createMemory(ctx, w, m, own.merge(was.raw, labels))
		} else {
			next, err = updateMemory(ctx, w, was, own.merge(was.raw, labels))
		}
		switch {
		case err == nil:
			return next, nil
		case !raced(err):
			return Memory{}, fmt.Errorf("write memory of %s: %w", m.subject(), err)
		}
		if was, err = rereadMemory(ctx, w, m, was, own); err != nil {
			return Memory{}, fmt.Errorf("write memory of %s: %w", m.subject(), err)
		}
	}
	return Memory{}, fmt.Errorf("write memory of %s: %w: it changes too fast", m.subject(), ErrStale)
}

// raced says that another writer came first.
func raced(err error) bool {
	return cerrdefs.IsConflict(err) || cerrdefs.IsNotFound(err) || outOfSequence(err)
}

// rereadMemory gives the memory as it is after another writer came first. It is
// ErrStale where that one wrote our side.
func rereadMemory(ctx context.Context, w Writer, m, was Memory, own side) (Memory, error) {
	name := memoryName(m)
	c, err := inspectConfig(ctx, w, name)
	if cerrdefs.IsNotFound(err) {
		return Memory{Instance: m.Instance, Tenant: m.Tenant, Stack: m.Stack}, nil
	}
	if err != nil {
		return Memory{}, err
	}
	live := readMemory(c)
	if c.Spec.Labels[LabelKind] != kindMemory || live.Instance != m.Instance || live.Tenant != m.Tenant || live.Stack != m.Stack {
		return Memory{}, &ConflictError{Kind: KindConfig, Name: name, Owner: "someone else", Hint: "remove it: skep keeps what it remembers under this name"}
	}
	for _, k := range own {
		if live.raw[k] != was.raw[k] {
			return Memory{}, ErrStale
		}
	}
	return live, nil
}

func createMemory(ctx context.Context, w Writer, m Memory, labels map[string]string) (Memory, error) {
	spec := swarm.ConfigSpec{Annotations: swarm.Annotations{Name: memoryName(m), Labels: labels}, Data: []byte{'.'}}
	got, err := within(ctx, func(ctx context.Context) (swarm.ConfigCreateResponse, error) { return w.ConfigCreate(ctx, spec) })
	if err != nil {
		return Memory{}, err
	}
	return memoryByID(ctx, w, got.ID)
}

func updateMemory(ctx context.Context, w Writer, was Memory, labels map[string]string) (Memory, error) {
	spec := swarm.ConfigSpec{Annotations: swarm.Annotations{Name: memoryName(was), Labels: labels}}
	err := do(ctx, func(ctx context.Context) error { return w.ConfigUpdate(ctx, was.ID, was.Version, spec) })
	if err != nil {
		return Memory{}, err
	}
	return memoryByID(ctx, w, was.ID)
}

func memoryByID(ctx context.Context, r Reader, id string) (Memory, error) {
	c, err := inspectConfig(ctx, r, id)
	if err != nil {
		return Memory{}, err
	}
	return readMemory(c), nil
}

// DeleteMemory removes a memory that is as it was read. It is ErrStale where it
// was written since; one that is gone already is fine. The caller keeps a memory
// that is frozen or pinned.
func DeleteMemory(ctx context.Context, w Writer, m Memory) error {
	if m.ID == "" {
		return nil
	}
	live, err := memoryByID(ctx, w, m.ID)
	switch {
	case cerrdefs.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("delete memory of %s: %w", m.subject(), err)
	case live.Version != m.Version:
		return fmt.Errorf("delete memory of %s: %w", m.subject(), ErrStale)
	}
	err = do(ctx, func(ctx context.Context) error { return w.ConfigRemove(ctx, m.ID) })
	if err != nil && !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("delete memory of %s: %w", m.subject(), err)
	}
	return nil
}

// subject says in words whose memory it is.
func (m Memory) subject() string {
	if m.Stack == "" {
		return fmt.Sprintf("tenant %q", m.Tenant)
	}
	return fmt.Sprintf("stack %q", m.Stack)
}

// objectChars finds what a config's name can't have. A folder of any name may be
// meant for a stack, and fail with that.
var objectChars = regexp.MustCompile(`[^a-zA-Z0-9._-]`)

// memoryName gives the name of a memory's config:
// skep.<instance>.<start of the stack>.<hash>, or skep.<instance>.tenant.<hash>.
func memoryName(m Memory) string {
	sum := sha256.Sum256([]byte(m.Instance + "\x00" + m.Tenant + "\x00" + m.Stack))
	tail := "." + hex.EncodeToString(sum[:4])
	middle := "tenant"
	if m.Stack != "" {
		middle = objectChars.ReplaceAllString(m.Stack[:min(len(m.Stack), maxMemoryStack)], "-")
	}
	head := "skep." + m.Instance + "."
	return head + middle[:max(0, min(len(middle), maxObjectName-len(head)-len(tail)))] + tail
}

// memoryLabels writes a memory as labels.
func memoryLabels(m Memory) (map[string]string, error) {
	labels := map[string]string{LabelInstance: m.Instance, LabelKind: kindMemory, LabelTenant: m.Tenant, LabelStack: m.Stack}
	if len(m.State) > maxState {
		return nil, fmt.Errorf("write memory of %s: its state has %d bytes, more than %d", m.subject(), len(m.State), maxState)
	}
	if len(m.State) > 0 {
		labels[LabelState] = string(m.State)
	}
	holds := map[string]any{}
	if m.Frozen != nil {
		holds[LabelFrozen] = m.Frozen
	}
	if m.Pinned != nil {
		holds[LabelPinned] = m.Pinned
	}
	for k, v := range holds {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("write memory of %s: label %s: %w", m.subject(), k, err)
		}
		labels[k] = string(b)
	}
	return labels, nil
}

// merge gives the labels to write: our side and the identity from next, all else
// as it is in the swarm.
func (own side) merge(live, next map[string]string) map[string]string {
	labels := maps.Clone(live)
	if labels == nil {
		labels = map[string]string{}
	}
	for _, k := range append(side{LabelInstance, LabelKind, LabelTenant, LabelStack}, own...) {
		v, ok := next[k]
		if !ok {
			delete(labels, k)
			continue
		}
		labels[k] = v
	}
	return labels
}

// readMemory reads a memory from its config's labels.
func readMemory(c swarm.Config) Memory {
	l := c.Spec.Labels
	m := Memory{
		ID: c.ID, Version: c.Version, Instance: l[LabelInstance], Tenant: l[LabelTenant], Stack: l[LabelStack], raw: l,
	}
	m.Frozen = readLabel[Frozen](l[LabelFrozen])
	m.Pinned = readLabel[Pinned](l[LabelPinned])
	if s := l[LabelState]; json.Valid([]byte(s)) {
		m.State = json.RawMessage(s)
	}
	return m
}

// readLabel reads one label; nil where it is absent or can't be read.
func readLabel[T any](s string) *T {
	if s == "" {
		return nil
	}
	var v T
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return nil
	}
	return &v
}

// outOfSequence says that an object changed since its version was read. The
// daemon answers it as an internal error: the text is all there is.
func outOfSequence(err error) bool {
	return err != nil && strings.Contains(err.Error(), "update out of sequence")
}

// CheckMemory says whether a memory is still as it was read: ErrStale where it was
// written or removed since, ErrUnsure where that can't be told.
func CheckMemory(ctx context.Context, r Reader, m Memory) error {
	c, err := inspectConfig(ctx, r, memoryName(m))
	switch {
	case errors.Is(err, cerrdefs.ErrNotFound) && m.ID == "":
		return nil
	case errors.Is(err, cerrdefs.ErrNotFound):
		return fmt.Errorf("%w: the memory of %s is gone", ErrStale, m.subject())
	case err != nil:
		return fmt.Errorf("%w: memory of %s: %w", ErrUnsure, m.subject(), err)
	case c.ID != m.ID || c.Version != m.Version:
		return fmt.Errorf("%w: the memory of %s was written", ErrStale, m.subject())
	}
	return nil
}
