// Package deploy is the only part of skep that talks to Docker: it observes the
// swarm, tells what would have to change for a stack to be as git asks (Diff),
// whether what runs is healthy (Check), and carries a plan out (Apply).
//
// Diff and Check are pure: they hold no client, so a dry run cannot write.
// An object that does not carry the stack's and the instance's labels is never
// changed or removed; an object that may be missing only because a list was
// incomplete is never taken for missing.
package deploy

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
)

// Labels that skep writes, and the two that docker stack deploy writes.
const (
	LabelNamespace = "com.docker.stack.namespace"
	LabelImage     = "com.docker.stack.image"
	LabelTenant    = "skep.tenant"
	LabelInstance  = "skep.instance"
	LabelContent   = "skep.content" // full HMAC of a secret's or config's content
	LabelKind      = "skep.kind"    // memory or key, on skep's own objects
	LabelStack     = "skep.stack"
	LabelFrozen    = "skep.frozen" // on memory; written by verbs only
	LabelPinned    = "skep.pinned" // on memory; written by verbs only
	LabelState     = "skep.state"  // on memory; written by the operator only
)

// Reader is what deploy reads the swarm with; *client.Client satisfies it.
// It is this wide because each method is one list or look of the Docker API.
type Reader interface {
	ClientVersion() string
	Info(ctx context.Context) (system.Info, error)
	ServiceList(ctx context.Context, o swarm.ServiceListOptions) ([]swarm.Service, error)
	NetworkList(ctx context.Context, o network.ListOptions) ([]network.Summary, error)
	SecretList(ctx context.Context, o swarm.SecretListOptions) ([]swarm.Secret, error)
	ConfigList(ctx context.Context, o swarm.ConfigListOptions) ([]swarm.Config, error)
	TaskList(ctx context.Context, o swarm.TaskListOptions) ([]swarm.Task, error)
	NodeList(ctx context.Context, o swarm.NodeListOptions) ([]swarm.Node, error)
	ServiceInspectWithRaw(ctx context.Context, id string, o swarm.ServiceInspectOptions) (swarm.Service, []byte, error)
	NetworkInspect(ctx context.Context, id string, o network.InspectOptions) (network.Inspect, error)
	SecretInspectWithRaw(ctx context.Context, id string) (swarm.Secret, []byte, error)
	ConfigInspectWithRaw(ctx context.Context, id string) (swarm.Config, []byte, error)
	DistributionInspect(ctx context.Context, image, auth string) (registry.DistributionInspect, error)
	Events(ctx context.Context, o events.ListOptions) (<-chan events.Message, <-chan error)
}

// Writer is what deploy changes the swarm with; *client.Client satisfies it.
// It reads too, since what is to be removed is read again before.
type Writer interface {
	Reader
	ServiceCreate(ctx context.Context, s swarm.ServiceSpec, o swarm.ServiceCreateOptions) (swarm.ServiceCreateResponse, error)
	ServiceUpdate(ctx context.Context, id string, v swarm.Version, s swarm.ServiceSpec, o swarm.ServiceUpdateOptions) (swarm.ServiceUpdateResponse, error)
	ServiceRemove(ctx context.Context, id string) error
	NetworkCreate(ctx context.Context, name string, o network.CreateOptions) (network.CreateResponse, error)
	NetworkRemove(ctx context.Context, id string) error
	SecretCreate(ctx context.Context, s swarm.SecretSpec) (swarm.SecretCreateResponse, error)
	SecretUpdate(ctx context.Context, id string, v swarm.Version, s swarm.SecretSpec) error
	SecretRemove(ctx context.Context, id string) error
	ConfigCreate(ctx context.Context, c swarm.ConfigSpec) (swarm.ConfigCreateResponse, error)
	ConfigUpdate(ctx context.Context, id string, v swarm.Version, c swarm.ConfigSpec) error
	ConfigRemove(ctx context.Context, id string) error
}

