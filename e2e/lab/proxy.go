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
	"slices"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/swarm"
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
	api    string                   // instead of the engine's own; empty: its own
	nodes  func([]swarm.Node) []swarm.Node
	asked  map[string]swarm.ServiceSpec // what each service was last written as, by name
	calls  int
	writes []string
	bodies []string // of the writes
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

// Pretend makes the engine speak another version of the API than its own, and
// list its nodes as f gives them. Of what the engine does not know it keeps a
// mount's subpath and a health check's start interval, as a newer one does.
func (p *Proxy) Pretend(api string, f func([]swarm.Node) []swarm.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.api, p.nodes = api, f
}

// Before and After set what is called around the n-th write (from 1 on).
func (p *Proxy) Before(f func(n int, call string)) { p.mu.Lock(); defer p.mu.Unlock(); p.before = f }

// After is called when the n-th write was answered by the engine, before the
// operator gets the answer.
func (p *Proxy) After(f func(n int, call string)) { p.mu.Lock(); defer p.mu.Unlock(); p.after = f }

// Reset forgets the counts.
func (p *Proxy) Reset() { p.mu.Lock(); defer p.mu.Unlock(); p.calls, p.writes, p.bodies = 0, nil, nil }

// Calls is the number of calls since Reset.
func (p *Proxy) Calls() int { p.mu.Lock(); defer p.mu.Unlock(); return p.calls }

// Writes are the writes since Reset: method and path without the version.
func (p *Proxy) Writes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.writes...)
}

// Bodies are what the writes since Reset asked, one for each of Writes.
func (p *Proxy) Bodies() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.bodies...)
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	var body []byte
	if write {
		body, _ = io.ReadAll(r.Body) // one that breaks off is passed on as far as it came
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	p.mu.Lock()
	down := p.down
	p.calls++
	call := r.Method + " " + bare(r.URL.Path)
	if write {
		p.writes, p.bodies = append(p.writes, call), append(p.bodies, string(body))
		p.remember(call, body)
	}
	n, before := len(p.writes), p.before
	if p.api != "" && bare(r.URL.Path) != r.URL.Path {
		r.URL.Path = "/v" + engineAPI + bare(r.URL.Path)
	}
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

// remember keeps what a service is written as. p.mu is held.
func (p *Proxy) remember(call string, body []byte) {
	var s swarm.ServiceSpec
	if p.api == "" || !strings.HasPrefix(call, "POST /services/") || json.Unmarshal(body, &s) != nil {
		return
	}
	if p.asked == nil {
		p.asked = map[string]swarm.ServiceSpec{}
	}
	p.asked[s.Name] = s
}

// recall gives a service back what the engine dropped of it.
func (p *Proxy) recall(s *swarm.Service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked, live := p.asked[s.Spec.Name].TaskTemplate.ContainerSpec, s.Spec.TaskTemplate.ContainerSpec
	if asked == nil || live == nil {
		return
	}
	if asked.Healthcheck != nil && live.Healthcheck != nil {
		live.Healthcheck.StartInterval = asked.Healthcheck.StartInterval
	}
	for i := range live.Mounts {
		if i < len(asked.Mounts) && asked.Mounts[i].VolumeOptions != nil && live.Mounts[i].VolumeOptions != nil {
			live.Mounts[i].VolumeOptions.Subpath = asked.Mounts[i].VolumeOptions.Subpath
		}
	}
}

// engineAPI is what every engine that skep works with speaks.
const engineAPI = "1.41"

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
	api, nodes := p.api, p.nodes
	p.mu.Unlock()
	if api != "" {
		resp.Header.Set("Api-Version", api)
	}
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
	case nodes != nil && path == "/nodes":
		return edit(resp, func(b []byte) []byte { return changed(b, nodes) })
	case api != "" && path == "/services":
		return edit(resp, func(b []byte) []byte {
			return changed(b, func(list []swarm.Service) []swarm.Service {
				for i := range list {
					p.recall(&list[i])
				}
				return list
			})
		})
	case api != "" && strings.HasPrefix(path, "/services/"):
		return edit(resp, func(b []byte) []byte {
			return changed(b, func(s swarm.Service) swarm.Service { p.recall(&s); return s })
		})
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
	return changed(b, func(list []map[string]any) []map[string]any {
		return slices.DeleteFunc(list, func(n map[string]any) bool { return n["Scope"] == "swarm" })
	})
}

// changed is an answer as f changes it; one that is no T stays.
func changed[T any](b []byte, f func(T) T) []byte {
	var v T
	if json.Unmarshal(b, &v) != nil {
		return b
	}
	out, err := json.Marshal(f(v))
	if err != nil {
		return b
	}
	return out
}
