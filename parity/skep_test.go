package parity

import (
	"cmp"
	"maps"
	"os"
	"slices"

	"github.com/docker/docker/api/types/network"
	"github.com/skep-gitops/skep/stack"
)

// bySkep renders the same files, with the names that docker gives to secrets and configs.
func bySkep(name, dir string, files []string, env map[string]string) (outcome, []stack.Finding, error) {
	spec, err := stack.Render(os.DirFS(dir),
		stack.Definition{Tenant: "acme", Name: name, Dir: ".", Files: files},
		stack.Options{Tenant: "acme", Variables: maps.Clone(env)})
	if err != nil {
		return outcome{}, nil, err
	}
	o := outcome{
		Networks: map[string]network.CreateOptions{},
		Secrets:  map[string]object{}, Configs: map[string]object{},
	}
	for _, n := range spec.Networks {
		if n.External {
			o.External = append(o.External, n.Name)
			continue
		}
		o.Networks[n.Name] = n.Create
	}
	slices.Sort(o.External)
	secretNames, configNames := map[string]string{}, map[string]string{}
	for _, s := range spec.Secrets {
		secretNames[s.Key] = cmp.Or(s.Name, name+"_"+s.Key)
		if !s.External {
			o.Secrets[secretNames[s.Key]] = object{s.Labels, string(s.Data), s.Driver, s.Templating}
		}
	}
	for _, c := range spec.Configs {
		configNames[c.Key] = cmp.Or(c.Name, name+"_"+c.Key)
		if !c.External {
			o.Configs[configNames[c.Key]] = object{c.Labels, string(c.Data), nil, c.Templating}
		}
	}
	o.Services = servicesByKey(spec, secretNames, configNames)
	return o, spec.Warnings, nil
}
