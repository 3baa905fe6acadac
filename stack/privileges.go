package stack

import (
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// privileges maps credential_spec and security_opt; never nil.
func (s *scope) privileges() *swarm.Privileges {
	p := &swarm.Privileges{CredentialSpec: s.credentialSpec()}
	for _, opt := range s.svc.SecurityOpt {
		s.securityOpt(p, opt)
	}
	return p
}

// securityOpt maps one option of docker run. What Swarm has no field for, or the
// engine would drop, is refused: a container less confined than its file says is no warning.
func (s *scope) securityOpt(p *swarm.Privileges, opt string) {
	name, value, ok := strings.Cut(opt, "=")
	if !ok {
		name, value, _ = strings.Cut(opt, ":")
	}
	switch name {
	case "label":
		s.selinux(p, value)
		return
	case "no-new-privileges", "seccomp", "apparmor":
	default:
		s.errorf("security_opt", "%q has no place in Swarm; it knows no-new-privileges, seccomp, apparmor and label", name)
		return
	}
	if !s.since(apiPrivileges) {
		s.warnf("security_opt", "%s is ignored: it needs API 1.%d (Engine 25) on every node", name, apiPrivileges)
		return
	}
	switch name + "=" + value {
	case "no-new-privileges=", "no-new-privileges=true":
		p.NoNewPrivileges = true
	case "no-new-privileges=false":
		p.NoNewPrivileges = false
	case "seccomp=unconfined":
		p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}
	case "seccomp=default", "seccomp=builtin":
		p.Seccomp = &swarm.SeccompOpts{Mode: swarm.SeccompModeDefault}
	case "apparmor=unconfined":
		p.AppArmor = &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}
	case "apparmor=default", "apparmor=docker-default":
		p.AppArmor = &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDefault}
	default:
		s.errorf("security_opt", "%q is not possible: no-new-privileges is true or false, seccomp and apparmor are default or unconfined in Swarm", opt)
	}
}

func (s *scope) selinux(p *swarm.Privileges, value string) {
	if p.SELinuxContext == nil {
		p.SELinuxContext = &swarm.SELinuxContext{}
	}
	key, v, _ := strings.Cut(value, ":")
	switch key {
	case "disable":
		p.SELinuxContext.Disable = true
	case "user":
		p.SELinuxContext.User = v
	case "role":
		p.SELinuxContext.Role = v
	case "type":
		p.SELinuxContext.Type = v
	case "level":
		p.SELinuxContext.Level = v
	default:
		s.errorf("security_opt", "label %q is not one of disable, user:…, role:…, type:…, level:…", value)
	}
}

// credentialSpec names its config by stack key, as configRefs does.
func (s *scope) credentialSpec() *swarm.CredentialSpec {
	c := s.svc.CredentialSpec
	if c == nil {
		return nil
	}
	given := 0
	for _, v := range []string{c.Config, c.File, c.Registry} {
		if v != "" {
			given++
		}
	}
	switch given {
	case 0:
		return nil
	case 1:
		return &swarm.CredentialSpec{Config: c.Config, File: c.File, Registry: c.Registry}
	}
	s.errorf("credential_spec", "exactly one of config, file and registry can be given")
	return nil
}
