package deploy_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/deploy/swarmtest"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := swarmtest.New()
		var away atomic.Bool // the engine is
		s.Before = func(context.Context, swarmtest.Call) error {
			if away.Load() {
				return context.DeadlineExceeded
			}
			return nil
		}
		node := s.AddNode("node2", swarm.NodeRoleWorker, nil)
		ctx, cancel := context.WithCancel(t.Context())
		looks := make(chan deploy.Look, 100)
		done := make(chan struct{})
		go func() {
			defer close(done)
			deploy.Watch(ctx, s, func(l deploy.Look) { looks <- l })
		}()
		got := func(what string, want ...deploy.Look) {
			t.Helper()
			synctest.Wait()
			var list []deploy.Look
			for len(looks) > 0 {
				l := <-looks
				l.ID = ""
				list = append(list, l)
			}
			if diff := cmp.Diff(want, list); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		got("connected", deploy.Look{})
		id, err := s.SecretCreate(ctx, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "x"}, Data: []byte("x")})
		fatal(t, err)
		got("a secret is made", deploy.Look{Kind: deploy.KindSecret, Name: "x"})
		s.ChangeNode(node, func(n *swarm.Node) { n.Spec.Labels["a"] = "b" })
		got("a node is updated, and says nothing")
		s.ChangeNode(node, func(n *swarm.Node) { n.Status.State = swarm.NodeStateDown })
		got("a node is down", deploy.Look{Kind: deploy.KindNode, Name: "node2"})
		s.Disconnect()
		fatal(t, s.SecretRemove(ctx, id.ID))
		got("nobody listens")
		time.Sleep(2 * time.Second)
		got("connected again", deploy.Look{})

		away.Store(true)
		s.Forget()
		s.Disconnect()
		time.Sleep(10 * time.Minute)
		if n := len(s.Calls()); n < 10 || n > 40 {
			t.Errorf("got %d calls in ten minutes without an engine, want one each half a minute", n)
		}
		away.Store(false)
		time.Sleep(time.Minute)
		got("connected after an outage", deploy.Look{})
		cancel()
		<-done
	})
}
