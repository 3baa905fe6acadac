package source

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// Lock takes the cache folder dir for this process. Where another process has
// it, usable is a private folder below it, which release removes. A folder that
// is missing or cannot be written is an error that names it.
func Lock(dir string) (usable string, release func(), err error) {
	if err := probe(dir); err != nil {
		return "", nil, err
	}
	lock, err := flock(dir)
	if err == nil {
		sweep(dir)
		return dir, once(func() { _ = lock.Close() }), nil
	}
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return "", nil, fmt.Errorf("cache %s: lock: %w", dir, err)
	}
	return lockPrivate(dir)
}

// lockPrivate makes a folder below dir and takes it. The holder of dir, when it
// has just started, may sweep the folder away before it is taken: then another
// one is made.
func lockPrivate(dir string) (string, func(), error) {
	for {
		private, err := os.MkdirTemp(dir, privatePrefix)
		if err != nil {
			return "", nil, fmt.Errorf("cache %s: %w", dir, plain(err))
		}
		lock, err := flock(private)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.EWOULDBLOCK):
			continue
		case err != nil:
			return "", nil, fmt.Errorf("cache %s: lock: %w", private, err)
		}
		if _, err := os.Stat(private); err != nil {
			_ = lock.Close()
			continue
		}
		return private, once(func() {
			_ = os.RemoveAll(private) // else the next holder of dir sweeps it away
			_ = lock.Close()
		}), nil
	}
}

const privatePrefix = "private-"

func once(f func()) func() {
	var o sync.Once
	return func() { o.Do(f) }
}

// probe sees that dir is a folder in which folders can be made.
func probe(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("cache %s does not exist: create it, or name another folder as cache", dir)
	case err != nil:
		return fmt.Errorf("cache %s: %w", dir, plain(err))
	case !info.IsDir():
		return fmt.Errorf("cache %s is not a folder", dir)
	}
	try, err := os.MkdirTemp(dir, "try-")
	if err != nil {
		return fmt.Errorf("cache %s cannot be written: %w", dir, plain(err))
	}
	return os.Remove(try)
}

// plain is err without the path that the caller names already.
func plain(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// flock locks the folder itself, so that emptying it does not free it.
func flock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes the private folders that dead processes left.
func sweep(dir string) {
	for _, p := range below(dir, privatePrefix) {
		if lock, err := flock(p); err == nil {
			_ = os.RemoveAll(p) // tried again at the next start
			_ = lock.Close()
		}
	}
}
