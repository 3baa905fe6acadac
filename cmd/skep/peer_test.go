package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// A token server that redirects does not make skep send its secret elsewhere.
func TestPeerKeepsItsSecret(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the secret was sent on: %s %s", r.Method, r.URL)
	}))
	defer elsewhere.Close()
	tokens := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer tokens.Close()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	var a alertmanager
	a.URL, a.OAuth2.ClientID, a.OAuth2.ClientSecretFile, a.OAuth2.TokenURL = elsewhere.URL, "skep", file, tokens.URL
	p, err := peer(a)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := p.Client.Get(a.URL); err == nil {
		resp.Body.Close()
		t.Errorf("status %s without a token", resp.Status)
	}
}
