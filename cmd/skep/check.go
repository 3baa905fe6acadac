package main

import (
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/skep-gitops/skep/source"
)

// The shapes of names. A stack's name is at most 41 characters; an instance's is
// part of the names of skep's own objects, which may have 64 in all.
var (
	nameShape     = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)
	instanceShape = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,15}$`)
	variableShape = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	envShape      = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)
	scpShape      = regexp.MustCompile(`^[^/@:\s]+@[^/:\s]+:[^:]`) // git@host:path
)

// socketLimit is the longest path of a unix socket that Linux takes.
const socketLimit = 107

// check notes everything that is wrong with c beyond its form.
func check(d *decoder, c config) {
	if len(d.lines) == 0 {
		return // not even a mapping: said already
	}
	checkTop(d, c)
	for i, a := range c.Alertmanagers {
		checkAlertmanager(d, fmt.Sprintf("alertmanagers[%d]", i), a)
	}
	for _, key := range personal() {
		if line := d.lines["defaults."+key]; line > 0 {
			d.problem(line, "defaults.%s: each tenant has its own; write it there", key)
		}
	}
	names := map[string]int{}
	for i, t := range c.Tenants {
		v := tenantCheck{d: d, i: i, t: t}
		v.names(names)
		v.repository()
		v.access()
		v.stacks()
		v.wishes()
	}
}

// personal are the keys that defaults may not hold: one key for all tenants
// would let each read the others' repositories and secrets.
func personal() []string {
	return []string{"name", "repo", "username", "password_file", "token_file", "ssh_key_file", "age_key_file"}
}

func checkTop(d *decoder, c config) {
	bad := func(key, format string, args ...any) {
		d.problem(d.line(key), key+": "+format, args...)
	}
	if d.lines["tenants"] == 0 {
		d.problem(0, "tenants: missing; an empty list is written tenants: []")
	}
	if c.Cluster == "" || strings.TrimSpace(c.Cluster) != c.Cluster || strings.ContainsFunc(c.Cluster, unicode.IsControl) {
		bad("cluster", "must be a name")
	}
	if !instanceShape.MatchString(c.Instance) {
		bad("instance", "must match %s", instanceShape)
	}
	if c.Interval < duration(time.Second) || c.Interval > duration(24*time.Hour) {
		bad("interval", "must be from 1s to 24h")
	}
	if c.Cache == "" {
		bad("cache", "must be a folder")
	}
	if c.Socket == "" || len(c.Socket) > socketLimit {
		bad("socket", "must be a path of at most %d bytes", socketLimit)
	}
	if c.Listen != "" && !listenable(c.Listen) {
		bad("listen", "must be an address with a port, such as :8080")
	}
	if c.URL != "" {
		checkURL(d, "url", c.URL)
	}
	checkLabels(d, "labels", d.line, c.Labels)
}

// listenable says that an address has a port that there is.
func listenable(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = net.LookupPort("tcp", port)
	return err == nil
}

// checkURL wants an absolute http URL without credentials.
func checkURL(d *decoder, at, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		d.problem(d.line(at), "%s: must be a URL such as http://host:9093", at)
	case u.User != nil:
		d.problem(d.line(at), "%s: credentials do not belong in a URL; give them as files", at)
	}
}

func checkLabels(d *decoder, at string, line func(string) int, labels map[string]string) {
	for name := range labels {
		key := at + "." + name
		switch {
		case !variableShape.MatchString(name):
			d.problem(line(key), "%s: a label's name must match %s", key, variableShape)
		case slices.Contains([]string{"alertname", "severity", "cluster", "instance", "tenant", "stack"}, name):
			d.problem(line(key), "%s: skep sets this label itself", key)
		}
	}
}

func checkAlertmanager(d *decoder, at string, a alertmanager) {
	bad := func(key, text string) { d.problem(d.line(at+"."+key), "%s.%s: %s", at, key, text) }
	if a.URL == "" {
		bad("url", "missing")
	} else {
		checkURL(d, at+".url", a.URL)
	}
	ways := 0
	for _, key := range []string{"basic_auth", "authorization", "oauth2"} {
		if d.lines[at+"."+key] > 0 {
			ways++
		}
	}
	if ways > 1 {
		d.problem(d.line(at), "%s: only one of basic_auth, authorization and oauth2", at)
	}
	required := map[string]map[string]string{
		"basic_auth":    {"username": a.BasicAuth.Username, "password_file": a.BasicAuth.PasswordFile},
		"authorization": {"credentials_file": a.Authorization.CredentialsFile},
		"oauth2":        {"client_id": a.OAuth2.ClientID, "client_secret_file": a.OAuth2.ClientSecretFile, "token_url": a.OAuth2.TokenURL},
	}
	for group, keys := range required {
		for key, value := range keys {
			if d.lines[at+"."+group] > 0 && value == "" {
				bad(group+"."+key, "missing")
			}
		}
	}
	if strings.EqualFold(a.Authorization.Type, "basic") {
		bad("authorization.type", "use basic_auth")
	}
	if (a.TLS.CertFile == "") != (a.TLS.KeyFile == "") {
		bad("tls_config", "cert_file and key_file go together")
	}
}

// tenantCheck checks one tenant.
type tenantCheck struct {
	d *decoder
	i int
	t tenant
}

func (v tenantCheck) bad(key, format string, args ...any) {
	who := "tenant " + v.t.Name
	if v.t.Name == "" {
		who = fmt.Sprintf("tenant number %d", v.i+1)
	}
	if v.d.inherited(v.i, key) {
		who = "defaults"
	}
	v.d.problem(v.d.tenantLine(v.i, key), "%s: %s: %s", who, key, fmt.Sprintf(format, args...))
}

// names checks the tenant's name against those before it.
func (v tenantCheck) names(seen map[string]int) {
	if v.t.Name == "" {
		v.bad("name", "missing")
		return
	}
	if !nameShape.MatchString(v.t.Name) {
		v.bad("name", "must match %s", nameShape)
	}
	if first := seen[v.t.Name]; first > 0 {
		v.bad("name", "given twice, first in line %d", first)
		return
	}
	seen[v.t.Name] = v.d.tenantLine(v.i, "name")
}

// repository checks what is followed.
func (v tenantCheck) repository() {
	t := v.t
	if t.Branch != "" && t.Tag != "" {
		v.bad("tag", "only one of branch and tag")
	}
	for key, ref := range map[string]struct{ name, below string }{"branch": {t.Branch, "refs/heads/"}, "tag": {t.Tag, "refs/tags/"}} {
		switch {
		case strings.HasPrefix(ref.name, ref.below):
			v.bad(key, "the name alone, without %s", ref.below)
		case ref.name != "" && !validRef(ref.name):
			v.bad(key, "not a name that git allows")
		}
	}
	if clean := path.Clean(t.Path); !fs.ValidPath(clean) || strings.ContainsAny(t.Path, "\\\x00") || t.Path == "" {
		v.bad("path", "must be a folder of the repository, such as deploy/prod")
	}
}

// validRef follows git-check-ref-format(1).
func validRef(ref string) bool {
	if strings.ContainsAny(ref, " ~^:?*[\\\x7f") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.Contains(ref, "//") {
		return false
	}
	for _, c := range ref {
		if c < ' ' {
			return false
		}
	}
	for _, part := range strings.Split(ref, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.HasPrefix(ref, "-") && !strings.HasSuffix(ref, ".") && ref != "@"
}

// access checks that the credentials fit the URL.
func (v tenantCheck) access() {
	switch scheme := v.scheme(); scheme {
	case "":
		return // said already
	case "ssh":
		v.ssh()
	default:
		v.http(scheme)
	}
}

// scheme is the repository's, or "" where the URL is no good.
func (v tenantCheck) scheme() string {
	if v.t.Repo == "" {
		v.bad("repo", "missing")
		return ""
	}
	if scpShape.MatchString(v.t.Repo) {
		return "ssh"
	}
	u, err := url.Parse(v.t.Repo)
	if err != nil || !slices.Contains([]string{"http", "https", "ssh", "file"}, u.Scheme) {
		v.bad("repo", "must be a URL with https, http, ssh or file, or git@host:path")
		return ""
	}
	if _, password := u.User.Password(); password || (u.User != nil && u.Scheme != "ssh") {
		v.bad("repo", "credentials do not belong in a URL; use username and password_file")
		return ""
	}
	if (u.Host == "") != (u.Scheme == "file") {
		v.bad("repo", "must name a host; file:// must name an absolute path")
		return ""
	}
	if err := source.CheckURL(v.t.Repo); err != nil {
		v.bad("repo", "%s", err)
		return ""
	}
	return u.Scheme
}

func (v tenantCheck) ssh() {
	t := v.t
	if t.SSHKeyFile == "" {
		v.bad("ssh_key_file", "missing; ssh needs it")
	}
	if t.KnownHostsFile == "" {
		v.bad("known_hosts_file", "missing; ssh needs it (ssh-keyscan HOST, compared with what the host's operator publishes)")
	}
	for key, value := range map[string]string{"username": t.Username, "password_file": t.PasswordFile, "token_file": t.TokenFile} {
		if value != "" {
			v.bad(key, "not for ssh; use ssh_key_file")
		}
	}
}

func (v tenantCheck) http(scheme string) {
	t := v.t
	if t.SSHKeyFile != "" {
		v.bad("ssh_key_file", "only for ssh; this repository is %s", scheme)
	}
	switch {
	case t.TokenFile != "" && (t.Username != "" || t.PasswordFile != ""):
		v.bad("token_file", "only one of token_file, and username with password_file")
	case (t.Username == "") != (t.PasswordFile == ""):
		v.bad("username", "username and password_file go together")
	}
}

// stacks checks how stacks are found, named and rendered.
func (v tenantCheck) stacks() {
	t := v.t
	if v.d.given(v.i, "prefix") && t.Prefix != "" && !nameShape.MatchString(t.Prefix) {
		v.bad("prefix", "must be empty or match %s", nameShape)
	}
	if t.Environment != "" && (!envShape.MatchString(t.Environment) || t.Environment == "override") {
		v.bad("environment", "must match %s, and not be override", envShape)
	}
	for name := range t.Variables {
		switch {
		case !variableShape.MatchString(name):
			v.bad("variables."+name, "a variable's name must match %s", variableShape)
		case strings.HasPrefix(name, "SKEP_"):
			v.bad("variables."+name, "SKEP_ is for the variables that skep sets itself")
		}
	}
	if len(t.Stacks) == 0 {
		v.bad("stacks", "must hold at least one glob")
	}
	for _, g := range t.Stacks {
		if _, err := path.Match(g, "x"); err != nil || !fs.ValidPath(path.Clean(g)) || strings.Contains(g, "**") {
			v.bad("stacks", "%q: must be a glob below path, such as apps/*", g)
		}
	}
}

// wishes checks the choices, the registries and the labels.
func (v tenantCheck) wishes() {
	t := v.t
	if t.Policy == "" {
		v.bad("policy", "missing; write policy: unrestricted (in the tenant or in defaults): its stacks may then ask for anything, root on every node included")
	}
	for key, value := range map[string]string{"prune": t.Prune, "drift": t.Drift, "resolve": t.Resolve, "policy": t.Policy} {
		allowed := choices(key)
		switch {
		case value == "" || slices.Contains(allowed, value):
		case key == "policy":
			v.bad(key, "not supported yet; the only policy is unrestricted")
		default:
			v.bad(key, "must be one of %s", strings.Join(allowed, ", "))
		}
	}
	hosts := map[string]bool{}
	for j, r := range t.Registries {
		at := fmt.Sprintf("registries[%d]", j)
		if r.Host == "" || r.Username == "" || r.PasswordFile == "" || strings.ContainsAny(r.Host, "/@ ") {
			v.bad(at, "host (without scheme and path), username and password_file are all needed")
		}
		if hosts[r.Host] {
			v.bad(at, "a second entry for this host")
		}
		hosts[r.Host] = true
	}
	line := func(key string) int { return v.d.tenantLine(v.i, key) }
	checkLabels(v.d, "labels", line, t.Labels)
}

// choices are the values that a tenant's key may have.
func choices(key string) []string {
	t := reflect.TypeFor[tenant]()
	return strings.Fields(t.Field(fieldsOf(t)[key]).Tag.Get("enum"))
}
