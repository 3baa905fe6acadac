package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

const (
	maxMeta  = 32 << 20 // bytes of one commit, tag or tree
	maxDepth = 256      // folders in folders
	maxCache = 4 << 20  // bytes of objects that one storage keeps in memory
	maxTrees = 4096     // trees that one folder keeps in memory
	keptRefs = "refs/kept/"
)

// folder is one bare repository on disk. It is not safe for use by several
// goroutines: the store that holds it sees to that.
type folder struct {
	dir    string
	limits Limits
	git    *filesystem.Storage
	packs  map[string]int64      // sizes of the packs, to notice a damaged one
	kept   []plumbing.Hash       // commits that are here with their whole trees, oldest first
	whole  map[plumbing.Hash]int // trees whose files were all seen, and how many they are
	trees  map[plumbing.Hash][]object.TreeEntry
	wrote  []string // files of objects that came since it was opened
	damage bool     // something that must be here is not, or not readable
}

// errGone is an object that is not here.
var errGone = errors.New("object is not in the local copy")

// newFolder makes an empty repository below home.
func newFolder(home string, l Limits) (*folder, error) {
	dir, err := os.MkdirTemp(home, "g-")
	if err != nil {
		return nil, err
	}
	f := &folder{dir: dir, limits: l, whole: map[plumbing.Hash]int{}, trees: map[plumbing.Hash][]object.TreeEntry{}}
	err = os.MkdirAll(f.packDir(), 0o700)
	if err == nil {
		f.reopen()
		err = f.git.Init()
	}
	if err != nil {
		_ = f.remove() // the error says why it is useless
		return nil, err
	}
	return f, nil
}

// openFolder opens what an earlier run left. A folder without a kept commit, or
// with a pack that is not whole, is an error.
func openFolder(dir string, l Limits) (*folder, error) {
	f := &folder{dir: dir, limits: l, whole: map[plumbing.Hash]int{}, trees: map[plumbing.Hash][]object.TreeEntry{}}
	f.reopen()
	if err := f.verify(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// again opens the same folder a second time, for writing beside its readers.
func (f *folder) again() (*folder, error) {
	w := &folder{dir: f.dir, limits: f.limits, whole: maps.Clone(f.whole), trees: map[plumbing.Hash][]object.TreeEntry{}}
	w.reopen()
	if err := w.load(); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// verify reads what the folder says it has, and looks at the packs' ends.
func (f *folder) verify() error {
	if err := f.load(); err != nil {
		return err
	}
	if len(f.kept) == 0 {
		return errors.New("no commit was completed")
	}
	for name := range f.packs {
		if err := checkTrailer(filepath.Join(f.packDir(), name)); err != nil {
			return err
		}
	}
	return nil
}

func (f *folder) packDir() string { return filepath.Join(f.dir, "objects", "pack") }

// reopen starts with fresh indexes, so that objects written since are found.
func (f *folder) reopen() {
	f.close()
	// all names in it are hashes: no need to look for symlinks on each access
	f.git = filesystem.NewStorageWithOptions(osfs.New(f.dir), cache.NewObjectLRU(maxCache),
		filesystem.Options{KeepDescriptors: true})
}

// load reads which commits are complete and which packs there are.
func (f *folder) load() (err error) {
	defer recovered(&err)
	f.kept = nil
	refs := map[string]plumbing.Hash{}
	all, err := f.git.IterReferences()
	if err != nil {
		return err
	}
	err = all.ForEach(func(r *plumbing.Reference) error {
		if strings.HasPrefix(r.Name().String(), keptRefs) {
			refs[r.Name().String()] = r.Hash()
		}
		return nil
	})
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		f.kept = append(f.kept, refs[name])
	}
	if err != nil {
		return err
	}
	f.packs, err = listPacks(f.packDir())
	return err
}

func listPacks(dir string) (map[string]int64, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	packs := map[string]int64{}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".pack") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		packs[e.Name()] = info.Size()
	}
	return packs, nil
}

// checkTrailer compares the checksum at the end of a pack with its index's.
func checkTrailer(pack string) error {
	a, err := tail(pack, 20)
	if err != nil {
		return err
	}
	b, err := tail(strings.TrimSuffix(pack, ".pack")+".idx", 40)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b[:20]) {
		return fmt.Errorf("%s is cut or damaged", filepath.Base(pack))
	}
	return nil
}

func tail(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(-n, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("%s is cut", filepath.Base(name))
	}
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	return b, err
}

// healthy says whether the folder is as it was left. It is cheap: it reads no object.
func (f *folder) healthy() bool {
	if f.damage {
		return false
	}
	packs, err := listPacks(f.packDir())
	if err != nil {
		return false
	}
	for name, size := range f.packs {
		if packs[name] != size {
			return false
		}
	}
	return true
}

// keep remembers commit as complete.
func (f *folder) keep(commit plumbing.Hash) error {
	if slices.Contains(f.kept, commit) {
		return nil
	}
	name := fmt.Sprintf("%s%08d", keptRefs, len(f.kept))
	if err := f.git.SetReference(plumbing.NewHashReference(plumbing.ReferenceName(name), commit)); err != nil {
		return err
	}
	f.kept = append(f.kept, commit)
	return nil
}

// deepen notes where the history ends.
func (f *folder) deepen(a answer) error {
	old, err := f.git.Shallow()
	if err != nil {
		return err
	}
	set := map[plumbing.Hash]bool{}
	for _, h := range slices.Concat(old, a.shallow) {
		set[h] = true
	}
	for _, h := range a.unshallow {
		delete(set, h)
	}
	return f.git.SetShallow(slices.Collect(maps.Keys(set)))
}

