package alerting

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// A name's addresses are looked up this often, and after a failed post, but not
// more often than that.
const (
	lookupEvery   = 30 * time.Second
	lookupAtMost  = 2 * time.Second
	lookupTimeout = 5 * time.Second
)

// target is where a Peer's alerts go: one address, or those of a name.
type target struct {
	url    *url.URL
	dns    string
	client *http.Client
}

func newTarget(p Peer) (target, error) {
	if p.URL == "" && p.DNS != "" {
		p.URL = "http://" + net.JoinHostPort(p.DNS, "9093")
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return target{}, errors.New("alertmanager: the URL cannot be parsed; it is like http://alertmanager:9093")
	}
	t := target{u, p.DNS, p.Client}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return target{}, fmt.Errorf("alertmanager %q: not an http or https URL with a host", t.shown())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return target{}, fmt.Errorf("alertmanager %q: a URL with a query or fragment is not supported", t.shown())
	}
	return t, nil
}

// shown is the URL without credentials.
func (t target) shown() string {
	u := *t.url
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// at is the target at one of its addresses.
func (t target) at(address string) target {
	u := *t.url
	u.Host = address
	if port := t.url.Port(); port != "" {
		u.Host = net.JoinHostPort(address, port)
	} else if ip := net.ParseIP(address); ip != nil && ip.To4() == nil {
		u.Host = "[" + address + "]"
	}
	return target{&u, "", named(t.client, t.url)}
}

// named checks certificates for the name that was configured, not for one of
// its addresses. A client of NewHTTPClient does so by itself.
func named(client *http.Client, u *url.URL) *http.Client {
	c := http.Client{}
	if client != nil {
		c = *client
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport
	}
	plain, ok := c.Transport.(*http.Transport)
	if !ok || u.Scheme != "https" {
		return &c
	}
	plain = plain.Clone()
	if plain.TLSClientConfig == nil {
		plain.TLSClientConfig = &tls.Config{}
	}
	if plain.TLSClientConfig.ServerName == "" {
		plain.TLSClientConfig.ServerName = u.Hostname()
	}
	c.Transport = plain
	return &c
}

// bounded is the target's client with a deadline, a bound on answers, and no
// redirects: they would carry the credentials elsewhere.
func (t target) bounded(timeout time.Duration) *http.Client {
	c := http.Client{}
	if t.client != nil {
		c = *t.client
	}
	if c.Transport == nil {
		c.Transport = http.DefaultTransport.(*http.Transport).Clone()
	}
	c.Transport = boundedTransport{c.Transport}
	c.Timeout = timeout
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// followName keeps a loop for each address of the target's name. While the name
// cannot be looked up, the loops there are go on.
func (c *client) followName(ctx context.Context, t target) {
	var wg sync.WaitGroup
	defer wg.Wait()
	again := make(chan struct{}, 1)
	failed := func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	stop := make(map[string]context.CancelFunc)
	for ctx.Err() == nil {
		addresses, err := c.lookup(ctx, t)
		if err == nil {
			for _, a := range addresses {
				if stop[a] != nil {
					continue
				}
				lctx, cancel := context.WithCancel(ctx)
				stop[a] = cancel
				wg.Go(func() { c.run(lctx, c.newLoop(t.at(a), failed)) })
			}
			for a, cancel := range stop {
				if !slices.Contains(addresses, a) {
					cancel()
					delete(stop, a)
				}
			}
		}
		pause(ctx, lookupAtMost)
		waitFor(ctx, again, lookupEvery-lookupAtMost)
	}
	for _, cancel := range stop {
		cancel()
	}
}

func waitFor(ctx context.Context, again <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-again:
	case <-timer.C:
	}
}

// lookup gives the addresses, at least one, and notes in Peers where it fails.
func (c *client) lookup(ctx context.Context, t target) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, err := c.resolve(ctx, t.dns)
	if err == nil && len(addresses) == 0 {
		err = errors.New("no address")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := target{url: t.url}.at(t.dns).shown()
	if err != nil {
		if _, known := c.names[name]; !known {
			c.options.Log.Warn("Alertmanager's name cannot be looked up", "url", name, "err", cut(err.Error()))
		}
		c.names[name] = cut(err.Error())
		return nil, err
	}
	if _, known := c.names[name]; known {
		c.options.Log.Info("Alertmanager's name can be looked up again", "url", name)
	}
	delete(c.names, name)
	return addresses, nil
}
