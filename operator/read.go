package operator

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/secrets"
	"github.com/skep-gitops/skep/source"
	"github.com/skep-gitops/skep/stack"
)

// revision is one stack as one commit asks for it. It is not changed once made.
type revision struct {
	tenant, name    string
	commit          string
	author, subject string
	hash            string // of everything that the rendering depends on; empty: unknown
	spec            stack.Spec
	warnings        []string
	verdict         // why it can't be used; zero: it can
}

// verdict is what is wrong, in the words of the status. The zero value: nothing.
// Its message is redacted.
type verdict struct {
	reason         Reason
	cause, message string
}

// usable says that the revision was rendered and passed the policy.
func (r *revision) usable() bool { return r != nil && r.reason == "" }

// reading is what one look at a repository gave for one tenant.
type reading struct {
	tenant          string
	at, next        time.Time
	commit          string // empty: it couldn't be fetched
	author, subject string
	verdict         // of the repository as a whole; then there are no revisions
	revisions       []*revision
	unclear         []string // folders that could not be told apart and named; if there is one, what is missing may be it
	renders         int
	auth            map[string]string // encoded registry credentials by host; shown nowhere
}

// reader turns one tenant's snapshots into revisions. It renders only what changed.
type reader struct {
	tenant Tenant
	policy func(Tenant, stack.Spec) error // nil: unrestricted

	keyText []byte // what ring was made of
	ring    *secrets.Keyring
	mu      sync.Mutex // guards cache
	cache   map[string]rendered
}

// rendered is a revision and the names that its rendering read.
type rendered struct {
	rev   *revision
	reads []string
	api   string // that it was rendered for
}

// inputs is what a rendering depends on beside the tree. The engine's API is left
// out of the hash: what it changes of a spec shows in the diff, and an upgrade of
// the engines is not something that git asks.
type inputs struct {
	Definition stack.Definition
	Options    stack.Options
	Recipients []string
	Adopt      bool
}

// open gives the tenant's part of the tree, with encrypted files in the clear.
func (r *reader) open(snap source.Snapshot) (fs.FS, error) {
	if err := r.loadKeys(); err != nil {
		return nil, err
	}
	sub, err := fs.Sub(snap.FS, r.tenant.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &missingPath{r.tenant.Path}
	}
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", r.tenant.Path, err)
	}
	return r.ring.FS(sub), nil
}

// missingPath is a tenant's path that its repository does not have.
type missingPath struct{ path string }

func (e *missingPath) Error() string {
	return fmt.Sprintf("path %q: there is no such folder in the repository: push it, or correct path in skep.yml", e.path)
}
func (e *missingPath) Unwrap() error { return fs.ErrNotExist }

// keyError is an age key file that can't be used.
type keyError struct{ err error }

func (e *keyError) Error() string { return "age_key_file: " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

// loadKeys reads the tenant's age keys again, if they changed.
func (r *reader) loadKeys() error {
	var text []byte
	if r.tenant.AgeKeyFile != "" {
		b, err := readSmall(r.tenant.AgeKeyFile)
		if err != nil {
			return &keyError{err}
		}
		text = b
	}
	if r.ring != nil && bytes.Equal(text, r.keyText) {
		return nil
	}
	var identities [][]byte
	if len(text) > 0 {
		identities = append(identities, text)
	}
	ring, err := secrets.New(identities...)
	if err != nil {
		return &keyError{err}
	}
	r.ring, r.keyText = ring, text
	return nil
}

// options are the platform's words to the stack room.
func (r *reader) options(api string) stack.Options {
	return stack.Options{
		Tenant:      r.tenant.Name,
		Prefix:      r.tenant.Prefix,
		Globs:       r.tenant.Stacks,
		Environment: r.tenant.Environment,
		Variables:   r.tenant.Variables,
		Profiles:    r.tenant.Profiles,
		API:         api,
	}
}

// discover is stack.Discover; a panic in it is an error.
func discover(tree fs.FS, o stack.Options) (defs []stack.Definition, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error while stacks were looked for: %v", panicKind(p))
		}
	}()
	return stack.Discover(tree, o)
}

// renderAll renders what changed, as many at a time as there are processors.
func (r *reader) renderAll(tree fs.FS, snap source.Snapshot, defs []stack.Definition, o stack.Options) ([]*revision, int) {
	revisions := make([]*revision, len(defs))
	again := make([]bool, len(defs))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), max(1, len(defs))) {
		wg.Go(func() {
			for i := range next {
				revisions[i], again[i] = r.revision(tree, snap, defs[i], o)
			}
		})
	}
	for i := range defs {
		next <- i
	}
	close(next)
	wg.Wait()
	r.forget(defs)
	renders := 0
	for _, a := range again {
		if a {
			renders++
		}
	}
	return revisions, renders
}

