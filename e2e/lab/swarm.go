package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

func namespace(stack string) filters.Args {
	return filters.NewArgs(filters.Arg("label", "com.docker.stack.namespace="+stack))
}

func instance(name string) filters.Args {
	return filters.NewArgs(filters.Arg("label", "skep.instance="+name))
}

// Objects are the names of everything that carries one label filter.
type Objects struct {
	Services, Networks, Secrets, Configs []string
}

// Empty says that there is nothing.
func (o Objects) Empty() bool {
	return len(o.Services)+len(o.Networks)+len(o.Secrets)+len(o.Configs) == 0
}

// Stack lists what belongs to one stack.
func (l *Lab) Stack(ctx context.Context, stack string) (Objects, error) {
	return l.objects(ctx, namespace(stack))
}

// Instance lists what belongs to one instance of skep, its memory included.
func (l *Lab) Instance(ctx context.Context, name string) (Objects, error) {
	return l.objects(ctx, instance(name))
}

func (l *Lab) objects(ctx context.Context, f filters.Args) (Objects, error) {
	var o Objects
	services, err := l.Docker.ServiceList(ctx, swarm.ServiceListOptions{Filters: f})
	if err != nil {
		return o, err
	}
	networks, err := l.Docker.NetworkList(ctx, network.ListOptions{Filters: f})
	if err != nil {
		return o, err
	}
	secrets, err := l.Docker.SecretList(ctx, swarm.SecretListOptions{Filters: f})
	if err != nil {
		return o, err
	}
	configs, err := l.Docker.ConfigList(ctx, swarm.ConfigListOptions{Filters: f})
	if err != nil {
		return o, err
	}
	for _, s := range services {
		o.Services = append(o.Services, s.Spec.Name)
	}
	for _, n := range networks {
		o.Networks = append(o.Networks, n.Name)
	}
	for _, s := range secrets {
		o.Secrets = append(o.Secrets, s.Spec.Name)
	}
	for _, c := range configs {
		o.Configs = append(o.Configs, c.Spec.Name)
	}
	return o, nil
}

// Tasks are the tasks of one stack that are meant to run, by service ID.
func (l *Lab) Tasks(ctx context.Context, stack string) (map[string][]swarm.Task, error) {
	f := namespace(stack)
	f.Add("desired-state", "running")
	list, err := l.Docker.TaskList(ctx, swarm.TaskListOptions{Filters: f})
	if err != nil {
		return nil, err
	}
	out := map[string][]swarm.Task{}
	for _, t := range list {
		out[t.ServiceID] = append(out[t.ServiceID], t)
	}
	return out, nil
}

// RemoveStack removes what a stack consists of, as docker stack rm does, and the
// containers that finished jobs leave behind.
func (l *Lab) RemoveStack(ctx context.Context, stack string) error {
	return l.remove(ctx, namespace(stack))
}

// RemoveInstance removes every object of one instance of skep.
func (l *Lab) RemoveInstance(ctx context.Context, name string) error {
	return l.remove(ctx, instance(name))
}

func (l *Lab) remove(ctx context.Context, f filters.Args) error {
	services, err := l.Docker.ServiceList(ctx, swarm.ServiceListOptions{Filters: f})
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := l.Docker.ServiceRemove(ctx, s.ID); err != nil {
			return err
		}
	}
	return Poll(ctx, time.Minute, func() (bool, string) {
		// A network that goes earlier stays on the node until its containers have
		// stopped, and since Engine 27 its addresses are those of the next network,
		// whose tasks the node rejects until then.
		if err := l.ended(ctx, services); err != nil {
			return false, err.Error()
		}
		err := errors.Join(l.RemoveContainers(ctx, services), l.removeObjects(ctx, f))
		if err != nil {
			return false, err.Error()
		}
		o, err := l.objects(ctx, f)
		return err == nil && o.Empty(), "objects are left"
	})
}

// ended says that no task of removed services is left, but for those of jobs that
// are over: 20.10 keeps them.
func (l *Lab) ended(ctx context.Context, services []swarm.Service) error {
	removed := map[string]bool{}
	for _, s := range services {
		removed[s.ID] = true
	}
	tasks, err := l.Docker.TaskList(ctx, swarm.TaskListOptions{})
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if removed[t.ServiceID] && (t.JobIteration == nil || !over(t.Status.State)) {
			return fmt.Errorf("task %s of service %s is left", t.ID, t.ServiceID)
		}
	}
	return nil
}

func over(s swarm.TaskState) bool {
	switch s {
	case swarm.TaskStateComplete, swarm.TaskStateShutdown, swarm.TaskStateFailed, swarm.TaskStateRejected, swarm.TaskStateRemove, swarm.TaskStateOrphaned:
		return true
	}
	return false
}

func (l *Lab) removeObjects(ctx context.Context, f filters.Args) error {
	var errs []error
	networks, err := l.Docker.NetworkList(ctx, network.ListOptions{Filters: f})
	errs = append(errs, err)
	for _, n := range networks {
		errs = append(errs, l.Docker.NetworkRemove(ctx, n.ID))
	}
	secrets, err := l.Docker.SecretList(ctx, swarm.SecretListOptions{Filters: f})
	errs = append(errs, err)
	for _, s := range secrets {
		errs = append(errs, l.Docker.SecretRemove(ctx, s.ID))
	}
	configs, err := l.Docker.ConfigList(ctx, swarm.ConfigListOptions{Filters: f})
	errs = append(errs, err)
	for _, c := range configs {
		errs = append(errs, l.Docker.ConfigRemove(ctx, c.ID))
	}
	return errors.Join(errs...)
}

// RemoveContainers removes what finished jobs of removed services left behind.
func (l *Lab) RemoveContainers(ctx context.Context, services []swarm.Service) error {
	var errs []error
	for _, s := range services {
		f := filters.NewArgs(filters.Arg("label", "com.docker.swarm.service.id="+s.ID), filters.Arg("status", "exited"), filters.Arg("status", "created"))
		list, err := l.Docker.ContainerList(ctx, container.ListOptions{All: true, Filters: f})
		errs = append(errs, err)
		for _, c := range list {
			// A container that goes by itself in the meantime is what we want.
			_ = l.Docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		}
	}
	return errors.Join(errs...)
}
