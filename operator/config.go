package operator

import (
	"time"

	"github.com/skep-gitops/skep/alerting"
)

// Config is what an Operator follows. cmd reads it from skep.yml; nothing in it
// is a secret: credentials are the names of files, read again at each look.
type Config struct {
	Cluster  string // label on every alert and metric
	Instance string // on every object; two operators on one swarm must differ
	Version  string // of skep, for status and metrics
	Cache    string // folder for mirrors
	Interval time.Duration
	Alerts   alerting.Options
	Tenants  []Tenant
}

// Tenant is one tenant: a repository and what may be done with it.
type Tenant struct {
	Name string

	Repo           string
	Branch, Tag    string
	Path           string // slash path in the repository; "." is its root
	Username       string
	PasswordFile   string
	TokenFile      string
	CAFile         string
	SSHKeyFile     string
	KnownHostsFile string
	AgeKeyFile     string

	Environment string
	Variables   map[string]string
	Profiles    []string
	Prefix      string
	Stacks      []string // globs
	Prune       string   // auto, confirm or never
	Drift       string   // heal, warn or ignore
	Adopt       bool
	Resolve     string // once or never
	Registries  []Registry
	Labels      map[string]string // on the tenant's alerts; never over ours
}

// Registry is a registry's credentials.
type Registry struct {
	Host, Username, PasswordFile string
}
