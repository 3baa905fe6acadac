package source

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

const (
	maxCommits = 50 // fetched into one folder; then a fresh clone is smaller and faster
	maxHaves   = 32 // commits that a server is told of
	maxText    = 200
	refusedFor = 10 * time.Minute // until a commit that broke a limit is tried again
)

// Mirror is one remote's local copy. Its methods may be called at the same time;
// they run one after the other.
type Mirror struct{ mirror }

type mirror struct {
	remote  Remote
	limits  Limits
	address address
	shown   string   // the URL as errors show it
	secrets []string // what no error shows
	client  *http.Client
	bad     error // why the remote can never be followed
	store   store
	turn    chan struct{} // holds one value while a call runs

	// These belong to the call that runs.
	refused         refusal
	tokenIsPassword bool // the server takes the token by basic authentication
}

// Open prepares a mirror below dir; it touches neither disk nor network. Mirrors
// of equal Remotes have the same folder, all others have their own.
func Open(dir string, r Remote, l Limits) *Mirror {
	m := &Mirror{mirror{remote: r, limits: l.orDefault(), shown: shown(r.URL), turn: make(chan struct{}, 1)}}
	m.store.home = filepath.Join(dir, r.folder())
	m.address, m.bad = parseAddress(r.URL)
	if m.bad == nil {
		m.bad = r.validate()
	}
	if m.bad != nil {
		m.bad = &fault{cause: CauseUnsupported, err: m.bad}
	}
	m.secrets = m.credentials()
	if m.address.scheme == "http" || m.address.scheme == "https" {
		var err error
		m.client, err = newClient(r)
		if m.bad == nil {
			m.bad = err
		}
	}
	return m
}

func (l Limits) orDefault() Limits {
	if l.Timeout <= 0 {
		l.Timeout = time.Minute
	}
	if l.Bytes <= 0 {
		l.Bytes = 1 << 30
	}
	if l.File <= 0 {
		l.File = 16 << 20
	}
	if l.Files <= 0 {
		l.Files = 100_000
	}
	return l
}

func (r Remote) validate() error {
	switch {
	case r.Branch != "" && r.Tag != "":
		return errors.New("both a branch and a tag are given")
	case r.Branch != "":
		return checkRef(r.Branch)
	case r.Tag != "":
		return checkRef(r.Tag)
	}
	return nil
}

// folder is a name of its own for each remote. The credentials go into it, so it
// is derived in a way that makes guessing them from it slow.
func (r Remote) folder() string {
	h := sha256.New()
	for _, s := range []string{r.URL, r.Branch, r.Tag, r.Username, r.Password, r.Token, string(r.CA), string(r.SSHKey), string(r.Known)} {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	key, err := pbkdf2.Key(sha256.New, string(h.Sum(nil)), []byte("skep mirror"), 4096, 16)
	if err != nil {
		panic(err) // the parameters are fixed
	}
	return hex.EncodeToString(key)
}

// credentials are all forms in which the remote's secrets could be quoted back.
func (m *mirror) credentials() []string {
	var out []string
	add := func(s string) {
		if len(s) >= 4 { // shorter ones would tear holes into every text
			out = append(out, s, url.QueryEscape(s), url.PathEscape(s), base64.StdEncoding.EncodeToString([]byte(s)))
		}
	}
	user, password := m.login()
	for _, s := range []string{m.remote.Password, m.remote.Token, m.address.password} {
		add(s)
	}
	for _, s := range []string{password, m.remote.Token} {
		if s != "" {
			add(user + ":" + s)
			add("git:" + s)
		}
	}
	if password == "" && m.address.scheme != "ssh" {
		add(m.address.user) // https://TOKEN@host
	}
	return out
}

// Fetch looks at the remote's ref and transfers objects only if it moved. The
// error is an *Error; what was fetched before stays readable.
func (m *Mirror) Fetch(ctx context.Context) (Snapshot, error) {
	return m.call(ctx, m.fetch)
}

// At gives an older commit: from the local copy, by its hash, or by deepening up
// to 500 commits. CauseMissingCommit: the server no longer has it.
func (m *Mirror) At(ctx context.Context, commit string) (Snapshot, error) {
	return m.call(ctx, func(ctx context.Context) (Snapshot, error) { return m.at(ctx, commit) })
}

// Close gives back what the mirror holds open; the files stay.
func (m *Mirror) Close() error {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.client != nil {
		m.client.CloseIdleConnections()
	}
	m.store.close()
	return nil
}

// call runs one look or fetch at a time, within the time limit.
func (m *mirror) call(ctx context.Context, do func(context.Context) (Snapshot, error)) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, m.limits.Timeout)
	defer cancel()
	if m.bad != nil {
		return Snapshot{}, m.fail(ctx, m.bad)
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return Snapshot{}, m.fail(ctx, ctx.Err())
	}
	s, err := do(ctx)
	if err != nil {
		return Snapshot{}, m.fail(ctx, err)
	}
	return s, nil
}

// look is a session after its first half: what the server has.
type look struct {
	session session
	refs    *packp.AdvRefs
	target  target
}

func (m *mirror) look(ctx context.Context) (l look, err error) {
	if l.session, err = m.dial(ctx); err != nil {
		return l, err
	}
	l.refs, err = l.session.refs(ctx)
	if err == nil {
		l.target, err = m.remote.resolve(l.refs)
	}
	if err != nil {
		l.session.close()
	}
	return l, err
}

