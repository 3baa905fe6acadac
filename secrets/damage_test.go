package secrets_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/getsops/sops/v3"

	"github.com/skep-gitops/skep/secrets/sopstest"
)

const plainYAML = "db:\n    password: " + canary + "\n    user: app\nnote_unencrypted: hello\n"

func replace(old, with string) func(string) string {
	return func(s string) string { return regexp.MustCompile(old).ReplaceAllString(s, with) }
}

func TestDamage(t *testing.T) {
	me := newTenant(t)
	sealed := string(sopstest.Encrypt(t, "yaml", []byte(plainYAML), me.recipient))
	cases := []struct {
		about  string
		damage func(string) string
		words  string
	}{
		{"a changed plain value", replace("hello", "bye"), "does not match its MAC"},
		{"an added plain value", replace("note_un", "more_unencrypted: 1\nnote_un"), "does not match its MAC"},
		{"a removed value", replace(`(?m)^    user: .*\n`, ""), "does not match its MAC"},
		{"no MAC", replace(`(?m)^    mac: .*\n`, ""), "lost its MAC"},
		{"an empty MAC", replace(`(?m)^    mac: .*$`, `    mac: ""`), "lost its MAC"},
		{"a foreign MAC", replace(`mac: ENC.AES256_GCM,data:....`, "mac: ENC[AES256_GCM,data:AAAA"), "MAC that cannot be read"},
		{"another time", replace(`lastmodified: "\d+`, `lastmodified: "1999`), "MAC that cannot be read"},
		{"a changed ciphertext", replace(`password: ENC.AES256_GCM,data:....`, "password: ENC[AES256_GCM,data:AAAA"), `"db.password"`},
		{"a moved ciphertext", replace(`password: `, "secret: "), `"db.secret"`},
		{"a cut ciphertext", replace(`(password: ENC.{30}).*`, "$1"), `"db.password"`},
		{"a plain value for a secret", replace(`password: ENC.*`, "password: "+canary), `"db.password"`},
		{"a plain number for a secret", replace(`password: ENC.*`, "password: 12345678"), "holds a plain value"},
		{"no metadata", func(s string) string { return s[:strings.Index(s, "\nsops:")] }, "no sops metadata"},
		{"metadata that is no mapping", func(s string) string { return s[:strings.Index(s, "\nsops:")] + "\nsops: 1\n" }, "damaged"},
		{"no keys", replace(`(?s)    age:.*?    lastmodified`, "    lastmodified"), "damaged"},
		{"no time", replace(`(?m)^    lastmodified: .*$`, ""), "damaged"},
		{"a broken data key", replace(`(?m)^            [A-Za-z0-9+/]{20,}.*$`, "            AAAA"), "cannot be opened"},
		{"cut in a value", replace(`(?s)(password: ENC.AES256_GCM,data:....).*`, "$1"), "metadata"},
		{"a tab", replace(`    user`, "\tuser"), "damaged near line"},
		{"a key twice", replace(`    user`, "    password: "+canary+"\n    user"), "damaged"},
		{"an alias", replace(`note_unencrypted: hello`, "note_unencrypted: &a hello\nx_unencrypted: *a"), "aliases"},
		{"a secret with neither MAC nor ciphertext", func(s string) string {
			return replace(`ENC\[[^\]]*\]`, `"`+canary+`"`)(s)
		}, "plain value at key"},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			bad := c.damage(sealed)
			if bad == sealed {
				t.Fatal("the damage changed nothing")
			}
			_, _, err := read(me.Keyring, "db.yaml", []byte(bad))
			refused(t, err, "db.yaml", c.words)
			_, err = fs.ReadFile(me.FS(fstest.MapFS{"db.yaml": {Data: []byte(bad)}}), "db.yaml")
			refused(t, err, c.words)
			_, err = fs.Stat(me.FS(fstest.MapFS{"db.yaml": {Data: []byte(bad)}}), "db.yaml")
			refused(t, err, c.words)
		})
	}
}

