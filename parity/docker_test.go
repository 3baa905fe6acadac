package parity

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/docker/cli/cli/compose/convert"
	"github.com/docker/cli/cli/compose/loader"
	"github.com/docker/cli/cli/compose/schema"
	"github.com/docker/cli/cli/compose/types"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
)

// outcome is what the swarm would be told, by name in the swarm.
type outcome struct {
	Networks map[string]network.CreateOptions
	External []string // networks
	Secrets  map[string]object
	Configs  map[string]object
	Services map[string]swarm.ServiceSpec // by key
}

// object is a secret or config.
type object struct {
	Labels             map[string]string
	Data               string
	Driver, Templating *swarm.Driver
}

// byDocker does what docker stack deploy does before its first write. ignored are
// the keys that it says it ignores.
func byDocker(stack, dir string, files []string, env map[string]string) (o outcome, ignored []string, err error) {
	defer func() {
		if p := recover(); p != nil { // the loader panics on some types
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	cfg, ignored, err := loadByDocker(dir, files, env)
	if err != nil {
		return outcome{}, nil, err
	}
	ns := convert.NewNamespace(stack)
	o = outcome{Secrets: map[string]object{}, Configs: map[string]object{}}
	o.Networks, o.External = convert.Networks(ns, cfg.Networks, usedNetworks(cfg))
	for name, n := range o.Networks {
		if n.Driver == "" {
			n.Driver = "overlay" // deploy_composefile.go: createNetworks
			o.Networks[name] = n
		}
	}
	slices.Sort(o.External)
	secrets, err := convert.Secrets(ns, cfg.Secrets)
	if err != nil {
		return outcome{}, nil, err
	}
	for _, s := range secrets {
		o.Secrets[s.Name] = object{s.Labels, string(s.Data), s.Driver, s.Templating}
	}
	configs, err := convert.Configs(ns, cfg.Configs)
	if err != nil {
		return outcome{}, nil, err
	}
	for _, c := range configs {
		o.Configs[c.Name] = object{c.Labels, string(c.Data), nil, c.Templating}
	}
	o.Services, err = convert.Services(context.Background(), ns, cfg, everyObject{})
	return o, ignored, err
}

func loadByDocker(dir string, files []string, env map[string]string) (*types.Config, []string, error) {
	details := types.ConfigDetails{WorkingDir: dir, Environment: maps.Clone(env)}
	var dicts []map[string]any
	for _, name := range files {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		d, err := loader.ParseYAML(b)
		if err != nil {
			return nil, nil, err
		}
		dicts = append(dicts, d)
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: filepath.Join(dir, name), Config: d})
	}
	details.Version = schema.Version(dicts[0])
	ignored := loader.GetUnsupportedProperties(dicts...)
	cfg, err := loader.Load(details)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range cfg.Services {
		if s.Image == "" {
			return nil, nil, fmt.Errorf("invalid image reference for service %s: no image specified", s.Name)
		}
	}
	return cfg, ignored, nil
}

func usedNetworks(cfg *types.Config) map[string]struct{} {
	used := map[string]struct{}{}
	for _, s := range cfg.Services {
		if len(s.Networks) == 0 {
			used["default"] = struct{}{}
		}
		for n := range s.Networks {
			used[n] = struct{}{}
		}
	}
	return used
}

// everyObject is a swarm that has a secret and a config of every name.
type everyObject struct{ client.APIClient }

func (everyObject) ClientVersion() string { return "1.51" }

func (everyObject) SecretList(_ context.Context, o swarm.SecretListOptions) ([]swarm.Secret, error) {
	var out []swarm.Secret
	for _, n := range o.Filters.Get("name") {
		s := swarm.Secret{ID: idOf(n)}
		s.Spec.Name = n
		out = append(out, s)
	}
	return out, nil
}

func (everyObject) ConfigList(_ context.Context, o swarm.ConfigListOptions) ([]swarm.Config, error) {
	var out []swarm.Config
	for _, n := range o.Filters.Get("name") {
		c := swarm.Config{ID: idOf(n)}
		c.Spec.Name = n
		out = append(out, c)
	}
	return out, nil
}

func idOf(name string) string { return "id of " + name }
