package deploy

import "github.com/docker/docker/api/types/swarm"

// Written gives the services that a plan writes.
func Written(p Plan) []swarm.ServiceSpec {
	var out []swarm.ServiceSpec
	for _, s := range p.Steps {
		if s.do.service != nil {
			out = append(out, cloneSpec(*s.do.service))
		}
	}
	return out
}

// WrittenSecrets gives the secrets that a plan writes, as a list shows them.
func WrittenSecrets(p Plan) []swarm.SecretSpec {
	var out []swarm.SecretSpec
	for _, s := range p.Steps {
		if s.do.secret != nil {
			v := *s.do.secret
			v.Data = nil
			out = append(out, v)
		}
	}
	return out
}
