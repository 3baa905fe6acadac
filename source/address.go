package source

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// address is a repository's URL, taken apart and found harmless.
type address struct {
	scheme   string // https, http, ssh or file
	user     string
	password string // http(s) only
	host     string // for ssh always with a port
	path     string // as the server gets it
}

// CheckURL says why a repository at raw can never be followed; nil: it can be
// tried. The error does not quote raw, which may hold credentials.
func CheckURL(raw string) error {
	_, err := parseAddress(raw)
	return err
}

// parseAddress accepts https, http, ssh (also user@host:path) and file. Its
// errors do not quote raw, which may hold credentials.
func parseAddress(raw string) (address, error) {
	if raw == "" {
		return address{}, errors.New("no URL")
	}
	if len(raw) > 4096 {
		return address{}, errors.New("the URL is longer than 4096 bytes")
	}
	if strings.HasPrefix(raw, "-") || strings.ContainsFunc(raw, unprintable) {
		return address{}, errors.New("the URL starts with '-' or has a space or control character")
	}
	if !strings.Contains(raw, "://") {
		return parseScp(raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return address{}, errors.New("the URL does not parse") // err quotes it
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return address{}, errors.New("the URL has a query or fragment")
	}
	if hasDotDot(u.Path) || strings.ContainsFunc(u.Path, unicode.IsControl) {
		return address{}, errors.New("the URL's path has '..' or a control character")
	}
	switch u.Scheme {
	case "http", "https":
		return parseHTTP(u)
	case "ssh":
		return parseSSH(u)
	case "file":
		return parseFile(u)
	default:
		return address{}, errors.New("URL scheme " + clean(u.Scheme, 20) + ":// is not supported: https, http, ssh and file are")
	}
}

func unprintable(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar
}

func hasDotDot(path string) bool {
	for part := range strings.SplitSeq(path, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

func parseHTTP(u *url.URL) (address, error) {
	if u.Hostname() == "" || u.Opaque != "" {
		return address{}, errors.New("the URL has no host")
	}
	if err := checkPort(u); err != nil {
		return address{}, err
	}
	password, _ := u.User.Password()
	path := strings.TrimRight(u.EscapedPath(), "/")
	return address{scheme: u.Scheme, user: u.User.Username(), password: password, host: u.Host, path: path}, nil
}

// checkPort wants a port that exists, if there is one.
func checkPort(u *url.URL) error {
	if n, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || n == 0) {
		return errors.New("the URL's port is not from 1 to 65535")
	}
	return nil
}

func parseSSH(u *url.URL) (address, error) {
	if _, has := u.User.Password(); has {
		return address{}, errors.New("the URL has a password: ssh needs a key")
	}
	if err := checkPort(u); err != nil {
		return address{}, err
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	return checkSSH(address{scheme: "ssh", user: u.User.Username(), host: net.JoinHostPort(u.Hostname(), port), path: u.Path})
}

// parseScp reads user@host:path. As with git, there is no port.
func parseScp(raw string) (address, error) {
	if strings.Contains(raw, "::") {
		return address{}, errors.New("remote helpers (NAME::ADDRESS) are not supported: https, http, ssh and file are")
	}
	host, path, ok := strings.Cut(raw, ":")
	if !ok || strings.Contains(host, "/") || strings.Contains(path, "@") {
		return address{}, errors.New("the URL has no scheme: https://, ssh://, or user@host:path")
	}
	if slices.Contains([]string{"https", "http", "ssh", "file", "git"}, host) {
		return address{}, errors.New("the URL lacks // after " + host + ":")
	}
	user, name, ok := strings.Cut(host, "@")
	if !ok {
		user, name = "", host
	}
	if hasDotDot(path) {
		return address{}, errors.New("the URL's path has '..'")
	}
	return checkSSH(address{scheme: "ssh", user: user, host: net.JoinHostPort(name, "22"), path: path})
}

// checkSSH refuses what a program on the server could take for an option.
func checkSSH(a address) (address, error) {
	name, _, err := net.SplitHostPort(a.host)
	if err != nil || name == "" || strings.ContainsAny(name, "@/'\"\\") {
		return address{}, errors.New("the URL has no valid host")
	}
	if strings.Trim(a.path, "/") == "" {
		return address{}, errors.New("the URL has no path")
	}
	if strings.HasPrefix(a.user, "-") || strings.HasPrefix(name, "-") || strings.HasPrefix(a.path, "-") {
		return address{}, errors.New("the URL's user, host or path starts with '-'")
	}
	return a, nil
}

func parseFile(u *url.URL) (address, error) {
	if u.User != nil || (u.Host != "" && u.Host != "localhost") {
		return address{}, errors.New("a file:// URL names a host or user")
	}
	if !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return address{}, errors.New("a file:// URL needs an absolute path")
	}
	return address{scheme: "file", path: u.Path}, nil
}

// shown is what an error may say about raw: no user, password or query.
func shown(raw string) string {
	a, err := parseAddress(raw)
	if err != nil {
		return "repository"
	}
	switch {
	case a.scheme == "ssh":
		return "ssh://" + strings.TrimSuffix(a.host, ":22") + "/" + clean(strings.TrimPrefix(a.path, "/"), 1000)
	case a.scheme == "file":
		return "file://" + clean(a.path, 1000)
	default:
		return a.scheme + "://" + a.host + clean(a.path, 1000)
	}
}

// checkRef holds a branch's or tag's name to the rules of git check-ref-format.
func checkRef(name string) error {
	switch {
	case name == "" || name == "@" || len(name) > 255:
		return errors.New("the name of a branch or tag has 1 to 255 bytes and is not @")
	case strings.HasPrefix(name, "-"):
		return errors.New("the name of a branch or tag does not start with '-'")
	case strings.ContainsAny(name, " ~^:?*[\\\x7f") || strings.ContainsFunc(name, unprintable):
		return errors.New("the name of a branch or tag has no space, control character or any of ~^:?*[\\")
	case strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, "."):
		return errors.New("the name of a branch or tag has no '..', no '@{' and no dot at its end")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock") {
			return errors.New("no part of the name of a branch or tag is empty, starts with a dot or ends with .lock")
		}
	}
	return nil
}
