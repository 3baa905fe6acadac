package alerting

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/go-openapi/runtime"
	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	api "github.com/prometheus/alertmanager/api/v2/client/alert"
	"github.com/prometheus/alertmanager/api/v2/models"
)

// maxBody is how much of an answer is read.
const maxBody = 64 << 10

// refusedError is a peer's word that at least one alert of a post is not valid.
// It may have stored the others.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// poster posts to one peer.
type poster struct {
	service api.ClientService
	client  *http.Client
	timeout time.Duration
}

func newPoster(t target, o Options) poster {
	client := t.bounded(o.Timeout)
	transport := openapi.NewWithClient(t.url.Host, path.Join("/", t.url.Path, "api/v2"), []string{t.url.Scheme}, client)
	transport.Consumers["*/*"] = runtime.TextConsumer() // what proxies answer
	if t.url.User != nil {
		password, _ := t.url.User.Password()
		transport.DefaultAuthentication = openapi.BasicAuth(t.url.User.Username(), password)
	}
	return poster{api.New(transport, strfmt.Default), client, o.Timeout}
}

// post sends the alerts. It gives a *refusedError where the peer finds fault
// with them, and any other error where it cannot be reached or is not well.
func (p poster) post(ctx context.Context, alerts models.PostableAlerts) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	_, err := p.service.PostAlerts(api.NewPostAlertsParamsWithContext(ctx).WithTimeout(p.timeout).WithAlerts(alerts))
	if err == nil {
		return nil
	}
	return postError(err)
}

func postError(err error) error {
	var bad *api.PostAlertsBadRequest
	if errors.As(err, &bad) {
		return &refusedError{"refused: " + cut(bad.Payload)}
	}
	var broken *api.PostAlertsInternalServerError
	if errors.As(err, &broken) {
		return fmt.Errorf("answers 500: %s", cut(broken.Payload))
	}
	var status *runtime.APIError
	if errors.As(err, &status) {
		return statusError(status.Code)
	}
	var u *url.Error // its text holds the URL
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("does not answer in time")
	}
	return errors.New(cut(err.Error()))
}

func statusError(code int) error {
	switch {
	case code/100 == 2:
		return nil
	case code == http.StatusRequestEntityTooLarge, code == http.StatusUnprocessableEntity:
		return &refusedError{fmt.Sprintf("refused with status %d", code)}
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return fmt.Errorf("answers %d: check the credentials", code)
	case code == http.StatusNotFound:
		return errors.New("answers 404: check the URL's path, it is what --web.route-prefix says")
	case code/100 == 3:
		return fmt.Errorf("answers %d, and redirects are not followed: give the final URL", code)
	}
	return fmt.Errorf("answers %d", code)
}

// cut is the start of a text of the peer's, on one line.
func cut(s string) string {
	return cleanValue(strings.Join(strings.Fields(s), " "), 300)
}

func (c *client) payload(items []*item, now time.Time) models.PostableAlerts {
	all := make(models.PostableAlerts, 0, len(items))
	for _, k := range items {
		ends := k.resolved
		if ends.IsZero() {
			ends = now.Add(c.options.Validity)
		}
		if ends.Before(k.alert.StartsAt) {
			ends = k.alert.StartsAt
		}
		all = append(all, &models.PostableAlert{
			Alert:       models.Alert{Labels: k.alert.Labels, GeneratorURL: strfmt.URI(c.generator)},
			Annotations: k.alert.Annotations,
			StartsAt:    strfmt.DateTime(k.alert.StartsAt),
			EndsAt:      strfmt.DateTime(ends),
		})
	}
	return all
}

func (p poster) close() { p.client.CloseIdleConnections() }

// boundedTransport reads no more of an answer than it must.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = boundedBody{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

// CloseIdleConnections lets http.Client reach the transport below.
func (t boundedTransport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type boundedBody struct {
	io.Reader
	body io.Closer
}

// Close reads what is left of a short answer, so that the connection is kept.
func (b boundedBody) Close() error {
	_, _ = io.Copy(io.Discard, b.Reader) // the answer is known; a failure only costs the connection
	return b.body.Close()
}
