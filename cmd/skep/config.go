package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// configLimit is the size of the largest skep.yml that is read.
const configLimit = 1 << 20

// config is skep.yml. The tags are the only description of its keys: the strict
// reader, the JSON schema and the check of docs/configuration.md go by them.
//
//	json        the key
//	jsonschema  what it means, in one sentence
//	default     what an absent key means
//	enum        the values that are allowed
//	file        the key names a file on the operator's machine; secret: one that only the operator should read
type config struct {
	Cluster       string            `json:"cluster,omitempty" default:"swarm" jsonschema:"The label cluster on every alert and metric."`
	Instance      string            `json:"instance,omitempty" default:"default" jsonschema:"Written on every object; two operators on one swarm must differ."`
	Cache         string            `json:"cache,omitempty" file:"dir" default:"/var/cache/skep" jsonschema:"Folder for copies of the repositories; may be emptied at any time."`
	Socket        string            `json:"socket,omitempty" file:"socket" default:"/run/skep/skep.sock" jsonschema:"Unix socket (mode 0600) of the API for the verbs on this machine."`
	Interval      duration          `json:"interval,omitempty" default:"30s" jsonschema:"How often each repository's ref is looked at, give or take a tenth; at least 1s."`
	Listen        string            `json:"listen,omitempty" jsonschema:"Address of the API and the metrics, such as :8080; empty: none."`
	URL           string            `json:"url,omitempty" jsonschema:"Under which people reach the API; the link in alerts."`
	Labels        map[string]string `json:"labels,omitempty" jsonschema:"Labels on every alert; never over skep's own."`
	Alertmanagers []alertmanager    `json:"alertmanagers,omitempty" jsonschema:"The Alertmanagers; every one of them is told everything."`
	Defaults      tenant            `json:"defaults,omitempty" jsonschema:"Any key of a tenant but name, repo and the files of keys, for all tenants that do not say otherwise."`
	Tenants       []tenant          `json:"tenants" jsonschema:"The tenants; an empty list is written []."`
}

// tenant is one element of tenants.
type tenant struct {
	Name           string            `json:"name,omitempty" jsonschema:"The tenant's name; must be unique."`
	Repo           string            `json:"repo,omitempty" jsonschema:"URL of the repository: https, http, ssh (also git@host:path); file where a git binary is installed."`
	Branch         string            `json:"branch,omitempty" jsonschema:"Branch to follow; without branch and tag: the remote's HEAD."`
	Tag            string            `json:"tag,omitempty" jsonschema:"Tag to follow, instead of a branch."`
	Path           string            `json:"path,omitempty" default:"." jsonschema:"Folder of the repository below which stacks are looked for; nothing above it can be read."`
	Username       string            `json:"username,omitempty" jsonschema:"User for http; with password_file."`
	PasswordFile   string            `json:"password_file,omitempty" file:"secret" jsonschema:"File that holds the password for http."`
	TokenFile      string            `json:"token_file,omitempty" file:"secret" jsonschema:"File that holds a bearer token for http, instead of username and password_file."`
	CAFile         string            `json:"ca_file,omitempty" file:"plain" jsonschema:"File with certificates (PEM) that are trusted beside the system's."`
	SSHKeyFile     string            `json:"ssh_key_file,omitempty" file:"secret" jsonschema:"File that holds the private key for ssh."`
	KnownHostsFile string            `json:"known_hosts_file,omitempty" file:"plain" jsonschema:"File with the ssh servers' public keys; mandatory for ssh."`
	AgeKeyFile     string            `json:"age_key_file,omitempty" file:"secret" jsonschema:"File that holds the tenant's age identities (keys.txt), for files encrypted with sops."`
	Environment    string            `json:"environment,omitempty" jsonschema:"Merges compose.ENVIRONMENT.yaml and reads ENVIRONMENT.env."`
	Variables      map[string]string `json:"variables,omitempty" jsonschema:"Variables of the tenant's stack files; they win over those in the repository."`
	Profiles       []string          `json:"profiles,omitempty" jsonschema:"Profiles of the stack files that are on."`
	Prefix         string            `json:"prefix,omitempty" default:"NAME-" jsonschema:"Goes before the name of each of the tenant's stacks; may be empty."`
	Stacks         []string          `json:"stacks,omitempty" default:"['*']" jsonschema:"Globs of the folders below path that may be stacks."`
	Prune          string            `json:"prune,omitempty" enum:"auto confirm never" default:"auto" jsonschema:"What becomes of objects that left git."`
	Drift          string            `json:"drift,omitempty" enum:"heal warn ignore" default:"heal" jsonschema:"What becomes of changes that somebody made in the swarm."`
	Adopt          bool              `json:"adopt,omitempty" default:"false" jsonschema:"Takes over stacks of these names that docker stack deploy made."`
	Resolve        string            `json:"resolve,omitempty" enum:"once never" default:"once" jsonschema:"Whether an image's digest is asked of its registry once for each new reference, or never."`
	Registries     []registry        `json:"registries,omitempty" jsonschema:"Credentials for image registries."`
	Labels         map[string]string `json:"labels,omitempty" jsonschema:"Labels on the tenant's alerts; never over skep's own."`
	Policy         string            `json:"policy,omitempty" enum:"unrestricted" jsonschema:"What the tenant's stacks may ask for; must be written out."`
}

