package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skep-gitops/skep/e2e/lab"
)

// authority is a private one that signs a certificate for localhost and am.lab.
func authority(t *testing.T) (ca []byte, leaf tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(t, err)
		if by == nil {
			by = key
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		check(t, err)
		return der, key
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, key := sign(root, root, nil)
	own := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"localhost", "am.lab"}, KeyUsage: x509.KeyUsageDigitalSignature}
	leafDER, leafKey := sign(own, root, key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), tls.Certificate{Certificate: [][]byte{leafDER}, PrivateKey: leafKey}
}

// gate is a real Alertmanager behind TLS and a check of the Authorization header.
type gate struct {
	am   *lab.Alertmanager
	port string

	mu     sync.Mutex // guards the rest
	want   string     // the header; empty: none is asked for
	client string     // of OAuth 2.0: the secret that /token asks for
	tokens int        // that were given out
}

func newGate(t *testing.T, leaf tls.Certificate) *gate {
	t.Helper()
	am, err := lab.NewAlertmanager(t.TempDir(), "127.0.0.1:0")
	check(t, err)
	t.Cleanup(am.Stop)
	to, err := url.Parse(am.URL)
	check(t, err)
	g := &gate{am: am}
	next := httputil.NewSingleHostReverseProxy(to)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			g.token(w, r)
		case g.admits(r):
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "refused: "+r.Header.Get("Authorization"), http.StatusUnauthorized) // a careless server quotes it
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused handshake is part of the test
	s.TLS = &tls.Config{Certificates: []tls.Certificate{leaf}}
	s.StartTLS()
	t.Cleanup(s.Close)
	_, g.port, _ = strings.Cut(s.Listener.Addr().String(), ":")
	return g
}

func (g *gate) admits(r *http.Request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.want == "" || r.Header.Get("Authorization") == g.want
}

// token gives a token that replaces the one before.
func (g *gate) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id, secret, _ := r.BasicAuth(); id != "skep" || secret != g.client || r.FormValue("grant_type") != "client_credentials" {
		http.Error(w, `{"error": "invalid_client"}`, http.StatusUnauthorized)
		return
	}
	g.tokens++
	token := fmt.Sprintf("token-%d-of-%s", g.tokens, g.client)
	g.want = "Bearer " + token
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token": %q, "token_type": "bearer", "expires_in": 3600}`, token)
}

// accept makes secret the only one that opens the gate; what was given out
// before is worth nothing.
func (g *gate) accept(way, secret string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch way {
	case "basic":
		r := http.Request{Header: http.Header{}}
		r.SetBasicAuth("skep", secret)
		g.want = r.Header.Get("Authorization")
	case "bearer":
		g.want = "Bearer " + secret
	case "oauth":
		g.client, g.want = secret, "nothing yet"
	}
}

