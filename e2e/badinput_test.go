package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skep-gitops/skep/e2e/lab"
	"github.com/skep-gitops/skep/secrets/sopstest"
)

// TestBadInputStopsOnlyItsStack pushes one folder for each kind of bad input
// beside a good one: each says what is wrong, the good one runs, and what ran
// before goes on.
func TestBadInputStopsOnlyItsStack(t *testing.T) {
	t.Parallel()
	own, other := identity(t), identity(t)
	tn := newTenant(t, options{tenant: keyFile(t, own)})
	// A value is dropped: what is left decrypts, the MAC does not fit.
	tampered := dropLine(encrypt(t, "yaml", "a: hunter2hunter2\nb: hunter3hunter3\n", own), "b:")
	cases := []struct {
		name   string
		files  map[string]string
		link   string // a symlink at NAME/link
		reason string
		says   []string
	}{
		{"yaml", map[string]string{"stack.yml": "services:\n  web: [\n"}, "", "RenderFailed", []string{"yaml/stack.yml:"}},
		{"unset", map[string]string{"stack.yml": plain("hostname: ${NOT_THERE}")}, "", "RenderFailed", []string{"unset/stack.yml:", "NOT_THERE"}},
		{"dots", map[string]string{"stack.yml": plain("configs: [c]") + "configs: {c: {file: ../../etc/hostname}}\n"}, "", "RenderFailed", []string{"leaves the tenant's folder"}},
		{"absolute", map[string]string{"stack.yml": plain("configs: [c]") + "configs: {c: {file: /etc/hostname}}\n"}, "", "RenderFailed", []string{"leaves the tenant's folder"}},
		{"link-there", map[string]string{"stack.yml": plain("configs: [c]") + "configs: {c: {file: ./link}}\n"}, "/etc/hostname", "RenderFailed", []string{"leaves the tenant's folder"}},
		{"link-nowhere", map[string]string{"stack.yml": plain("configs: [c]") + "configs: {c: {file: ./link}}\n"}, "/not/there", "RenderFailed", []string{"leaves the tenant's folder"}},
		{"other-key", map[string]string{"stack.yml": plain("secrets: [s]") + "secrets: {s: {file: s.yaml}}\n", "s.yaml": encrypt(t, "yaml", "a: b\n", other)}, "", "DecryptFailed", []string{"other-key/s.yaml", other.recipient, own.recipient}},
		{"tampered", map[string]string{"stack.yml": plain("secrets: [s]") + "secrets: {s: {file: s.yaml}}\n", "s.yaml": tampered}, "", "DecryptFailed", []string{"tampered/s.yaml"}},
		{"big", map[string]string{"stack.yml": plain("secrets: [s]") + "secrets: {s: {file: s.txt}}\n", "s.txt": strings.Repeat("x", 512000)}, "", "RenderFailed", []string{"512"}},
		{"key", map[string]string{"stack.yml": plain("imgae: x")}, "", "RenderFailed", []string{"key/stack.yml:", "imgae"}},
	}
	good := tn.push("good", map[string]string{"good/stack.yml": plain(), "yaml/stack.yml": plain()})
	tn.start()
	tn.live("good", good)
	tn.live("yaml", good)
	ran := tn.tasks("yaml", "web")

	files := map[string]string{}
	for _, c := range cases {
		for name, text := range c.files {
			files[c.name+"/"+name] = text
		}
		if c.link != "" {
			dir := filepath.Join(tn.repo.Dir, c.name)
			tn.must(os.MkdirAll(dir, 0o755))
			tn.must(os.Symlink(c.link, filepath.Join(dir, "link")))
		}
	}
	bad := tn.push("bad", files)
	for _, c := range cases {
		st := tn.wait(tn.stack(c.name), func(s lab.Stack) bool { return s.Commit == bad && s.Reason != "" })
		if st.Reason != c.reason {
			t.Errorf("%s: reason %s, want %s: %s", c.name, st.Reason, c.reason, st.Message)
		}
		for _, want := range c.says {
			if !strings.Contains(st.Message, want) {
				t.Errorf("%s: message lacks %q: %s", c.name, want, st.Message)
			}
		}
		if strings.Contains(c.says[0], "leaves") && st.Cause != "path-escape" {
			t.Errorf("%s: cause %q, want path-escape", c.name, st.Cause)
		}
	}
	there := tn.wait(tn.stack("link-there"), func(lab.Stack) bool { return true })
	nowhere := tn.wait(tn.stack("link-nowhere"), func(lab.Stack) bool { return true })
	if a, b := strings.ReplaceAll(there.Message, "link-there", "X"), strings.ReplaceAll(nowhere.Message, "link-nowhere", "X"); a != b {
		t.Errorf("the error tells whether a link's target exists:\n%s\n%s", a, b)
	}
	tn.live("good", bad)
	if now := tn.tasks("yaml", "web"); now != ran {
		t.Errorf("tasks of a stack whose push was broken: %s, want %s", now, ran)
	}
}

