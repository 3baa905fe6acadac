// Package web shows the operator's status over HTTP: a JSON API for programs
// and metrics for Prometheus.
//
// Everything it serves is a view of operator.Status, which holds no spec and no
// secret. It is read-only, answers in bounded memory and time, and offers no
// profiling endpoint.
package web

import (
	"encoding/json"
	"net/http"

	"github.com/skep-gitops/skep/operator"
)

// bodyLimit is how much of a request's body is read at most: no route wants one.
const bodyLimit = 1 << 10

// New makes the handler for the API and the metrics. status is called once a
// request and may be called at the same time from many goroutines.
func New(status func() operator.Status) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/stacks", view(status, stacks))
	mux.HandleFunc("GET /api/v1/tenants", view(status, tenants))
	mux.HandleFunc("GET /api/v1/status", view(status, whole))
	mux.HandleFunc("GET /healthz", health(status))
	mux.Handle("GET /metrics", metrics(status))
	return http.MaxBytesHandler(guard(mux), bodyLimit)
}

// view serves one view of the status as JSON.
func view[T any](status func() operator.Status, of func(operator.Status) T) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.MarshalIndent(of(status()), "", "  ")
		if err != nil {
			http.Error(w, "status cannot be shown as JSON", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		// An error means that the client went away: nobody is left to tell.
		_, _ = w.Write(append(body, '\n'))
	}
}

// stacks is GET /api/v1/stacks: never null, and neither are the services of a stack.
func stacks(s operator.Status) []operator.StackStatus {
	out := make([]operator.StackStatus, 0, len(s.Stacks))
	for _, stack := range s.Stacks {
		stack.Services = filled(stack.Services)
		out = append(out, stack)
	}
	return out
}

// tenants is GET /api/v1/tenants.
func tenants(s operator.Status) []operator.TenantStatus { return filled(s.Tenants) }

// whole is GET /api/v1/status: all there is, with empty lists where nothing is.
func whole(s operator.Status) operator.Status {
	s.Stacks = stacks(s)
	s.Tenants = tenants(s)
	s.Orphans = filled(s.Orphans)
	s.Alerts = filled(s.Alerts)
	s.Peers = filled(s.Peers)
	return s
}

// filled is list, or an empty one for nil, which JSON would show as null.
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// health answers 200 while the configuration is loaded and the loop runs, else
// 503. A newer configuration that was refused, a tenant that fails or a swarm
// that cannot be read is no reason to replace the operator, so it stays 200.
func health(status func() operator.Status) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if !status().Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("not ready: the loop does not run\n"))
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}

// guard sets the headers that keep a browser from doing anything with an answer
// but show it.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
