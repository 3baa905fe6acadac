package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/skep-gitops/skep/source"
)

// repository is what a follower asks of a source.Mirror; tests give their own.
type repository interface {
	Fetch(ctx context.Context) (source.Snapshot, error)
	At(ctx context.Context, commit string) (source.Snapshot, error)
	Close() error
}

var _ repository = (*source.Mirror)(nil)

const (
	lookTimeout  = 65 * time.Second       // of one look at a repository; the source's own limit is shorter
	apiPatience  = 2 * time.Second        // for the swarm to tell its API, at the start
	kickDebounce = 700 * time.Millisecond // between the beginnings of two looks that somebody asked for
)

// follower follows one repository for all tenants that share it: its URL, its
// ref and every byte of its credentials. It owns the mirror and the readers.
type follower struct {
	key      string
	remote   source.Remote
	trouble  error // why the credentials can't be read; then there is no mirror
	tenants  []Tenant
	readers  []*reader
	mirror   repository
	interval time.Duration
	next     time.Time // when the repository is looked at again

	kick chan struct{} // look soon
	asks chan ask      // read a stack at an older commit
	done chan struct{} // closed when run has returned
	stop context.CancelFunc
}

// ask is a wish for one stack at an older commit.
type ask struct {
	tenant, stack, commit string
}

// past is the answer to an ask.
type past struct {
	ask
	rev *revision // with a reason where it couldn't be read
}

// outlet takes what followers find out, until the operator ends.
type outlet struct {
	readings chan []reading
	pasts    chan past
	regroup  chan struct{}
	api      func() string // the API to render for; empty: not known
	known    chan struct{} // closed when it is known
}

// run looks at once, then at each interval or kick, until ctx ends.
func (f *follower) run(ctx context.Context, after <-chan struct{}, out outlet) {
	defer close(f.done)
	select {
	case <-after: // the former follower of this repository is gone
	case <-ctx.Done():
		return
	}
	if f.mirror != nil {
		defer f.mirror.Close()
	}
	select { // rendering for the right engine saves rendering again
	case <-out.known:
	case <-time.After(apiPatience):
	case <-ctx.Done():
	}
	for {
		began := time.Now()
		f.next = began.Add(jitter(f.interval))
		if !f.look(ctx, out) || !f.wait(ctx, began, f.next, out) {
			return
		}
	}
}

// wait answers asks until it is time to look again; false: the end.
func (f *follower) wait(ctx context.Context, began, next time.Time, out outlet) bool {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	kick := f.kick
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-kick:
			kick = nil
			timer.Reset(time.Until(began.Add(kickDebounce)))
		case a := <-f.asks:
			if !send(ctx, out.pasts, past{a, f.at(ctx, a, out.api())}) {
				return false
			}
		}
	}
}

