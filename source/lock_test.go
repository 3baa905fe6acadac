package source

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, release, err := Lock(dir)
	if err != nil || first != dir {
		t.Fatalf("first: %s, %v, want %s", first, err, dir)
	}
	second, release2, err := Lock(dir)
	if err != nil || second == dir || filepath.Dir(second) != dir {
		t.Fatalf("second: %s, %v, want a folder below %s", second, err, dir)
	}
	third, release3, err := Lock(dir)
	if err != nil || third == second {
		t.Fatalf("third: %s, %v, want another one than %s", third, err, second)
	}
	release2()
	release2()
	if _, err := os.Stat(second); !os.IsNotExist(err) {
		t.Errorf("the private folder stays: %v", err)
	}
	release()
	again, release, err := Lock(dir)
	if err != nil || again != dir {
		t.Errorf("after a release: %s, %v, want %s", again, err, dir)
	}
	if _, err := os.Stat(third); err != nil {
		t.Errorf("a private folder in use was swept away: %v", err)
	}
	release()
	release3()
	stale := filepath.Join(dir, privatePrefix+"dead")
	if err := os.Mkdir(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	_, release, err = Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("a dead process's folder stays: %v", err)
	}
}

func TestLockNamesAnUnusableFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), file, "/proc"} {
		usable, _, err := Lock(dir)
		if err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %q, %v, want an error that names it", dir, usable, err)
		}
	}
}

// TestLocksAtTheSameTime: whoever starts while another sweeps keeps its folder.
func TestLocksAtTheSameTime(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 50 {
				usable, release, err := Lock(dir)
				if err != nil {
					t.Errorf("lock: %v", err)
					return
				}
				if err := os.Mkdir(filepath.Join(usable, "mine"), 0o700); err != nil {
					t.Errorf("%s is not mine: %v", filepath.Base(usable), err)
				}
				_ = os.Remove(filepath.Join(usable, "mine"))
				release()
			}
		})
	}
	work.Wait()
}
