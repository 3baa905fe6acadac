package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	promconfig "github.com/prometheus/common/config"

	"github.com/skep-gitops/skep/alerting"
	"github.com/skep-gitops/skep/operator"
)

// rooted is c with every file that it names made absolute, starting at dir.
func rooted(c config, dir string) config {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	root(reflect.ValueOf(&c).Elem(), dir)
	return c
}

// root makes the fields with a file tag absolute. Slices are shared with the
// caller's value: parseConfig's, which nobody else holds.
func root(v reflect.Value, dir string) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			root(v.Index(i), dir)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Tag.Get("file") == "" {
				root(f, dir)
				continue
			}
			if f.String() != "" && !filepath.IsAbs(f.String()) {
				f.SetString(filepath.Join(dir, f.String()))
			}
		}
	}
}

// operatorConfig is what the operator needs of c; what goes wrong with an
// Alertmanager goes to log. It fails where an Alertmanager's certificates cannot
// be read.
func operatorConfig(c config, log *slog.Logger) (operator.Config, error) {
	out := operator.Config{
		Cluster:  c.Cluster,
		Instance: c.Instance,
		Version:  version,
		Cache:    c.Cache,
		Interval: time.Duration(c.Interval),
		Alerts:   alerting.Options{External: c.Labels, URL: c.URL, Log: log},
	}
	for i, a := range c.Alertmanagers {
		p, err := peer(a)
		if err != nil {
			return operator.Config{}, fmt.Errorf("alertmanagers[%d]: %w", i, err)
		}
		out.Alerts.Peers = append(out.Alerts.Peers, p)
	}
	for _, t := range c.Tenants {
		out.Tenants = append(out.Tenants, operatorTenant(t))
	}
	return out, nil
}

func operatorTenant(t tenant) operator.Tenant {
	out := operator.Tenant{
		Name:           t.Name,
		Repo:           t.Repo,
		Branch:         t.Branch,
		Tag:            t.Tag,
		Path:           path.Clean(t.Path),
		Username:       t.Username,
		PasswordFile:   t.PasswordFile,
		TokenFile:      t.TokenFile,
		CAFile:         t.CAFile,
		SSHKeyFile:     t.SSHKeyFile,
		KnownHostsFile: t.KnownHostsFile,
		AgeKeyFile:     t.AgeKeyFile,
		Environment:    t.Environment,
		Variables:      t.Variables,
		Profiles:       t.Profiles,
		Prefix:         t.Prefix,
		Stacks:         t.Stacks,
		Prune:          t.Prune,
		Drift:          t.Drift,
		Adopt:          t.Adopt,
		Resolve:        t.Resolve,
		Labels:         t.Labels,
	}
	for _, r := range t.Registries {
		out.Registries = append(out.Registries, operator.Registry{Host: r.Host, Username: r.Username, PasswordFile: r.PasswordFile})
	}
	return out
}

// peer is an Alertmanager with a client that reads its credentials again at
// each request.
func peer(a alertmanager) (alerting.Peer, error) {
	client, err := httpClient(a)
	if err != nil {
		return alerting.Peer{}, err
	}
	return alerting.Peer{URL: strings.TrimSuffix(a.URL, "/"), DNS: a.DNS, Client: client}, nil
}

func httpClient(a alertmanager) (*http.Client, error) {
	c := promconfig.HTTPClientConfig{
		EnableHTTP2: true,
		TLSConfig: promconfig.TLSConfig{
			CAFile:             a.TLS.CAFile,
			CertFile:           a.TLS.CertFile,
			KeyFile:            a.TLS.KeyFile,
			ServerName:         a.TLS.ServerName,
			InsecureSkipVerify: a.TLS.InsecureSkipVerify,
		},
	}
	if a.BasicAuth.PasswordFile != "" {
		c.BasicAuth = &promconfig.BasicAuth{Username: a.BasicAuth.Username, PasswordFile: a.BasicAuth.PasswordFile}
	}
	if a.Authorization.CredentialsFile != "" {
		c.Authorization = &promconfig.Authorization{Type: a.Authorization.Type, CredentialsFile: a.Authorization.CredentialsFile}
	}
	if a.OAuth2.ClientSecretFile != "" {
		c.OAuth2 = &promconfig.OAuth2{
			ClientID:         a.OAuth2.ClientID,
			ClientSecretFile: a.OAuth2.ClientSecretFile,
			TokenURL:         a.OAuth2.TokenURL,
			Scopes:           a.OAuth2.Scopes,
			EndpointParams:   a.OAuth2.EndpointParams,
			TLSConfig:        c.TLSConfig,
		}
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return alerting.NewHTTPClient(c, a.URL)
}
