package deploy_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/deploy"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		want string // in the error; empty: none
	}{
		"the default":        {nil, ""},
		"a unix socket":      {map[string]string{"DOCKER_HOST": "unix:///tmp/x.sock"}, ""},
		"tcp":                {map[string]string{"DOCKER_HOST": "tcp://192.0.2.1:2375"}, ""},
		"an API of old":      {map[string]string{"DOCKER_API_VERSION": "1.30"}, "Engine 20.10"},
		"a fixed API":        {map[string]string{"DOCKER_API_VERSION": "1.43"}, ""},
		"ssh":                {map[string]string{"DOCKER_HOST": "ssh://ann@host"}, "export DOCKER_HOST=unix:///tmp/docker.sock"},
		"no such folder":     {map[string]string{"DOCKER_HOST": "tcp://192.0.2.1:2376", "DOCKER_CERT_PATH": "/nowhere", "DOCKER_TLS_VERIFY": "1"}, "DOCKER_CERT_PATH=/nowhere"},
		"TLS on a socket":    {map[string]string{"DOCKER_CERT_PATH": "/nowhere", "DOCKER_TLS_VERIFY": "1"}, ""},
		"what is not an URL": {map[string]string{"DOCKER_HOST": "host"}, "docker client"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			got, err := deploy.Connect(func(k string) string { return c.env[k] })
			switch {
			case c.want == "" && (err != nil || got == nil):
				t.Errorf("got %v, want a client", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if v := c.env["DOCKER_API_VERSION"]; got != nil && v != "" && got.ClientVersion() != v {
				t.Errorf("got API %s, want %s", got.ClientVersion(), v)
			}
		})
	}
}

// TestConnectWithTLS talks to an engine that shows a certificate, with and
// without the authority that vouches for it.
func TestConnectWithTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.44")
		fmt.Fprint(w, `{"Name":"far"}`)
	}))
	t.Cleanup(server.Close)
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	fatal(t, err)
	dir := t.TempDir()
	for name, b := range map[string]*pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: server.Certificate().Raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: own.Certificate[0]},
		"key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		fatal(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600))
	}
	env := map[string]string{"DOCKER_HOST": strings.Replace(server.URL, "https://", "tcp://", 1), "DOCKER_CERT_PATH": dir, "DOCKER_TLS_VERIFY": "1"}
	c, err := deploy.Connect(func(k string) string { return env[k] })
	fatal(t, err)
	t.Cleanup(func() { c.Close() })
	info, err := c.Info(t.Context())
	if err != nil || info.Name != "far" {
		t.Errorf("got %q, %v; want the engine's answer", info.Name, err)
	}
	delete(env, "DOCKER_CERT_PATH")
	plain, err := deploy.Connect(func(k string) string { return env[k] })
	fatal(t, err)
	t.Cleanup(func() { plain.Close() })
	if _, err := plain.Info(t.Context()); err == nil {
		t.Error("got an answer without TLS, want an error")
	}
}
