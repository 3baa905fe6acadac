package deploy

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/tlsconfig"
)

var _ Writer = (*client.Client)(nil)

// floor is the oldest Docker API that deploy works with: Engine 20.10.
const floor = "1.41"

// callTimeout bounds one call of the Docker API. A manager ends a call by itself
// after 20 seconds; its own words are better than ours.
const callTimeout = 25 * time.Second

// Connect makes a client for the engine that the environment names, as the
// docker command does: DOCKER_HOST (unix or tcp; else the default socket),
// DOCKER_CERT_PATH and DOCKER_TLS_VERIFY (tcp alone), and DOCKER_API_VERSION. It
// does not talk to the engine; the version is negotiated with the first call.
func Connect(getenv func(string) string) (*client.Client, error) {
	host := getenv(client.EnvOverrideHost)
	if strings.HasPrefix(host, "ssh://") {
		return nil, fmt.Errorf("%s=%s: ssh is not supported: forward the socket with `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock %s` and export %[1]s=unix:///tmp/docker.sock",
			client.EnvOverrideHost, host, strings.TrimPrefix(host, "ssh://"))
	}
	var opts []client.Opt
	if dir := getenv(client.EnvOverrideCertPath); dir != "" && host != "" && !strings.HasPrefix(host, "unix://") {
		opt, err := withTLS(dir, getenv(client.EnvTLSVerify) != "")
		if err != nil {
			return nil, err
		}
		opts = append(opts, opt)
	}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	version, err := withVersion(getenv(client.EnvOverrideAPIVersion))
	if err != nil {
		return nil, err
	}
	c, err := client.NewClientWithOpts(append(opts, version)...)
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	return c, nil
}

// withTLS makes the client present the certificate in dir, which holds ca.pem,
// cert.pem and key.pem.
func withTLS(dir string, verify bool) (client.Opt, error) {
	config, err := tlsconfig.Client(tlsconfig.Options{
		CAFile:             filepath.Join(dir, "ca.pem"),
		CertFile:           filepath.Join(dir, "cert.pem"),
		KeyFile:            filepath.Join(dir, "key.pem"),
		InsecureSkipVerify: !verify,
	})
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", client.EnvOverrideCertPath, dir, err)
	}
	return client.WithHTTPClient(&http.Client{
		Transport:     &http.Transport{TLSClientConfig: config, MaxIdleConns: 6, IdleConnTimeout: 30 * time.Second},
		CheckRedirect: client.CheckRedirect,
	}), nil
}

func withVersion(version string) (client.Opt, error) {
	if version == "" {
		return client.WithAPIVersionNegotiation(), nil
	}
	if err := checkVersion(version); err != nil {
		return nil, fmt.Errorf("%s: %w", client.EnvOverrideAPIVersion, err)
	}
	return client.WithVersion(version), nil
}

// checkVersion refuses an API that lacks what deploy needs.
func checkVersion(version string) error {
	if versions.LessThan(version, floor) {
		return fmt.Errorf("docker API %s is too old: Engine 20.10 (API %s) or newer is needed", version, floor)
	}
	return nil
}

// within makes one call with the time that a call may take.
func within[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(ctx)
}

// do is within for calls that answer with an error alone.
func do(ctx context.Context, call func(context.Context) error) error {
	_, err := within(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, call(ctx) })
	return err
}