// TestAlertmanagerBehindTLS has one peer for each way to log in, all of them
// behind a private authority: nothing arrives while the files are wrong, and
// everything once they are mended, without a restart.
func TestAlertmanagerBehindTLS(t *testing.T) {
	t.Parallel()
	ca, leaf := authority(t)
	other, _ := authority(t)
	dir := t.TempDir()
	ways := map[string]string{ // how skep.yml spells each; %s: port
		"basic":  "https://127.0.0.1:%s\n    tls_config: {ca_file: DIR/ca, server_name: am.lab}\n    basic_auth: {username: skep, password_file: DIR/basic}",
		"bearer": "https://localhost:%s\n    tls_config: {ca_file: DIR/ca}\n    authorization: {credentials_file: DIR/bearer}",
		"oauth":  "https://localhost:%[1]s\n    tls_config: {ca_file: DIR/ca}\n    oauth2: {client_id: skep, client_secret_file: DIR/oauth, token_url: 'https://localhost:%[1]s/token', scopes: [alerts]}",
		"name":   "https://localhost:%s\n    dns: localhost\n    tls_config: {ca_file: DIR/ca-name}",
	}
	complaint := map[string]string{"basic": "answers 401", "bearer": "answers 401", "oauth": "the server answers 401", "name": "certificate signed by unknown authority"}
	put(t, dir, "ca", ca)
	put(t, dir, "ca-name", other)
	gates, planted, peers := map[string]*gate{}, map[string]string{}, []string{}
	for way, text := range ways {
		g := newGate(t, leaf)
		gates[way] = g
		secret := "right-" + unique() + unique()
		g.accept(way, secret)
		planted[way], planted["wrong "+way] = secret, "wrong-"+unique()+unique()
		put(t, dir, way, []byte(planted["wrong "+way]+"\n"))
		peers = append(peers, strings.ReplaceAll(fmt.Sprintf(text, g.port), "DIR", dir))
	}
	tn := newTenant(t, options{am: strings.Join(peers, "\n  - url: ")})
	tn.push("broken", map[string]string{"web/stack.yml": "services: [\n"})
	tn.start()
	pid := tn.skep.Pid()
	for way, g := range gates {
		tn.eventually("the log complains of "+way, func() (bool, string) {
			for line := range strings.Lines(tn.skep.Output()) {
				if strings.Contains(line, ":"+g.port+`"`) && strings.Contains(line, "does not take alerts") && strings.Contains(line, complaint[way]) {
					return true, ""
				}
			}
			return false, tail(tn.skep.Output(), 2000)
		})
		if list, err := lab.Alerts(t.Context(), g.am.URL, tn.name); err != nil || len(list) > 0 {
			t.Errorf("%s: alerts behind a gate that is closed: %v %v", way, list, err)
		}
	}
	tn.eventually("skep status complains of each", func() (bool, string) {
		out := tn.verb("status")
		for way := range gates {
			if !strings.Contains(out, complaint[way]) {
				return false, out
			}
		}
		return true, ""
	})
	tn.eventually("the metrics count what failed", func() (bool, string) {
		b, err := tn.skep.Get(t.Context(), "/metrics")
		tn.must(err)
		for _, g := range gates {
			if !failed(string(b), g.port) {
				return false, string(b)
			}
		}
		return true, ""
	})

	for way := range gates {
		put(t, dir, way, []byte(planted[way]+"\n"))
	}
	put(t, dir, "ca-name", ca)
	everywhere := func(n int) {
		t.Helper()
		for way, g := range gates {
			tn.eventually(fmt.Sprintf("%d alerts by way of %s", n, way), func() (bool, string) {
				list, err := lab.Firing(t.Context(), g.am.URL, tn.name)
				return err == nil && len(list) == n, fmt.Sprint(list, err)
			})
		}
	}
	everywhere(1)

	for way, g := range gates { // the secrets rotate
		planted["next "+way] = "next-" + unique() + unique()
		g.accept(way, planted["next "+way])
		put(t, dir, way, []byte(planted["next "+way]))
	}
	tn.push("another one", map[string]string{"api/stack.yml": "services: [\n"})
	everywhere(2)
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain("deploy: {replicas: 0}")}, "api")
	tn.live("web", fixed)
	everywhere(0)
	if tn.skep.Pid() != pid {
		t.Error("the operator was restarted")
	}
	if n := strings.Count(tn.skep.Output(), "takes alerts again"); n < len(gates) {
		t.Errorf("the log tells the end of it %d times, want once for each of %d", n, len(gates))
	}
	metrics, err := tn.skep.Get(t.Context(), "/metrics")
	tn.must(err)
	status, err := tn.skep.Get(t.Context(), "/api/v1/status")
	tn.must(err)
	for where, text := range map[string][]byte{"the log": []byte(tn.skep.Output()), "the metrics": metrics, "the status": status} {
		tn.clean(where, text, planted)
	}
}

// failed says that the metrics count failures of the peer at a port.
func failed(metrics, port string) bool {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "skep_alertmanager_failed_total{") && strings.Contains(line, ":"+port) {
			return !strings.HasSuffix(strings.TrimSpace(line), " 0")
		}
	}
	return false
}
