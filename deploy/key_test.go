package deploy_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	s := swarmtest.New()
	if key, err := deploy.FindKey(t.Context(), s, instance); key != nil || err != nil || s.Writes() > 0 {
		t.Fatalf("got %v, %v and %d writes, want no key and no write", key, err, s.Writes())
	}
	keys := make([]deploy.Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = deploy.FetchKey(t.Context(), s, instance); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	found, err := deploy.FindKey(t.Context(), s, instance)
	fatal(t, err)
	for _, k := range keys {
		if len(k) != 32 || !bytes.Equal(k, found) {
			t.Errorf("got key of %d bytes, want the same 32 for all", len(k))
		}
	}
	other, err := deploy.FetchKey(t.Context(), s, "other")
	fatal(t, err)
	if bytes.Equal(other, found) {
		t.Error("got the same key for another instance")
	}
}

func TestKeyIsNotShown(t *testing.T) {
	t.Parallel()
	key := testKey()
	for _, text := range []string{fmt.Sprint(key), fmt.Sprintf("%#v", key), key.String(), key.LogValue().String()} {
		if text != "key (32 bytes)" {
			t.Errorf("got %q, want its size alone", text)
		}
	}
}

func TestKeyOfSomeoneElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]swarm.ConfigSpec{
		"no label": {Data: make([]byte, 32)},
		"short":    {Data: make([]byte, 16), Annotations: swarm.Annotations{Labels: map[string]string{deploy.LabelKind: "key", deploy.LabelInstance: instance}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := swarmtest.New()
			c.Name = "skep.test.key"
			_, err := s.ConfigCreate(t.Context(), c)
			fatal(t, err)
			var conflict *deploy.ConflictError
			if _, err := deploy.FetchKey(t.Context(), s, instance); !errors.As(err, &conflict) {
				t.Errorf("got %v, want a conflict", err)
			}
		})
	}
	s := swarmtest.New()
	s.Set(swarmtest.NoLeader)
	if key, err := deploy.FindKey(t.Context(), s, instance); key != nil || !errors.Is(err, deploy.ErrUnsure) {
		t.Errorf("got %v without a leader, want ErrUnsure", err)
	}
}