// registry is one element of registries.
type registry struct {
	Host         string `json:"host" jsonschema:"The registry's host, with its port if it has one; docker.io for Docker Hub."`
	Username     string `json:"username" jsonschema:"User for the registry."`
	PasswordFile string `json:"password_file" file:"secret" jsonschema:"File that holds the password for the registry."`
}

// alertmanager is one element of alertmanagers.
type alertmanager struct {
	URL           string        `json:"url" jsonschema:"The Alertmanager's URL, with its path prefix if it has one."`
	DNS           string        `json:"dns,omitempty" jsonschema:"Name all of whose addresses are Alertmanagers, such as tasks.alertmanager; url then gives scheme, port and path."`
	BasicAuth     basicAuth     `json:"basic_auth,omitempty" jsonschema:"HTTP basic authentication."`
	Authorization authorization `json:"authorization,omitempty" jsonschema:"Another kind of Authorization header."`
	OAuth2        oauth2        `json:"oauth2,omitempty" jsonschema:"OAuth 2.0 client credentials."`
	TLS           tlsConfig     `json:"tls_config,omitempty" jsonschema:"How the Alertmanager's certificate is checked."`
}

type basicAuth struct {
	Username     string `json:"username" jsonschema:"User."`
	PasswordFile string `json:"password_file" file:"secret" jsonschema:"File that holds the password."`
}

type authorization struct {
	Type            string `json:"type,omitempty" default:"Bearer" jsonschema:"First word of the header."`
	CredentialsFile string `json:"credentials_file" file:"secret" jsonschema:"File that holds the rest of the header."`
}

type oauth2 struct {
	ClientID         string            `json:"client_id" jsonschema:"Client ID."`
	ClientSecretFile string            `json:"client_secret_file" file:"secret" jsonschema:"File that holds the client's secret."`
	TokenURL         string            `json:"token_url" jsonschema:"Where tokens are asked for."`
	Scopes           []string          `json:"scopes,omitempty" jsonschema:"Scopes to ask for."`
	EndpointParams   map[string]string `json:"endpoint_params,omitempty" jsonschema:"More parameters of the request."`
}

type tlsConfig struct {
	CAFile             string `json:"ca_file,omitempty" file:"plain" jsonschema:"File with the certificates (PEM) that are trusted instead of the system's."`
	CertFile           string `json:"cert_file,omitempty" file:"plain" jsonschema:"File with the client's certificate."`
	KeyFile            string `json:"key_file,omitempty" file:"secret" jsonschema:"File with the client's key."`
	ServerName         string `json:"server_name,omitempty" jsonschema:"Name that the certificate must be for."`
	InsecureSkipVerify bool   `json:"insecure_skip_verify,omitempty" default:"false" jsonschema:"Trust any certificate."`
}

// duration is written as Go writes it: 30s, 5m.
type duration time.Duration

// later are keys that the design names and that nothing answers to: refused, so
// that nobody believes that they work. The key is the path without indices.
func later() map[string][]string {
	return map[string][]string{
		"":         {"webhooks", "notifications", "policies", "users", "ui", "tls", "tenants_dir", "tenants_files", "tracing"},
		"tenants":  {"verify", "quota", "windows", "webhook_secret_file", "notifications", "images", "suspend", "egress"},
		"defaults": {"verify", "quota", "windows", "notifications", "images", "suspend", "egress"},
	}
}

// configError is everything that is wrong with one skep.yml.
type configError struct {
	File     string
	Problems []problem // by line
}

// problem is one thing that is wrong. Its text never quotes a value that may be
// a secret.
type problem struct {
	Line int // 0: the whole file
	Text string
}

// Error has one line for each problem: file:line: text.
func (e *configError) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		at := e.File
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d", e.File, p.Line)
		}
		lines = append(lines, at+": "+p.Text)
	}
	return strings.Join(lines, "\n")
}

// readConfig reads and checks a skep.yml, without looking at the files that it
// names. Paths in it that are not absolute start at its own folder. The error is
// a *configError, except where the file cannot be read at all.
func readConfig(name string) (config, error) {
	f, err := os.Open(name)
	if err != nil {
		return config{}, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err != nil {
		return config{}, fmt.Errorf("configuration: %w", err)
	}
	c, err := parseConfig(name, data)
	if err != nil {
		return config{}, err
	}
	return rooted(c, filepath.Dir(name)), nil
}

// parseConfig is skep.yml with every default filled in. The error is a *configError.
func parseConfig(name string, data []byte) (config, error) {
	if len(data) > configLimit {
		return config{}, &configError{File: name, Problems: []problem{{Text: fmt.Sprintf("larger than %d bytes", configLimit)}}}
	}
	d := &decoder{lines: map[string]int{}}
	c := d.config(data)
	check(d, c)
	if len(d.problems) == 0 {
		return c, nil
	}
	return config{}, &configError{File: name, Problems: d.sorted()}
}