// forget drops the renderings of folders that are no stacks any more.
func (r *reader) forget(defs []stack.Definition) {
	keep := map[string]bool{}
	for _, d := range defs {
		keep[d.Dir] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for dir := range r.cache {
		if !keep[dir] {
			delete(r.cache, dir)
		}
	}
}

// revision renders one definition, unless nothing that it read has changed;
// the second result says that it was rendered.
func (r *reader) revision(tree fs.FS, snap source.Snapshot, def stack.Definition, o stack.Options) (*revision, bool) {
	blank := revision{tenant: r.tenant.Name, name: def.Name, commit: snap.Commit, author: snap.Author, subject: snap.Subject}
	if def.Err != nil {
		blank.verdict = judge(def.Err, RenderFailed)
		return &blank, false
	}
	in := r.inputs(def, o)
	r.mu.Lock()
	old, known := r.cache[def.Dir]
	r.mu.Unlock()
	if known && old.api == o.API {
		hash, err := inputHash(tree, old.reads, in)
		if err == nil && hash == old.rev.hash {
			same := *old.rev
			same.commit, same.author, same.subject = snap.Commit, snap.Author, snap.Subject
			return &same, false
		}
	}
	rev, names := r.render(tree, def, o, blank)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cache == nil {
		r.cache = map[string]rendered{}
	}
	r.cache[def.Dir] = rendered{rev, names, o.API}
	return rev, true
}

// inputs are what one definition's rendering depends on beside the tree.
func (r *reader) inputs(def stack.Definition, o stack.Options) inputs {
	o.API = ""
	return inputs{Definition: def, Options: o, Recipients: r.ring.Recipients(), Adopt: r.tenant.Adopt}
}

// render makes the revision and tells which names it read.
func (r *reader) render(tree fs.FS, def stack.Definition, o stack.Options, rev revision) (*revision, []string) {
	watched, reads := watchReads(tree)
	spec, err := r.specs(watched, def, o)
	names := reads.sorted()
	rev.warnings = findings(def.Warnings, spec.Warnings)
	if err != nil {
		rev.verdict = judge(err, RenderFailed)
	} else {
		rev.spec = spec
	}
	hash, err := inputHash(tree, names, r.inputs(def, o))
	if err != nil && rev.reason == "" {
		rev.verdict = judge(err, RenderFailed)
	}
	rev.hash = hash
	return &rev, names
}

// specs renders and asks the policy; a panic in either is this stack's error.
func (r *reader) specs(tree fs.FS, def stack.Definition, o stack.Options) (spec stack.Spec, err error) {
	defer func() {
		if p := recover(); p != nil {
			spec, err = stack.Spec{}, fmt.Errorf("%s: internal error while it was rendered: %s", def.Dir, panicKind(p))
		}
	}()
	spec, err = stack.Render(tree, def, o)
	if err != nil {
		return stack.Spec{}, err
	}
	if r.policy != nil {
		if err := r.policy(r.tenant, spec); err != nil {
			return stack.Spec{}, &policyError{err}
		}
	}
	return spec, nil
}

// registries reads the tenant's registry credentials.
func (r *reader) registries() (map[string]string, error) {
	var auth map[string]string
	for _, g := range r.tenant.Registries {
		encoded, err := deploy.ReadAuth(g.Host, g.Username, g.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("registries: %w", err)
		}
		if auth == nil {
			auth = map[string]string{}
		}
		auth[g.Host] = encoded
	}
	return auth, nil
}

// policyError is a stack that the platform's rules forbid.
type policyError struct{ err error }

func (e *policyError) Error() string { return e.err.Error() }
func (e *policyError) Unwrap() error { return e.err }

// panicKind names a panic without its text, which may hold anything.
func panicKind(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("panic of type %T", p)
}

// judge puts an error into the words of the status.
func judge(err error, otherwise Reason) verdict {
	v := verdict{reason: otherwise, message: err.Error()}
	var (
		fetch   *source.Error
		decrypt *secrets.DecryptError
		key     *keyError
		policy  *policyError
		leaves  *stack.EscapeError
		leads   *source.EscapeError
	)
	switch {
	case errors.As(err, &fetch):
		v.reason, v.cause = FetchFailed, string(fetch.Cause)
	case errors.As(err, &policy):
		v.reason = PolicyDenied
	case errors.As(err, &decrypt):
		v.reason, v.cause = DecryptFailed, "decrypt"
	case errors.As(err, &key):
		v.reason, v.cause = DecryptFailed, "age-key"
	case errors.As(err, &leaves), errors.As(err, &leads):
		v.cause = "path-escape"
	case errors.Is(err, fs.ErrNotExist) && otherwise == RenderFailed:
		v.cause = "missing-file"
	}
	return v
}

// findings gives the warnings as lines.
func findings(lists ...[]stack.Finding) []string {
	var lines []string
	for _, list := range lists {
		for _, f := range list {
			lines = append(lines, f.String())
		}
	}
	return lines
}

// readSmall reads a credential's file: at most 1 MiB.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 1 << 20
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%s: larger than 1 MiB", name)
	}
	return b, nil
}
