package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

// newClient is the http client of one mirror: its authorities, and its rule for redirects.
func newClient(r Remote) (*http.Client, error) {
	roots, err := authorities(r.CA)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    30 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
	}
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}, nil
}

// authorities are the system's roots and pem; nil stands for the system's alone.
func authorities(pem []byte) (*x509.CertPool, error) {
	if len(bytes.TrimSpace(pem)) == 0 {
		return nil, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without roots
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, faultf(CauseTLS, "ca_file takes one or more certificates in PEM", "the certificate authority's file holds no certificate")
	}
	return roots, nil
}

// checkRedirect follows up to five redirects and takes the credentials away
// where one leaves the scheme, host and port that they are for.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return faultf(CauseServer, "", "more than five redirects")
	}
	first := via[0].URL
	if req.URL.Scheme != "https" && req.URL.Scheme != first.Scheme {
		return faultf(CauseServer, "", "redirect from https to another scheme refused")
	}
	if !sameOrigin(first, req.URL) {
		req.Header.Del("Authorization")
	}
	req.Header.Del("Referer") // Go puts the URL there
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// httpSession is smart http: a GET for the refs, a POST for the pack.
type httpSession struct {
	client *http.Client
	origin *url.URL // the configured repository: where the credentials belong
	base   *url.URL // the same, or where a redirect of the first request led
	auth   string   // the Authorization header; may be empty
	other  string   // the same credentials in the other form; may be empty
	took   func()   // told when the server took the other form
}

func (m *mirror) dialHTTP() *httpSession {
	u := &url.URL{Scheme: m.address.scheme, Host: m.address.host}
	u = u.JoinPath(m.address.path)
	s := &httpSession{client: m.client, origin: u, base: u}
	user, password := m.login()
	switch {
	case m.remote.Token != "" && m.tokenIsPassword:
		s.auth = basic(user, m.remote.Token)
	case m.remote.Token != "":
		s.auth, s.other = "Bearer "+m.remote.Token, basic(user, m.remote.Token)
		s.took = func() { m.tokenIsPassword = true }
	case user != "" || password != "":
		s.auth = basic(user, password)
	}
	return s
}

// basic is the header for a user and password. Servers that take a token as the
// password want any user.
func basic(user, password string) string {
	if user == "" {
		user = "git"
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// login is the user and password to use; the remote's own go before the URL's.
func (m *mirror) login() (user, password string) {
	user, password = m.address.user, m.address.password
	if m.remote.Username != "" {
		user = m.remote.Username
	}
	if m.remote.Password != "" {
		password = m.remote.Password
	}
	return user, password
}

func (s *httpSession) refs(ctx context.Context) (*packp.AdvRefs, error) {
	const suffix = "/info/refs"
	u := s.base.JoinPath(suffix)
	u.RawQuery = "service=git-upload-pack"
	resp, err := s.do(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if path, ok := strings.CutSuffix(resp.Request.URL.Path, suffix); ok {
		s.base = &url.URL{Scheme: resp.Request.URL.Scheme, Host: resp.Request.URL.Host, Path: path}
	}
	if t := resp.Header.Get("Content-Type"); t != "application/x-git-upload-pack-advertisement" {
		return nil, faultf(CauseServer, "see that the URL is that of a git repository", "the server does not answer as a git server but with "+clean(t, 60))
	}
	adv, err := readRefs(resp.Body)
	if err == nil {
		_, _ = io.CopyN(io.Discard, resp.Body, 1<<10) // to the end, so that the connection serves again
	}
	return adv, err
}

func (s *httpSession) pack(ctx context.Context, request []byte) (io.ReadCloser, error) {
	resp, err := s.do(ctx, http.MethodPost, s.base.JoinPath("git-upload-pack"), request)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (s *httpSession) close() {}

// do sends one request and turns all but 200 into an error. A server that takes
// a token as a password only is asked a second time. The body of a refusal is
// not shown: it may repeat what was sent.
func (s *httpSession) do(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	resp, err := s.send(ctx, method, u, body)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && s.other != "" && sameOrigin(s.origin, resp.Request.URL) {
		_ = resp.Body.Close() // not read
		s.auth, s.other = s.other, ""
		resp, err = s.send(ctx, method, u, body)
		if err == nil && resp.StatusCode == http.StatusOK {
			s.took()
		}
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close() // not read
		return nil, s.refused(resp)
	}
	return resp, nil
}

func (s *httpSession) send(ctx context.Context, method string, u *url.URL, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL does not make a request")
	}
	req.Header.Set("User-Agent", "git/skep")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if s.auth != "" && sameOrigin(s.origin, u) {
		req.Header.Set("Authorization", s.auth)
	}
	return s.client.Do(req)
}

func (s *httpSession) refused(resp *http.Response) error {
	text := fmt.Sprintf("the server answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		if s.auth == "" {
			return faultf(CauseAuth, "give username and password_file, or token_file", text+": the repository needs credentials, or does not exist")
		}
		return faultf(CauseAuth, "see that the credentials are right, not expired, and may read this repository", text+": wrong credentials, or no such repository")
	case http.StatusNotFound, http.StatusGone:
		return faultf(CauseNotFound, "see that the URL is right and the credentials may read it", text+": no such repository")
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if after := clean(resp.Header.Get("Retry-After"), 40); after != "" {
			f := faultf(CauseServer, "it asks to come back after "+after, text)
			f.after = retryAfter(after, time.Now())
			return f
		}
	}
	return faultf(CauseServer, "", text)
}

// maxAfter is how long a server may ask to be left alone.
const maxAfter = time.Hour

// retryAfter reads a Retry-After: seconds, or a date (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	var d time.Duration
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		d = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxAfter)
}