// Wherever a file ends or a byte differs, no ciphertext passes for content.
func TestCutAnywhere(t *testing.T) {
	me := newTenant(t)
	for name, plain := range map[string]string{"a.yaml": "a: " + canary + "\n", "a.json": `{"a": "` + canary + `"}`, "a.env": "A=" + canary + "\n", "a.ini": "[s]\na = " + canary + "\n", "a": canary} {
		sealed := sopstest.Encrypt(t, name, []byte(plain), me.recipient)
		for end := 0; end < len(sealed); end += 17 {
			got, _, err := read(me.Keyring, name, sealed[:end])
			if err != nil {
				refused(t, err)
				continue
			}
			if strings.Contains(got, "ENC[AES256_GCM,data:") && !strings.HasSuffix(got, "data:") {
				t.Fatalf("%s cut after %d bytes passes:\n%s", name, end, got)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	me, other := newTenant(t), newTenant(t)
	many := func(n int, recipient string) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = recipient
		}
		return all
	}
	groups := func(n int) func(*sops.Metadata) {
		return func(m *sops.Metadata) {
			m.ShamirThreshold = 2
			for range n {
				m.KeyGroups = append(m.KeyGroups, sopstest.Group(t, me.recipient))
			}
		}
	}
	rule := func(regex string) func(*sops.Metadata) {
		return func(m *sops.Metadata) {
			m.KeyGroups = []sops.KeyGroup{sopstest.Group(t, me.recipient)}
			m.UnencryptedSuffix, m.EncryptedRegex = "", regex
		}
	}
	sealed := sopstest.Encrypt(t, "yaml", []byte(plainYAML), me.recipient)
	leaves := strings.Repeat("- 1\n", 10_001)
	cases := []struct {
		about, name string
		sealed      []byte
		words       string
	}{
		{"more than five megabytes", "a", sopstest.Encrypt(t, "binary", bytes.Repeat([]byte("x"), 4<<20), me.recipient), "larger than 5 MiB"},
		{"a thousand recipients", "a", sopstest.Encrypt(t, "binary", []byte(canary), many(1000, other.recipient)...), "1000 keys"},
		{"too many key groups", "a.yaml", sopstest.EncryptWith(t, "yaml", []byte(plainYAML), groups(60)), "60 groups"},
		{"too many values", "a.yaml", sopstest.EncryptWith(t, "yaml", []byte("a_unencrypted:\n"+leaves), func(m *sops.Metadata) {
			m.KeyGroups = []sops.KeyGroup{sopstest.Group(t, me.recipient)}
		}), ""},
		{"a huge regular expression", "a.yaml", sopstest.EncryptWith(t, "yaml", []byte(plainYAML), rule("db|(a{900}){1}b{900}")), "too complex"},
		{"ten thousand times one key", "a.yaml", append([]byte(strings.Repeat("z: 1\n", 10_000)), sealed...), "stands twice"},
		{"many keys behind carriage returns", "a.yaml", append([]byte(strings.Repeat("z: 1\r", 100_000)), sealed...), "too many parts"},
		{"deep flow mappings", "a.yaml", append([]byte("z: "+strings.Repeat("{a: ", 9000)+strings.Repeat("}", 9000)+"\n"), sealed...), "too many parts"},
		{"encrypted twice", "a", sopstest.Encrypt(t, "binary", sopstest.Encrypt(t, "binary", []byte(canary), me.recipient), me.recipient), "encrypted twice"},
		{"deep JSON", "a.json", []byte(`{"sops": {"x": "ENC[AES256_GCM,data:AA"}, "a":` + strings.Repeat(`{"a":`, 500_000)), "not valid JSON"},
		{"deep dotenv metadata", "a.env", []byte("A=ENC[AES256_GCM,data:AA\nsops_a" + strings.Repeat("__map_a", 500_000) + "=1\n"), "too deep"},
	}
	for _, c := range cases {
		t.Run(c.about, func(t *testing.T) {
			t.Parallel()
			_, _, err := read(me.Keyring, c.name, c.sealed)
			d := refused(t, err, c.words)
			if n := len(d.Recipients); n > 11 {
				t.Errorf("the error lists %d recipients", n)
			}
		})
	}
}

// A second document's aliases would grow without a bound.
func TestAliasBomb(t *testing.T) {
	me := newTenant(t)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'l'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat(fmt.Sprintf("*%c,", c-1), 10))
	}
	sealed := append(sopstest.Encrypt(t, "yaml", []byte(plainYAML), me.recipient), "---\n"+bomb...)
	_, _, err := read(me.Keyring, "a.yaml", sealed)
	refused(t, err, "aliases")
}

