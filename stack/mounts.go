package stack

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-units"
)

// mounts maps volumes, in the file's order, then tmpfs.
func (s *scope) mounts() []mount.Mount {
	var out []mount.Mount
	seen := map[string]string{} // cleaned target → the key that took it
	add := func(key string, m mount.Mount, ok bool) {
		if !ok || !s.checkTarget(key, m.Target) {
			return
		}
		clean := path.Clean(m.Target)
		if other, taken := seen[clean]; taken {
			s.errorf(key, "target %q is mounted twice in this service; the other is %s", m.Target, other)
			return
		}
		seen[clean] = key
		out = append(out, m)
	}
	for i, v := range s.svc.Volumes {
		key := fmt.Sprintf("volumes.%d", i)
		m, ok := s.mount(key, v)
		add(key, m, ok)
	}
	for i, t := range s.svc.Tmpfs {
		key := fmt.Sprintf("tmpfs.%d", i)
		m, ok := s.tmpfs(key, t)
		add(key, m, ok)
	}
	return out
}

// mount maps one entry of volumes; ok is false where it was refused.
func (s *scope) mount(key string, v types.ServiceVolumeConfig) (m mount.Mount, ok bool) {
	before := s.report.errors
	s.checkOptions(key, v)
	m = mount.Mount{Type: mount.Type(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeVolume, "":
		m = s.volumeMount(key, v, m)
	case types.VolumeTypeBind:
		m = s.bindMount(key, v, m)
	case types.VolumeTypeTmpfs:
		m = s.tmpfsMount(key, v, m)
	case types.VolumeTypeNamedPipe:
		m = s.npipeMount(key, v, m)
	case types.VolumeTypeCluster:
		m = s.clusterMount(key, v, m)
	case types.VolumeTypeImage:
		s.errorf(key, "Swarm can't mount an image; copy the files into your own image, or into a volume or config")
	default:
		s.errorf(key, "type %q is not one of volume, bind, tmpfs, npipe, cluster", v.Type)
	}
	return m, s.report.errors == before
}

// checkOptions refuses options of another type of mount.
func (s *scope) checkOptions(key string, v types.ServiceVolumeConfig) {
	// npipe takes bind's options, as in docker's converter.
	bind := v.Type == types.VolumeTypeBind || v.Type == types.VolumeTypeNamedPipe
	for _, o := range []struct {
		name        string
		given, fits bool
	}{
		{"bind", v.Bind != nil, bind},
		{"volume", v.Volume != nil, v.Type == types.VolumeTypeVolume || v.Type == ""},
		{"tmpfs", v.Tmpfs != nil, v.Type == types.VolumeTypeTmpfs},
		{"image", v.Image != nil, v.Type == types.VolumeTypeImage},
	} {
		if o.given && !o.fits {
			s.errorf(key+"."+o.name, "%s options do not go with type %s", o.name, v.Type)
		}
	}
}

// volumeMount: a named volume carries its own definition, because each node
// creates the volume when the first task there needs it.
func (s *scope) volumeMount(key string, v types.ServiceVolumeConfig, m mount.Mount) mount.Mount {
	m.Type = mount.TypeVolume
	options := s.volumeOptions(key, v.Volume)
	if v.Source == "" {
		if isDrivePath(v.Target) {
			s.warnf(key, "%q is read as a Windows path, with an anonymous volume on it: give the volume a name of two letters or more, or use the long form", v.Target)
		}
		if options.NoCopy || options.Subpath != "" {
			s.errorf(key+".volume", "nocopy and subpath need a named volume")
		}
		return m
	}
	cfg, ok := s.m.project.Volumes[v.Source]
	if !ok {
		s.errorf(key, "volume %q is not defined: add it to the volumes at the top of the file", v.Source)
		return m
	}
	m.Source = s.nameOf("volumes", v.Source, cfg.Name, bool(cfg.External))
	s.checkVolumeName("volumes."+v.Source, m.Source, cfg.Driver)
	m.VolumeOptions = options
	if cfg.External {
		return m
	}
	options.Labels = s.labels("", "volumes."+v.Source+".labels", cfg.Labels)
	if cfg.Driver != "" || len(cfg.DriverOpts) > 0 {
		options.DriverConfig = &mount.Driver{Name: cfg.Driver, Options: maps.Clone(map[string]string(cfg.DriverOpts))}
	}
	return m
}

func (s *scope) volumeOptions(key string, v *types.ServiceVolumeVolume) *mount.VolumeOptions {
	if v == nil {
		return &mount.VolumeOptions{}
	}
	if v.Subpath != "" {
		if !s.since(apiSubpath) {
			s.errorf(key+".volume.subpath", "needs API 1.%d (Engine 26) on every node: older ones mount the whole volume instead", apiSubpath)
		}
		if !fs.ValidPath(path.Clean(v.Subpath)) {
			s.errorf(key+".volume.subpath", "%q is not a path inside the volume", v.Subpath)
		}
	}
	return &mount.VolumeOptions{NoCopy: v.NoCopy, Subpath: v.Subpath}
}

// bindMount: Swarm creates nothing on the node; the source must be there.
func (s *scope) bindMount(key string, v types.ServiceVolumeConfig, m mount.Mount) mount.Mount {
	switch {
	case v.Source == "":
		s.errorf(key, "a bind mount needs a source: a folder that exists on the nodes")
	case strings.HasPrefix(v.Source, "~"):
		s.errorf(key, "%q has no meaning on a node: write an absolute path", v.Source)
	case !isAbs(v.Source) && !strings.HasPrefix(v.Source, "{{"):
		s.errorf(key, "%q is relative, but nodes do not have this repository: use a config or secret for files, a volume for data, or an absolute path that exists on the nodes", v.Source)
	case isDrivePath(v.Source) && v.Source[1:3] == ":/":
		s.warnf(key, "%q is read as a Windows path: give the volume a name of two letters or more, or use the long form", v.Source)
	}
	if v.Bind == nil {
		return m
	}
	s.warnBind(key, v.Bind)
	o := mount.BindOptions{Propagation: s.propagation(key, v.Bind.Propagation)}
	if v.Bind.Recursive == "disabled" {
		o.NonRecursive = true
	}
	if o != (mount.BindOptions{}) {
		m.BindOptions = &o
	}
	return m
}

func (s *scope) warnBind(key string, b *types.ServiceVolumeBind) {
	switch b.Recursive {
	case "", "enabled", "disabled":
	default:
		s.warnf(key+".bind.recursive", "%q is ignored: Swarm knows only disabled", b.Recursive)
	}
	// The short form says create_host_path too: only one that has a place of its own was written by somebody.
	if b.CreateHostPath && s.at(s.path+"."+key+".bind.create_host_path") != s.at(s.path+"."+key) {
		s.warnf(key+".bind.create_host_path", "ignored: Swarm creates nothing on the nodes; the folder must exist")
	}
}

func (s *scope) propagation(key, p string) mount.Propagation {
	switch m := mount.Propagation(p); m {
	case "", mount.PropagationPrivate, mount.PropagationRPrivate, mount.PropagationShared, mount.PropagationRShared, mount.PropagationSlave, mount.PropagationRSlave:
		return m
	}
	s.errorf(key+".bind.propagation", "%q is not one of private, rprivate, shared, rshared, slave, rslave", p)
	return ""
}

func (s *scope) tmpfsMount(key string, v types.ServiceVolumeConfig, m mount.Mount) mount.Mount {
	if v.Source != "" {
		s.errorf(key, "a tmpfs has no source")
	}
	if v.Tmpfs == nil {
		return m
	}
	if v.Tmpfs.Size < 0 {
		s.errorf(key+".tmpfs.size", "%d is negative", v.Tmpfs.Size)
	}
	m.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(v.Tmpfs.Size), Mode: fileMode(v.Tmpfs.Mode)}
	return m
}

