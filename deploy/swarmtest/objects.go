package swarmtest

import (
	"bytes"
	"context"
	"regexp"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"
)

// Limits of the daemon, in bytes.
const (
	maxSecret = 512000
	maxConfig = 1024000
	maxRaft   = 1536 * 1024 // one raft message
)

var objectName = regexp.MustCompile(`^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$`)

// SecretCreate creates a secret.
func (s *Swarm) SecretCreate(ctx context.Context, spec swarm.SecretSpec) (swarm.SecretCreateResponse, error) {
	var got swarm.SecretCreateResponse
	err := s.call(ctx, "SecretCreate", spec.Name, write, func() error {
		if err := validObject(spec.Annotations, len(spec.Data)); err != nil {
			return err
		}
		if spec.Driver == nil && (len(spec.Data) == 0 || len(spec.Data) >= maxSecret) {
			return invalid("secret data must be larger than 0 and less than %d bytes", maxSecret)
		}
		if s.secret(spec.Name) != nil {
			return exists("secret %s already exists", spec.Name)
		}
		n := &swarm.Secret{ID: s.id("secret"), Meta: s.meta(), Spec: clone(spec)}
		n.Spec.Labels = notNil(n.Spec.Labels)
		s.secrets[n.ID] = n
		got.ID = n.ID
		s.tell(events.SecretEventType, events.ActionCreate, n.ID, n.Spec.Name)
		return nil
	})
	return got, err
}

// SecretUpdate changes a secret's labels; it refuses all else, and so tells
// whether spec's data is the secret's.
func (s *Swarm) SecretUpdate(ctx context.Context, id string, v swarm.Version, spec swarm.SecretSpec) error {
	return s.call(ctx, "SecretUpdate", id, write, func() error {
		live := s.secret(id)
		if live == nil {
			return missing("secret %s not found", id)
		}
		if spec.Name != live.Spec.Name || len(spec.Data) > 0 && !bytes.Equal(spec.Data, live.Spec.Data) {
			return invalid("only updates to Labels are allowed")
		}
		if v != live.Version {
			return internal("update out of sequence")
		}
		live.Spec.Labels = notNil(clone(spec.Labels))
		live.Version, live.UpdatedAt = s.next(), s.now()
		s.tell(events.SecretEventType, events.ActionUpdate, live.ID, live.Spec.Name)
		return nil
	})
}

// SecretRemove removes a secret that no service's spec refers to.
func (s *Swarm) SecretRemove(ctx context.Context, id string) error {
	return s.call(ctx, "SecretRemove", id, write, func() error {
		live := s.secret(id)
		if live == nil {
			return missing("secret %s not found", id)
		}
		for _, v := range sorted(s.services) {
			for _, r := range v.Spec.TaskTemplate.ContainerSpec.Secrets {
				if r.SecretID == live.ID {
					return invalid("secret '%s' is in use by the following service: %s", live.Spec.Name, v.Spec.Name)
				}
			}
		}
		delete(s.secrets, live.ID)
		s.tell(events.SecretEventType, events.ActionRemove, live.ID, live.Spec.Name)
		return nil
	})
}

