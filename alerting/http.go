package alerting

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	promconfig "github.com/prometheus/common/config"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// tokenTimeout is the deadline of one request for an OAuth 2.0 token.
const tokenTimeout = 10 * time.Second

// NewHTTPClient makes a peer's client of Prometheus' own configuration: basic
// auth, authorization, OAuth 2.0 client credentials, TLS, proxy. Files are read
// again when they change. Certificates are checked for the host of peerURL
// unless the configuration names another, so that the client serves all
// addresses of a name.
func NewHTTPClient(c promconfig.HTTPClientConfig, peerURL string) (*http.Client, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if u, err := url.Parse(peerURL); err == nil && c.TLSConfig.ServerName == "" {
		c.TLSConfig.ServerName = u.Hostname()
	}
	c.FollowRedirects = false
	o := c.OAuth2
	c.OAuth2 = nil
	client, err := promconfig.NewClientFromConfig(c, "alertmanager")
	if err != nil {
		return nil, err
	}
	if o == nil {
		return client, nil
	}
	client.Transport, err = newOAuth(*o, client.Transport)
	return client, err
}

// oauth adds a token to each request. The one of prometheus/common waits for the
// token's server without a deadline and follows it wherever it redirects, with
// the secret.
type oauth struct {
	config promconfig.OAuth2
	client *http.Client // for tokens
	next   http.RoundTripper

	mu     sync.Mutex // guards secret and tokens
	secret string
	tokens oauth2.TokenSource
}

func newOAuth(o promconfig.OAuth2, next http.RoundTripper) (http.RoundTripper, error) {
	if o.GrantType != "" && o.GrantType != "client_credentials" {
		return nil, fmt.Errorf("oauth2 grant_type %q is not supported, client_credentials is", o.GrantType)
	}
	if o.ClientSecretRef != "" {
		return nil, errors.New("oauth2 client_secret_ref is not supported, client_secret_file is")
	}
	transport, err := promconfig.NewRoundTripperFromConfig(promconfig.HTTPClientConfig{TLSConfig: o.TLSConfig, ProxyConfig: o.ProxyConfig}, "oauth2")
	if err != nil {
		return nil, err
	}
	client := &http.Client{
		Transport:     boundedTransport{transport},
		Timeout:       tokenTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &oauth{config: o, client: client, next: next}, nil
}

// RoundTrip sends the request with a token that is valid.
func (o *oauth) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := o.token()
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	token.SetAuthHeader(r)
	resp, err := o.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		o.forget(token) // it may have been revoked
	}
	return resp, err
}

// CloseIdleConnections lets http.Client reach the transports below.
func (o *oauth) CloseIdleConnections() {
	o.client.CloseIdleConnections()
	if c, ok := o.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (o *oauth) token() (*oauth2.Token, error) {
	secret, err := o.read()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokens == nil || secret != o.secret {
		o.secret, o.tokens = secret, o.source(secret)
	}
	token, err := o.tokens.Token()
	if err != nil {
		return nil, tokenError(err)
	}
	return token, nil
}

func (o *oauth) forget(token *oauth2.Token) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.tokens == nil {
		return
	}
	if t, err := o.tokens.Token(); err == nil && t.AccessToken == token.AccessToken {
		o.tokens = nil
	}
}

func (o *oauth) read() (string, error) {
	if o.config.ClientSecretFile == "" {
		return string(o.config.ClientSecret), nil
	}
	b, err := os.ReadFile(o.config.ClientSecretFile)
	if err != nil {
		return "", fmt.Errorf("oauth2 client_secret_file: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func (o *oauth) source(secret string) oauth2.TokenSource {
	c := clientcredentials.Config{
		ClientID:       o.config.ClientID,
		ClientSecret:   secret,
		TokenURL:       o.config.TokenURL,
		Scopes:         o.config.Scopes,
		EndpointParams: url.Values{},
	}
	for k, v := range o.config.EndpointParams {
		c.EndpointParams.Set(k, v)
	}
	return c.TokenSource(context.WithValue(context.Background(), oauth2.HTTPClient, o.client))
}

// tokenError keeps the status and the error code of what the token's server
// said, and not the text or the URL.
func tokenError(err error) error {
	var r *oauth2.RetrieveError
	if errors.As(err, &r) && r.Response != nil {
		return fmt.Errorf("oauth2 token: the server answers %d %s", r.Response.StatusCode, cut(r.ErrorCode))
	}
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("oauth2 token: %s", cut(u.Err.Error()))
	}
	return errors.New("oauth2 token: the server's answer holds no token")
}