func (s *scope) npipeMount(key string, v types.ServiceVolumeConfig, m mount.Mount) mount.Mount {
	if v.Source == "" {
		s.errorf(key, "a named pipe needs a source")
	}
	if v.Bind != nil {
		if p := s.propagation(key, v.Bind.Propagation); p != "" {
			m.BindOptions = &mount.BindOptions{Propagation: p}
		}
	}
	return m
}

func (s *scope) clusterMount(key string, v types.ServiceVolumeConfig, m mount.Mount) mount.Mount {
	if !s.since(apiClusterMounts) {
		s.errorf(key, "cluster volumes need API 1.%d (Engine 23) on every node", apiClusterMounts)
	}
	m.ClusterOptions = &mount.ClusterOptions{}
	switch cfg, ok := s.m.project.Volumes[v.Source]; {
	case v.Source == "":
		s.errorf(key, "a cluster volume needs a source")
	case strings.HasPrefix(v.Source, "group:"):
	case !ok:
		s.errorf(key, "volume %q is not defined: add it to the volumes at the top of the file", v.Source)
	default:
		m.Source = s.nameOf("volumes", v.Source, cfg.Name, bool(cfg.External))
	}
	return m
}

// tmpfs maps the short form, target[:option,…], which docker stack deploy ignores.
func (s *scope) tmpfs(key, text string) (mount.Mount, bool) {
	before := s.report.errors
	target, options, _ := strings.Cut(text, ":")
	m := mount.Mount{Type: mount.TypeTmpfs, Target: target}
	var o mount.TmpfsOptions
	for option := range strings.SplitSeq(options, ",") {
		s.tmpfsOption(key, option, &m, &o)
	}
	if o.SizeBytes != 0 || o.Mode != 0 || len(o.Options) > 0 {
		m.TmpfsOptions = &o
	}
	return m, s.report.errors == before
}

