package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
)

// Proxy stands between an operator and the Docker socket, counts what passes and
// misbehaves when told.
type Proxy struct {
	Host string // for DOCKER_HOST

	mu     sync.Mutex
	down   bool                     // answer nothing
	cut    bool                     // cut each list in half
	blind  bool                     // network lists lack the swarm's networks
	after  func(n int, call string) // called after the n-th write was answered
	before func(n int, call string) // called before the n-th write is passed on
	calls  int
	writes []string
	srv    *http.Server
}

// NewProxy listens on a socket at path and passes on to the engine's.
func NewProxy(path, engine string) (*Proxy, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	p := &Proxy{Host: "unix://" + path}
	rp := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "docker"})
	rp.FlushInterval = -1
	rp.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engine)
		},
	}
	rp.ModifyResponse = p.spoil
	rp.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	p.srv = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, rp) })}
	go p.srv.Serve(l) // ends with Close
	return p, nil
}

// Close ends the proxy.
func (p *Proxy) Close() error { return p.srv.Close() }

// Down makes every call fail without an answer, or ends that.
func (p *Proxy) Down(on bool) { p.mu.Lock(); defer p.mu.Unlock(); p.down = on }

// Cut makes every list end in the middle, or ends that.
func (p *Proxy) Cut(on bool) { p.mu.Lock(); defer p.mu.Unlock(); p.cut = on }

// Blind takes the swarm's networks out of network lists, as an engine without
// a leader does, or ends that.
func (p *Proxy) Blind(on bool) { p.mu.Lock(); defer p.mu.Unlock(); p.blind = on }

// Before and After set what is called around the n-th write (from 1 on).
func (p *Proxy) Before(f func(n int, call string)) { p.mu.Lock(); defer p.mu.Unlock(); p.before = f }

// After is called when the n-th write was answered by the engine, before the
// operator gets the answer.
func (p *Proxy) After(f func(n int, call string)) { p.mu.Lock(); defer p.mu.Unlock(); p.after = f }

// Reset forgets the counts.
func (p *Proxy) Reset() { p.mu.Lock(); defer p.mu.Unlock(); p.calls, p.writes = 0, nil }

// Calls is the number of calls since Reset.
func (p *Proxy) Calls() int { p.mu.Lock(); defer p.mu.Unlock(); return p.calls }

// Writes are the writes since Reset: method and path without the version.
func (p *Proxy) Writes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.writes...)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	p.mu.Lock()
	down, write := p.down, r.Method != http.MethodGet && r.Method != http.MethodHead
	p.calls++
	call := r.Method + " " + bare(r.URL.Path)
	if write {
		p.writes = append(p.writes, call)
	}
	n, before := len(p.writes), p.before
	p.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler) // the connection ends without an answer
	}
	if write && before != nil {
		before(n, call)
	}
	if write {
		r.Header.Set("X-Lab-Write", call)
	}
	next.ServeHTTP(w, r)
}

// bare is an API path without its version.
func bare(path string) string {
	if rest, ok := strings.CutPrefix(path, "/v1."); ok {
		if _, rest, ok = strings.Cut(rest, "/"); ok {
			return "/" + rest
		}
	}
	return path
}

// spoil changes answers as the proxy was told.
func (p *Proxy) spoil(resp *http.Response) error {
	p.mu.Lock()
	cut, blind, after, n := p.cut, p.blind, p.after, len(p.writes)
	p.mu.Unlock()
	path := bare(resp.Request.URL.Path)
	if resp.Request.Method != http.MethodGet && resp.Request.Method != http.MethodHead {
		if after != nil {
			after(n, resp.Request.Method+" "+path)
		}
		return nil
	}
	switch {
	case cut && lists[path]:
		return edit(resp, func(b []byte) []byte { return b[:len(b)/2] })
	case blind && path == "/networks":
		return edit(resp, localOnly)
	}
	return nil
}

var lists = map[string]bool{"/services": true, "/networks": true, "/secrets": true, "/configs": true, "/tasks": true, "/nodes": true}

func edit(resp *http.Response, f func([]byte) []byte) error {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body.Close()
	b = f(b)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	resp.ContentLength = int64(len(b))
	resp.Header.Del("Content-Length")
	return nil
}

func localOnly(b []byte) []byte {
	var list []map[string]any
	if json.Unmarshal(b, &list) != nil {
		return b
	}
	kept := []map[string]any{}
	for _, n := range list {
		if n["Scope"] != "swarm" {
			kept = append(kept, n)
		}
	}
	out, err := json.Marshal(kept)
	if err != nil {
		return b
	}
	return out
}
