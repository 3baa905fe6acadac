package stack

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// lens stands for the secrets lens: files in it were encrypted and hold planted.
type lens struct {
	fs.FS
	encrypted map[string]bool
}

type plaintext struct {
	fs.File
	values []string
}

func (p plaintext) Secrets() []string { return p.values }

const planted = "s3cr3t-canary-value"

func (l lens) Open(name string) (fs.File, error) {
	f, err := l.FS.Open(name)
	if err != nil || !l.encrypted[name] {
		return f, err
	}
	return plaintext{f, []string{planted}}, nil
}

// encryptedRepo is repo with every file that holds planted encrypted.
func encryptedRepo(files ...string) lens {
	fsys := repo(files...)
	l := lens{fsys, map[string]bool{}}
	for name, f := range fsys {
		if strings.Contains(string(f.Data), planted) {
			l.encrypted[name] = true
		}
	}
	return l
}

// TestTaintedValuesShowNowhere puts the planted value into every kind of file,
// and breaks the stack in every way that quotes a value.
func TestTaintedValuesShowNowhere(t *testing.T) {
	const env = "s/.env: V=" + planted + "\nB64=" + "czNjcjN0LWNhbmFyeS12YWx1ZQ==" + "\n"
	for _, tt := range []struct {
		name  string
		files []string
	}{
		{"image", []string{env, "s/compose.yml: services: {a: {image: 'UPPER:$V $V'}}"}},
		{"cast", []string{env, "s/compose.yml: services: {a: {image: x, init: '$V', deploy: {replicas: '${V}'}}}"}},
		{"base64", []string{env, "s/compose.yml: services: {a: {image: x, deploy: {replicas: '$B64'}}}"}},
		{"message", []string{env, "s/compose.yml: services: {a: {image: '${NONE:?$V}'}}"}},
		{"port", []string{env, "s/compose.yml: services: {a: {image: x, ports: ['$V']}}"}},
		{"memory", []string{env, "s/compose.yml: services: {a: {image: x, deploy: {resources: {limits: {memory: '$V', cpus: '$V'}}}}}"}},
		{"duration", []string{env, "s/compose.yml: services: {a: {image: x, healthcheck: {interval: '$V'}}}"}},
		{"enum", []string{env, "s/compose.yml: services: {a: {image: x, deploy: {update_config: {order: '$V'}}}}"}},
		{"path", []string{env, "s/compose.yml: services: {a: {image: x, env_file: '../../$V', label_file: '$V'}}\nsecrets: {s: {file: '/$V'}, t: {file: '$V'}}"}},
		{"include", []string{env, "s/compose.yml: include: ['$V', '../../$V']\nservices: {a: {image: x}}"}},
		{"extends", []string{env, "s/compose.yml: services: {a: {extends: '$V'}, b: {extends: {file: '$V', service: '$V'}}}"}},
		{"command", []string{env, "s/compose.yml: services: {a: {image: x, command: \"'$V\"}}"}},
		{"wish", []string{"s/compose.yml: services: {a: {image: x}}\nx-skep: {depends_on: ['$V " + planted + "'], ignore: [" + planted + "]}"}},
		{"unknown key", []string{"s/compose.yml: services: {a: {" + planted + ": x}}"}},
		{"twice", []string{"s/compose.yml: services: {a: {" + planted + ": x, " + planted + ": y}}"}},
		{"yaml", []string{"s/compose.yml: services: {a: *" + planted + "}"}},
		{"tag", []string{"s/compose.yml: services: {a: !" + planted + " {}}"}},
		{"service name", []string{"s/compose.yml: services: {" + planted + ": {image: [x]}}"}},
		{"dotenv", []string{"s/.env: A=\"" + planted, "s/compose.yml: services: {a: {image: x}}"}},
		{"dotenv name", []string{"s/.env: " + planted + "!", "s/compose.yml: services: {a: {image: x}}"}},
		{"reserved", []string{"s/.env: SKEP_" + planted + "=1", "s/compose.yml: services: {a: {image: x}}"}},
		{"env_file", []string{"s/a.env: x y=" + planted, "s/compose.yml: services: {a: {image: x, env_file: a.env}}"}},
		{"env_file name", []string{"s/a.env: " + planted + " y=z", "s/compose.yml: services: {a: {image: x, env_file: a.env}}"}},
		{"env_file variable", []string{"s/a.env: A=${" + planted, "s/compose.yml: services: {a: {image: x, env_file: [{path: a.env, format: dotenv}]}}"}},
		{"key", []string{"s/a.yml: [" + planted + "]", "s/compose.yml: services: {a: {image: x}}\nsecrets: {s: {file: a.yml, x-skep: {key: b}}}"}},
		{"key twice", []string{"s/a.yml: {" + planted + ": 1, " + planted + ": 2}", "s/compose.yml: services: {a: {image: x}}\nsecrets: {s: {file: a.yml, x-skep: {key: b}}}"}},
		{"everywhere", []string{env, "s/compose.yml: services: {a: {image: '$V', hostname: '$V', labels: {l: '$V', '" + "k': x}, command: [a, '$V'], entrypoint: '$V', deploy: {labels: [\"l=$V\"]}, healthcheck: {test: 'x $V'}}}\nnetworks: {n: {name: '$V'}}\nvolumes: {v: {name: '$V'}}"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := encryptedRepo(tt.files...)
			defs, err := Discover(fsys, Options{})
			if err != nil || len(defs) != 1 {
				t.Fatalf("%v, %v", defs, err)
			}
			m, err := load(fsys, defs[0], Options{})
			findings := []Finding(nil)
			var r *RenderError
			if errors.As(err, &r) {
				findings = r.Findings
			} else {
				findings = m.findings
			}
			if len(findings) == 0 {
				t.Error("nothing was found; the case tests nothing")
			}
			hidden(t, fmt.Sprintf("%v %+v", err, findings))
			hidden(t, listFindings(findings))
			for _, f := range findings {
				hidden(t, fmt.Sprint(f.Err))
			}
		})
	}
}