// fetch asks the repository for its newest commit, with a deadline.
func (f *follower) fetch(ctx context.Context) (source.Snapshot, error) {
	if f.trouble != nil {
		return source.Snapshot{}, f.trouble
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	snap, err := f.mirror.Fetch(ctx)
	var e *source.Error
	if errors.As(err, &e) && e.After > 0 {
		if asked := time.Now().Add(e.After); asked.After(f.next) {
			f.next = asked
		}
	}
	return snap, err
}

// at reads one stack at an older commit.
func (f *follower) at(ctx context.Context, a ask, api string) *revision {
	bad := &revision{tenant: a.tenant, name: a.stack, commit: a.commit}
	if f.mirror == nil {
		bad.verdict = judge(f.trouble, FetchFailed)
		return bad
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	snap, err := f.mirror.At(ctx, a.commit)
	if err != nil {
		bad.verdict = judge(err, FetchFailed)
		return bad
	}
	for _, r := range f.readers {
		if r.tenant.Name == a.tenant {
			return r.readOne(snap, a.stack, api)
		}
	}
	bad.verdict = verdict{reason: FetchFailed, message: "the tenant no longer uses this repository"}
	return bad
}

// readOne reads one stack of an older snapshot, beside the reader's memory.
func (r *reader) readOne(snap source.Snapshot, name, api string) *revision {
	bad := &revision{tenant: r.tenant.Name, name: name, commit: snap.Commit, author: snap.Author, subject: snap.Subject}
	tree, err := r.open(snap)
	if err != nil {
		bad.verdict = judge(err, RenderFailed)
		return bad
	}
	options := r.options(api)
	definitions, err := discover(tree, options)
	if err != nil {
		bad.verdict = judge(err, RenderFailed)
		return bad
	}
	for _, d := range definitions {
		if d.Name != name {
			continue
		}
		if d.Err != nil {
			bad.verdict = judge(d.Err, RenderFailed)
			return bad
		}
		rev, _ := r.render(tree, d, options, *bad)
		return rev
	}
	bad.verdict = verdict{reason: RenderFailed, cause: "missing-file", message: fmt.Sprintf("there is no stack %q at commit %s", name, short(snap.Commit))}
	return bad
}

// changed says that the credentials of the follower's tenants are no longer
// what this follower was made for.
func (f *follower) changed() bool {
	for _, t := range f.tenants {
		if remoteKey(t) != f.key {
			return true
		}
	}
	return false
}

// remoteKey identifies what a tenant follows: tenants with equal keys share a
// follower. A tenant whose credentials can't be read is alone.
func remoteKey(t Tenant) string {
	remote, err := remoteOf(t)
	if err != nil {
		return "tenant " + t.Name + ": " + err.Error()
	}
	b, err := json.Marshal(remote)
	if err != nil {
		return "tenant " + t.Name
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// remoteOf reads a tenant's credentials.
func remoteOf(t Tenant) (source.Remote, error) {
	r := source.Remote{URL: t.Repo, Branch: t.Branch, Tag: t.Tag, Username: t.Username}
	for _, c := range []struct {
		key, file string
		set       func([]byte)
	}{
		{"password_file", t.PasswordFile, func(b []byte) { r.Password = strings.TrimRight(string(b), "\r\n") }},
		{"token_file", t.TokenFile, func(b []byte) { r.Token = strings.TrimRight(string(b), "\r\n") }},
		{"ca_file", t.CAFile, func(b []byte) { r.CA = b }},
		{"ssh_key_file", t.SSHKeyFile, func(b []byte) { r.SSHKey = b }},
		{"known_hosts_file", t.KnownHostsFile, func(b []byte) { r.Known = b }},
	} {
		if c.file == "" {
			continue
		}
		b, err := readSmall(c.file)
		if err != nil {
			cause := source.CauseAuth
			if c.key == "known_hosts_file" {
				cause = source.CauseHostKey
			}
			return source.Remote{}, &source.Error{
				Cause: cause, URL: withoutCredentials(t.Repo), Ref: refOf(t),
				Err: fmt.Errorf("%s: %w", c.key, err), Hint: "mount the file, or correct its name in skep.yml",
			}
		}
		c.set(b)
	}
	return r, nil
}

// refOf is the branch or tag that a tenant follows, as it is shown.
func refOf(t Tenant) string {
	switch {
	case t.Tag != "":
		return t.Tag
	case t.Branch != "":
		return t.Branch
	}
	return "HEAD"
}

// withoutCredentials takes the user's part out of a URL.
func withoutCredentials(repo string) string {
	scheme, rest, ok := strings.Cut(repo, "://")
	if !ok {
		return repo
	}
	host, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	if path != "" {
		path = "/" + path
	}
	return scheme + "://" + host + path
}

// jitter is d, up to 10 % more or less, so that many repositories on one server
// are not all looked at in the same moment.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// send gives v to ch unless ctx ends first.
func send[T any](ctx context.Context, ch chan<- T, v T) bool {
	select {
	case ch <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// soon asks for a look without waiting for it.
func (f *follower) soon() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// short is a commit as people read it.
func short(commit string) string { return commit[:min(len(commit), 10)] }
