package stack

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/swarm"
)

// Sizes that Swarm takes, in bytes (swarmkit: controlapi secret.go, config.go).
const (
	maxSecret    = 511_999
	maxConfig    = 1_023_999
	maxConfigOld = 511_999 // before Engine 20.10.15
)

// secrets are all that the stack creates and the external ones that a service uses, sorted by key.
func (c *converter) secrets() []Secret {
	used := c.usedSecrets()
	var out []Secret
	for _, key := range sortedKeys(c.m.project.Secrets) {
		cfg := types.FileObjectConfig(c.m.project.Secrets[key])
		if bool(cfg.External) && !used[key] {
			continue
		}
		s := Secret{Key: key, External: bool(cfg.External), Pos: c.at("secrets." + key)}
		s.Name = c.objectName("secrets", key, cfg)
		c.checkExternal("secrets", key, s.External)
		if !s.External {
			s.Labels = c.labels("", "secrets."+key+".labels", cfg.Labels)
			s.Driver = driver(cfg.Driver, cfg.DriverOpts)
			if s.Driver == nil && len(cfg.DriverOpts) > 0 {
				c.warnf("", "secrets."+key+".driver_opts", "ignored: there is no driver")
			}
			s.Templating = driver(cfg.TemplateDriver, nil)
			s.Data = c.data("secrets", key, cfg, maxSecret)
			c.checkTemplateDriver("secrets."+key, cfg, s.Data)
		}
		out = append(out, s)
	}
	return out
}

// configs is secrets, for configs.
func (c *converter) configs() []Config {
	used := c.usedConfigs()
	var out []Config
	for _, key := range sortedKeys(c.m.project.Configs) {
		cfg := types.FileObjectConfig(c.m.project.Configs[key])
		if bool(cfg.External) && !used[key] {
			continue
		}
		s := Config{Key: key, External: bool(cfg.External), Pos: c.at("configs." + key)}
		s.Name = c.objectName("configs", key, cfg)
		c.checkExternal("configs", key, s.External)
		if !s.External {
			s.Labels = c.labels("", "configs."+key+".labels", cfg.Labels)
			s.Templating = driver(cfg.TemplateDriver, nil)
			s.Data = c.data("configs", key, cfg, maxConfig)
			s.Tainted = c.m.content["configs."+key].tainted
			c.checkTemplateDriver("configs."+key, cfg, s.Data)
		}
		out = append(out, s)
	}
	return out
}

// objectName is empty unless the file gives a name or the object is external.
func (c *converter) objectName(kind, key string, cfg types.FileObjectConfig) string {
	p := kind + "." + key
	name := ""
	if bool(cfg.External) || c.m.literal[p] {
		name = c.nameOf(kind, key, cfg.Name, bool(cfg.External))
		c.checkReserved(p, name)
	}
	c.checkObjectName(p, cmp.Or(name, key))
	return name
}

// checkExternal: what is said of an external object beside its name is lost.
func (c *converter) checkExternal(kind, key string, external bool) {
	if !external {
		return
	}
	said, _ := dig(c.m.dict, kind, key).(map[string]any)
	for _, k := range sortedKeys(said) {
		if k != "name" && k != "external" && !strings.HasPrefix(k, "x-") && !asksNothing(said[k]) {
			c.warnf("", kind+"."+key+"."+k, "ignored: what is external is there already, as it is")
		}
	}
}

// data is the object's own copy of its content, with its size checked. A secret with a driver has none.
func (c *converter) data(kind, key string, cfg types.FileObjectConfig, max int) Bytes {
	p := kind + "." + key
	d, ok := c.m.content[p]
	if cfg.Driver != "" {
		if cfg.File != "" || cfg.Environment != "" {
			c.errorf("", p, "a secret has a driver or a file, not both")
		}
		return nil
	}
	switch n := len(d.data); {
	case !ok:
		c.errorf("", p, "has no content: give it a file, an environment variable or %s", map[string]string{"secrets": "a driver", "configs": "content"}[kind])
	case n == 0:
		c.errorf("", p, "is empty: Swarm takes 1 to %d bytes", max)
	case n > max:
		c.errorf("", p, "holds %d bytes: Swarm takes 1 to %d", n, max)
	case kind == "configs" && n > maxConfigOld && c.api <= apiFloor:
		c.warnf("", p, "holds %d bytes: engines before 20.10.15 take up to %d", n, maxConfigOld)
	}
	return slices.Clone(Bytes(d.data))
}

