package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
)

const (
	kindKey = "key"
	keySize = 32 // bytes
)

// String and LogValue keep a key out of every text.
func (k Key) String() string { return fmt.Sprintf("key (%d bytes)", len(k)) }

// GoString is String, for %#v.
func (k Key) GoString() string { return k.String() }

// LogValue is String, for log/slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// FetchKey reads the instance's key from the swarm, and makes it where there is
// none. Where two do so at once, both get the key of the one who came first.
func FetchKey(ctx context.Context, w Writer, instance string) (Key, error) {
	key, err := FindKey(ctx, w, instance)
	if err != nil || key != nil {
		return key, err
	}
	key = make(Key, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	spec := swarm.ConfigSpec{
		Annotations: swarm.Annotations{
			Name:   keyName(instance),
			Labels: map[string]string{LabelInstance: instance, LabelKind: kindKey},
		},
		Data: key,
	}
	_, err = within(ctx, func(ctx context.Context) (swarm.ConfigCreateResponse, error) { return w.ConfigCreate(ctx, spec) })
	if err == nil {
		return key, nil
	}
	if !cerrdefs.IsConflict(err) {
		return nil, fmt.Errorf("create config %q: %w", keyName(instance), err)
	}
	key, err = FindKey(ctx, w, instance)
	if key == nil && err == nil {
		err = fmt.Errorf("%w: config %q came and went", ErrStale, keyName(instance))
	}
	return key, err
}

// FindKey reads the instance's key from the swarm. Where there is none it gives
// nil and no error: Diff then names objects by any other key, such as one that is
// thrown away afterwards, which shows a first deployment as it would be but
// for the names.
func FindKey(ctx context.Context, r Reader, instance string) (Key, error) {
	name := keyName(instance)
	c, err := inspectConfig(ctx, r, name)
	switch {
	case errors.Is(err, cerrdefs.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: inspect config %q: %w", ErrUnsure, name, err)
	case c.Spec.Name != name:
		return nil, nil
	case c.Spec.Labels[LabelKind] != kindKey || c.Spec.Labels[LabelInstance] != instance || len(c.Spec.Data) != keySize:
		return nil, &ConflictError{
			Kind: KindConfig, Name: name, Owner: "someone else",
			Hint: "it is not a key that skep made; remove it, or choose another instance",
		}
	}
	return Key(c.Spec.Data), nil
}

func keyName(instance string) string { return "skep." + instance + ".key" }
