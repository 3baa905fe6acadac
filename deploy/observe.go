package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/skep-gitops/skep/stack"
)

// slowNetworks is the time after which an answer to the network list is not
// believed: a manager that loses its leader answers after 20 seconds, with
// success, without the swarm's networks.
const slowNetworks = 10 * time.Second

// Observe looks at the whole swarm with at most eight calls, however many stacks
// there are. On any doubt that a list is whole it gives an error that is
// ErrUnsure, and no Live.
//
// The services are read first and the nodes last: both need a leader, so the
// network list between them, which does not say when it lacks one, was made with one.
func Observe(ctx context.Context, r Reader, o LookOptions) (Live, error) {
	live := Live{Taken: time.Now(), Listed: o.Tasks}
	var err error
	live.Services, err = listed(ctx, "services", func(ctx context.Context) ([]swarm.Service, error) {
		return r.ServiceList(ctx, swarm.ServiceListOptions{Status: true})
	})
	if err != nil {
		return Live{}, err
	}
	live.API = r.ClientVersion()
	if err := checkVersion(live.API); err != nil {
		return Live{}, err
	}
	if err := observeRest(ctx, r, o, &live); err != nil {
		return Live{}, err
	}
	live.Nodes, err = listed(ctx, "nodes", func(ctx context.Context) ([]swarm.Node, error) {
		return r.NodeList(ctx, swarm.NodeListOptions{})
	})
	if err != nil {
		return Live{}, err
	}
	if len(live.Nodes) == 0 {
		return Live{}, fmt.Errorf("%w: a swarm without nodes", ErrUnsure)
	}
	if err := checkNetworks(ctx, r, live); err != nil {
		return Live{}, err
	}
	return live.Indexed(), nil
}

// observeRest reads, side by side, the lists between the services and the nodes.
func observeRest(ctx context.Context, r Reader, o LookOptions, live *Live) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		start := time.Now()
		live.Networks, err = listed(ctx, "networks", func(ctx context.Context) ([]network.Summary, error) {
			return r.NetworkList(ctx, network.ListOptions{})
		})
		if err == nil && time.Since(start) > slowNetworks {
			return fmt.Errorf("%w: the network list took %s", ErrUnsure, time.Since(start).Round(time.Second))
		}
		return err
	})
	g.Go(func() (err error) {
		live.Secrets, err = listed(ctx, "secrets", func(ctx context.Context) ([]swarm.Secret, error) {
			return r.SecretList(ctx, swarm.SecretListOptions{})
		})
		return err
	})
	g.Go(func() (err error) {
		live.Memories, err = ReadMemories(ctx, r, o.Instance)
		return err
	})
	if o.Tasks {
		g.Go(func() (err error) {
			live.Tasks, err = listed(ctx, "tasks", func(ctx context.Context) ([]swarm.Task, error) {
				return r.TaskList(ctx, swarm.TaskListOptions{})
			})
			return err
		})
	}
	return g.Wait()
}

// listed makes one list call. Its error is ErrUnsure: what could not be read
// may be there.
func listed[T any](ctx context.Context, what string, call func(context.Context) ([]T, error)) ([]T, error) {
	list, err := within(ctx, call)
	if err != nil {
		return nil, fmt.Errorf("%w: list %s: %w", ErrUnsure, what, err)
	}
	return list, nil
}

