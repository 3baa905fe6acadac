package operator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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
