package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

const (
	// biggerThanRead is how much larger than a file that may be read an object
	// may be that is only kept.
	biggerThanRead = 8
	// inflated is how much larger than the folder's limit its unpacked objects may be.
	inflated = 16
)

// receive stores a pack from the network: as it is, or object by object where
// its deltas build on objects that are here already. Limits hold from the first
// byte; nothing is left over from a pack that breaks one.
func (f *folder) receive(ctx context.Context, pack io.Reader) (err error) {
	defer recovered(&err)
	used, err := f.usage()
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(f.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close() // read only by then
		f.sweep()
	}()
	left := &cappedReader{r: pack, left: f.limits.Bytes - used, err: f.full()}
	if _, err := io.Copy(file, left); err != nil {
		return err
	}
	in := &watched{File: file, ctx: ctx}
	count, err := f.inspect(in)
	if err != nil || count == 0 {
		return err
	}
	err = f.index(in)
	if errors.Is(err, packfile.ErrReferenceDeltaNotFound) {
		return f.unpack(in, f.limits.Bytes-used)
	}
	return err
}

func (f *folder) full() error {
	return &fault{cause: CauseLimit, err: &fullError{f.limits.Bytes}, hint: "follow a smaller repository, or remove large files from its newest commit"}
}

// fullError is a folder that reached its limit. Part of it may be of commits
// that nobody asks for any more.
type fullError struct{ limit int64 }

func (e *fullError) Error() string {
	return fmt.Sprintf("the repository takes more than the limit of %s on disk", size(e.limit))
}

// watched is a file whose reads end with ctx.
type watched struct {
	*os.File
	ctx context.Context
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.File.Read(p)
}

// inspect reads all objects' sizes before anything holds one in memory.
func (f *folder) inspect(file *watched) (objects uint32, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	s := packfile.NewScanner(file)
	_, objects, err = s.Header()
	if err != nil {
		return 0, cut(err)
	}
	limit := max(f.limits.File*biggerThanRead, maxMeta)
	var sum int64
	for range objects {
		h, err := s.NextObjectHeader()
		if err != nil {
			return 0, cut(err)
		}
		sum += h.Length
		if h.Length > limit {
			return 0, tooLarge(h.Length, limit)
		}
		if sum/inflated > f.limits.Bytes {
			return 0, f.full()
		}
		start := &head{max: 20}
		if _, _, err := s.NextObject(start); err != nil {
			return 0, cut(err)
		}
		if n := deltaSize(h.Type, start.buf); n > limit {
			return 0, tooLarge(n, limit)
		}
	}
	return objects, nil
}

// cut tells a stream that ended early from other broken packs.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, packfile.ErrEmptyPackfile) {
		return fmt.Errorf("the server's pack is cut off: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// deltaSize is the size of the object that a delta makes, from the delta's
// start: two numbers of seven bits a byte, of which it is the second.
func deltaSize(t plumbing.ObjectType, b []byte) int64 {
	if !t.IsDelta() {
		return 0
	}
	for len(b) > 0 && b[0]&0x80 != 0 {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0
	}
	var n int64
	for i, c := range b[1:] {
		if i > 8 {
			return 1 << 62
		}
		n |= int64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			break
		}
	}
	return n
}

// index writes the pack's index and gives both their names.
func (f *folder) index(file *watched) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w := &idxfile.Writer{}
	parser, err := packfile.NewParser(packfile.NewScanner(file), w)
	if err != nil {
		return err
	}
	sum, err := parser.Parse()
	if err != nil {
		return err
	}
	idx, err := w.Index()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if _, err := idxfile.NewEncoder(&b).Encode(idx); err != nil {
		return err
	}
	base := filepath.Join(f.packDir(), "pack-"+sum.String())
	if _, err := os.Stat(base + ".pack"); err == nil {
		return nil // the same objects once more
	}
	f.wrote = append(f.wrote, base+".idx", base+".pack")
	if err := os.WriteFile(base+".idx", b.Bytes(), 0o400); err != nil {
		return err
	}
	return os.Rename(file.Name(), base+".pack")
}

// unpack stores the pack's objects one by one, in at most left bytes.
func (f *folder) unpack(file *watched, left int64) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	parser, err := packfile.NewParserWithStorage(packfile.NewScanner(file), &loose{EncodedObjectStorer: f.git, f: f, left: left})
	if err != nil {
		return err
	}
	_, err = parser.Parse()
	return err
}

// loose stores objects that are not here yet, up to a number of bytes.
type loose struct {
	storer.EncodedObjectStorer
	f    *folder
	left int64
}

func (l *loose) SetEncodedObject(o plumbing.EncodedObject) (plumbing.Hash, error) {
	h := o.Hash()
	if l.HasEncodedObject(h) == nil {
		return h, nil
	}
	if l.left -= o.Size(); l.left < 0 {
		return h, l.f.full()
	}
	name := h.String()
	l.f.wrote = append(l.f.wrote, filepath.Join(l.f.dir, "objects", name[:2], name[2:]))
	return l.EncodedObjectStorer.SetEncodedObject(o)
}

// sweep removes what was begun and not finished. A file that is finished has
// another name.
func (f *folder) sweep() {
	for _, name := range below(f.packDir(), "tmp_") {
		_ = os.Remove(name) // tried again after the next pack
	}
}

// undo removes what was written since the folder was opened: it is of no use
// without the rest.
func (f *folder) undo() {
	for _, name := range f.wrote {
		_ = os.Remove(name) // may not have come to be
	}
}
