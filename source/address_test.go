package source

import (
	"os/exec"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]address{
		"https://git.example.com/a/b.git":        {scheme: "https", host: "git.example.com", path: "/a/b.git"},
		"https://git.example.com:8443/a/b.git/":  {scheme: "https", host: "git.example.com:8443", path: "/a/b.git"},
		"http://ada:p%40ss@h/a%20b":              {scheme: "http", user: "ada", password: "p@ss", host: "h", path: "/a%20b"},
		"https://[2001:db8::1]/a":                {scheme: "https", host: "[2001:db8::1]", path: "/a"},
		"ssh://git@git.example.com/a/b.git":      {scheme: "ssh", user: "git", host: "git.example.com:22", path: "/a/b.git"},
		"ssh://git@git.example.com:2222/a/b.git": {scheme: "ssh", user: "git", host: "git.example.com:2222", path: "/a/b.git"},
		"git@git.example.com:a/b.git":            {scheme: "ssh", user: "git", host: "git.example.com:22", path: "a/b.git"},
		"git.example.com:/srv/b.git":             {scheme: "ssh", host: "git.example.com:22", path: "/srv/b.git"},
		"file:///srv/b.git":                      {scheme: "file", path: "/srv/b.git"},
		"file://localhost/srv/b.git":             {scheme: "file", path: "/srv/b.git"},
	} {
		if got, err := parseAddress(raw); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"", "/srv/repo.git", "./repo.git", "repo", "ext::sh -c x", "ext::sh", "git://h/a", "ftp://h/a", "-x", "--upload-pack=x", "ssh://-x/a", "ssh://h", "ssh://h/",
		"ssh://git@h/-x/../y", "git@-x:a", "-x@h:a", "git@h:-x", "git@h:", "https://", "https:///a", "https:a", "https://h/a?token=x", "https://h/a#x", "https://h/a\n", "https://h/a b",
		"https://h/../a", "https://h/%2e%2e/a", "https://h/a%00b", "https://h:x/a", "https://h:99999/a", "http://h:0/a", "ssh://git@h:65536/a", "file://h/a", "file://u@localhost/a", "file://", "file:///", "file://relative", "user:pass@h:a",
		"ssh://u:p@h/a", "ssh://h'x/a", strings.Repeat("a", 5000), "http://h\x1b[31m/a", "https://%zz/a",
	} {
		if got, err := parseAddress(raw); err == nil {
			t.Errorf("%q is accepted as %+v", raw, got)
		}
	}
}

func TestNoURLShowsItsCredentials(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://ada:planted@h/a.git":   "https://h/a.git",
		"https://planted@h/a.git":       "https://h/a.git",
		"https://ada:planted@h/a?b":     "repository",
		"https://ada:planted@h:x/a":     "repository",
		"ada:planted@h:a":               "repository",
		"ssh://ada:planted@h/a":         "repository",
		"ssh://git@h/a.git":             "ssh://h/a.git",
		"git@h:a.git":                   "ssh://h/a.git",
		"ssh://git@h:2222/a.git":        "ssh://h:2222/a.git",
		"file:///a":                     "file:///a",
		"https://ada:planted@h/%1b[31m": "repository",
	} {
		if got := shown(raw); got != want {
			t.Errorf("%s is shown as %q, want %q", raw, got, want)
		}
	}
}

// refNames are judged by git too.
var refNames = []string{
	"main", "feature/x", "release-1.2", "ü", "a@b", "@", "a..b", "a.", ".a", "a/.b", "a.lock", "a.lock/b", "a//b", "/a", "a/", "a b", "a~b", "a^b", "a:b", "a?b", "a*b", "a[b", `a\b`,
	"a@{b", "-a", "--upload-pack=x", "", "a\x00", "a\x7f", "a\n", "HEAD", "a{b", "a/-b",
}

func TestRefNamesAsGitHasThem(t *testing.T) {
	t.Parallel()
	for _, name := range refNames {
		want := !strings.HasPrefix(name, "-") && !strings.Contains(name, "\x00") &&
			exec.Command("git", "check-ref-format", "refs/heads/"+name).Run() == nil && name != "@"
		if err := checkRef(name); (err == nil) != want {
			t.Errorf("%q: %v, git accepts it: %v", name, err, want)
		}
	}
}

// FuzzAddress looks for a URL that is accepted and harms, or an error that quotes.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"https://h/a", "git@h:a", "ssh://git@h:22/a", "file:///a", "ext::sh", "https://u:p@h/a", "-x", "ssh://-x/a", "h:a'b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := parseAddress(raw)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.host+a.path+a.user, "\x00\n\r") {
			t.Errorf("%q: control characters in %+v", raw, a)
		}
		if strings.HasPrefix(a.host, "-") || strings.HasPrefix(a.user, "-") || strings.HasPrefix(a.path, "-") {
			if a.scheme == "ssh" {
				t.Errorf("%q: an option in %+v", raw, a)
			}
		}
		switch a.scheme {
		case "http", "https", "ssh", "file":
		default:
			t.Errorf("%q: scheme %q", raw, a.scheme)
		}
		if s := shown(raw); len(a.password) > 12 && strings.Contains(s, a.password) && !strings.Contains(a.host+a.path, a.password) {
			t.Errorf("%q is shown as %q", raw, s)
		}
		_ = Open(t.TempDir(), Remote{URL: raw}, Limits{}).Close()
	})
}

// FuzzRef compares with git: what is accepted here is accepted there.
func FuzzRef(f *testing.F) {
	for _, s := range refNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkRef(name) != nil {
			return
		}
		if err := exec.Command("git", "check-ref-format", "refs/heads/"+name).Run(); err != nil {
			t.Errorf("%q is accepted, by git it is not", name)
		}
	})
}

// FuzzClean holds text to one short line of valid UTF-8 without control characters.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[31mred", "\xff\xfe", "a\nb", strings.Repeat("ü", 300), "\u202eabc", "<script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, 200)
		if len(got) > 200 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) || strings.ToValidUTF8(got, "") != got {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
