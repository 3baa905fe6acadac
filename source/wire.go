package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// maxRefs bounds the list of a server's refs, in bytes.
const maxRefs = 64 << 20

// session is one conversation with a server's git-upload-pack: its refs, then
// at most one pack. go-git's own transports are not used because its ssh
// ignores the context and its requests ask for no thin pack.
type session interface {
	refs(ctx context.Context) (*packp.AdvRefs, error)
	pack(ctx context.Context, request []byte) (io.ReadCloser, error)
	close()
}

// dial starts a session, over the network at once or at its first use.
func (m *mirror) dial(ctx context.Context) (session, error) {
	switch m.address.scheme {
	case "ssh":
		return m.dialSSH(ctx)
	case "file":
		return m.dialFile(ctx)
	default:
		return m.dialHTTP(), nil
	}
}

// readRefs reads a server's advertisement.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	adv := packp.NewAdvRefs()
	capped := &cappedReader{r: r, left: maxRefs, err: faultf(CauseLimit, "", fmt.Sprintf("the server's list of refs is larger than %s", size(maxRefs)))}
	err := adv.Decode(capped)
	var data *packp.ErrUnexpectedData
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return nil, errEmpty()
	case errors.As(err, &data) && isSHA256(data.Data):
		return nil, errSHA256()
	case errors.As(err, &data):
		return nil, faultf(CauseServer, "see that the URL is that of a git repository", "the server does not answer as a git server")
	case err != nil:
		return nil, err
	}
	if f := adv.Capabilities.Get("object-format"); len(f) > 0 && f[0] != "sha1" {
		return nil, errSHA256()
	}
	if adv.IsEmpty() {
		return nil, errEmpty()
	}
	return adv, nil
}

func isSHA256(line []byte) bool { return bytes.Contains(line, []byte("object-format=sha256")) }

func errSHA256() error {
	return faultf(CauseUnsupported, "", "the repository's object format is sha256; sha1 is supported")
}

func errEmpty() error {
	return faultf(CauseEmpty, "push a first commit", "the repository is empty")
}

// query is what to ask a server for.
type query struct {
	want     []plumbing.Hash
	have     []plumbing.Hash // commits whose trees are here as a whole
	shallow  []plumbing.Hash // commits whose parents are not
	depth    int             // zero: as deep as the server has it
	features *capability.List
}

// encode writes the request. All that is had is said at once and followed by
// done: the server never has to ask back.
func (q query) encode() ([]byte, error) {
	req := packp.NewUploadPackRequest()
	for _, c := range []capability.Capability{capability.OFSDelta, capability.ThinPack, capability.NoProgress, capability.Shallow} {
		if q.features.Supports(c) {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
		}
	}
	for _, pair := range [][2]capability.Capability{
		{capability.MultiACKDetailed, capability.MultiACK},
		{capability.Sideband64k, capability.Sideband},
	} {
		if c, ok := best(q.features, pair); ok {
			if err := req.Capabilities.Set(c); err != nil {
				return nil, err
			}
		}
	}
	if q.features.Supports(capability.Agent) {
		if err := req.Capabilities.Set(capability.Agent, "git/skep"); err != nil {
			return nil, err
		}
	}
	req.Wants, req.Shallows, req.Depth = q.want, q.shallow, packp.DepthCommits(q.depth)
	var b bytes.Buffer
	if err := req.UploadRequest.Encode(&b); err != nil {
		return nil, err
	}
	haves := packp.UploadHaves{Haves: q.have}
	if err := haves.Encode(&b, false); err != nil {
		return nil, err
	}
	err := pktline.NewEncoder(&b).EncodeString("done\n")
	return b.Bytes(), err
}

func best(l *capability.List, pair [2]capability.Capability) (capability.Capability, bool) {
	for _, c := range pair {
		if l.Supports(c) {
			return c, true
		}
	}
	return "", false
}

// answer is a server's reply: how deep the history is afterwards, and the pack.
type answer struct {
	shallow, unshallow []plumbing.Hash
	pack               io.Reader
	close              func() error
}

// ask sends q and reads up to the pack.
func ask(ctx context.Context, s session, q query) (answer, error) {
	request, err := q.encode()
	if err != nil {
		return answer{}, err
	}
	body, err := s.pack(ctx, request)
	if err != nil {
		return answer{}, err
	}
	req := packp.NewUploadPackRequest()
	req.Depth = packp.DepthCommits(q.depth)
	resp := packp.NewUploadPackResponse(req)
	if err := resp.Decode(body); err != nil {
		_ = body.Close() // the answer is lost anyway
		return answer{}, fmt.Errorf("answer to the request for objects: %w", err)
	}
	a := answer{shallow: resp.Shallows, unshallow: resp.Unshallows, pack: resp, close: resp.Close}
	switch c, _ := best(q.features, [2]capability.Capability{capability.Sideband64k, capability.Sideband}); c {
	case capability.Sideband64k:
		a.pack = sideband.NewDemuxer(sideband.Sideband64k, resp)
	case capability.Sideband:
		a.pack = sideband.NewDemuxer(sideband.Sideband, resp)
	}
	return a, nil
}

// target is a ref's place on the server: what to ask for, and the commit.
type target struct {
	want   plumbing.Hash // of an annotated tag, the tag object
	commit plumbing.Hash // zero: want has to be looked into
}

// resolve finds the followed ref among the server's.
func (r Remote) resolve(adv *packp.AdvRefs) (target, error) {
	switch {
	case r.Tag != "":
		name := "refs/tags/" + r.Tag
		h, ok := adv.References[name]
		if !ok {
			return target{}, faultf(CauseMissingBranch, names(adv, "refs/tags/"), "the repository has no such tag")
		}
		if peeled, ok := adv.Peeled[name]; ok {
			return target{want: h, commit: peeled}, nil
		}
		return target{want: h, commit: h}, nil
	case r.Branch != "":
		h, ok := adv.References["refs/heads/"+r.Branch]
		if !ok {
			return target{}, faultf(CauseMissingBranch, names(adv, "refs/heads/"), "the repository has no such branch")
		}
		return target{want: h, commit: h}, nil
	case adv.Head == nil:
		return target{}, faultf(CauseEmpty, names(adv, "refs/heads/"), "the repository's HEAD names a branch without a commit")
	default:
		return target{want: *adv.Head, commit: *adv.Head}, nil
	}
}

// names is a hint with a few of the refs that are there.
func names(adv *packp.AdvRefs, prefix string) string {
	var found []string
	more := ""
	for _, name := range sortedKeys(adv.References) {
		short, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		if len(found) == 5 {
			more = ", …"
			break
		}
		found = append(found, clean(short, 60))
	}
	if len(found) == 0 {
		return ""
	}
	return "there is " + strings.Join(found, ", ") + more
}

// cappedReader gives err after so many bytes.
type cappedReader struct {
	r    io.Reader
	left int64
	err  error
}

func (c *cappedReader) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	return n, err
}