func hidden(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(text, planted) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(planted))) {
		t.Errorf("the secret shows: %s", text)
	}
}

func TestTaintedValuesInOpenPlacesAreWarnedOf(t *testing.T) {
	m, err := loadFS(encryptedRepo("s/.env: V="+planted+"\n", `s/compose.yml: services:
  a:
    image: x:$V
    hostname: $V
    labels:
      l: $V
    command: [run, --password=$V]
    entrypoint: sh -c $V
    environment:
      FINE: $V
    deploy:
      labels:
        - d=$V
    healthcheck:
      test: curl $V
networks:
  n: {name: "n-$V", labels: {x: y}}
secrets:
  s: {environment: V, labels: {x: $V}}
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range m.findings {
		if f.Severity == Warning {
			got = append(got, fmt.Sprintf("%d %s", f.Line, f.Key))
		}
	}
	want := "3 services.a.image|4 services.a.hostname|6 services.a.labels.l|7 services.a.command.1|8 services.a.entrypoint.2|13 services.a.deploy.labels.d|15 services.a.healthcheck.test.1|17 networks.n.name|19 secrets.s.labels.x"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "|"), want)
	}
	if !m.content["secrets.s"].tainted {
		t.Error("a secret made of a tainted variable is not tainted")
	}
}

func TestATaintedStackNameIsWarnedOf(t *testing.T) {
	defs, err := Discover(encryptedRepo("s/compose.yml: name: "+planted+"\nservices: {a: {image: x}}"), Options{})
	if err != nil || len(defs) != 1 || len(defs[0].Warnings) != 1 || defs[0].Warnings[0].Line != 1 {
		t.Errorf("got %+v, %v; want one warning", defs, err)
	}
}

func TestContentFromEncryptedFilesIsTainted(t *testing.T) {
	m, err := loadFS(encryptedRepo(
		"s/enc.yml: {a: {b: "+planted+", c: other}}", "s/plain.txt: open", "s/.env: V=x"+planted+"x\n",
		"s/compose.yml: services: {a: {image: x}}\nsecrets: {enc: {file: enc.yml, x-skep: {key: a.b}}, plain: {file: plain.txt}}\n"+
			"configs: {enc: {file: enc.yml}, inline: {content: 'a $V'}, open: {content: b}, sibling: {file: enc.yml, x-skep: {key: a.c}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"secrets.enc": true, "secrets.plain": false, "configs.enc": true, "configs.inline": true, "configs.open": false, "configs.sibling": true} {
		if got := m.content[path].tainted; got != want {
			t.Errorf("%s: tainted %t, want %t", path, got, want)
		}
	}
	if got := string(m.content["secrets.enc"].data); got != planted {
		t.Errorf("got %q", got)
	}
	if !m.taint.In("x " + planted) {
		t.Error("the planted value is not in the stack's taint")
	}
}

// opaque fails as the secrets lens does.
type opaque struct{ fs.FS }

type decryptError struct{ File string }

func (e *decryptError) Error() string { return e.File + ": no key for it" }

func (o opaque) Open(name string) (fs.File, error) {
	if strings.Contains(name, "enc") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: &decryptError{name}}
	}
	return o.FS.Open(name)
}

func TestTheLensOwnErrorsStayVisible(t *testing.T) {
	for _, text := range []string{
		"services: {a: {image: x}}\nsecrets: {s: {file: enc.yml}}",
		"services: {a: {image: x, env_file: enc.env}}",
		"include: [enc.yml]\nservices: {a: {image: x}}",
		"services: {a: {extends: {file: enc.yml, service: a}}}",
	} {
		_, err := loadFS(opaque{repo("s/compose.yml: " + text)})
		var d *decryptError
		if !errors.As(err, &d) || !strings.Contains(err.Error(), "no key for it") {
			t.Errorf("%s: got %v, want the lens' error", text, err)
		}
		if strings.Count(fmt.Sprint(err), "s/enc") != 1 {
			t.Errorf("the file should be named once: %v", err)
		}
	}
}

// asWritten is a tree whose encrypted files give the values as they are written
// there, the way sops does.
type asWritten struct {
	fs.FS
	values map[string][]string
}

func (w asWritten) Open(name string) (fs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil || w.values[name] == nil {
		return f, err
	}
	return plaintext{f, w.values[name]}, nil
}

// TestTaintSurvivesReading: quotes, comments, escapes and variables make another
// text of a value than the file holds. It is tainted as it comes out too.
func TestTaintSurvivesReading(t *testing.T) {
	t.Parallel()
	const plain = "s/compose.yml: services: {a: {image: x}}"
	for _, tt := range []struct {
		name, file, value, text string // the encrypted file, its value as written, its text
		compose, comes          string
	}{
		{"a comment behind it", "s/.env", "hunter2a # comment", "C=hunter2a # comment\n", plain, "hunter2a"},
		{"a dollar", "s/.env", "hunt$$er2b", "C=hunt$$er2b\n", plain, "hunt$er2b"},
		{"an escape", "s/.env", `"hunt\"er2c"`, `C="hunt\"er2c"` + "\n", plain, `hunt"er2c`},
		{"a variable", "s/.env", "hunter2d-${X:-x}-hunter2d", "C=hunter2d-${X:-x}-hunter2d\n", plain, "hunter2d-x-hunter2d"},
		{"a variable of the environment", "p.env", "hunter2e # c", "C=hunter2e # c\n", plain, "hunter2e"},
		{"an env_file", "s/a.env", "hunter2f # c", "C=hunter2f # c\n", "s/compose.yml: services: {a: {image: x, env_file: [{path: a.env, format: dotenv}]}}", "hunter2f"},
		{"a label_file", "s/a.env", "hunter2g # c", "C=hunter2g # c\n", "s/compose.yml: services: {a: {image: x, label_file: a.env}}", "hunter2g"},
		{"the stack file", "s/compose.yml", "hunt$$er2h", "", "s/compose.yml: services: {a: {image: x, environment: {A: hunt$$er2h}}}", "hunt$er2h"},
		{"an item of a list", "s/compose.yml", "l=hunter2j", "", "s/compose.yml: services: {a: {image: x, labels: [l=hunter2j]}}", "hunter2j"},
		{"an item of a list with a dollar", "s/compose.yml", "l=hunt$$er2k", "", "s/compose.yml: services: {a: {image: x, labels: [l=hunt$$er2k]}}", "hunt$er2k"},
		{"a command line", "s/.env", "hunt'er'2i", `C="hunt'er'2i"` + "\n", "s/compose.yml: services: {a: {image: x, command: 'run -p=$C'}}", "-p=hunter2i"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fsys := repo(tt.compose)
			if tt.text != "" {
				fsys[tt.file] = &fstest.MapFile{Data: []byte(tt.text)}
			}
			o := Options{Environment: "p"}
			m, err := load(asWritten{fsys, map[string][]string{tt.file: {tt.value}}}, Definition{Name: "s", Dir: "s", Files: []string{"s/compose.yml"}}, o)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.taint.Redact("<" + tt.comes + ">"); strings.Contains(got, "hunt") || strings.Contains(got, "2") {
				t.Errorf("shown as %s", got)
			}
			if m.taint.In("services.a.image: nginx:1.27") {
				t.Error("everything is tainted")
			}
		})
	}
}
