package deploy

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"
)

// resolveTimeout bounds the question to a registry.
const resolveTimeout = 10 * time.Second

// Resolve asks the registry, through the engine, what an image reference stands
// for: its digest and the platforms that it runs on. One without a tag means
// latest; one that has a digest is answered as it is, without a question. auth is
// EncodeAuth's, or empty.
func Resolve(ctx context.Context, r Reader, ref, auth string) (Digest, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return Digest{}, fmt.Errorf("image %q: %w", ref, err)
	}
	if _, pinned := named.(reference.Digested); pinned {
		return Digest{Image: reference.FamiliarString(named)}, nil
	}
	named = reference.TagNameOnly(named)
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	got, err := r.DistributionInspect(ctx, reference.FamiliarString(named), auth)
	if err != nil {
		return Digest{}, fmt.Errorf("image %q: ask its registry: %w", ref, err)
	}
	pinned, err := reference.WithDigest(named, got.Descriptor.Digest)
	if err != nil {
		return Digest{}, fmt.Errorf("image %q: its registry answers digest %q: %w", ref, got.Descriptor.Digest, err)
	}
	d := Digest{Image: reference.FamiliarString(pinned)}
	for _, p := range got.Platforms {
		arch := p.Architecture
		if arch == "arm" { // nodes say armv7l and the like: any would be wrong
			arch = ""
		}
		d.Platforms = append(d.Platforms, swarm.Platform{Architecture: arch, OS: p.OS})
	}
	return d, nil
}

// EncodeAuth encodes credentials for a registry as the Docker API takes them.
func EncodeAuth(host, user, password string) (string, error) {
	server := host
	if host == "docker.io" {
		server = "https://index.docker.io/v1/"
	}
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password, ServerAddress: server})
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", host, err)
	}
	return auth, nil
}

// ReadAuth is EncodeAuth with the password from a file, without the newline at its end.
func ReadAuth(host, user, passwordFile string) (string, error) {
	b, err := os.ReadFile(passwordFile)
	if err != nil {
		return "", fmt.Errorf("credentials for %s: %w", host, err)
	}
	return EncodeAuth(host, user, strings.TrimRight(string(b), "\r\n"))
}
