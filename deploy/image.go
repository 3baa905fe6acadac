package deploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/swarm"

	"github.com/skep-gitops/skep/stack"
)

// Unresolved lists the image references of a stack, as git gives them, whose
// digest only a registry can tell: git gives none, and no live service runs the
// same reference for the same service already, pinned or not. Images that the stack
// leaves to others do not count, and none does where it wishes that none is asked for.
func Unresolved(want stack.Spec, live Live) []string {
	if want.Wishes.Resolve == "never" {
		return nil
	}
	x := live.Indexed().index
	var refs []string
	for _, s := range want.Services {
		c := s.Spec.TaskTemplate.ContainerSpec
		live := x.services[s.Spec.Name]
		if c == nil || c.Image == "" || digested(c.Image) || runs(live, s.Spec) ||
			live != nil && slices.Contains(want.Wishes.Ignore, "services."+s.Key+".image") {
			continue
		}
		refs = append(refs, c.Image)
	}
	slices.Sort(refs)
	return slices.Compact(refs)
}

// digested says that a reference holds a digest.
func digested(image string) bool { return strings.Contains(image, "@") }

// undigested is a reference in its familiar form without its digest.
func undigested(image string) string {
	name, _, _ := strings.Cut(image, "@")
	return Familiar(name)
}

// runs says that a live service runs the reference that git gives, by the image of
// its spec: its label alone proves nothing, since docker service update --image
// leaves that as it was. The label tells only whether git gave a digest before,
// which is another reference.
func runs(live *swarm.Service, want swarm.ServiceSpec) bool {
	return live != nil && specRuns(&live.Spec, want)
}

func specRuns(live *swarm.ServiceSpec, want swarm.ServiceSpec) bool {
	w, l := want.TaskTemplate.ContainerSpec, live.TaskTemplate.ContainerSpec
	return w != nil && l != nil && !digested(live.Labels[LabelImage]) && undigested(l.Image) == Familiar(w.Image)
}

// runsDigest says that a live service runs the very image that git gives by digest.
func runsDigest(live *swarm.Service, image string) bool {
	return live != nil && live.Spec.TaskTemplate.ContainerSpec != nil && Familiar(live.Spec.TaskTemplate.ContainerSpec.Image) == Familiar(image)
}

// pin gives a spec the image to run: what runs already for this reference, so
// that neither a moved tag nor a registry that is down restarts anything; else
// what the registry said; else what ran before for this reference; else as git
// gives it. Platforms go with the digest, unless git gives its own.
func pin(spec *swarm.ServiceSpec, live *swarm.Service, digests map[string]Digest) {
	c := spec.TaskTemplate.ContainerSpec
	switch d, ok := digests[c.Image]; {
	case digested(c.Image) && runsDigest(live, c.Image):
		pinTo(spec, c.Image, platforms(&live.Spec))
	case digested(c.Image):
	case runs(live, *spec):
		pinTo(spec, live.Spec.TaskTemplate.ContainerSpec.Image, platforms(&live.Spec))
	case ok && d.Image != "":
		pinTo(spec, d.Image, d.Platforms)
	case live != nil && live.PreviousSpec != nil && specRuns(live.PreviousSpec, *spec):
		pinTo(spec, live.PreviousSpec.TaskTemplate.ContainerSpec.Image, platforms(live.PreviousSpec))
	}
}

func platforms(s *swarm.ServiceSpec) []swarm.Platform {
	if s.TaskTemplate.Placement == nil {
		return nil
	}
	return s.TaskTemplate.Placement.Platforms
}

func pinTo(spec *swarm.ServiceSpec, image string, platforms []swarm.Platform) {
	spec.TaskTemplate.ContainerSpec.Image = image
	p := spec.TaskTemplate.Placement
	if len(platforms) == 0 || p != nil && len(p.Platforms) > 0 {
		return
	}
	if p == nil {
		p = &swarm.Placement{}
		spec.TaskTemplate.Placement = p
	}
	p.Platforms = slices.Clone(platforms)
}

// noteUnpinned warns of an image that is deployed without the digest that was
// looked for.
func (d *differ) noteUnpinned(s stack.Service, spec swarm.ServiceSpec) {
	c := s.Spec.TaskTemplate.ContainerSpec
	if d.o.Digests == nil || d.want.Wishes.Resolve == "never" || c == nil || digested(spec.TaskTemplate.ContainerSpec.Image) {
		return
	}
	d.notes = append(d.notes, d.want.Taint.Redact(fmt.Sprintf("service %q: image %s stays without a digest: each node pulls what the tag names at that time", s.Key, c.Image)))
}

// auth is the encoded credentials for a service's image; empty: none.
func (d *differ) auth(s swarm.ServiceSpec) string {
	if len(d.o.Auth) == 0 || s.TaskTemplate.ContainerSpec == nil {
		return ""
	}
	host := RegistryHost(s.TaskTemplate.ContainerSpec.Image)
	for h, a := range d.o.Auth {
		if normalHost(h) == host {
			return a
		}
	}
	return ""
}

// RegistryHost is the host of the registry that an image comes from; docker.io
// under all of its names. It is empty for what is no reference.
func RegistryHost(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return normalHost(reference.Domain(ref))
}

// normalHost gives a registry's host without scheme and path.
func normalHost(h string) string {
	h = strings.TrimPrefix(strings.TrimPrefix(h, "https://"), "http://")
	h, _, _ = strings.Cut(h, "/")
	switch h = strings.ToLower(h); h {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return "docker.io"
	}
	return h
}
