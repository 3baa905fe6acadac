package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// store is a mirror's place on disk: a home that several mirrors of equal
// remotes may share, and in it the folder that is current. Objects go by their
// hash, so it does not matter to a reader which folder they come from.
type store struct {
	home string

	mu  sync.Mutex // guards the rest, and all use of the folder
	now *folder    // nil: nothing was opened or fetched yet
	gen int        // how many folders there were before
}

// with runs do on the current folder. An error other than a limit's marks the
// folder as damaged: what it should have, it has not.
func (s *store) with(gen int, do func(*folder) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return errGone
	}
	err := do(s.now)
	var f *fault
	if err != nil && !errors.As(err, &f) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		// a commit of an earlier folder may well be missing in this one
		s.now.damage = s.now.damage || gen == s.gen || !errors.Is(err, errGone)
	}
	return err
}

func (s *store) tree(gen int, h plumbing.Hash) (entries []object.TreeEntry, err error) {
	err = s.with(gen, func(f *folder) error {
		entries, err = f.tree(h)
		return err
	})
	return entries, err
}

func (s *store) blob(gen int, h plumbing.Hash, limit int64) (data []byte, err error) {
	err = s.with(gen, func(f *folder) error {
		data, err = f.object(plumbing.BlobObject, h, limit)
		return err
	})
	return data, err
}

func (s *store) size(gen int, h plumbing.Hash) (n int64, err error) {
	err = s.with(gen, func(f *folder) (err error) {
		defer recovered(&err)
		n, err = f.git.EncodedObjectSize(h)
		return missing(h, err)
	})
	return n, err
}

// usable says whether there is a folder that looks as it was left.
func (s *store) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now != nil && s.now.healthy()
}

// keeps says whether commit is here with its whole tree.
func (s *store) keeps(commit plumbing.Hash) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now != nil && slices.Contains(s.now.kept, commit)
}

// commits is how many commits were fetched into the folder.
func (s *store) commits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return 0
	}
	return len(s.now.kept)
}

// replace makes f the current folder and removes the one before.
func (s *store) replace(f *folder) {
	s.mu.Lock()
	old := s.now
	s.now = f
	s.gen++
	s.mu.Unlock()
	if old != nil {
		_ = old.remove() // what stays is removed at the next start
	}
}

// renew puts w, the current folder opened again, in the place of its readers.
func (s *store) renew(w *folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.close()
	}
	s.now = w
}

// writer opens the current folder for writing; nil where it has to be made first.
func (s *store) writer() *folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || !s.now.healthy() {
		return nil
	}
	w, err := s.now.again()
	if err != nil {
		s.now.damage = true
		return nil
	}
	return w
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.close()
	}
	s.now = nil
}

// lock waits until no other mirror changes the home. The lock goes with the
// process at the latest.
func (s *store) lock(ctx context.Context) (release func(), err error) {
	if err := os.MkdirAll(s.home, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		}
	}
}

// load opens the newest usable folder of the home and removes the others. The
// caller holds the lock.
func (s *store) load(l Limits) {
	if s.usable() {
		return
	}
	found := below(s.home, "g-")
	slices.SortFunc(found, func(a, b string) int { return modified(b).Compare(modified(a)) })
	var good *folder
	for _, dir := range found {
		if good == nil {
			if f, err := openFolder(dir, l); err == nil && !s.damaged(dir) {
				good = f
				continue
			}
		}
		_ = os.RemoveAll(dir) // tried again at the next start
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.close()
	}
	s.now = good
	s.gen++
}

func (s *store) damaged(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now != nil && s.now.dir == dir
}

// below are the entries of dir that start with prefix; none where dir cannot be read.
func below(dir, prefix string) []string {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range list {
		if strings.HasPrefix(e.Name(), prefix) {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	return found
}

func modified(dir string) time.Time {
	info, err := os.Stat(dir)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// generation tells the folders apart that the store has had.
func (s *store) generation() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gen
}
