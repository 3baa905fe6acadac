package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/skep-gitops/skep/secrets"
	"github.com/skep-gitops/skep/stack"
)

// keyLimit is the size of the largest file of age identities that is read.
const keyLimit = 1 << 20

var apiShape = regexp.MustCompile(`^1\.[0-9]{1,3}$`)

// treeFlags are those of the verbs that read a folder and nothing else.
func treeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Usage: "the folder that no file may leave: the tenant's path (default: `DIR`)", TakesFile: true},
		&cli.StringFlag{Name: "api", Usage: "the lowest Docker API `VERSION` among the nodes, such as 1.41 (default: the newest)"},
		&cli.StringFlag{Name: "tenant", Usage: "`NAME` of the tenant, for SKEP_TENANT (default: the root's)"},
		&cli.StringFlag{Name: "name", Usage: "`NAME` of the stack (default: name: of its file, else its folder's)"},
		&cli.StringFlag{Name: "environment", Aliases: []string{"e"}, Usage: "merge compose.`NAME`.yaml and read NAME.env"},
		&cli.StringSliceFlag{Name: "var", Usage: "a variable, `KEY=VALUE`, over all others; may be repeated"},
		&cli.StringSliceFlag{Name: "profile", Usage: "a `PROFILE` that is on; may be repeated"},
		&cli.StringFlag{Name: "age-key-file", Usage: "`FILE` with age identities, for encrypted files", TakesFile: true},
	}
}

// tree is one folder on this machine as a tenant's tree, and what to read of it.
type tree struct {
	fsys    fs.FS
	root    *os.Root
	base    string // the root as it was given, for messages
	dir     string // slash path of the wanted folder, from the root
	name    string // --name
	options stack.Options
}

// openTree opens the folder that the command line names. Nothing outside its
// root can be read through it.
func openTree(c *cli.Command) (*tree, error) {
	words, err := arguments(c, 1, 1)
	if err != nil {
		return nil, err
	}
	t, err := locate(words[0], c.String("root"))
	if err != nil {
		return nil, err
	}
	if t.options, err = treeOptions(c, t); err != nil {
		return nil, err
	}
	if t.name = c.String("name"); t.name != "" && !nameShape.MatchString(t.name) {
		return nil, usage("name: must match %s", nameShape)
	}
	ring, err := keyring(c.String("age-key-file"))
	if err != nil {
		return nil, usage("%s", err)
	}
	if t.root, err = os.OpenRoot(t.base); err != nil {
		return nil, usage("%s", err)
	}
	t.fsys = ring.FS(t.root.FS())
	return t, nil
}

// close gives the folder back.
func (t *tree) close() { _ = t.root.Close() } // it was only read

// locate finds dir below root. An empty root is dir itself.
func locate(dir, root string) (*tree, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, usage("%s", err)
	}
	if !info.IsDir() {
		return nil, usage("%s: not a folder", dir)
	}
	if root == "" {
		return &tree{base: dir, dir: "."}, nil
	}
	absDir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	absRoot, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(absRoot, absDir)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, usage("%s is not below the root %s", dir, root)
	}
	return &tree{base: root, dir: filepath.ToSlash(rel)}, nil
}

func treeOptions(c *cli.Command, t *tree) (stack.Options, error) {
	o := stack.Options{
		Tenant:      c.String("tenant"),
		Environment: c.String("environment"),
		Overrides:   map[string]string{},
		Profiles:    c.StringSlice("profile"),
		API:         c.String("api"),
	}
	if o.API != "" && !apiShape.MatchString(o.API) {
		return o, usage("api: must be a version such as 1.41")
	}
	if e := o.Environment; e != "" && (!envShape.MatchString(e) || e == "override") {
		return o, usage("environment: must match %s, and not be override", envShape)
	}
	for _, v := range c.StringSlice("var") {
		key, value, ok := strings.Cut(v, "=")
		if !ok || !variableShape.MatchString(key) {
			return o, usage("var: must be KEY=VALUE")
		}
		o.Overrides[key] = value
	}
	if o.Tenant == "" {
		abs, err := filepath.Abs(t.base)
		if err != nil {
			return o, err
		}
		o.Tenant = filepath.Base(abs)
	}
	return o, nil
}

// keyring holds the age identities of a file; none without a file.
func keyring(name string) (*secrets.Keyring, error) {
	if name == "" {
		return &secrets.Keyring{}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("age key: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, keyLimit))
	if err != nil {
		return nil, fmt.Errorf("age key: %w", err)
	}
	return secrets.New(data)
}

// one is the stack in the wanted folder itself; false: it holds no stack file.
func (t *tree) one() (stack.Definition, bool, error) {
	o := t.options
	if t.dir == "." && t.name != "" {
		o.Tenant = t.name // the name of a stack right at the root
	}
	o.Globs = []string{t.dir}
	if t.dir == "." {
		o.Globs = nil
	}
	found, err := stack.Discover(t.fsys, o)
	if err != nil {
		return stack.Definition{}, false, err
	}
	for _, d := range found {
		if d.Dir != t.dir {
			continue
		}
		d.Tenant = t.options.Tenant
		if t.name != "" && d.Err == nil {
			d.Name = t.name
		}
		return d, true, nil
	}
	return stack.Definition{}, false, nil
}

// below are the stacks in the folders below the wanted one.
func (t *tree) below(globs []string) ([]stack.Definition, error) {
	o := t.options
	for _, g := range globs {
		o.Globs = append(o.Globs, path.Join(t.dir, g))
	}
	found, err := stack.Discover(t.fsys, o)
	if err != nil {
		return nil, err
	}
	return keep(found, func(d stack.Definition) bool { return d.Dir != "." || t.dir == "." }), nil
}

// findings are all there is to say about one stack, and its spec if it has one.
func (t *tree) findings(d stack.Definition) (stack.Spec, []stack.Finding) {
	spec, err := stack.Render(t.fsys, d, t.options)
	if err == nil {
		return spec, spec.Warnings
	}
	return stack.Spec{}, findingsOf(err, d)
}

// shown is a finding as this machine's user reads it: the file's path starts
// where the root does, and nothing in it moves the cursor.
func (t *tree) shown(f stack.Finding) string {
	f.File = filepath.Join(t.base, f.File)
	return printable(strings.ReplaceAll(f.String(), "\n", " "))
}

// failed says whether one of the findings is an error.
func failed(list []stack.Finding) bool {
	for _, f := range list {
		if f.Severity == stack.Error {
			return true
		}
	}
	return false
}
