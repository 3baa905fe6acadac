package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// whole is a skep.yml that uses every key.
const whole = `
cluster: prod
instance: blue
cache: /var/cache/skep
socket: s.sock
interval: 10s
listen: :8080
url: https://skep.example.com
labels: {region: eu}
alertmanagers:
  - url: http://am:9093/prefix/
    dns: tasks.am
    basic_auth: {username: u, password_file: am}
  - url: https://am2
    authorization: {type: Token, credentials_file: /run/secrets/token}
    tls_config: {server_name: am, insecure_skip_verify: true}
  - url: https://am3
    oauth2: {client_id: c, client_secret_file: /s, token_url: https://t, scopes: [a], endpoint_params: {x: y}}
defaults:
  policy: unrestricted
  prune: confirm
  variables: {A: "1", B: 2}
  stacks: ['apps/*']
tenants:
  - name: shop
    repo: https://git.example.com/shop.git
    branch: main
    path: deploy/prod/
    username: skep
    password_file: shop-git
    ca_file: /ca.pem
    age_key_file: /run/secrets/shop-age
    environment: production
    variables: {B: 3, C: true}
    profiles: [metrics]
    prefix: ""
    prune: auto
    drift: warn
    adopt: true
    resolve: never
    registries: [{host: "r:5000", username: ci, password_file: r}]
    labels: {team: shop}
  - name: blog
    repo: git@git.example.com:blog.git
    tag: v1
    ssh_key_file: /k
    known_hosts_file: /h
`

func TestEveryKeyIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skep.yml")
	if err := os.WriteFile(file, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(file)
	want := config{
		Cluster: "prod", Instance: "blue", Cache: "/var/cache/skep", Socket: filepath.Join(dir, "s.sock"),
		Interval: duration(10 * time.Second), Listen: ":8080", URL: "https://skep.example.com", Labels: map[string]string{"region": "eu"},
		Alertmanagers: []alertmanager{
			{URL: "http://am:9093/prefix/", DNS: "tasks.am", BasicAuth: basicAuth{"u", filepath.Join(dir, "am")}, Authorization: authorization{Type: "Bearer"}},
			{URL: "https://am2", Authorization: authorization{"Token", "/run/secrets/token"}, TLS: tlsConfig{ServerName: "am", InsecureSkipVerify: true}},
			{URL: "https://am3", Authorization: authorization{Type: "Bearer"}, OAuth2: oauth2{"c", "/s", "https://t", []string{"a"}, map[string]string{"x": "y"}}},
		},
		Defaults: tenant{Path: ".", Stacks: []string{"apps/*"}, Prune: "confirm", Drift: "heal", Resolve: "once", Policy: "unrestricted", Variables: map[string]string{"A": "1", "B": "2"}},
		Tenants: []tenant{
			{
				Name: "shop", Repo: "https://git.example.com/shop.git", Branch: "main", Path: "deploy/prod/", Username: "skep",
				PasswordFile: filepath.Join(dir, "shop-git"), CAFile: "/ca.pem", AgeKeyFile: "/run/secrets/shop-age", Environment: "production",
				Variables: map[string]string{"A": "1", "B": "3", "C": "true"}, Profiles: []string{"metrics"}, Stacks: []string{"apps/*"},
				Prune: "auto", Drift: "warn", Adopt: true, Resolve: "never", Policy: "unrestricted",
				Registries: []registry{{"r:5000", "ci", filepath.Join(dir, "r")}}, Labels: map[string]string{"team": "shop"},
			},
			{
				Name: "blog", Repo: "git@git.example.com:blog.git", Tag: "v1", Path: ".", SSHKeyFile: "/k", KnownHostsFile: "/h",
				Variables: map[string]string{"A": "1", "B": "2"}, Prefix: "blog-", Stacks: []string{"apps/*"},
				Prune: "confirm", Drift: "heal", Resolve: "once", Policy: "unrestricted",
			},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

func TestDefaultsOfAnEmptyFile(t *testing.T) {
	c, err := parseConfig("skep.yml", []byte("tenants: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Cluster != "swarm" || c.Instance != "default" || c.Cache != "/var/cache/skep" || c.Socket != defaultSocket || c.Interval != duration(30*time.Second) || c.Listen != "" {
		t.Errorf("defaults: %+v", c)
	}
}

// one is a valid tenant to which the cases add a line.
const one = "tenants:\n  - name: a\n    repo: https://h/r\n    policy: unrestricted\n"

func TestWrongConfigurations(t *testing.T) {
	cases := map[string]struct {
		text string
		want []string // lines of the error
	}{
		"an empty file":                         {"", []string{"skep.yml: the file is empty"}},
		"not YAML":                              {"a: [1,\nb: }", []string{"skep.yml:1: not YAML: while parsing a flow node: did not find expected node content"}},
		"not YAML in the first line":            {"a: [${B:?x y}]", []string{"skep.yml:1: not YAML: while parsing a flow sequence did not find expected ',' or ']'"}},
		"not a mapping":                         {"- a", []string{"skep.yml:1: skep.yml: must be a mapping of keys to values"}},
		"two documents":                         {"tenants: []\n---\na: b\n", []string{"skep.yml:2: a second YAML document; skep.yml is one"}},
		"half written":                          {"cluster: x\ntenants:\n", []string{"skep.yml:2: tenants: must be a list; an empty one is written []"}},
		"no tenants key":                        {"cluster: x\n", []string{"skep.yml: tenants: missing; an empty list is written tenants: []"}},
		"a misspelt key":                        {"clustr: x\n" + one, []string{"skep.yml:1: clustr: unknown key; did you mean cluster?"}},
		"a misspelt key of a tenant":            {one + "    brnch: x\n", []string{"skep.yml:5: tenants[0].brnch: unknown key; did you mean branch?"}},
		"a key given twice":                     {one + "    name: b\n", []string{"skep.yml:5: tenants[0].name: given twice, first in line 2"}},
		"a literal password":                    {one + "    password: hunter2\n", []string{"skep.yml:5: tenants[0].password: unknown key; secrets are given as files: use password_file"}},
		"a literal age key":                     {one + "    age_key: AGE-SECRET-KEY-1\n", []string{"skep.yml:5: tenants[0].age_key: unknown key; secrets are given as files: use age_key_file"}},
		"a merge key":                           {one + "    <<: {}\n", []string{"skep.yml:5: tenants[0].<<: merge keys are not supported; use defaults"}},
		"a key that is not built":               {"webhooks: {}\n" + one + "    verify: {}\n", []string{"skep.yml:1: webhooks: not supported yet", "skep.yml:6: tenants[0].verify: not supported yet"}},
		"a policy that is not built":            {"tenants:\n  - name: a\n    repo: https://h/r\n    policy: strict\n", []string{"skep.yml:4: tenant a: policy: not supported yet; the only policy is unrestricted"}},
		"no policy":                             {"tenants:\n  - name: a\n    repo: https://h/r\n", []string{"skep.yml:2: tenant a: policy: missing; write policy: unrestricted (in the tenant or in defaults): its stacks may then ask for anything, root on every node included"}},
		"an interval below a second":            {"interval: 999ms\n" + one, []string{"skep.yml:1: interval: must be from 1s to 24h"}},
		"an interval without a unit":            {"interval: 30\n" + one, []string{"skep.yml:1: interval: must be a duration such as 30s or 5m"}},
		"an instance that is too long":          {"instance: 12345678901234567\n" + one, []string{"skep.yml:1: instance: must match ^[a-z0-9][a-z0-9_-]{0,15}$"}},
		"a listen address beyond the last port": {"listen: ':65536'\n" + one, []string{"skep.yml:1: listen: must be an address with a port, such as :8080"}},
		"a listen address without a port":       {"listen: localhost\n" + one, []string{"skep.yml:1: listen: must be an address with a port, such as :8080"}},
		"a tenant twice":                        {one + "  - name: a\n    repo: https://h/r\n    policy: unrestricted\n", []string{"skep.yml:5: tenant a: name: given twice, first in line 2"}},
		"a bad name":                            {strings.Replace(one, "name: a", "name: A b", 1), []string{"skep.yml:2: tenant A b: name: must match ^[a-z0-9][a-z0-9_-]{0,40}$"}},
		"a name that moves the cursor":          {strings.Replace(one, "name: a", `name: "a\e[31m"`, 1), []string{"skep.yml:2: tenant a\uFFFD[31m: name: must match ^[a-z0-9][a-z0-9_-]{0,40}$"}},
		"a bad prefix":                          {one + "    prefix: A-\n", []string{"skep.yml:5: tenant a: prefix: must be empty or match ^[a-z0-9][a-z0-9_-]{0,40}$"}},
		"a token in a URL's query":              {strings.Replace(one, "https://h/r", "https://h/r?token=hunter2", 1), []string{"skep.yml:3: tenant a: repo: the URL has a query or fragment"}},
		"a port that is none":                   {strings.Replace(one, "https://h/r", "https://h:99999/r", 1), []string{"skep.yml:3: tenant a: repo: the URL's port is not from 1 to 65535"}},
		"a path in the URL that climbs":         {strings.Replace(one, "https://h/r", "https://h/a/../r", 1), []string{"skep.yml:3: tenant a: repo: the URL's path has '..' or a control character"}},
		"a full ref as a branch":                {one + "    branch: refs/heads/main\n", []string{"skep.yml:5: tenant a: branch: the name alone, without refs/heads/"}},
		"a full ref as a tag":                   {one + "    tag: refs/tags/v1\n", []string{"skep.yml:5: tenant a: tag: the name alone, without refs/tags/"}},
		"a value with a tag":                    {"cluster: !!binary aGVsbG8=\n" + one, []string{"skep.yml:1: cluster: must be a string"}},
		"a name of a cluster in two lines":      {"cluster: \"a\\nb\"\n" + one, []string{"skep.yml:1: cluster: must be a name"}},
		"credentials in a URL":                  {strings.Replace(one, "https://h", "https://u:hunter2@h", 1), []string{"skep.yml:3: tenant a: repo: credentials do not belong in a URL; use username and password_file"}},
		"an unknown scheme":                     {strings.Replace(one, "https://h/r", "ext::sh -c x", 1), []string{"skep.yml:3: tenant a: repo: must be a URL with https, http, ssh or file, or git@host:path"}},
		"ssh without known hosts":               {strings.Replace(one, "https://h/r", "ssh://git@h/r", 1) + "    ssh_key_file: k\n", []string{"skep.yml:2: tenant a: known_hosts_file: missing; ssh needs it (ssh-keyscan HOST, compared with what the host's operator publishes)"}},
		"an ssh key for https":                  {one + "    ssh_key_file: k\n", []string{"skep.yml:5: tenant a: ssh_key_file: only for ssh; this repository is https"}},
		"a password without a user":             {one + "    password_file: k\n", []string{"skep.yml:2: tenant a: username: username and password_file go together"}},
		"a token and a password":                {one + "    token_file: t\n    username: u\n    password_file: k\n", []string{"skep.yml:5: tenant a: token_file: only one of token_file, and username with password_file"}},
		"a branch and a tag":                    {one + "    branch: x\n    tag: y\n", []string{"skep.yml:6: tenant a: tag: only one of branch and tag"}},
		"a branch that is an option":            {one + "    branch: --upload-pack=x\n", []string{"skep.yml:5: tenant a: branch: not a name that git allows"}},
		"a path that leaves":                    {one + "    path: a/../../b\n", []string{"skep.yml:5: tenant a: path: must be a folder of the repository, such as deploy/prod"}},
		"a glob that leaves":                    {one + "    stacks: ['../*']\n", []string{`skep.yml:5: tenant a: stacks: "../*": must be a glob below path, such as apps/*`}},
		"a bad choice":                          {one + "    drift: mend\n", []string{"skep.yml:5: tenant a: drift: must be one of heal, warn, ignore"}},
		"a bad choice in the defaults":          {"defaults: {prune: no}\n" + one, []string{"skep.yml:1: defaults: prune: must be one of auto, confirm, never"}},
		"a key file in the defaults":            {"defaults: {age_key_file: k}\n" + one, []string{"skep.yml:1: defaults.age_key_file: each tenant has its own; write it there"}},
		"a variable that is ours":               {one + "    variables: {SKEP_TENANT: x}\n", []string{"skep.yml:5: tenant a: variables.SKEP_TENANT: SKEP_ is for the variables that skep sets itself"}},
		"a label that is ours":                  {one + "    labels: {severity: none}\n", []string{"skep.yml:5: labels.severity: skep sets this label itself"}},
		"a label that no Alertmanager has":      {one + "    labels: {a-b: none}\n", []string{"skep.yml:5: labels.a-b: a label's name must match ^[A-Za-z_][A-Za-z0-9_]*$"}},
		"a boolean that is none":                {one + "    adopt: maybe\n", []string{"skep.yml:5: tenants[0].adopt: must be true or false"}},
		"a registry without a password":         {one + "    registries: [{host: r, username: u}]\n", []string{"skep.yml:5: tenant a: registries[0]: host (without scheme and path), username and password_file are all needed"}},
		"an Alertmanager without a URL":         {"alertmanagers: [{dns: x}]\n" + one, []string{"skep.yml:1: alertmanagers[0].url: missing"}},
		"an Alertmanager with a password":       {"alertmanagers:\n  - url: http://h\n    basic_auth: {username: u, password: hunter2}\n" + one, []string{"skep.yml:3: alertmanagers[0].basic_auth.password: unknown key; secrets are given as files: use password_file", "skep.yml:3: alertmanagers[0].basic_auth.password_file: missing"}},
		"an Alertmanager with two ways in":      {"alertmanagers:\n  - url: http://h\n    basic_auth: {username: u, password_file: f}\n    authorization: {credentials_file: f}\n" + one, []string{"skep.yml:2: alertmanagers[0]: only one of basic_auth, authorization and oauth2"}},
		"half a client certificate":             {"alertmanagers:\n  - url: http://h\n    tls_config: {cert_file: c}\n" + one, []string{"skep.yml:3: alertmanagers[0].tls_config: cert_file and key_file go together"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parseConfig("skep.yml", []byte(c.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(c.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "AGE-SECRET") {
				t.Errorf("the error shows a secret: %s", err)
			}
		})
	}
}

func TestEveryKeyIsConverted(t *testing.T) {
	c, err := parseConfig("skep.yml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	o, err := operatorConfig(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	shop := reflect.ValueOf(o.Tenants[0])
	blog := reflect.ValueOf(o.Tenants[1])
	for i := range shop.NumField() {
		if name := shop.Type().Field(i).Name; shop.Field(i).IsZero() && blog.Field(i).IsZero() && name != "Prefix" && name != "TokenFile" {
			t.Errorf("%s is not converted", name)
		}
	}
	if o.Tenants[0].Path != "deploy/prod" {
		t.Errorf("path %q", o.Tenants[0].Path)
	}
	if got := o.Alerts.Peers[0]; got.URL != "http://am:9093/prefix" || got.DNS != "tasks.am" || got.Client == nil {
		t.Errorf("peer %+v", got)
	}
}

func TestFilesThatAreMissingAreNamed(t *testing.T) {
	c, err := parseConfig("skep.yml", []byte(one+"    age_key_file: /nowhere/age\n    registries: [{host: r, username: u, password_file: /nowhere/r}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "tenant a: age_key_file: open /nowhere/age: no such file or directory\n" +
		"tenant a: registries[0]: password_file: open /nowhere/r: no such file or directory"
	if err := checkFiles(c); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestConfigTooLarge(t *testing.T) {
	_, err := parseConfig("skep.yml", make([]byte, configLimit+1))
	var e *configError
	if !errors.As(err, &e) {
		t.Fatalf("got %v", err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(one))
	f.Add([]byte("tenants: &x [*x]\ndefaults: *x\n"))
	f.Add([]byte("tenants: [{name: &a b, <<: *a, stacks: {}}]\n\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("skep.yml", data)
		if err != nil {
			return
		}
		for _, tn := range c.Tenants {
			if !nameShape.MatchString(tn.Name) || tn.Policy != "unrestricted" {
				t.Errorf("accepted a tenant %q with policy %q", tn.Name, tn.Policy)
			}
		}
		if _, err := parseConfig("skep.yml", data); err != nil {
			t.Errorf("accepted once and refused then: %v", err)
		}
	})
}
