package alerting

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	promconfig "github.com/prometheus/common/config"
)

// canary is the credential that no error may show.
const canary = "c4n4ry"

// postOnce posts one alert to a peer.
func postOnce(t *testing.T, p Peer, timeout time.Duration) error {
	t.Helper()
	c, err := New(Options{Peers: []Peer{p}, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	post := newPoster(c.targets[0], c.options)
	defer post.close()
	now := time.Now()
	a, _ := clean(firing("A")[0], nil, now)
	return post.post(t.Context(), c.payload([]*item{{entry: &entry{alert: a}}}, now))
}

func TestAnswers(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a redirect was followed, with %q", r.Header.Get("Authorization"))
	}))
	defer elsewhere.Close()
	for about, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"ok":          {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/json") }, ""},
		"no content":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, ""},
		"html of 502": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); fmt.Fprint(w, "<html>") }, "answers 502"},
		"not allowed": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "check the credentials"},
		"wrong path":  {http.NotFound, "check the URL's path"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "give the final URL"},
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			fmt.Fprint(w, `"invalid\nlabel set"`)
		}, "refused: invalid label set"},
		"an endless answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}, ""},
		"an endless error": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(500)
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 32<<10)); err != nil {
					return
				}
			}
		}, "answers 500: xxx"},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.handler)
			defer s.Close()
			err := postOnce(t, Peer{URL: strings.Replace(s.URL, "://", "://u:"+canary+"@", 1)}, 30*time.Second)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), canary) || len(err.Error()) > 400) {
				t.Errorf("error of %d bytes: %v", len(err.Error()), err)
			}
		})
	}
}

func TestNoAnswer(t *testing.T) {
	stop := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}))
	defer slow.Close()
	defer close(stop)
	err := postOnce(t, Peer{URL: slow.URL}, 50*time.Millisecond)
	if err == nil || err.Error() != "does not answer in time" {
		t.Errorf("slow: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = postOnce(t, Peer{URL: "http://u:" + canary + "@" + l.Addr().String()}, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), canary) {
		t.Errorf("closed: %v", err)
	}
}

// seen is a server that keeps the Authorization of each request.
type seen struct {
	*httptest.Server
	mu   sync.Mutex
	auth []string
}

func newSeen(t *testing.T) *seen {
	s := &seen{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.auth = append(s.auth, r.Header.Get("Authorization"))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *seen) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.auth) == 0 {
		return "nothing"
	}
	return s.auth[len(s.auth)-1]
}

func write(t *testing.T, file, content string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCredentialFilesAreReadAgain(t *testing.T) {
	s := newSeen(t)
	file := filepath.Join(t.TempDir(), "secret")
	for about, c := range map[string]struct {
		config promconfig.HTTPClientConfig
		want   func(string) string
	}{
		"basic auth": {promconfig.HTTPClientConfig{BasicAuth: &promconfig.BasicAuth{Username: "u", PasswordFile: file}}, func(p string) string {
			r := httptest.NewRequest("GET", "/", nil)
			r.SetBasicAuth("u", p)
			return r.Header.Get("Authorization")
		}},
		"bearer": {promconfig.HTTPClientConfig{Authorization: &promconfig.Authorization{CredentialsFile: file}}, func(p string) string { return "Bearer " + p }},
	} {
		client, err := NewHTTPClient(c.config, s.URL)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"one", "two"} {
			write(t, file, p+"\n")
			if err := postOnce(t, Peer{URL: s.URL, Client: client}, time.Minute); err != nil || s.last() != c.want(p) {
				t.Errorf("%s: got %q, %v, want %q", about, s.last(), err, c.want(p))
			}
		}
		os.Remove(file)
		if err := postOnce(t, Peer{URL: s.URL, Client: client}, time.Minute); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: without the file: %v", about, err)
		}
	}
}

