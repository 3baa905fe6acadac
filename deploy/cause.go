package deploy

import (
	"strings"
)

// cause is what a task's error comes to.
type cause struct {
	passing bool   // it may pass by itself
	fatal   int    // so many failures with it are enough to say that the rollout failed
	moved   bool   // the task had to leave its node: no failure of the service
	hint    string // what to do next; may be empty
}

// crashes is how many failures of one task make a crash loop.
const crashes = 3

// causeOf classifies a task's error. The texts are those of swarmkit's scheduler
// and of the daemon's executor; they have been the same from 20.10 to 29, but for
// an image that can't be pulled: later engines of 29 give the registry's own words.
func causeOf(err string) cause {
	for _, c := range causes {
		for _, text := range c.texts {
			if strings.Contains(err, text) {
				return c.cause
			}
		}
	}
	return cause{fatal: crashes, hint: "see the logs with: docker service logs"}
}

var causes = []struct {
	texts []string
	cause cause
}{
	{[]string{"assigned node no longer meets constraints", "attached to volume which is being drained"},
		cause{moved: true, passing: true}},
	{[]string{"No such image", "manifest unknown", "pull access denied", "failed to resolve reference", "unauthorized: ", "no basic auth credentials"},
		cause{passing: true, fatal: 2, hint: "check the image's name and tag, and the tenant's registries"}},
	{[]string{"toomanyrequests"},
		cause{passing: true, fatal: crashes, hint: "the registry allows no more pulls for a while: give the tenant's registries a login"}},
	{[]string{"Get \"http", "Head \"http"},
		cause{passing: true, fatal: crashes, hint: "the node does not reach the image's registry"}},
	{[]string{"host-mode port already in use", "port is already allocated", "address already in use"},
		cause{passing: true, fatal: crashes, hint: "another service or program holds the port"}},
	{[]string{"insufficient resources"},
		cause{passing: true, fatal: crashes, hint: "lower the reservations or add nodes"}},
	{[]string{"scheduling constraints not satisfied"},
		cause{passing: true, fatal: crashes, hint: "no node fits deploy.placement.constraints"}},
	{[]string{"unsupported platform", "no matching manifest for"},
		cause{passing: true, fatal: crashes, hint: "the image has no build for the nodes' platform"}},
	{[]string{"missing plugin"},
		cause{passing: true, fatal: crashes, hint: "install the network, volume or log plugin on the nodes"}},
	{[]string{"no suitable node", "max replicas per node limit exceed", "not available for new tasks"},
		cause{passing: true, fatal: crashes, hint: "look at the nodes with: docker node ls"}},
	{[]string{"ip addresses may be exhausted", "missing network attachments", "could not find an available IP"},
		cause{passing: true, fatal: crashes, hint: "the network's subnet is full"}},
	{[]string{"has no addresses"},
		cause{passing: true, fatal: crashes, hint: "see the log of the leader's engine; another subnet needs another name for the network"}},
	{[]string{"is held by service"},
		cause{passing: true, fatal: crashes, hint: "choose another port or remove that service"}},
	{[]string{"the task is not allocated"},
		cause{passing: true, fatal: crashes, hint: "see the log of the leader's engine"}},
	{[]string{"Pool overlaps with other one"},
		cause{passing: true, fatal: crashes, hint: "the node has a network with this address range; one that was removed goes when its last container has stopped"}},
	{[]string{"non-overlapping IPv6 address pool"},
		cause{fatal: 2, hint: "engines before 27 need an IPv6 subnet in the network's ipam.config"}},
	{[]string{"bind source path does not exist"},
		cause{fatal: 2, hint: "create the path on every node that the service may run on"}},
	{[]string{"invalid mount config", "failed to expand templated", "secret not found", "config not found"},
		cause{fatal: 2, hint: "the service cannot start as it is described"}},
	{[]string{"executable file not found", "no such file or directory"},
		cause{fatal: crashes, hint: "check command and entrypoint"}},
	{[]string{"unhealthy container"},
		cause{fatal: crashes, hint: "the health check fails: see docker service logs"}},
	{[]string{"task orphaned", "node lost", "heartbeat failure"},
		cause{passing: true, fatal: crashes, hint: "look at the nodes with: docker node ls"}},
	{[]string{"context deadline exceeded", "connection refused", "TLS handshake timeout", "no such host"},
		cause{passing: true, fatal: crashes}},
}
