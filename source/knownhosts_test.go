package source

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/skep-gitops/skep/source/gittest"
)

func TestKnownHosts(t *testing.T) {
	t.Parallel()
	_, a := gittest.Key(t)
	_, b := gittest.Key(t)
	key := a.PublicKey()
	line := func(host string) string { return knownhosts.Line([]string{host}, key) + "\n" }
	bare := strings.SplitN(line("h"), " ", 2)[1]
	other := knownhosts.Line([]string{"h"}, b.PublicKey()) + "\n"
	for name, c := range map[string]struct {
		file, addr string
		want       bool
	}{
		"plain":                   {line("h"), "h:22", true},
		"case":                    {line("H"), "h:22", true},
		"plain is port 22 only":   {line("h"), "h:2222", false},
		"other host":              {line("g"), "h:22", false},
		"port":                    {"[h]:2222 " + bare, "h:2222", true},
		"another port":            {"[h]:2222 " + bare, "h:2223", false},
		"hashed":                  {knownhosts.HashHostname("h") + " " + bare, "h:22", true},
		"hashed with a port":      {knownhosts.HashHostname("[h]:2222") + " " + bare, "h:2222", true},
		"hashed, other host":      {knownhosts.HashHostname("g") + " " + bare, "h:22", false},
		"several names":           {"g,h,10.0.0.1 " + bare, "10.0.0.1:22", true},
		"wildcard":                {"*.example.com " + bare, "git.example.com:22", true},
		"wildcard elsewhere":      {"*.example.com " + bare, "example.org:22", false},
		"excluded":                {"*.example.com,!git.example.com " + bare, "git.example.com:22", false},
		"ipv6":                    {"[2001:db8::1]:2222 " + bare, "[2001:db8::1]:2222", true},
		"second line":             {"# c\n\n" + other + line("h"), "h:22", true},
		"another key":             {other, "h:22", false},
		"revoked":                 {line("h") + "@revoked h " + bare, "h:22", false},
		"authority":               {"@cert-authority h " + bare, "h:22", false},
		"windows line ends":       {strings.ReplaceAll(other+line("h"), "\n", "\r\n"), "h:22", true},
		"no newline at the end":   {strings.TrimSpace(line("h")), "h:22", true},
		"a comment after the key": {strings.TrimSpace(line("h")) + " me@here\n", "h:22", true},
	} {
		hosts, err := parseKnown([]byte(c.file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := hosts.check(c.addr, key); (err == nil) != c.want {
			t.Errorf("%s: %v, want it known: %v", name, err, c.want)
		}
	}
}

func FuzzKnownHosts(f *testing.F) {
	_, a := gittest.Key(f)
	_, stranger := gittest.Key(f)
	f.Add([]byte(knownhosts.Line([]string{"h"}, a.PublicKey())))
	f.Add([]byte(knownhosts.HashHostname("h") + " ssh-ed25519 AAAA"))
	f.Add([]byte("@revoked * x\n|1|x|y z"))
	f.Fuzz(func(t *testing.T, file []byte) {
		hosts, err := parseKnown(file)
		if err != nil {
			return
		}
		if hosts.check("h:22", stranger.PublicKey()) == nil {
			t.Errorf("a key that nobody wrote down is known by %q", file)
		}
	})
}
