package source

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// knownHosts are the lines of an ssh known_hosts file. The package of the same
// name in x/crypto reads files only, and the lines are at hand as bytes.
type knownHosts []knownHost

type knownHost struct {
	patterns []string
	key      ssh.PublicKey
	revoked  bool
}

// parseKnown reads a known_hosts file. Lines for certificate authorities are
// left out: their hosts are unknown.
func parseKnown(data []byte) (knownHosts, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, faultf(CauseHostKey, "give known_hosts_file, for example from ssh-keyscan, checked against what the server's owner publishes", "ssh needs known_hosts: no server is trusted at first sight")
	}
	var hosts knownHosts
	for number := 1; ; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		marker, patterns, key, _, _, err := ssh.ParseKnownHosts(line)
		switch {
		case err == nil && marker != "cert-authority":
			hosts = append(hosts, knownHost{patterns, key, marker == "revoked"})
		case err != nil && !errors.Is(err, io.EOF):
			return nil, faultf(CauseHostKey, "each line is HOSTS TYPE KEY", fmt.Sprintf("known_hosts: line %d does not parse", number))
		}
		if len(rest) == 0 {
			return hosts, nil
		}
		data = rest
	}
}

// check says whether key is one that the host at addr (host:port) may show.
func (k knownHosts) check(addr string, key ssh.PublicKey) error {
	shown := ssh.FingerprintSHA256(key)
	known, revoked := false, false
	for _, h := range k {
		if !bytes.Equal(h.key.Marshal(), key.Marshal()) || !h.matches(addr) {
			continue
		}
		known, revoked = true, revoked || h.revoked
	}
	switch {
	case revoked:
		return faultf(CauseHostKey, "do not connect before the server's owner has given it another key", "the server shows the revoked key "+shown)
	case !known && len(k.algorithms(addr)) == 0:
		return errUnknownHost(addr)
	case !known:
		return faultf(CauseHostKey, "if the server's owner confirms that key, put it into known_hosts; else somebody is in between", "the server shows the key "+shown+", which is not in known_hosts for it")
	}
	return nil
}

func errUnknownHost(addr string) error {
	return faultf(CauseHostKey, "add the server's key to known_hosts, as "+normalize(addr), "known_hosts has no key for the server")
}

// algorithms are the kinds of keys that addr is known by, so that the server
// shows one of those.
func (k knownHosts) algorithms(addr string) []string {
	var out []string
	add := func(names ...string) {
		for _, n := range names {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	for _, h := range k {
		if h.revoked || !h.matches(addr) {
			continue
		}
		if t := h.key.Type(); t == ssh.KeyAlgoRSA {
			add(ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			add(t)
		}
	}
	return out
}

// matches goes by the file's rules: a plain name stands for port 22, [name]:port
// for others, |1|salt|hash for one of these, * and ? are wild, ! excludes.
func (h knownHost) matches(addr string) bool {
	name := normalize(addr)
	found := false
	for _, p := range h.patterns {
		p, not := strings.CutPrefix(p, "!")
		if !match(p, name) {
			continue
		}
		if not {
			return false
		}
		found = true
	}
	return found
}

func match(pattern, name string) bool {
	if strings.HasPrefix(pattern, "|") {
		return matchHash(pattern, name)
	}
	// brackets are literal in known_hosts
	pattern = strings.NewReplacer(`[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(strings.ToLower(pattern))
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func matchHash(pattern, name string) bool {
	parts := strings.Split(pattern, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return false
	}
	salt, err1 := base64.StdEncoding.DecodeString(parts[2])
	want, err2 := base64.StdEncoding.DecodeString(parts[3])
	if err1 != nil || err2 != nil {
		return false
	}
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return hmac.Equal(mac.Sum(nil), want)
}

// normalize is how known_hosts names addr.
func normalize(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return strings.ToLower(addr)
	}
	host = strings.ToLower(host)
	if port == "22" {
		return host
	}
	return "[" + host + "]:" + port
}