// Live is the swarm as one look saw it. It is read-only: all stacks share it.
type Live struct {
	Taken    time.Time // when the look began
	API      string    // negotiated with the daemon
	Networks []network.Summary
	Secrets  []swarm.Secret
	Configs  []swarm.Config // of the stacks that Detail was asked for; Observe leaves it empty
	Services []swarm.Service
	Tasks    []swarm.Task // only where Listed
	Listed   bool         // Tasks were listed
	Nodes    []swarm.Node
	Memories []Memory // of our instance

	// Detailed names the stacks whose configs Configs holds, the external ones
	// that they ask for included. Of any other stack, Diff takes a config to be
	// there when a live service refers to it.
	Detailed map[string]bool

	index *index // see Indexed
}

// LookOptions say what a look reads beside the constant lists.
type LookOptions struct {
	Instance string
	Tasks    bool // list tasks too: something is in flight or unhealthy
}

// Key is the instance's HMAC key: it names secrets and configs by their content
// without making a weak secret guessable from its name.
type Key []byte

// DiffOptions are what Diff has to know beside git and the swarm.
type DiffOptions struct {
	Instance string
	Key      Key
	Adopt    bool              // take over a stack that docker stack deploy made
	Owned    map[string]bool   // object IDs that the stack's memory lists as ours although they carry no label (networks, jobs)
	Digests  map[string]Digest // resolved images by the reference that git gives; absent: as written
	Unequal  map[string]bool   // IDs of secrets that proved to differ from git when asked (adoption); see UnequalError
	Auth     map[string]string // encoded registry credentials by registry host; sent, never shown
	Resend   bool              // the credentials changed: send each service whose registry is in Auth once more
	Guard    *Memory           // the stack's memory as of this look; a newer one voids every removal
}

// Digest is what a registry said of an image reference.
type Digest struct {
	Image     string // name:tag@sha256:…
	Platforms []swarm.Platform
}

// Action is what a step does.
type Action string

// Kind is what a step does it to.
type Kind string

// The actions and kinds of a Step.
const (
	Create  Action = "create"
	Update  Action = "update"
	Remove  Action = "remove"
	Replace Action = "replace" // remove, then create

	KindNetwork Kind = "network"
	KindSecret  Kind = "secret"
	KindConfig  Kind = "config"
	KindService Kind = "service"
)

// Change is one field that differs. From and To are set only for fields that
// cannot hold a secret (numbers, enumerations, untainted image references).
type Change struct {
	Field string `json:"field"` // compose path such as services.web.image
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// Step is one thing to do to one object. What it needs beyond what can be
// printed is unexported; so a Plan can be shown as it is.
type Step struct {
	Action   Action   `json:"action"`
	Kind     Kind     `json:"kind"`
	Name     string   `json:"name"`
	ID       string   `json:"id,omitempty"` // of the live object
	Service  string   `json:"service,omitempty"`
	Changes  []Change `json:"changes,omitempty"`
	Restarts bool     `json:"restarts,omitempty"` // tasks are replaced
	Why      string   `json:"why,omitempty"`

	do payload
}

// payload is what Apply needs to carry a step out. A service's spec refers to
// secrets and configs by their name in the swarm; Apply fills in the IDs that
// were not known when the plan was made.
type payload struct {
	network *network.CreateOptions
	secret  *swarm.SecretSpec
	config  *swarm.ConfigSpec
	service *swarm.ServiceSpec
	auth    string             // encoded registry credentials
	version swarm.Version      // of the live object
	base    *swarm.ServiceSpec // the live spec that an update was made from: same base, same update
	labels  map[string]string  // that a live object must still carry to be removed
	ask     bool               // a secret's update that asks whether its data is equal (adoption)
}

// Deferred is a service whose step waits for another service.
type Deferred struct {
	Service   string `json:"service"`
	On        string `json:"on"`
	Condition string `json:"condition"`
	Failed    bool   `json:"failed"` // On failed for good: this is an error, not a wait
}

// Plan is what has to be done for one stack, in order. It is a value: print it,
// compare it, throw it away. An empty Plan is the proof that nothing changed.
type Plan struct {
	Tenant   string     `json:"tenant"`
	Stack    string     `json:"stack"`
	Steps    []Step     `json:"steps"`
	Deferred []Deferred `json:"deferred,omitempty"`
	Notes    []string   `json:"notes,omitempty"` // warnings worth showing, such as an image that stayed unpinned

	taken time.Time // when the look it rests on began
	guard *Memory   // the memory it rests on; a newer one voids every removal
}

// Empty says that there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 && len(p.Deferred) == 0 }
