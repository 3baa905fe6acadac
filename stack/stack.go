// Package stack turns a tenant's files into the Swarm objects that they ask for.
//
// It is pure: files in (an fs.FS whose root is the boundary of what a tenant may
// read), specs out, equal trees give equal specs. It never reads the operator's
// disk, its environment or the network, and it never talks to Docker.
package stack

import (
	"io/fs"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// Options are what the platform, not the tenant's repository, says about the stacks of one tenant.
type Options struct {
	Tenant      string
	Prefix      string            // goes before every stack's name; may be empty
	Globs       []string          // folders that may be stacks, below the root; empty: *
	Environment string            // picks the overlay X.<environment>.yml and <environment>.env; may be empty
	Variables   map[string]string // the tenant's variables
	Overrides   map[string]string // --var; they win over everything but SKEP_*
	Profiles    []string          // compose profiles that are on
	API         string            // lowest Docker API among the ready nodes, such as 1.41; empty: newest
}

// Definition is one stack found in a tenant's tree.
type Definition struct {
	Tenant   string
	Name     string   // in the swarm, prefix included
	Dir      string   // slash path of its folder; "." is the root
	Files    []string // the stack file, then the environment's overlay
	Warnings []Finding
	Err      error // not nil: this folder can't be a stack, and why; Name is then the best guess

	named Position // what gives it its name: a name:, else its stack file, else the folder
}

// Discover finds the stacks of one tenant, sorted by name. An error means that
// the tree itself could not be read: nothing is known, so nothing may be pruned.
// What is wrong with one folder is in that Definition's Err.
func Discover(fsys fs.FS, o Options) ([]Definition, error) { return discover(fsys, o) }

// Render makes the Swarm objects of one stack. The error is a *RenderError
// whose findings name file, line, service and key.
func Render(fsys fs.FS, def Definition, o Options) (Spec, error) { return render(fsys, def, o) }

// Spec is everything that one stack asks of the swarm.
type Spec struct {
	Tenant, Name string
	Networks     []Network // those that a service uses, sorted by key
	Secrets      []Secret  // sorted by key
	Configs      []Config  // sorted by key
	Services     []Service // sorted by key
	Wishes       Wishes    // x-skep at the top of the stack file
	Warnings     []Finding // keys that Swarm cannot honour, with file and line
	Taint        Taint     // what must be shown nowhere
}

// Network is a network that the stack creates, or, when External, expects.
type Network struct {
	Key      string
	Name     string // in the swarm
	External bool
	Create   network.CreateOptions // without skep's labels; with the namespace label
	Pos      Position
}

// Secret is a secret under its stack key. Name is set only where the file gives a
// literal `name:` or it is External; otherwise deploy names it by its content.
type Secret struct {
	Key, Name  string
	External   bool
	Labels     map[string]string // with the namespace label
	Data       Bytes
	Driver     *swarm.Driver
	Templating *swarm.Driver
	Pos        Position
}

// Config is a config under its stack key; Name as in Secret. Tainted says that
// its content came from an encrypted file.
type Config struct {
	Key, Name  string
	External   bool
	Labels     map[string]string
	Data       Bytes
	Tainted    bool
	Templating *swarm.Driver
	Pos        Position
}

// Service is one service. Its Spec names networks by their name in the swarm
// (swarm.NetworkAttachmentConfig.Target) and secrets and configs by stack key
// (SecretReference.SecretName, ConfigReference.ConfigName; the IDs are empty).
type Service struct {
	Key       string // in the compose file
	Spec      swarm.ServiceSpec
	DependsOn []Dependency // sorted by service
	Pos       Position
}

// Dependency is one entry of a service's depends_on (compose-spec, services: depends_on).
type Dependency struct {
	Service   string // key
	Condition string // service_started, service_healthy or service_completed_successfully
	Optional  bool   // required: false
}

// Wishes is what x-skep at the top of a stack file says; zero values mean "not said".
type Wishes struct {
	DependsOn []string      // names of other stacks of the tenant, without the prefix
	DependsAt Position      // of DependsOn
	Timeout   time.Duration // for a rollout to become healthy
	Prune     string        // auto, confirm or never
	Drift     string        // heal, warn or ignore
	Ignore    []string      // compose paths that others own, such as services.web.deploy.replicas
	Rollback  bool          // go back to the last good commit after a failed rollout
	Replace   bool          // objects that can't be updated may be removed and created again
	Resolve   string        // once or never: image digests
}
