package deploy_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestResolve(t *testing.T) {
	t.Parallel()
	answer := registry.DistributionInspect{
		Descriptor: ocispec.Descriptor{Digest: digest.Digest(sum)},
		Platforms:  []ocispec.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm", Variant: "v7"}},
	}
	platforms := []swarm.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux"}}
	for name, c := range map[string]struct {
		ref, asked string
		want       deploy.Digest
		err        string
	}{
		"a tag":                  {"r.example/app:2", "r.example/app:2", deploy.Digest{Image: "r.example/app:2@" + sum, Platforms: platforms}, ""},
		"none is latest":         {"nginx", "nginx:latest", deploy.Digest{Image: "nginx:latest@" + sum, Platforms: platforms}, ""},
		"the long name":          {"docker.io/library/nginx:1", "nginx:1", deploy.Digest{Image: "nginx:1@" + sum, Platforms: platforms}, ""},
		"a digest is the answer": {"nginx:1@" + sum, "", deploy.Digest{Image: "nginx:1@" + sum}, ""},
		"what is no reference":   {"Bad Image!", "", deploy.Digest{}, "invalid reference format"},
		"what no registry has":   {"nowhere:1", "", deploy.Digest{}, "pull access denied"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			s := swarmtest.New()
			s.Registry[c.asked] = answer
			got, err := deploy.Resolve(t.Context(), s, c.ref, "")
			if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: got error %v, want %q; answer (-want +got):\n%s", c.ref, err, c.err, diff)
			}
		})
	}
}

func TestResolveDoesNotWaitForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := swarmtest.New()
		s.Before = func(ctx context.Context, _ swarmtest.Call) error {
			<-ctx.Done()
			return ctx.Err()
		}
		start := time.Now()
		if _, err := deploy.Resolve(t.Context(), s, "nginx", ""); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("got %v after %s, want a deadline of 10 seconds", err, time.Since(start))
		}
	})
}

func TestReadAuth(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	fatal(t, os.WriteFile(file, []byte("pass word\r\n"), 0o600))
	auth, err := deploy.ReadAuth("registry.example.com", "ann", file)
	fatal(t, err)
	got, err := registry.DecodeAuthConfig(auth)
	fatal(t, err)
	if want := (registry.AuthConfig{Username: "ann", Password: "pass word", ServerAddress: "registry.example.com"}); *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	hub, err := deploy.EncodeAuth("docker.io", "ann", "x")
	fatal(t, err)
	if got, err = registry.DecodeAuthConfig(hub); err != nil || got.ServerAddress != "https://index.docker.io/v1/" {
		t.Errorf("got %+v, %v, want the address that Docker Hub's credentials have", got, err)
	}
	if _, err := deploy.ReadAuth("r", "ann", file+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file is missing", err)
	}
}