func (c *converter) usedSecrets() map[string]bool {
	used := map[string]bool{}
	for _, svc := range c.m.project.Services {
		for _, r := range svc.Secrets {
			used[r.Source] = true
		}
	}
	return used
}

func (c *converter) usedConfigs() map[string]bool {
	used := map[string]bool{}
	for _, svc := range c.m.project.Services {
		for _, r := range svc.Configs {
			used[r.Source] = true
		}
		if svc.CredentialSpec != nil {
			used[svc.CredentialSpec.Config] = true
		}
	}
	return used
}

// fileRef is a secret or config as a file in a service.
type fileRef struct {
	key, name        string // stack key; name that docker stack deploy would give
	target, uid, gid string
	mode             fs.FileMode
}

// secretRefs are sorted as docker sorts them, by object name, and then by target.
func (s *scope) secretRefs() []*swarm.SecretReference {
	var out []*swarm.SecretReference
	refs := s.fileRefs("secrets", "/run/secrets", s.svc.Secrets, func(key string) (types.FileObjectConfig, bool) {
		cfg, ok := s.m.project.Secrets[key]
		return types.FileObjectConfig(cfg), ok
	})
	for _, r := range refs {
		file := swarm.SecretReferenceFileTarget{Name: r.target, UID: r.uid, GID: r.gid, Mode: r.mode}
		out = append(out, &swarm.SecretReference{SecretName: r.key, File: &file})
	}
	return out
}

// configRefs is secretRefs, for configs; a credential_spec's config comes in as a Runtime reference.
func (s *scope) configRefs() []*swarm.ConfigReference {
	lookup := func(key string) (types.FileObjectConfig, bool) {
		cfg, ok := s.m.project.Configs[key]
		return types.FileObjectConfig(cfg), ok
	}
	var from []types.ServiceSecretConfig
	for _, r := range s.svc.Configs {
		from = append(from, types.ServiceSecretConfig(r))
	}
	var out []*swarm.ConfigReference
	for _, r := range s.fileRefs("configs", "/", from, lookup) {
		file := swarm.ConfigReferenceFileTarget{Name: r.target, UID: r.uid, GID: r.gid, Mode: r.mode}
		out = append(out, &swarm.ConfigReference{ConfigName: r.key, File: &file})
	}
	if cs := s.svc.CredentialSpec; cs != nil && cs.Config != "" {
		if _, ok := lookup(cs.Config); !ok {
			s.errorf("credential_spec.config", "config %q is not defined: add it to the configs at the top of the file", cs.Config)
			return out
		}
		out = append(out, &swarm.ConfigReference{ConfigName: cs.Config, Runtime: &swarm.ConfigReferenceRuntimeTarget{}})
	}
	return out
}

// fileRefs maps references of one kind; dir is where a relative target is put.
func (s *scope) fileRefs(kind, dir string, from []types.ServiceSecretConfig, lookup func(string) (types.FileObjectConfig, bool)) []fileRef {
	var out []fileRef
	targets := map[string]string{}
	for i, r := range from {
		key := fmt.Sprintf("%s.%d", kind, i)
		cfg, ok := lookup(r.Source)
		if !ok {
			s.errorf(key, "%q is not defined: add it to the %s at the top of the file", r.Source, kind)
			continue
		}
		ref := fileRef{
			key: r.Source, name: s.nameOf(kind, r.Source, cfg.Name, bool(cfg.External)),
			target: cmp.Or(r.Target, r.Source), uid: cmp.Or(r.UID, "0"), gid: cmp.Or(r.GID, "0"), mode: 0o444,
		}
		if r.Mode != nil {
			ref.mode = fs.FileMode(*r.Mode)
		}
		s.checkFileRef(key, ref)
		full := path.Clean(ref.target)
		if !isAbs(ref.target) {
			full = path.Join(dir, ref.target)
		}
		if other, taken := targets[full]; taken {
			s.errorf(key, "%q and %q have the same target %q", other, r.Source, ref.target)
		}
		targets[full] = r.Source
		out = append(out, ref)
	}
	slices.SortStableFunc(out, func(a, b fileRef) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.target, b.target))
	})
	return out
}

func (s *scope) checkFileRef(key string, r fileRef) {
	if r.mode > 0o7777 {
		s.errorf(key+".mode", "%d is not a file mode: write it in octal, such as 0440", uint32(r.mode))
	}
	for name, v := range map[string]string{"uid": r.uid, "gid": r.gid} {
		if _, err := strconv.ParseUint(v, 10, 31); err != nil {
			s.errorf(key+"."+name, "%q is not a number: nodes do not know the image's names", v)
		}
	}
}
