package stack

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/google/go-cmp/cmp"
)

func TestInterpolate(t *testing.T) {
	vars := map[string]string{"A": "a", "EMPTY": "", "DOLLAR": "$A", "Mixed_1": "m"}
	tests := []struct{ in, want string }{
		{"plain", "plain"},
		{"$A", "a"}, {"${A}", "a"}, {"x${A}y", "xay"}, {"$A$A", "aa"}, {"$Mixed_1", "m"}, {"$A-b", "a-b"}, {"${A}b", "ab"},
		{"$$A", "$A"}, {"$$$A", "$a"}, {"$$$$", "$$"}, {"$", "$"}, {"a$", "a$"}, {"$1", "$1"}, {"5 $ each", "5 $ each"},
		{"$EMPTY", ""}, {"${EMPTY-d}", ""}, {"${EMPTY:-d}", "d"}, {"${NONE-d}", "d"}, {"${NONE:-d}", "d"}, {"${A:-d}", "a"}, {"${NONE:-}", ""}, {"${NONE-}", ""},
		{"${A:+y}", "y"}, {"${NONE:+y}", ""}, {"${EMPTY:+y}", ""}, {"${EMPTY+y}", "y"}, {"${NONE+y}", ""},
		{"${A:?m}", "a"}, {"${EMPTY?m}", ""},
		{"${NONE:-${A}}", "a"}, {"${NONE:-${NONE2:-deep}}", "deep"}, {"${NONE:-{\"j\": {}}}x", "{\"j\": {}}x"}, {"${NONE:-a:b-c?d}", "a:b-c?d"},
		{"$DOLLAR", "$A"},         // values are not looked into again
		{"${A:-${NONE}}", "a"},    // a word that is not used is not looked at
		{"${NONE:+${NONE2}}", ""}, // likewise
		{"{{.Node.Hostname}}", "{{.Node.Hostname}}"},
	}
	for _, tt := range tests {
		if got, err := interpolate(tt.in, in(vars)); err != nil || got != tt.want {
			t.Errorf("%s: got %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestInterpolateErrors(t *testing.T) {
	vars := map[string]string{"EMPTY": ""}
	tests := []struct{ in, want string }{
		{"$NONE", "variable NONE is not set; set it in .env or give a default: ${NONE:-default}"},
		{"${NONE}", "variable NONE is not set; set it in .env or give a default: ${NONE:-default}"},
		{"${EMPTY:-$NONE}", "variable NONE is not set; set it in .env or give a default: ${NONE:-default}"},
		{"${NONE:?need it}", "variable NONE is required and has no value: need it"},
		{"${EMPTY:?}", "variable EMPTY is required and has no value"},
		{"${NONE?}", "variable NONE is required and has no value"},
		{"${NONE", "a ${ without its closing brace; write $$ for a dollar"},
		{"${}", "a ${ without a variable's name behind it; write $$ for a dollar"},
		{"${1}", "a ${ without a variable's name behind it; write $$ for a dollar"},
		{"${A!}", `${A is followed by "!", which is no part of a variable; write $$ for a dollar`},
		{"${A:}", "${A:} lacks one of - ? + behind the colon"},
	}
	for _, tt := range tests {
		if got, err := interpolate(tt.in, in(vars)); err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %q, %v; want error %s", tt.in, got, err, tt.want)
		}
	}
}

// FuzzInterpolate holds the strict interpolation to compose-go's: where ours
// finds no fault, both agree.
func FuzzInterpolate(f *testing.F) {
	for _, s := range []string{"$A", "${A:-b}", "$${A}", "${B:?x}", "${B:-${C:-d}}", "${A:+y}${B-}", "${", "$", "${A:-{}}"} {
		f.Add(s, "value")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		vars := map[string]string{"A": value, "B": ""}
		got, err := interpolate(s, in(vars))
		if err != nil || strings.Count(s, "{") != strings.Count(s, "}") || strings.Contains(s, "\n") || strings.Contains(s, "{}") || strings.Contains(s, "{{") {
			return // compose-go's pattern is greedy over braces that don't pair, and blind to lines
		}
		want, wantErr := template.SubstituteWithOptions(s, template.Mapping(in(vars)), template.WithoutLogging)
		if wantErr == nil && got != want {
			t.Errorf("%q: got %q, compose-go says %q", s, got, want)
		}
	})
}

func TestDotenv(t *testing.T) {
	const file = "\ufeffA=1\n  B = two words  \n# comment\nexport C=\"q\\\"x\\n$A\" # tail\nD='$A raw'\nE=a # note\nF=a#b\nG=${A}-${ABOVE}-${BELOW:-none}\nH\nI=\nJ: yaml\nK=\"a\\$A\"\nL=\"two\nlines\"\nM=last"
	vars, err := parseDotenv([]byte(strings.ReplaceAll(file, "\n", "\r\n")), in(map[string]string{"ABOVE": "x"}), in(nil))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range vars {
		got = append(got, fmt.Sprintf("%d %s=%q %t", v.line, v.name, v.value, v.set))
	}
	want := []string{`1 A="1" true`, `2 B="two words" true`, `4 C="q\"x\n1" true`, `5 D="$A raw" true`, `6 E="a" true`, `7 F="a#b" true`,
		`8 G="1-x-none" true`, `9 H="" false`, `10 I="" true`, `11 J="yaml" true`, `12 K="a$A" true`, `13 L="two\nlines" true`, `15 M="last" true`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestRawEnvFile(t *testing.T) {
	const file = "\ufeffA=\"quoted\" # kept\n  B=$A \n\n# comment\nC\nD=a=b\nE=\n"
	vars, err := parseRaw([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	want := []variableLine{{"A", `"quoted" # kept`, true, 1}, {"B", "$A ", true, 2}, {"C", "", false, 5}, {"D", "a=b", true, 6}, {"E", "", true, 7}}
	if diff := cmp.Diff(want, vars, cmp.AllowUnexported(variableLine{})); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestEnvFileErrorsQuoteNothing plants a secret on each broken line.
func TestEnvFileErrorsQuoteNothing(t *testing.T) {
	const secret = "hunter2-hunter2"
	for _, file := range []string{"A=\"" + secret, "A B=" + secret, "=" + secret, "{" + secret + "}", "A=${" + secret, "A=\xff" + secret, "A=${B:" + secret + "}"} {
		for name, parse := range map[string]func([]byte) ([]variableLine, error){
			"raw":    parseRaw,
			"dotenv": func(b []byte) ([]variableLine, error) { return parseDotenv(b, in(nil), in(nil)) },
		} {
			if _, err := parse([]byte(file)); err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %q: the error shows the secret: %v", name, file, err)
			}
		}
	}
}

// FuzzEnvFiles looks for panics and holds dotenv files without variables to
// compose-go's own reader.
func FuzzEnvFiles(f *testing.F) {
	for _, s := range []string{"A=1\nB=\"x\\ny\"\n", "export A='b'\n", "# c\nA: b", "A", "A=a # b\n=\n", "\ufeffA=1", "A=\"\\101\\$\"", "a b=c", "A=\"x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := parseRaw(data); err != nil {
			var l *lineError
			if errors.As(err, &l) && l.line < 1 {
				t.Errorf("line %d", l.line)
			}
		}
		vars, err := parseDotenv(data, in(nil), in(nil))
		if err != nil || strings.ContainsAny(string(data), "$\\\r\v\f\u0085\u00a0") {
			return
		}
		// compose-go loses a name alone on a last line without an end
		want, wantErr := dotenv.Parse(strings.NewReader(string(data) + "\n"))
		if wantErr != nil {
			return
		}
		got := map[string]string{}
		for _, v := range vars {
			if v.set {
				got[v.name] = v.value
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: -compose-go +got\n%s", data, diff)
		}
	})
}

func TestVariablesOrder(t *testing.T) {
	fsys := fstest.MapFS{
		".env":       {Data: []byte("A=1\nB=1\nC=1\nD=1\nE=1\nF=1\nREF=$E-$A\n")},
		"s/.env":     {Data: []byte("B=2\nC=2\nD=2\nE=2\nF=2\nREF2=$A-$B\n")},
		"p.env":      {Data: []byte("C=3\nD=3\nE=3\nF=3\n")},
		"s/p.env":    {Data: []byte("D=4\nE=4\nF=4\n")},
		"s/q.env":    {Data: []byte("A=no\n")},
		"other/.env": {Data: []byte("A=no\n")},
	}
	o := Options{Tenant: "t", Environment: "p", Variables: map[string]string{"E": "5", "F": "5"}, Overrides: map[string]string{"F": "6"}}
	var r report
	got := variables(newFiles(fsys), "s", o, ownVariables(o, "t-s"), &r)
	want := map[string]string{"A": "1", "B": "2", "C": "3", "D": "4", "E": "5", "F": "6", "REF": "5-1", "REF2": "1-2",
		"SKEP_TENANT": "t", "SKEP_STACK": "t-s", "SKEP_ENVIRONMENT": "p"}
	if diff := cmp.Diff(want, got); diff != "" || r.errors > 0 {
		t.Errorf("findings %v; -want +got\n%s", r.findings, diff)
	}
}

func TestNoFileSetsSkepsVariables(t *testing.T) {
	fsys := repo("s/compose.yml", "s/.env: \nSKEP_STACK=mine\n")
	_, err := Render(fsys, Definition{Name: "s", Dir: "s", Files: []string{"s/compose.yml"}}, Options{Overrides: map[string]string{"SKEP_X": "y"}})
	want := "s: variable SKEP_X is not yours to set: skep sets all that start with SKEP_\ns/.env:2: variable SKEP_STACK is not yours to set: skep sets all that start with SKEP_"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestTheProcessEnvironmentIsInvisible sets what a tenant might fish for.
func TestTheProcessEnvironmentIsInvisible(t *testing.T) {
	const secret = "planted-operator-secret"
	t.Setenv("SOPS_AGE_KEY", secret)
	t.Setenv("HOME", "/"+secret)
	for _, text := range []string{
		"services: {a: {image: 'x:${SOPS_AGE_KEY:-none}', environment: [SOPS_AGE_KEY, HOME], volumes: ['~/x:/y'], working_dir: '~'}}",
		"services: {a: {image: x, env_file: [{path: e.env, format: dotenv}], label_file: l.env}}",
		"services: {a: {image: 'x:$SOPS_AGE_KEY'}}",
		"services: {a: {image: x}}\nsecrets: {s: {environment: SOPS_AGE_KEY}}",
	} {
		fsys := repo("s/compose.yml: "+text, "s/e.env: A=${SOPS_AGE_KEY:-none}\nSOPS_AGE_KEY\n", "s/l.env: A=${HOME:-none}\n")
		m, err := load(fsys, Definition{Name: "s", Dir: "s", Files: []string{"s/compose.yml"}}, Options{})
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		out, err := m.project.MarshalYAML()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(out), secret) || strings.Contains(fmt.Sprint(m.dict, maps.Collect(maps.All(m.content))), secret) {
			t.Errorf("%s: the operator's environment shows:\n%s", text, out)
		}
	}
}