func TestOAuth(t *testing.T) {
	s := newSeen(t)
	var asked atomic.Int32
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "token-for-%s-%s", "token_type": "bearer", "expires_in": 3600}`, secret, r.FormValue("audience"))
	}))
	defer tokens.Close()
	file := filepath.Join(t.TempDir(), "secret")
	client, err := NewHTTPClient(promconfig.HTTPClientConfig{OAuth2: &promconfig.OAuth2{ClientID: "skep", ClientSecretFile: file, TokenURL: tokens.URL, EndpointParams: map[string]string{"audience": "am"}}}, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"one", "one", "two"} {
		write(t, file, secret+"\n")
		err := postOnce(t, Peer{URL: s.URL, Client: client}, time.Minute)
		if want := "Bearer token-for-" + secret + "-am"; err != nil || s.last() != want {
			t.Errorf("got %q, %v, want %q", s.last(), err, want)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked for %d tokens, want one for each secret", n)
	}
}

// A token's server that redirects never sees the secret arrive elsewhere, and
// what it says never shows.
func TestOAuthIsBounded(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the secret was sent on: %v", r.Header)
	}))
	defer elsewhere.Close()
	for about, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "the server answers 307"},
		"an echo": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(401)
			_, secret, _ := r.BasicAuth()
			fmt.Fprintf(w, "wrong secret: %s", secret)
		}, "the server answers 401"},
		"an empty token": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, canary) }, "holds no token"},
		"an endless answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for {
				if _, err := io.WriteString(w, strings.Repeat(" ", 32<<10)); err != nil {
					return
				}
			}
		}, "oauth2 token"},
	} {
		t.Run(about, func(t *testing.T) {
			t.Parallel()
			tokens := httptest.NewServer(c.handler)
			defer tokens.Close()
			u := strings.Replace(tokens.URL, "://", "://u:"+canary+"@", 1) + "/?k=" + canary
			client, err := NewHTTPClient(promconfig.HTTPClientConfig{OAuth2: &promconfig.OAuth2{ClientID: "skep", ClientSecret: canary, TokenURL: u}}, "http://127.0.0.1:1")
			if err != nil {
				t.Fatal(err)
			}
			err = postOnce(t, Peer{URL: "http://127.0.0.1:1", Client: client}, time.Minute)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	client, err := NewHTTPClient(promconfig.HTTPClientConfig{OAuth2: &promconfig.OAuth2{ClientID: "skep", TokenURL: "http://127.0.0.1:1"}}, "http://am")
	if err != nil {
		t.Fatal(err)
	}
	if got := client.Transport.(*oauth).client.Timeout; got != tokenTimeout {
		t.Errorf("the request for a token has a deadline of %v", got)
	}
}

// A name's addresses show certificates for the name.
func TestTLSOfANamesAddresses(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a refused handshake is what we ask for
	s.StartTLS()
	defer s.Close()
	ca := write(t, filepath.Join(t.TempDir(), "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"example.com": true, "other.example.org": false} {
		peer := "https://" + net.JoinHostPort(name, u.Port())
		ours, err := NewHTTPClient(promconfig.HTTPClientConfig{TLSConfig: promconfig.TLSConfig{CAFile: ca}}, peer)
		if err != nil {
			t.Fatal(err)
		}
		for about, client := range map[string]*http.Client{"of the configuration": ours, "plain": s.Client()} {
			tg, err := newTarget(Peer{URL: peer, DNS: "tasks." + name, Client: client})
			if err != nil {
				t.Fatal(err)
			}
			tg = tg.at("127.0.0.1")
			err = postOnce(t, Peer{URL: tg.url.String(), Client: tg.client}, time.Minute)
			if (err == nil) != ok {
				t.Errorf("client %s, %s: %v", about, name, err)
			}
		}
	}
}

func TestConfigurationThatIsRefused(t *testing.T) {
	for about, c := range map[string]promconfig.HTTPClientConfig{
		"two kinds":   {BasicAuth: &promconfig.BasicAuth{}, Authorization: &promconfig.Authorization{}},
		"no CA file":  {TLSConfig: promconfig.TLSConfig{CAFile: "/does/not/exist"}},
		"grant type":  {OAuth2: &promconfig.OAuth2{ClientID: "a", TokenURL: "http://b", GrantType: "urn:ietf:params:oauth:grant-type:jwt-bearer"}},
		"no token":    {OAuth2: &promconfig.OAuth2{ClientID: "a"}},
		"secret refs": {OAuth2: &promconfig.OAuth2{ClientID: "a", TokenURL: "http://b", ClientSecretRef: "x"}},
	} {
		if _, err := NewHTTPClient(c, "http://am"); err == nil {
			t.Errorf("%s: accepted", about)
		}
	}
}
