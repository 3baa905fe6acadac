package swarmtest_test

import (
	"context"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

func TestFake(t *testing.T) {
	t.Parallel()
	for _, api := range []string{"1.41", "1.51"} {
		t.Run(api, func(t *testing.T) {
			swarmtest.Contract(t, func(*testing.T) deploy.Writer {
				s := swarmtest.New()
				s.API = api
				s.Outcomes = map[string]swarmtest.Outcome{
					swarmtest.ImageEnds:    swarmtest.Completes(0),
					swarmtest.ImageCrashes: swarmtest.Crashes(3, 0),
					swarmtest.ImageMissing: swarmtest.NoImage(swarmtest.ImageMissing),
				}
				return s
			})
		})
	}
}

// TestEngine holds a real engine to the same suite.
func TestEngine(t *testing.T) {
	c := swarmtest.Engine(t)
	t.Cleanup(func() { sweep(t, c) })
	swarmtest.Contract(t, func(*testing.T) deploy.Writer { return c })
}

// sweep removes the containers of the suite's jobs: a node keeps those that ended.
func sweep(t *testing.T, c *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended, err := c.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(
		filters.Arg("ancestor", swarmtest.ImageEnds), filters.Arg("status", "exited"), filters.Arg("name", "^/skepct"))})
	if err != nil {
		t.Error(err)
	}
	for _, e := range ended {
		err := c.ContainerRemove(ctx, e.ID, container.RemoveOptions{})
		if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) { // another run may remove it too
			t.Error(err)
		}
	}
}
