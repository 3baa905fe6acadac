package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skep-gitops/skep/deploy"
	"github.com/skep-gitops/skep/source"
)

// TestFailingRepositoryIsLoggedOnce: the words of a fetch that fails may differ from
// look to look (a local port, the name of a temporary file).
func TestFailingRepositoryIsLoggedOnce(t *testing.T) {
	t.Parallel()
	story(t, "one line for one cause", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		for i := range 5 {
			r.fail(&source.Error{Cause: source.CauseNetwork, URL: "https://git.example.com/shop", Err: fmt.Errorf("read tcp 10.0.0.1:%d->10.0.0.2:443: connection reset", 40000+i)})
			time.Sleep(time.Minute)
		}
		if n := strings.Count(w.log.String(), "repository cannot be used"); n != 1 {
			w.Errorf("%d lines of one cause, want 1", n)
		}
		r.fail(&source.Error{Cause: source.CauseAuth, URL: "https://git.example.com/shop", Err: errors.New("401")})
		time.Sleep(time.Minute)
		if n := strings.Count(w.log.String(), "repository cannot be used"); n != 2 {
			w.Errorf("%d lines of two causes, want 2", n)
		}
	})
}

// TestBusyServerIsLeftAlone for as long as it asks for.
func TestBusyServerIsLeftAlone(t *testing.T) {
	t.Parallel()
	story(t, "one look in the time that it names", func(w *world) {
		r := w.tenant("shop")
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.quiet()
		r.fail(&source.Error{Cause: source.CauseServer, URL: "https://git.example.com/shop", Err: errors.New("429"), After: 10 * time.Minute})
		time.Sleep(time.Minute)
		before := r.looked()
		time.Sleep(8 * time.Minute)
		if n := r.looked() - before; n != 0 {
			w.Errorf("%d looks while the server wants none", n)
		}
		if next := w.stack("shop", "").NextLook; time.Until(next) > 2*time.Minute || time.Until(next) < 0 {
			w.Errorf("the next look is told for %s from now", time.Until(next))
		}
		r.fail(nil)
		time.Sleep(2 * time.Minute)
		if r.looked() == before {
			w.Error("no look after that time")
		}
	})
}

// TestLeftOutIsCountedOnce: a list that was shortened stays as it is.
func TestLeftOutIsCountedOnce(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprint("create config c", i))
	}
	once := bounded(lines)
	if twice := bounded(once); !slices.Equal(once, twice) || twice[len(twice)-1] != fmt.Sprintf("and %d more", 100-maxChanges) {
		t.Errorf("got %q of %q", twice, once)
	}
}

// TestPathThatIsNotThere: the tenant's folder, not one of its stacks.
func TestPathThatIsNotThere(t *testing.T) {
	t.Parallel()
	story(t, "it says where to correct it", func(w *world) {
		r := w.tenant("shop", func(t *Tenant) { t.Path = "deploy" })
		r.push(map[string]string{"a/compose.yml": web("web:1")})
		w.start()
		w.until("told", func() bool { return w.stack("shop", "").Reason != "" })
		if s := w.stack("shop", ""); s.Cause != "missing-file" || s.Message != `path "deploy": there is no such folder in the repository: push it, or correct path in skep.yml` {
			w.Errorf("cause %q, message %q", s.Cause, s.Message)
		}
	})
}

// TestWhyALeaverStays: a stack that left git and is not removed says why.
func TestWhyALeaverStays(t *testing.T) {
	t.Parallel()
	with := func(more ...string) map[string]string {
		files := map[string]string{"b/compose.yml": web("other:1")}
		for _, m := range more {
			files[m+"/compose.yml"] = web("web:1")
		}
		return files
	}
	says := func(w *world, text string) {
		w.Helper()
		w.until("says "+text, func() bool { return strings.Contains(w.stack("shop", "shop-a").Message, text) })
		w.quiet()
		if w.image("shop-a_web") != "web:1" {
			w.Error("the stack is gone")
		}
	}
	story(t, "a folder that may be the stack", func(w *world) {
		r := w.tenant("shop")
		r.push(with("a"))
		w.start()
		w.quiet()
		r.push(with("Bad"))
		says(w, "left git and is kept, because folder Bad can't be used and might be this stack: mend it")
		r.push(with())
		w.until("gone", func() bool { return len(w.leftOf("shop-a")) == 0 })
	})
	story(t, "a person holds it", func(w *world) {
		r := w.tenant("shop")
		r.push(with("a"))
		w.start()
		w.quiet()
		w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Frozen = &deploy.Frozen{By: "ann", Reason: "x", Since: time.Now()} })
		r.push(with())
		says(w, "left git and is kept as long as it is frozen or pinned")
		w.holds("shop", "shop-a", func(m *deploy.Memory) { m.Frozen = nil })
		w.until("gone", func() bool { return len(w.leftOf("shop-a")) == 0 })
	})
	story(t, "the repository fails", func(w *world) {
		r := w.tenant("shop", func(t *Tenant) { t.Prune = "confirm" })
		r.push(with("a"))
		w.start()
		w.quiet()
		r.push(with())
		w.until("blocked", func() bool { return w.stack("shop", "shop-a").Reason == PruneBlocked })
		r.fail(errors.New("down"))
		time.Sleep(time.Minute)
		if s := w.stack("shop", "shop-a"); strings.Contains(s.Message, "being removed") {
			w.Errorf("while the repository can't be read: %q", s.Message)
		}
	})
}