func (m *mirror) fetch(ctx context.Context) (Snapshot, error) {
	l, err := m.look(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer func() { l.session.close() }()
	tip := l.target.commit
	if s, err := m.here(ctx, tip); err == nil {
		return s, nil
	}
	if tip == m.refused.commit && time.Now().Before(m.refused.until) {
		return Snapshot{}, m.refused.err
	}
	s, err := m.download(ctx, &l)
	if err != nil {
		m.refuse(tip, err)
	}
	return s, err
}

// download brings what l found into the local copy. It may have to look again,
// and leaves its last session in l.
func (m *mirror) download(ctx context.Context, l *look) (Snapshot, error) {
	tip := l.target.commit
	unlock, err := m.store.lock(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer unlock()
	m.store.load(m.limits)
	if s, err := m.here(ctx, tip); err == nil {
		return s, nil
	}
	first, second := m.obtain, m.clone
	if m.store.commits() >= maxCommits {
		first, second = second, first // a fresh folder, if there is room for it
	}
	before := m.store.commits()
	err = first(ctx, *l, l.target, 1)
	if err != nil && before > 0 && worthAnother(ctx, err) {
		l.session.close()
		next, lost := m.look(ctx)
		if lost != nil {
			return Snapshot{}, lost
		}
		*l = next
		err = second(ctx, *l, l.target, 1)
	}
	if err != nil {
		return Snapshot{}, err
	}
	return m.snapshot(ctx, l.target.commit)
}

// worthAnother says whether a fresh clone may succeed where adding to the local
// copy failed, or the other way round: where the copy is damaged or full, not
// where time is up or the server refused.
func worthAnother(ctx context.Context, err error) bool {
	var f *fault
	var full *fullError
	return ctx.Err() == nil && (!errors.As(err, &f) || errors.As(err, &full))
}

// refusal is a commit that broke a limit. It is not downloaded again and again.
type refusal struct {
	commit plumbing.Hash
	err    error
	until  time.Time
}

// refuse remembers a commit whose fetch broke one of the mirror's own limits.
func (m *mirror) refuse(commit plumbing.Hash, err error) {
	var f *fault
	if errors.As(err, &f) && f.cause == CauseLimit {
		m.refused = refusal{commit, err, time.Now().Add(refusedFor)}
	}
}

// here is the snapshot of a commit that was fetched earlier.
func (m *mirror) here(ctx context.Context, commit plumbing.Hash) (Snapshot, error) {
	if !m.store.usable() || !m.store.keeps(commit) {
		return Snapshot{}, errGone
	}
	return m.snapshot(ctx, commit)
}

// extend adds a target's objects to the folder that is there. It is not done
// where there is none.
func (m *mirror) extend(ctx context.Context, l look, t target, depth int) (done bool, err error) {
	w := m.store.writer()
	if w == nil {
		return false, nil
	}
	q := query{want: []plumbing.Hash{t.want}, have: last(w.kept, maxHaves), depth: depth, features: l.refs.Capabilities}
	if q.shallow, err = w.git.Shallow(); err == nil {
		err = m.transfer(ctx, l.session, q, w, t.commit)
	}
	if err != nil {
		w.close()
		w.undo()
		return true, err
	}
	w.wrote = nil
	m.store.renew(w)
	return true, nil
}

// clone fetches a target into a fresh folder, which takes the place of the one before.
func (m *mirror) clone(ctx context.Context, l look, t target, depth int) error {
	f, err := newFolder(m.store.home, m.limits)
	if err != nil {
		return err
	}
	q := query{want: []plumbing.Hash{t.want}, depth: depth, features: l.refs.Capabilities}
	if err := m.transfer(ctx, l.session, q, f, t.commit); err != nil {
		_ = f.remove() // else removed at the next start
		return err
	}
	m.store.replace(f)
	return nil
}

// transfer fetches into f and sees that the commit is here as a whole.
func (m *mirror) transfer(ctx context.Context, s session, q query, f *folder, commit plumbing.Hash) error {
	if !q.features.Supports(capability.Shallow) {
		q.depth, q.shallow = 0, nil
	}
	a, err := ask(ctx, s, q)
	if err != nil {
		return err
	}
	err = f.receive(ctx, a.pack)
	if closed := a.close(); err == nil {
		err = closed
	}
	if err == nil {
		err = f.deepen(a)
	}
	if err != nil {
		return err
	}
	f.reopen()
	if err := f.complete(ctx, commit); err != nil {
		return err
	}
	return f.load()
}

// complete checks a commit's whole tree, and keeps it.
func (f *folder) complete(ctx context.Context, commit plumbing.Hash) error {
	c, err := f.commit(commit)
	if err != nil {
		return err
	}
	if _, err := f.check(ctx, c.TreeHash, 0); err != nil {
		return err
	}
	return f.keep(commit)
}

func last(list []plumbing.Hash, n int) []plumbing.Hash {
	return append([]plumbing.Hash(nil), list[max(0, len(list)-n):]...)
}

// snapshot describes a commit that is here.
func (m *mirror) snapshot(ctx context.Context, commit plumbing.Hash) (s Snapshot, err error) {
	gen := m.store.generation()
	var c *object.Commit
	err = m.store.with(gen, func(f *folder) error {
		if c, err = f.commit(commit); err != nil {
			return err
		}
		_, err = f.check(ctx, c.TreeHash, 0)
		return err
	})
	if err != nil {
		return Snapshot{}, err
	}
	root := &tree{m: m, gen: gen, commit: c.Hash.String(), when: c.Committer.When.UTC(), root: c.TreeHash, base: "."}
	return Snapshot{
		Commit:  c.Hash.String(),
		Time:    c.Committer.When.UTC(),
		Author:  clean(c.Author.Name+" <"+c.Author.Email+">", maxText),
		Subject: clean(firstLine(c.Message), maxText),
		FS:      root,
	}, nil
}
