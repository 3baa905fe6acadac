package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/skep-gitops/skep/operator"
)

// settle is how long a configuration must be left alone before it is read: an
// editor writes it in several steps.
const settle = 300 * time.Millisecond

// reloader gives the operator each newer configuration, or tells it why one was
// refused. All its work happens in watch's goroutine.
type reloader struct {
	file     string
	running  config // what the operator follows
	cache    string // the folder that this process holds
	operator interface {
		Reload(operator.Config) error
		Refuse(why string)
	}
	log  *slog.Logger
	seen []byte // content of the file when it was last read
}

// watch waits for changes of the file's folder (so that a file that is replaced
// by another, or by a symlink, is noticed too) and for signals until ctx ends.
// Where the folder cannot be watched, signals are all there is.
func (r *reloader) watch(ctx context.Context, hup <-chan os.Signal) error {
	r.seen, _ = os.ReadFile(r.file) // an unreadable file is news when it changes
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		err = w.Add(filepath.Dir(r.file))
	}
	if err != nil {
		r.log.Warn("configuration is not watched, only SIGHUP loads it", "err", err)
		w = &fsnotify.Watcher{} // its channels are nil: they never deliver
	}
	timer := time.NewTimer(settle)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			r.load()
		case <-w.Events:
			timer.Reset(settle)
		case err := <-w.Errors:
			r.log.Warn("configuration watch", "err", err)
		case <-timer.C:
			if data, err := os.ReadFile(r.file); err != nil || !bytes.Equal(data, r.seen) {
				r.load()
			}
		}
	}
}

// load reads the configuration once and hands it over or refuses it; the
// operator logs both.
func (r *reloader) load() {
	r.seen, _ = os.ReadFile(r.file)
	if err := r.replace(); err != nil {
		r.operator.Refuse(err.Error())
		return
	}
	r.operator.Refuse("")
}

func (r *reloader) replace() error {
	c, err := readConfig(r.file)
	if err != nil {
		return err
	}
	was := r.running
	if c.Instance != was.Instance || c.Cache != was.Cache || c.Socket != was.Socket || c.Listen != was.Listen {
		return errors.New("instance, cache, socket and listen are read at the start alone: restart skep to change them")
	}
	oc, err := operatorConfig(c, r.log)
	if err != nil {
		return err
	}
	oc.Cache = r.cache
	if err := r.operator.Reload(oc); err != nil {
		return err
	}
	r.running = c
	return nil
}
