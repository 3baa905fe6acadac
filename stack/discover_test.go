package stack

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// repo makes a file system of names, with a small stack file in each, or, for
// "name: content", with content.
func repo(names ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, n := range names {
		name, text, ok := strings.Cut(n, ": ")
		if !ok {
			text = "services: {a: {image: x}}\n"
		}
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// brief writes definitions as one line each: name, files, warnings, error.
func brief(defs []Definition) string {
	var b strings.Builder
	for _, d := range defs {
		fmt.Fprintf(&b, "%s = %s", d.Name, strings.Join(d.Files, " + "))
		for _, w := range d.Warnings {
			fmt.Fprintf(&b, " | warning %s: %s", w.File, w.Text)
		}
		if d.Err != nil {
			fmt.Fprintf(&b, " | error %v", strings.ReplaceAll(d.Err.Error(), "\n", " & "))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestDiscover(t *testing.T) {
	const rule = "use up to 41 lower-case letters, digits, _ and -, a letter or digit first (rename the folder, or set name: in compose.yml)"
	tests := []struct {
		name string
		fsys fstest.MapFS
		o    Options
		want string
	}{
		{"an empty tree has no stacks", repo(), Options{}, ""},
		{"direct children are stacks, sorted by name", repo("web/compose.yml", "db/stack.yaml"), Options{Prefix: "shop-"},
			"shop-db = db/stack.yaml\nshop-web = web/compose.yml\n"},
		{"a folder without a stack file is none", repo("docs/readme.md", "web/other.yml", "web/compose.yml/x"), Options{}, ""},
		{"folders below are not looked at", repo("apps/web/compose.yml"), Options{}, ""},
		{"globs look below", repo("apps/web/compose.yml", "db/compose.yml"), Options{Globs: []string{"apps/*"}}, "web = apps/web/compose.yml\n"},
		{"a stack is not searched further", repo("a/compose.yml", "a/b/compose.yml", "c/d/compose.yml"), Options{Globs: []string{"*", "*/*"}},
			"a = a/compose.yml\nd = c/d/compose.yml\n"},
		{"a literal glob names one folder", repo("apps/web/compose.yml", "apps/db/compose.yml"), Options{Globs: []string{"apps/db"}}, "db = apps/db/compose.yml\n"},
		{"two globs find a folder once", repo("a/compose.yml"), Options{Globs: []string{"*", "a"}}, "a = a/compose.yml\n"},
		{"dot folders are skipped", repo(".git/compose.yml", ".github/stack.yml"), Options{}, ""},
		{"a file at the root is the tenant's stack and hides nothing", repo("compose.yml", "web/compose.yml"), Options{Tenant: "shop", Prefix: "shop-"},
			"shop = compose.yml\nshop-web = web/compose.yml\n"},
		{"stack comes before docker-stack, compose and docker-compose",
			repo("a/docker-compose.yml", "a/compose.yml", "a/docker-stack.yml", "a/stack.yml"), Options{},
			"a = a/stack.yml" +
				" | warning a/docker-stack.yml: not read: stack.yml is the stack file of this folder; remove one of them" +
				" | warning a/compose.yml: not read: stack.yml is the stack file of this folder; remove one of them" +
				" | warning a/docker-compose.yml: not read: stack.yml is the stack file of this folder; remove one of them\n"},
		{"yaml comes before yml", repo("a/compose.yml", "a/compose.yaml"), Options{},
			"a = a/compose.yaml | warning a/compose.yml: not read: compose.yaml is the stack file of this folder; remove one of them\n"},
		{"override files are never read", repo("a/compose.yml", "a/compose.override.yml"), Options{}, "a = a/compose.yml\n"},
		{"the environment's overlay is merged", repo("a/compose.yml", "a/compose.production.yaml", "a/compose.staging.yml"), Options{Environment: "production"},
			"a = a/compose.yml + a/compose.production.yaml\n"},
		{"an overlay alone is a stack in its environment", repo("a/compose.production.yml", "b/compose.staging.yml"), Options{Environment: "production"},
			"a = a/compose.production.yml\n"},
		{"an overlay alone is none without it", repo("a/compose.production.yml"), Options{}, ""},
		{"both endings of an overlay are an error", repo("a/compose.yml", "a/compose.p.yml", "a/compose.p.yaml"), Options{Environment: "p"},
			"a = a/compose.yml | error a/compose.p.yml:1: compose.p.yaml is there too; keep one of them\n"},
		{"an overlay of another base is not read", repo("a/stack.yml", "a/compose.p.yml"), Options{Environment: "p"},
			"a = a/stack.yml | warning a/compose.p.yml: not read: stack.yml is the stack file of this folder; remove one of them\n"},
		{"capital letters are warned of", repo("a/compose.yml", "a/Compose.YAML"), Options{},
			"a = a/compose.yml | warning a/Compose.YAML: not read: name it compose.yaml, or remove it\n"},
		{"an overlay's capital letters are warned of", repo("a/compose.yml", "a/compose.Prod.yml"), Options{Environment: "prod"},
			"a = a/compose.yml | warning a/compose.Prod.yml: not read: name it compose.prod.yml, or remove it\n"},
		{"capital letters alone are an error", repo("a/compose.YML"), Options{}, "a =  | error a/compose.YML:1: not read: name it compose.yml\n"},
		{"name: replaces the folder's part", repo("a/compose.yml: name: other\nservices: {}\n"), Options{Prefix: "p-"}, "p-other = a/compose.yml\n"},
		{"name: at the root stays below the prefix", repo("compose.yml: name: other\n"), Options{Prefix: "p-", Tenant: "p"}, "p-other = compose.yml\n"},
		{"name: of the overlay wins", repo("a/compose.yml: name: x\n", "a/compose.p.yml: name: y\n"), Options{Environment: "p"}, "y = a/compose.yml + a/compose.p.yml\n"},
		{"name: may hold variables", repo("a/compose.yml: name: x-${E:-d}-$SKEP_TENANT\n", "a/.env: E=e\n"), Options{Tenant: "t"}, "x-e-t = a/compose.yml\n"},
		{"name: can't use the name that it makes", repo("a/compose.yml: name: x-$SKEP_STACK\n"), Options{},
			"a = a/compose.yml | error a/compose.yml:1: name: variable SKEP_STACK is not set; set it in .env or give a default: ${SKEP_STACK:-default}\n"},
		{"name: behind a flow mapping is seen", repo(`a/compose.yml: {"name": "x", services: {}}`), Options{}, "x = a/compose.yml\n"},
		{"name: behind a merge key is seen", repo("a/compose.yml: x-a: &a {name: x}\n<<: *a\n"), Options{}, "x = a/compose.yml\n"},
		{"name: behind an escape is seen", repo("a/compose.yml: \"n\\u0061me\": x\n"), Options{}, "x = a/compose.yml\n"},
		{"name: of a network is none", repo("a/compose.yml: networks:\n  n:\n    name: x\n"), Options{}, "a = a/compose.yml\n"},
		{"a broken file keeps the name it gives", repo("a/compose.yml: name: x\nservices: [\n"), Options{},
			"x = a/compose.yml | error a/compose.yml:2: not YAML: while parsing a flow node did not find expected node content\n"},
		{"a broken file without name: is for render to refuse", repo("a/compose.yml: services: [\n"), Options{}, "a = a/compose.yml\n"},
		{"a name that is no text", repo("a/compose.yml: name: 12\n"), Options{}, "a = a/compose.yml | error a/compose.yml:1: name: must be text; put it in quotes\n"},
		{"capital letters are not lowered in silence", repo("Web/compose.yml"), Options{}, `Web = Web/compose.yml | error Web/compose.yml:1: a stack can't be named "Web": ` + rule + "\n"},
		{"41 bytes are enough", repo(strings.Repeat("a", 41)+"/compose.yml", strings.Repeat("b", 42)+"/compose.yml"), Options{},
			strings.Repeat("a", 41) + " = " + strings.Repeat("a", 41) + "/compose.yml\n" +
				strings.Repeat("b", 42) + " = " + strings.Repeat("b", 42) + "/compose.yml | error " + strings.Repeat("b", 42) + `/compose.yml:1: a stack can't be named "` + strings.Repeat("b", 42) + `": ` + rule + "\n"},
		{"the prefix counts", repo("abc/compose.yml"), Options{Prefix: strings.Repeat("p", 39)},
			strings.Repeat("p", 39) + `abc = abc/compose.yml | error abc/compose.yml:1: a stack can't be named "` + strings.Repeat("p", 39) + `abc": ` + rule + "\n"},
		{"a name can't start as skep's own objects do", repo("skep.x/compose.yml"), Options{}, `skep.x = skep.x/compose.yml | error skep.x/compose.yml:1: a stack can't be named "skep.x": ` + rule + "\n"},
		{"a name: that is no stack's is told at its line", repo("a/compose.yml: # x\nname: B\n"), Options{}, `B = a/compose.yml | error a/compose.yml:2: a stack can't be named "B": ` + rule + "\n"},
		{"a folder whose name is not UTF-8 fails alone", repo("caf\xe9/readme.md", "web/compose.yml"), Options{Prefix: "p-"},
			"p-caf\uFFFD =  | error caf\uFFFD: the folder's name is not UTF-8: rename it\n" + "p-web = web/compose.yml\n"},
		{"two folders of one name are both refused", repo("a/compose.yml", "b/compose.yml: # x\n\nname: a\n", "c/compose.yml"), Options{},
			`a = a/compose.yml | error a/compose.yml:1: b/compose.yml:3 is the stack "a" too; rename one of the folders, or set another name: in its stack file` + "\n" +
				`a = b/compose.yml | error b/compose.yml:3: a/compose.yml:1 is the stack "a" too; rename one of the folders, or set another name: in its stack file` + "\n" +
				"c = c/compose.yml\n"},
		{"three folders of one name", repo("a/compose.yml: name: x", "b/compose.yml: name: x", "x/compose.yml"), Options{},
			`x = a/compose.yml | error a/compose.yml:1: b/compose.yml:1 and x/compose.yml:1 are the stack "x" too; rename all but one of the folders, or set another name: in their stack files` + "\n" +
				`x = b/compose.yml | error b/compose.yml:1: a/compose.yml:1 and x/compose.yml:1 are the stack "x" too; rename all but one of the folders, or set another name: in their stack files` + "\n" +
				`x = x/compose.yml | error x/compose.yml:1: a/compose.yml:1 and b/compose.yml:1 are the stack "x" too; rename all but one of the folders, or set another name: in their stack files` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defs, err := Discover(tt.fsys, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, brief(defs)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestDiscoverRefuses(t *testing.T) {
	for _, o := range []Options{
		{Globs: []string{"../*"}}, {Globs: []string{"/etc"}}, {Globs: []string{"["}}, {Globs: []string{""}}, {Globs: []string{"a/**"}},
		{Environment: "../x"}, {Environment: "override"}, {Environment: ".x"},
	} {
		if defs, err := Discover(repo("a/compose.yml"), o); err == nil {
			t.Errorf("%+v: got %v, want an error", o, defs)
		}
	}
}

// broken is a tree in which one folder can't be read.
type broken struct {
	fs.FS
	folder string
}

var errDisk = errors.New("disk on fire")

func (b broken) Open(name string) (fs.File, error) {
	if name == b.folder {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errDisk}
	}
	return b.FS.Open(name)
}

func TestDiscoverKnowsNothingOfATreeItCannotRead(t *testing.T) {
	for _, folder := range []string{".", "a"} {
		defs, err := Discover(broken{repo("a/compose.yml", "b/compose.yml"), folder}, Options{})
		if !errors.Is(err, errDisk) {
			t.Errorf("%s can't be read: got %v, %v; want an error", folder, defs, err)
		}
	}
	defs, err := Discover(broken{repo("a/compose.yml", "b/compose.yml"), "a/compose.yml"}, Options{})
	if err != nil || len(defs) != 2 || !errors.Is(defs[0].Err, errDisk) || defs[1].Err != nil {
		t.Errorf("one file can't be read: got %v, %v; want an error on a alone", defs, err)
	}
}
