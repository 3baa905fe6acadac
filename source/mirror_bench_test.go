package source

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/skep-gitops/skep/source/gittest"
)

// mono is a repository of a thousand stacks of four files.
func mono(b *testing.B) (*gittest.HTTP, *gittest.Repo) {
	b.Helper()
	root := gittest.NewRoot(b)
	repo := root.Repo("repo.git")
	files := map[string]string{}
	for i := range 1000 {
		for j := range 4 {
			files[fmt.Sprintf("apps/s%04d/f%d.yml", i, j)] = fmt.Sprintf("services: {web: {image: app:%d, command: run-%d}}\n", i, j)
		}
	}
	repo.Write(files)
	return gittest.ServeHTTP(b, root, gittest.HTTPOptions{}), repo
}

func BenchmarkClone(b *testing.B) {
	h, _ := mono(b)
	for b.Loop() {
		fetch(b, open(b, Remote{URL: h.URL + "/repo.git"}), "")
	}
}

func BenchmarkLookWithNothingNew(b *testing.B) {
	h, _ := mono(b)
	m := open(b, Remote{URL: h.URL + "/repo.git"})
	for b.Loop() {
		fetch(b, m, "")
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	h, repo := mono(b)
	m := open(b, Remote{URL: h.URL + "/repo.git"})
	fetch(b, m, "")
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		repo.Write(map[string]string{"apps/s0001/f1.yml": fmt.Sprint(i)})
		b.StartTimer()
		fetch(b, m, "")
	}
}

func BenchmarkReadAllFiles(b *testing.B) {
	h, _ := mono(b)
	m := open(b, Remote{URL: h.URL + "/repo.git"})
	s := fetch(b, m, "")
	for b.Loop() {
		if n := whole(b, s.FS); n != 4000 {
			b.Fatalf("%d files", n)
		}
	}
}

func BenchmarkHashOfEachStack(b *testing.B) {
	h, _ := mono(b)
	m := open(b, Remote{URL: h.URL + "/repo.git"})
	s := fetch(b, m, "")
	list, err := fs.ReadDir(s.FS, "apps")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, e := range list {
			if _, err := s.FS.Hash("apps/" + e.Name()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