// TestImageThatDoesNotExist fails once, keeps the old version, and is over with the next push.
func TestImageThatDoesNotExist(t *testing.T) {
	t.Parallel()
	tn := newTenant(t, options{})
	good := tn.push("good", map[string]string{"web/stack.yml": plain()})
	tn.start()
	tn.live("web", good)
	ran := tn.tasks("web", "web")
	bad := tn.push("bad image", map[string]string{"web/stack.yml": strings.Replace(plain(), lab.AppImage, noImage, 1)})
	st := tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Attempted == bad && s.Reason == "RolledBack" && s.Health == "healthy" })
	if !strings.Contains(st.Message, noRegistry) || !strings.Contains(st.Message, "web") {
		t.Errorf("message of an image that does not exist: %s", st.Message)
	}
	if st.Deployed != good {
		t.Errorf("deployed: %s, want the good commit %s", st.Deployed, good)
	}
	a := tn.fires("SkepStackFailed", tn.stack("web"))
	if !strings.Contains(a.Annotations["description"], noRegistry) || a.Annotations["commit"] != bad {
		t.Errorf("annotations: %v", a.Annotations)
	}
	if now := tn.tasks("web", "web"); now != ran {
		t.Errorf("the old version's task: %s, want %s", now, ran)
	}
	version := tn.service("web", "web").Version
	// Other pushes make the operator look again; it must not try the spec again.
	for range 2 {
		hash := tn.push("elsewhere", map[string]string{"README.md": unique()})
		tn.wait(tn.stack("web"), func(s lab.Stack) bool { return s.Commit == hash })
	}
	if now := tn.service("web", "web").Version; now != version {
		t.Errorf("the rolled back spec was written again: version %v, want %v", now, version)
	}
	fixed := tn.push("fixed", map[string]string{"web/stack.yml": plain("environment: {V: '2'}")})
	tn.live("web", fixed)
	tn.quiet()
}

// key is an age identity.
type key struct{ identity, recipient string }

// identity is a new age key.
func identity(t *testing.T) key {
	t.Helper()
	id, recipient := sopstest.Identity(t)
	return key{string(id), recipient}
}

// encrypt is a file encrypted for one key.
func encrypt(t *testing.T, format, text string, k key) string {
	t.Helper()
	return string(sopstest.Encrypt(t, format, []byte(text), k.recipient))
}

// keyFile writes an identity to a file and gives the tenant's line for it.
func keyFile(t *testing.T, k key) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "age.txt")
	if err := os.WriteFile(path, []byte(k.identity+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "    age_key_file: " + path + "\n"
}

// dropLine is text without the first line that starts so.
func dropLine(text, start string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, start) {
			return strings.Join(append(lines[:i:i], lines[i+1:]...), "\n")
		}
	}
	return text
}