// checkNetworks doubts a network list without any network of the swarm but the
// routing mesh, while a service is attached to one that is not listed. The
// hidden networks behind host and bridge are never listed: two such at most.
func checkNetworks(ctx context.Context, r Reader, live Live) error {
	known := map[string]bool{}
	for _, n := range live.Networks {
		if n.Scope == "swarm" && !n.Ingress {
			return nil
		}
		known[n.ID] = true
	}
	for _, s := range live.Services {
		for _, a := range s.Spec.TaskTemplate.Networks {
			if known[a.Target] {
				continue
			}
			known[a.Target] = true
			if err := checkHidden(ctx, r, s.Spec.Name, a.Target); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkHidden(ctx context.Context, r Reader, service, id string) error {
	n, err := within(ctx, func(ctx context.Context) (network.Inspect, error) {
		return r.NetworkInspect(ctx, id, network.InspectOptions{})
	})
	if err != nil {
		return fmt.Errorf("%w: the network list lacks %s, which service %q uses: %w", ErrUnsure, id, service, err)
	}
	if n.Labels["com.docker.swarm.predefined"] == "" {
		return fmt.Errorf("%w: the network list lacks %q, which service %q uses", ErrUnsure, n.Name, service)
	}
	return nil
}

// Detail gives live with all configs of one stack: those that carry its
// namespace label, and those that want names literally or as external. Everything
// else is shared with live; configs of other stacks are not kept. Its error is
// ErrUnsure.
//
// The manager walks all of the swarm's configs to find a label, some 30 times the
// work of finding a name among 1,000: DetailByName is for many stacks at once.
func Detail(ctx context.Context, r Reader, live Live, want stack.Spec) (Live, error) {
	return detail(ctx, r, live, want, filters.Arg("label", LabelNamespace+"="+want.Name), nil)
}

// DetailByName is Detail by the manager's index of names: it finds the configs
// that skep and docker stack deploy name after the stack, and those that the
// stack's services refer to. All that it may miss is a config that once had a
// literal name and that nothing refers to any more, so it is enough for Diff, and
// for Garbage most of the time.
func DetailByName(ctx context.Context, r Reader, live Live, want stack.Spec) (Live, error) {
	return detail(ctx, r, live, want, filters.Arg("name", want.Name+"_"), live.referred(want.Name))
}

// detail reads the configs of a filter, and those of further names and of want's
// that are not among them.
func detail(ctx context.Context, r Reader, live Live, want stack.Spec, filter filters.KeyValuePair, names []string) (Live, error) {
	configs, err := listed(ctx, "configs", func(ctx context.Context) ([]swarm.Config, error) {
		return r.ConfigList(ctx, swarm.ConfigListOptions{Filters: filters.NewArgs(filter)})
	})
	if err != nil {
		return Live{}, err
	}
	have := map[string]bool{"": true}
	for _, c := range configs {
		have[c.Spec.Name] = true
	}
	for _, c := range want.Configs {
		names = append(names, c.Name)
	}
	for _, name := range names {
		if have[name] {
			continue
		}
		have[name] = true
		found, err := configNamed(ctx, r, name)
		if err != nil {
			return Live{}, err
		}
		configs = append(configs, found...)
	}
	return live.withConfigs(want.Name, configs), nil
}

// referred names the configs that a stack's services have in their spec or, for a
// roll-back, in the one before.
func (l Live) referred(stack string) []string {
	var names []string
	for _, s := range l.Indexed().index.members[stack] {
		for _, spec := range []*swarm.ServiceSpec{&s.Spec, s.PreviousSpec} {
			if spec == nil || spec.TaskTemplate.ContainerSpec == nil {
				continue
			}
			for _, r := range spec.TaskTemplate.ContainerSpec.Configs {
				names = append(names, r.ConfigName)
			}
		}
	}
	return names
}

// configNamed gives the config of that name, or none.
func configNamed(ctx context.Context, r Reader, name string) ([]swarm.Config, error) {
	c, err := inspectConfig(ctx, r, name)
	switch {
	case errors.Is(err, cerrdefs.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: inspect config %q: %w", ErrUnsure, name, err)
	case c.Spec.Name != name: // the start of another one's ID
		return nil, nil
	}
	return []swarm.Config{c}, nil
}

// withConfigs gives live with these configs of one stack. What the other lists
// were indexed by is kept: it is the same for all stacks.
func (l Live) withConfigs(stack string, configs []swarm.Config) Live {
	l = l.Indexed()
	x := *l.index
	x.configs, x.configsOf = map[string]*swarm.Config{}, map[string][]*swarm.Config{}
	for i := range configs {
		c := &configs[i]
		x.configs[c.Spec.Name] = c
		addMember(x.configsOf, c.Spec.Labels, c)
	}
	l.Configs, x.of.Configs = configs, configs
	l.Detailed = map[string]bool{stack: true}
	l.index = &x
	return l
}

func inspectConfig(ctx context.Context, r Reader, id string) (swarm.Config, error) {
	return within(ctx, func(ctx context.Context) (swarm.Config, error) {
		c, _, err := r.ConfigInspectWithRaw(ctx, id)
		return c, err
	})
}

func inspectSecret(ctx context.Context, r Reader, id string) (swarm.Secret, error) {
	return within(ctx, func(ctx context.Context) (swarm.Secret, error) {
		s, _, err := r.SecretInspectWithRaw(ctx, id)
		return s, err
	})
}

func inspectService(ctx context.Context, r Reader, id string) (swarm.Service, error) {
	return within(ctx, func(ctx context.Context) (swarm.Service, error) {
		s, _, err := r.ServiceInspectWithRaw(ctx, id, swarm.ServiceInspectOptions{})
		return s, err
	})
}