// object reads one object and checks it against its hash.
func (f *folder) object(t plumbing.ObjectType, h plumbing.Hash, limit int64) (data []byte, err error) {
	defer recovered(&err)
	n, err := f.git.EncodedObjectSize(h)
	if err != nil {
		return nil, missing(h, err)
	}
	if n > limit {
		return nil, tooLarge(n, limit)
	}
	o, err := f.git.EncodedObject(t, h)
	if err != nil {
		return nil, missing(h, err)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err = io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if plumbing.ComputeHash(t, data) != h {
		return nil, fmt.Errorf("object %s is damaged", h)
	}
	return data, nil
}

func missing(h plumbing.Hash, err error) error {
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("%s: %w", h, errGone)
	}
	return err
}

func tooLarge(n, limit int64) error {
	return faultf(CauseLimit, "", fmt.Sprintf("%s are more than the limit of %s for one file", size(n), size(limit)))
}

// has says whether an object is here, without reading it.
func (f *folder) has(h plumbing.Hash) (ok bool, err error) {
	defer recovered(&err)
	err = f.git.HasEncodedObject(h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return false, nil
	}
	return err == nil, err
}

// commit reads a commit, or the one that an annotated tag names.
func (f *folder) commit(h plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		data, err := f.object(plumbing.CommitObject, h, maxMeta)
		if err == nil {
			c := &object.Commit{}
			return c, c.Decode(memory(plumbing.CommitObject, data))
		}
		tag, tagErr := f.object(plumbing.TagObject, h, maxMeta)
		if tagErr != nil {
			return nil, f.noCommit(h, err)
		}
		t := &object.Tag{}
		if err := t.Decode(memory(plumbing.TagObject, tag)); err != nil {
			return nil, err
		}
		if t.TargetType != plumbing.CommitObject && t.TargetType != plumbing.TagObject {
			return nil, faultf(CauseUnsupported, "tag a commit", "the tag names a "+t.TargetType.String()+", not a commit")
		}
		h = t.Target
	}
	return nil, faultf(CauseUnsupported, "tag a commit", "more than ten tags of tags")
}

// noCommit tells an object of another type from one that is not readable.
func (f *folder) noCommit(h plumbing.Hash, err error) error {
	if ok, _ := f.has(h); ok && errors.Is(err, errGone) {
		return faultf(CauseUnsupported, "tag a commit", "the tag names a file or folder, not a commit")
	}
	return err
}

func memory(t plumbing.ObjectType, data []byte) *plumbing.MemoryObject {
	o := &plumbing.MemoryObject{}
	o.SetType(t)
	_, _ = o.Write(data) // to memory: cannot fail
	return o
}

// tree reads a folder's entries, sorted by name. The slice is shared: read only.
func (f *folder) tree(h plumbing.Hash) ([]object.TreeEntry, error) {
	if entries, ok := f.trees[h]; ok {
		return entries, nil
	}
	data, err := f.object(plumbing.TreeObject, h, maxMeta)
	if err != nil {
		return nil, err
	}
	t := &object.Tree{}
	if err := t.Decode(memory(plumbing.TreeObject, data)); err != nil {
		return nil, err
	}
	entries := slices.Clone(t.Entries)
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return strings.Compare(a.Name, b.Name) })
	for i, e := range entries {
		twice := i > 0 && entries[i-1].Name == e.Name
		if twice || e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") {
			return nil, faultf(CauseServer, "the repository is broken: see git fsck", "a folder has an entry of the invalid or doubled name "+clean(e.Name, 60))
		}
	}
	if len(f.trees) >= maxTrees {
		clear(f.trees)
	}
	f.trees[h] = entries
	return entries, nil
}

// check sees that everything below tree is here and within the limits. Trees
// that were seen before are not walked again.
func (f *folder) check(ctx context.Context, tree plumbing.Hash, depth int) (files int, err error) {
	if n, ok := f.whole[tree]; ok {
		return n, nil
	}
	if depth > maxDepth {
		return 0, faultf(CauseLimit, "", fmt.Sprintf("the tree is more than %d folders deep", maxDepth))
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	entries, err := f.tree(tree)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		n, err := f.checkEntry(ctx, e, depth)
		if err != nil {
			return 0, err
		}
		if files += n; files > f.limits.Files {
			return 0, faultf(CauseLimit, "split the repository, or remove what skep does not need", fmt.Sprintf("the tree has more than the limit of %d files", f.limits.Files))
		}
	}
	f.whole[tree] = files
	return files, nil
}

func (f *folder) checkEntry(ctx context.Context, e object.TreeEntry, depth int) (int, error) {
	switch e.Mode {
	case filemode.Submodule:
		return 1, nil
	case filemode.Dir:
		n, err := f.check(ctx, e.Hash, depth+1)
		return n + 1, err
	}
	ok, err := f.has(e.Hash)
	if err == nil && !ok {
		err = fmt.Errorf("%s: %w", e.Hash, errGone)
	}
	return 1, err
}

// usage is what the folder takes on disk, in bytes.
func (f *folder) usage() (int64, error) {
	var sum int64
	err := filepath.WalkDir(f.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

func (f *folder) close() {
	if f.git != nil {
		_ = f.git.Close() // files that were read only
	}
}

func (f *folder) remove() error {
	f.close()
	return os.RemoveAll(f.dir)
}

// recovered turns a panic of the git library over a damaged file into an error.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the local copy is damaged: %v", p)
	}
}

// size prints bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/float64(u.size)), ".0") + " " + u.name
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