func (s *scope) tmpfsOption(key, option string, m *mount.Mount, o *mount.TmpfsOptions) {
	name, value, _ := strings.Cut(option, "=")
	var err error
	switch name {
	case "", "rw", "noexec", "nosuid", "nodev": // what the engine does anyway
	case "ro":
		m.ReadOnly = true
	case "size":
		o.SizeBytes, err = units.RAMInBytes(value)
	case "mode":
		var mode uint64
		mode, err = strconv.ParseUint(value, 8, 32)
		o.Mode = fileMode(uint32(mode))
	case "exec":
		if !s.since(apiTmpfsOptions) {
			s.errorf(key, "exec needs API 1.%d (Engine 27) on every node: older ones mount it noexec", apiTmpfsOptions)
		}
		o.Options = append(o.Options, []string{"exec"})
	default:
		s.errorf(key, "%q has no place in Swarm; it knows size, mode, exec, noexec, ro and rw", name)
	}
	if err != nil {
		s.errorf(key, "%s %q can't be read", name, value)
	}
}

// checkTarget refuses what the engine refuses when the task starts.
func (s *scope) checkTarget(key, target string) bool {
	switch {
	case target == "":
		s.errorf(key, "a mount needs a target: an absolute path in the container")
	case strings.HasPrefix(target, "{{"):
		return true
	case !isAbs(target):
		s.errorf(key, "target %q is not an absolute path", target)
	case path.Clean(target) == "/":
		s.errorf(key, "nothing can be mounted on /")
	default:
		return true
	}
	return false
}

// volumeName is the rule of the local driver; a name is the tenant's own only where it is literal.
var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func (s *scope) checkVolumeName(path, name, driver string) {
	if (driver == "" || driver == "local") && !strings.Contains(name, "{{") && !volumeName.MatchString(name) {
		s.converter.errorf(s.key, path, "volume name %q must be two or more of a-z, A-Z, 0-9, _, . and -, and start with a letter or digit", name)
	}
}

// drivePath is a path with a Windows drive letter, or on a share.
var drivePath = regexp.MustCompile(`^([a-zA-Z]:[\\/]|\\\\)`)

func isDrivePath(p string) bool { return drivePath.MatchString(p) && p[0] != '\\' }

func isAbs(p string) bool { return strings.HasPrefix(p, "/") || drivePath.MatchString(p) }

// fileMode is a Unix mode as the engine's API has it: the bare number.
func fileMode(n uint32) fs.FileMode { return fs.FileMode(n) }
