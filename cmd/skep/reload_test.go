package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skep-gitops/skep/operator"
)

// follower takes what a reloader gives to the operator.
type follower struct {
	loaded  chan operator.Config
	refused chan string
}

func (f follower) Reload(c operator.Config) error {
	f.loaded <- c
	return nil
}

func (f follower) Refuse(why string) {
	if why != "" {
		f.refused <- why
	}
}

// watching starts a reloader for a skep.yml with this text.
func watching(t *testing.T, file, text string) (follower, chan os.Signal) {
	t.Helper()
	write(t, file, text)
	c, err := readConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	f := follower{make(chan operator.Config, 10), make(chan string, 10)}
	hup := make(chan os.Signal, 1)
	r := &reloader{file: file, running: c, cache: "/mine", operator: f, log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.watch(ctx, hup) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, hup
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// next waits for something, for as long as a busy machine may need.
func next[T any](t *testing.T, ch <-chan T, again func()) T {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(3 * settle)
	defer tick.Stop()
	for {
		select {
		case v := <-ch:
			return v
		case <-tick.C:
			again() // the watch may not have begun when the file was first written
		case <-limit:
			t.Fatal("nothing happened within a minute")
		}
	}
}

const reloadable = "instance: a\ntenants: []\n"

func TestChangedFileIsLoaded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skep.yml")
	f, _ := watching(t, file, reloadable)
	n := 0
	got := next(t, f.loaded, func() {
		n++
		write(t, file, "cluster: b"+strings.Repeat("b", n)+"\n"+reloadable)
	})
	if !strings.HasPrefix(got.Cluster, "bb") || got.Cache != "/mine" {
		t.Errorf("loaded cluster %q, cache %q", got.Cluster, got.Cache)
	}
}

// Kubernetes and others replace a symlink instead of writing the file.
func TestReplacedSymlinkIsLoaded(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "skep.yml"), filepath.Join(dir, "data")
	write(t, filepath.Join(dir, "1.yml"), reloadable)
	if err := os.Symlink("1.yml", file); err != nil {
		t.Fatal(err)
	}
	f, _ := watching(t, file, reloadable)
	n := 0
	got := next(t, f.loaded, func() {
		n++
		write(t, filepath.Join(dir, "2.yml"), "cluster: b"+strings.Repeat("b", n)+"\n"+reloadable)
		_ = os.Remove(link) // it is there from the second time on
		if err := os.Symlink("2.yml", link); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link, file); err != nil {
			t.Fatal(err)
		}
	})
	if !strings.HasPrefix(got.Cluster, "bb") {
		t.Errorf("loaded cluster %q", got.Cluster)
	}
}

func TestBrokenFileIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skep.yml")
	f, hup := watching(t, file, reloadable)
	for name, c := range map[string]struct{ text, want string }{
		"not YAML":               {"a: [", "skep.yml:1: not YAML"},
		"an unknown key":         {reloadable + "x: 1\n", "skep.yml:3: x: unknown key"},
		"another instance":       {"instance: b\ntenants: []\n", "restart skep to change them"},
		"another listen address": {reloadable + "listen: :1\n", "restart skep to change them"},
	} {
		write(t, file, c.text)
		got := next(t, f.refused, func() {
			select {
			case hup <- os.Interrupt: // any signal on this channel asks for it
			default:
			}
		})
		for !strings.Contains(got, c.want) { // the case before this one, loaded twice
			got = next(t, f.refused, func() {})
		}
		t.Logf("%s: %s", name, got)
	}
	if len(f.loaded) > 0 {
		t.Error("a broken configuration was loaded")
	}
}

func TestSignalLoadsAnUnchangedFile(t *testing.T) {
	f, hup := watching(t, filepath.Join(t.TempDir(), "skep.yml"), reloadable)
	hup <- os.Interrupt
	if got := next(t, f.loaded, func() {}); got.Instance != "a" {
		t.Errorf("loaded instance %q", got.Instance)
	}
}