// SecretList lists secrets, without their data. The name filter is a prefix.
func (s *Swarm) SecretList(ctx context.Context, o swarm.SecretListOptions) ([]swarm.Secret, error) {
	list := []swarm.Secret{}
	err := s.call(ctx, "SecretList", "", query, func() error {
		for _, n := range sorted(s.secrets) {
			names := o.Filters.Get("names")
			if prefixed(n.Spec.Name, o.Filters.Get("name")) && prefixed(n.ID, o.Filters.Get("id")) &&
				labelled(n.Spec.Labels, o.Filters.Get("label")) && (len(names) == 0 || o.Filters.ExactMatch("names", n.Spec.Name)) {
				list = append(list, shown(n))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// SecretInspectWithRaw gives a secret by ID or name, without its data.
func (s *Swarm) SecretInspectWithRaw(ctx context.Context, id string) (swarm.Secret, []byte, error) {
	var got swarm.Secret
	err := s.call(ctx, "SecretInspect", id, query, func() error {
		live := s.secret(id)
		if live == nil {
			return missing("secret %s not found", id)
		}
		got = shown(live)
		return nil
	})
	return got, nil, err
}

// SecretData is a secret's data, which the API never gives.
func (s *Swarm) SecretData(name string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.secret(name); n != nil {
		return bytes.Clone(n.Spec.Data)
	}
	return nil
}

// ConfigCreate creates a config.
func (s *Swarm) ConfigCreate(ctx context.Context, spec swarm.ConfigSpec) (swarm.ConfigCreateResponse, error) {
	var got swarm.ConfigCreateResponse
	err := s.call(ctx, "ConfigCreate", spec.Name, write, func() error {
		if err := validObject(spec.Annotations, len(spec.Data)); err != nil {
			return err
		}
		if len(spec.Data) == 0 || len(spec.Data) >= maxConfig {
			return invalid("config data must be larger than 0 and less than %d bytes", maxConfig)
		}
		if s.config(spec.Name) != nil {
			return exists("config %s already exists", spec.Name)
		}
		n := &swarm.Config{ID: s.id("config"), Meta: s.meta(), Spec: clone(spec)}
		n.Spec.Labels = notNil(n.Spec.Labels)
		s.configs[n.ID] = n
		got.ID = n.ID
		s.tell(events.ConfigEventType, events.ActionCreate, n.ID, n.Spec.Name)
		return nil
	})
	return got, err
}

// ConfigUpdate changes a config's labels; it refuses all else.
func (s *Swarm) ConfigUpdate(ctx context.Context, id string, v swarm.Version, spec swarm.ConfigSpec) error {
	return s.call(ctx, "ConfigUpdate", id, write, func() error {
		live := s.config(id)
		if live == nil {
			return missing("config %s not found", id)
		}
		if err := validObject(spec.Annotations, len(live.Spec.Data)); err != nil {
			return err
		}
		if spec.Name != live.Spec.Name || len(spec.Data) > 0 && !bytes.Equal(spec.Data, live.Spec.Data) {
			return invalid("only updates to Labels are allowed")
		}
		if v != live.Version {
			return internal("update out of sequence")
		}
		live.Spec.Labels = notNil(clone(spec.Labels))
		live.Version, live.UpdatedAt = s.next(), s.now()
		s.tell(events.ConfigEventType, events.ActionUpdate, live.ID, live.Spec.Name)
		return nil
	})
}

// ConfigRemove removes a config that no service's spec refers to.
func (s *Swarm) ConfigRemove(ctx context.Context, id string) error {
	return s.call(ctx, "ConfigRemove", id, write, func() error {
		live := s.config(id)
		if live == nil {
			return missing("config %s not found", id)
		}
		for _, v := range sorted(s.services) {
			for _, r := range v.Spec.TaskTemplate.ContainerSpec.Configs {
				if r.ConfigID == live.ID {
					return invalid("config '%s' is in use by the following service: %s", live.Spec.Name, v.Spec.Name)
				}
			}
		}
		delete(s.configs, live.ID)
		s.tell(events.ConfigEventType, events.ActionRemove, live.ID, live.Spec.Name)
		return nil
	})
}

// ConfigList lists configs with their data. The name filter is a prefix.
func (s *Swarm) ConfigList(ctx context.Context, o swarm.ConfigListOptions) ([]swarm.Config, error) {
	list := []swarm.Config{}
	err := s.call(ctx, "ConfigList", "", query, func() error {
		for _, n := range sorted(s.configs) {
			if prefixed(n.Spec.Name, o.Filters.Get("name")) && prefixed(n.ID, o.Filters.Get("id")) && labelled(n.Spec.Labels, o.Filters.Get("label")) {
				list = append(list, clone(*n))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// ConfigInspectWithRaw gives a config by ID or name.
func (s *Swarm) ConfigInspectWithRaw(ctx context.Context, id string) (swarm.Config, []byte, error) {
	var got swarm.Config
	err := s.call(ctx, "ConfigInspect", id, query, func() error {
		live := s.config(id)
		if live == nil {
			return missing("config %s not found", id)
		}
		got = clone(*live)
		return nil
	})
	return got, nil, err
}

// secret finds a secret by ID or name.
func (s *Swarm) secret(id string) *swarm.Secret {
	if n := s.secrets[id]; n != nil {
		return n
	}
	for _, n := range s.secrets {
		if n.Spec.Name == id {
			return n
		}
	}
	return nil
}

// config finds a config by ID or name.
func (s *Swarm) config(id string) *swarm.Config {
	if n := s.configs[id]; n != nil {
		return n
	}
	for _, n := range s.configs {
		if n.Spec.Name == id {
			return n
		}
	}
	return nil
}

func shown(n *swarm.Secret) swarm.Secret {
	c := clone(*n)
	c.Spec.Data = nil
	return c
}

func validObject(a swarm.Annotations, size int) error {
	if len(a.Name) > 64 || !objectName.MatchString(a.Name) {
		return invalid("invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]")
	}
	for k, v := range a.Labels {
		size += len(k) + len(v)
	}
	if size > maxRaft {
		return internal("raft: raft message is too large and can't be sent")
	}
	return nil
}

func notNil(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}
