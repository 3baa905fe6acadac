package stack

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// nameRule is what a stack's name, prefix included, must match.
var nameRule = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,40}$`)

// bases are the names of stack files without their extension, the first wins;
// extensions likewise.
var (
	bases      = []string{"stack", "docker-stack", "compose", "docker-compose"}
	extensions = []string{".yaml", ".yml"}
)

func discover(fsys fs.FS, o Options) ([]Definition, error) {
	if err := checkEnvironment(o.Environment); err != nil {
		return nil, err
	}
	d := discovery{fsys: fsys, o: o, looked: map[string]bool{}}
	found, err := d.look(".", true)
	if err != nil {
		return nil, err
	}
	d.add(found)
	globs := o.Globs
	if len(globs) == 0 {
		globs = []string{"*"}
	}
	for _, g := range globs {
		if err := checkGlob(g); err != nil {
			return nil, err
		}
		if err := d.walk(".", strings.Split(path.Clean(g), "/")); err != nil {
			return nil, err
		}
	}
	clash(d.found)
	slices.SortFunc(d.found, func(a, b Definition) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Dir, b.Dir))
	})
	return d.found, nil
}

func checkGlob(g string) error {
	if _, err := path.Match(g, ""); err != nil {
		return fmt.Errorf("stacks: %q is not a pattern", g)
	}
	if g == "" || !fs.ValidPath(path.Clean(g)) || strings.ContainsAny(g, "\\\x00") || strings.Contains(g, "**") {
		return fmt.Errorf("stacks: %q must be a pattern for folders below the path, such as * or apps/*", g)
	}
	return nil
}

// discovery is one search for stacks.
type discovery struct {
	fsys   fs.FS
	o      Options
	looked map[string]bool // folders that were looked at; true: they are stacks
	found  []Definition
}

func (d *discovery) add(def *Definition) {
	if def != nil {
		d.found = append(d.found, *def)
	}
}

// walk looks at the folders below dir that the segments of a glob name. A stack
// is not searched further; the root, which hides nothing, is.
func (d *discovery) walk(dir string, segments []string) error {
	entries, err := fs.ReadDir(d.fsys, dir)
	if err != nil {
		return fmt.Errorf("read folder %s: %w", dir, err)
	}
	for _, e := range entries {
		name := e.Name()
		if match, _ := path.Match(segments[0], name); !match || strings.HasPrefix(name, ".") { // checkGlob saw to the pattern
			continue
		}
		sub := path.Join(dir, name)
		if !utf8.ValidString(name) { // no fs.FS opens it
			if e.IsDir() && !d.looked[sub] {
				d.looked[sub] = true
				d.add(d.failed(strings.ToValidUTF8(sub, "\uFFFD"), errors.New("the folder's name is not UTF-8: rename it")))
			}
			continue
		}
		folder, err := d.folder(sub, e)
		if d.looked[sub] {
			continue
		}
		if err != nil {
			d.looked[sub] = true
			d.add(d.failed(sub, err))
			continue
		}
		if !folder {
			continue
		}
		if len(segments) > 1 {
			if err := d.walk(sub, segments[1:]); err != nil {
				return err
			}
			continue
		}
		def, err := d.look(sub, false)
		if err != nil {
			return err
		}
		d.looked[sub] = def != nil
		d.add(def)
	}
	return nil
}

// folder says whether an entry is a folder, through symlinks that stay inside.
// The error is a symlink that leaves: what it would have been is unknown.
func (d *discovery) folder(name string, e fs.DirEntry) (bool, error) {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir(), nil
	}
	info, err := fs.Stat(d.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, openError(name, err)
	}
	return info.IsDir(), nil
}

// failed is a folder of which nothing can be known but its name; nil where that is
// no stack's, so that a link to a README elsewhere is no more than the file would be.
func (d *discovery) failed(dir string, err error) *Definition {
	def := &Definition{Tenant: d.o.Tenant, Name: d.o.Prefix + path.Base(dir), Dir: dir, named: Position{File: dir}}
	var escape *EscapeError
	if !errors.As(err, &escape) {
		def.Err = folderError(dir, err)
		return def
	}
	if !nameRule.MatchString(def.Name) {
		return nil
	}
	def.Err = fmt.Errorf("%w; if it is no stack, let stacks: in skep.yml name the folders that are", folderError(dir, err))
	return def
}

// placedError is what keeps a folder from being a stack, at a place in one of its files.
type placedError struct {
	at  Position
	err error
}

func (e *placedError) Error() string { return fmt.Sprintf("%s: %s", e.at, e.text()) }
func (e *placedError) Unwrap() error { return e.err }

// text is what is wrong, without the file that the place names.
func (e *placedError) text() string { return strings.TrimPrefix(e.err.Error(), e.at.File+": ") }

// folderError names the folder, unless err does.
func folderError(dir string, err error) error {
	var placed *placedError
	if errors.As(err, &placed) {
		return err
	}
	var escape *EscapeError
	if errors.As(err, &escape) && escape.Path == dir {
		return err
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// look gives the stack in dir, or nil where there is none. The error is a
// folder that can't be read.
func (d *discovery) look(dir string, root bool) (*Definition, error) {
	entries, err := fs.ReadDir(d.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("read folder %s: %w", dir, err)
	}
	p := pick(entries, d.o.Environment)
	if len(p.files) == 0 && p.err == nil {
		return nil, nil
	}
	def := &Definition{Tenant: d.o.Tenant, Name: d.o.Prefix + path.Base(dir), Dir: dir}
	if root {
		def.Name = d.o.Tenant
	}
	for _, f := range p.files {
		def.Files = append(def.Files, path.Join(dir, f))
	}
	for _, w := range p.warnings {
		w.File = path.Join(dir, w.File)
		def.Warnings = append(def.Warnings, w)
	}
	if p.err != nil {
		def.named = Position{path.Join(dir, p.fault), 1}
		def.Err = &placedError{def.named, p.err}
		return def, nil
	}
	def.named = Position{def.Files[0], 1}
	name, err := d.ownName(def)
	if name != "" {
		def.Name = d.o.Prefix + name
	}
	if err != nil {
		def.Err = folderError(dir, err)
	} else if !nameRule.MatchString(def.Name) {
		def.Err = &placedError{def.named, fmt.Errorf("a stack can't be named %q: use up to 41 lower-case letters, digits, _ and -, a letter or digit first (rename the folder, or set name: in %s)",
			cut(def.Name), path.Base(def.Files[0]))}
	}
	return def, nil
}

// picked is which files of a folder make its stack.
type picked struct {
	files    []string // the stack file, then the overlay
	warnings []Finding
	fault    string // the file that err is about
	err      error
}

// pick chooses among the names in a folder.
func pick(entries []fs.DirEntry, environment string) picked {
	names := map[string]bool{}
	for _, e := range entries {
		if !e.IsDir() {
			names[e.Name()] = true
		}
	}
	var p picked
	base := ""
	for _, b := range bases {
		plain, overlays := candidates(names, b), []string(nil)
		if environment != "" {
			overlays = candidates(names, b+"."+environment)
		}
		if base == "" && len(plain)+len(overlays) > 0 {
			base = b
			p.choose(plain, overlays)
			continue
		}
		for _, other := range append(plain, overlays...) {
			p.ignore(other)
		}
	}
	odd := oddlyCased(names, environment)
	for _, name := range slices.Sorted(maps.Keys(odd)) {
		if base == "" {
			p.fault, p.err = name, fmt.Errorf("not read: name it %s", odd[name])
			continue
		}
		p.warnings = append(p.warnings, Finding{Position: Position{File: name}, Severity: Warning,
			Text: fmt.Sprintf("not read: name it %s, or remove it", odd[name])})
	}
	return p
}

// choose takes the stack file and the overlay of one base.
func (p *picked) choose(plain, overlays []string) {
	if len(plain) > 0 {
		p.files = append(p.files, plain[0])
	}
	switch len(overlays) {
	case 1:
		p.files = append(p.files, overlays[0])
	case 2:
		p.fault, p.err = overlays[1], fmt.Errorf("%s is there too; keep one of them", overlays[0])
	}
	if len(plain) > 1 {
		p.ignore(plain[1])
	}
}

// ignore warns of a file that another one of the folder hides.
func (p *picked) ignore(name string) {
	text := "not read: another file of this folder is the stack file"
	if len(p.files) > 0 {
		text = fmt.Sprintf("not read: %s is the stack file of this folder; remove one of them", p.files[0])
	}
	p.warnings = append(p.warnings, Finding{Position: Position{File: name}, Severity: Warning, Text: text})
}

// candidates lists the files of one base that are there.
func candidates(names map[string]bool, base string) []string {
	var out []string
	for _, ext := range extensions {
		if names[base+ext] {
			out = append(out, base+ext)
		}
	}
	return out
}

// oddlyCased gives files that would be stack files, or overlays, but for
// capital letters, with the names that they must have.
func oddlyCased(names map[string]bool, environment string) map[string]string {
	out := map[string]string{}
	for name := range names {
		for _, b := range bases {
			for _, ext := range extensions {
				for _, right := range []string{b + ext, b + "." + environment + ext} {
					if name != right && strings.EqualFold(name, right) {
						out[name] = right
					}
				}
			}
		}
	}
	return out
}

// nameLine finds a file that may have a top-level name: of its own, so that
// the others need not be parsed: the key itself, or what could hide it.
var nameLine = regexp.MustCompile(`(?:^|[\n\r{,?\x{85}\x{2028}\x{2029}\x{feff}])[ \t]*["']?name["']?[ \t]*:|<<|\\|(?m:^\?)|[&*]name`)

// guess is the plain form of a top-level name, for files that do not parse.
var guess = regexp.MustCompile(`(?m)^name:[ \t]*["']?([a-z0-9_-]+)["']?[ \t\r]*$`)

// ownName gives the top-level name: of a stack's files, the overlay's if both
// have one; empty: none. With an error it is the best guess.
func (d *discovery) ownName(def *Definition) (string, error) {
	f := newFiles(d.fsys)
	name := ""
	for _, file := range def.Files {
		data, _, err := f.read(file, maxFile)
		if err != nil {
			return name, &placedError{Position{file, 1}, err}
		}
		if !nameLine.Match(data) {
			continue
		}
		root, err := parse(data)
		if err != nil {
			if m := guess.FindSubmatch(data); m != nil {
				name = string(m[1])
			}
			at := Position{file, 1}
			var l *lineError
			if errors.As(err, &l) {
				at.Line, err = l.line, l.err
			}
			return name, &placedError{at, errors.New(NewTaint(f.secrets...).Redact(err.Error()))}
		}
		n := child(root, "name")
		if n == nil || n.ShortTag() == "!!null" {
			continue
		}
		def.named = Position{file, n.Line}
		if name, err = d.interpolatedName(f, def.Dir, n); err != nil {
			return "", &placedError{Position{file, n.Line}, errors.New("name: " + NewTaint(f.secrets...).Redact(err.Error()))}
		}
		if NewTaint(f.secrets...).In(name) {
			def.Warnings = append(def.Warnings, Finding{Position: Position{file, n.Line}, Severity: Warning, Key: "name",
				Text: "the stack's name comes from an encrypted file; everybody who sees the swarm can read it"})
		}
	}
	return name, nil
}

// interpolatedName gives a name: with the stack's variables put in; SKEP_STACK,
// which it makes, is not among them.
func (d *discovery) interpolatedName(f *files, dir string, n *yaml.Node) (string, error) {
	if !isText(n) || n.Value == "" {
		return "", errors.New("must be text; put it in quotes")
	}
	if !strings.Contains(n.Value, "$") {
		return n.Value, nil
	}
	var r report
	values := variables(f, dir, d.o, ownVariables(d.o, ""), &r)
	if r.errors > 0 {
		first := r.sorted(NewTaint(f.secrets...))[0]
		return "", fmt.Errorf("%s: %s", first.Position, first.Text)
	}
	return interpolate(n.Value, in(values))
}

// clash gives all stacks that share a name an error that tells where the others
// get it.
func clash(defs []Definition) {
	named := map[string][]string{}
	for _, d := range defs {
		named[d.Name] = append(named[d.Name], d.named.String())
	}
	for i := range defs {
		d := &defs[i]
		var others []string
		for _, at := range named[d.Name] {
			if at != d.named.String() {
				others = append(others, at)
			}
		}
		slices.Sort(others)
		text := "%s is the stack %q too; rename one of the folders, or set another name: in its stack file"
		switch len(others) {
		case 0:
			continue
		case 1:
		default:
			text = "%s are the stack %q too; rename all but one of the folders, or set another name: in their stack files"
		}
		d.Err = errors.Join(d.Err, &placedError{d.named, fmt.Errorf(text, strings.Join(others, " and "), cut(d.Name))})
	}
}
