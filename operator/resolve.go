package operator

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/skep-gitops/skep/deploy"
)

// answerTime is how long a registry's answer serves other stacks: long enough for
// one push that touches many, short enough that a tag moved since is seen.
const answerTime = 30 * time.Second

// resolver asks registries, once for all stacks that want the same image with the
// same credentials at about the same time. Safe from any goroutine.
type resolver struct {
	asking singleflight.Group

	mu      sync.Mutex        // guards answers
	answers map[string]answer // by reference and credentials
}

// answer is what a registry said, or that it did not.
type answer struct {
	digest deploy.Digest
	err    error
	at     time.Time
}

func newResolver() *resolver { return &resolver{answers: map[string]answer{}} }

// resolve is deploy.Resolve with what is known already.
func (v *resolver) resolve(ctx context.Context, r deploy.Reader, ref, auth string) (deploy.Digest, error) {
	key := ref + "\x00" + auth
	if a, ok := v.known(key); ok {
		return a.digest, a.err
	}
	got, err, _ := v.asking.Do(key, func() (any, error) {
		if a, ok := v.known(key); ok {
			return a.digest, a.err
		}
		d, err := deploy.Resolve(ctx, r, ref, auth)
		if ctx.Err() == nil {
			v.keep(key, answer{d, err, time.Now()})
		}
		return d, err
	})
	d, _ := got.(deploy.Digest)
	return d, err
}

func (v *resolver) known(key string) (answer, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	a, ok := v.answers[key]
	return a, ok && time.Since(a.at) < answerTime
}

// keep notes an answer and forgets those that serve no more.
func (v *resolver) keep(key string, a answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.answers, func(_ string, old answer) bool { return a.at.Sub(old.at) >= answerTime })
	v.answers[key] = a
}