func TestKeyGroups(t *testing.T) {
	a, b := newTenant(t), newTenant(t)
	sealed := sopstest.EncryptWith(t, "binary", []byte(canary), func(m *sops.Metadata) {
		m.ShamirThreshold = 2
		m.KeyGroups = []sops.KeyGroup{sopstest.Group(t, a.recipient), sopstest.Group(t, a.recipient, b.recipient), sopstest.Group(t, b.recipient)}
	})
	if got, _, err := read(a.Keyring, "p", sealed); got != canary || err != nil {
		t.Errorf("two of three groups: got %q, %v", got, err)
	}
	one := sopstest.EncryptWith(t, "binary", []byte(canary), func(m *sops.Metadata) {
		m.ShamirThreshold = 2
		m.KeyGroups = []sops.KeyGroup{sopstest.Group(t, a.recipient), sopstest.Group(t, b.recipient)}
	})
	_, _, err := read(a.Keyring, "p", one)
	refused(t, err, "2 of its 2 key groups")
}

// A tenant's file names a Vault, a KMS and a PGP key: nothing is called, nothing
// is run, with or without an age key beside them.
func TestOtherKeyServicesAreNeverUsed(t *testing.T) {
	var calls atomic.Int32
	vault := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	vault.Config.ConnState = func(net.Conn, http.ConnState) { calls.Add(1) }
	defer vault.Close()
	bin := t.TempDir()
	ran := filepath.Join(bin, "ran")
	for _, program := range []string{"gpg", "age-plugin-x", "aws"} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("VAULT_TOKEN", canary)
	t.Setenv("VAULT_ADDR", vault.URL)
	t.Setenv("AWS_ENDPOINT_URL", vault.URL)

	me, other := newTenant(t), newTenant(t)
	foreign := map[string]any{
		"hc_vault": map[string]any{"vault_address": strings.Replace(vault.URL, "http://", "http://user:"+canary+"@", 1), "engine_path": "sops", "key_name": "k", "created_at": "2026-01-01T00:00:00Z", "enc": "vault:v1:AAAA"},
		"kms":      map[string]any{"arn": "arn:aws:kms:eu-west-1:1:key/1", "created_at": "2026-01-01T00:00:00Z", "enc": "AAAA"},
		"gcp_kms":  map[string]any{"resource_id": "projects/p/locations/l/keyRings/r/cryptoKeys/k", "created_at": "2026-01-01T00:00:00Z", "enc": "AAAA"},
		"azure_kv": map[string]any{"vault_url": vault.URL, "name": "k", "version": "1", "created_at": "2026-01-01T00:00:00Z", "enc": "AAAA"},
		"pgp":      map[string]any{"fp": "ABCD", "created_at": "2026-01-01T00:00:00Z", "enc": "-----BEGIN PGP MESSAGE-----"},
	}
	for about, recipient := range map[string]string{"with our key": me.recipient, "with another's key": other.recipient} {
		sealed := withKeys(t, sopstest.Encrypt(t, "json", []byte(`{"a": "`+canary+`"}`), recipient), foreign)
		got, _, err := read(me.Keyring, "a.json", sealed)
		if recipient == me.recipient {
			if !strings.Contains(got, canary) || err != nil {
				t.Errorf("%s: got %q, %v", about, got, err)
			}
			continue
		}
		refused(t, err, "a key of type hc_vault", "a key of type pgp", "a key of type kms")
	}
	foreign["age"] = nil
	sealed := withKeys(t, sopstest.Encrypt(t, "json", []byte(`{"a": "`+canary+`"}`), me.recipient), foreign)
	_, _, err := read(me.Keyring, "a.json", sealed)
	refused(t, err, "no age key, and other key services are not used")
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls over the network", n)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a program was run")
	}
}

// withKeys sets entries of a file's metadata, as somebody who edits it would.
func withKeys(t *testing.T, sealed []byte, entries map[string]any) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(sealed, &doc); err != nil {
		t.Fatal(err)
	}
	for kind, entry := range entries {
		doc["sops"].(map[string]any)[kind] = []any{entry}
		if entry == nil {
			delete(doc["sops"].(map[string]any), kind)
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Two tenants decrypt at the same time, each with its own keys only.
func TestTwoTenantsAtOnce(t *testing.T) {
	tenants := []tenant{newTenant(t), newTenant(t)}
	var files [2][]byte
	for i, x := range tenants {
		files[i] = sopstest.Encrypt(t, "yaml", fmt.Appendf(nil, "who: tenant-%d\n", i), x.recipient)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 5 {
				mine, other := n%2, (n+1)%2
				got, _, err := read(tenants[mine].Keyring, "a.yaml", files[mine])
				if want := fmt.Sprintf("who: tenant-%d\n", mine); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
				if got, _, err := read(tenants[mine].Keyring, "a.yaml", files[other]); err == nil {
					t.Errorf("tenant %d read the other's file: %q", mine, got)
				}
			}
		})
	}
	wg.Wait()
}
