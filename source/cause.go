package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"golang.org/x/crypto/ssh"
)

// fault is an error whose cause is known where it happens.
type fault struct {
	cause Cause
	err   error
	hint  string
	after time.Duration // see Error.After
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func faultf(c Cause, hint, text string) *fault {
	return &fault{cause: c, err: errors.New(text), hint: hint}
}

// fail turns any error of a look or fetch into an *Error without credentials.
// ctx tells a time limit from the broken connection that it leaves behind.
func (m *mirror) fail(ctx context.Context, err error) *Error {
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	f := classify(ctx, err)
	return &Error{Cause: f.cause, URL: m.shown, Ref: m.remote.ref(), Err: m.redact(f.err), Hint: m.redactText(f.hint), After: f.after}
}

// ref is how an error names what is followed.
func (r Remote) ref() string {
	switch {
	case r.Tag != "":
		return "tag " + clean(r.Tag, 100)
	case r.Branch != "":
		return "branch " + clean(r.Branch, 100)
	default:
		return ""
	}
}

func classify(ctx context.Context, err error) *fault {
	var f *fault
	if errors.As(err, &f) && ctx.Err() == nil {
		return f
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL
	}
	if cut := ctx.Err(); cut != nil {
		if errors.Is(cut, context.Canceled) {
			return &fault{cause: CauseTimeout, err: context.Canceled}
		}
		return &fault{cause: CauseTimeout, err: fmt.Errorf("no complete answer within the time limit: %w", cut), hint: "the server is slow or hangs; see whether it answers from this host"}
	}
	if f := local(err); f != nil {
		return f
	}
	return remote(err)
}

// local is for what this machine answered; nil if it was not this machine.
func local(err error) *fault {
	var (
		path *fs.PathError
		no   syscall.Errno
	)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		errors.As(err, &no) // without the name of a temporary file
		return &fault{cause: CauseLimit, err: fmt.Errorf("write to the cache: %w", no), hint: "the cache is full: give it more room or follow smaller repositories"}
	case errors.As(err, &path):
		return &fault{cause: CauseLimit, err: err, hint: "the cache is not usable: see that its folder exists and can be written"}
	}
	return nil
}

// remote is for what the network or the server answered.
func remote(err error) *fault {
	var (
		dns   *net.DNSError
		op    *net.OpError
		timer net.Error
		line  *pktline.ErrorLine
		algos *ssh.AlgorithmNegotiationError
	)
	switch {
	case isTLS(err):
		return &fault{cause: CauseTLS, err: err, hint: "give the server's authority with ca_file, or renew its certificate"}
	case errors.As(err, &algos):
		return &fault{cause: CauseHostKey, err: err, hint: "known_hosts may list another kind of key than the server offers: see ssh-keyscan"}
	case strings.Contains(err.Error(), "ssh: unable to authenticate"):
		return &fault{cause: CauseAuth, err: errors.New("the server refuses the ssh key"), hint: "add the public key to the repository as a read-only deploy key"}
	case errors.As(err, &dns):
		return &fault{cause: CauseNetwork, err: err, hint: "see that the host's name is right and resolves here"}
	case errors.As(err, &timer) && timer.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return &fault{cause: CauseTimeout, err: err, hint: "the server is slow or hangs; see whether it answers from this host"}
	case errors.As(err, &line):
		return answered(line.Text)
	case errors.As(err, &op), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return &fault{cause: CauseNetwork, err: err, hint: "see that the server runs and can be reached from here"}
	default:
		return &fault{cause: CauseServer, err: err}
	}
}

func isTLS(err error) bool {
	var (
		verify *tls.CertificateVerificationError
		header tls.RecordHeaderError
		alert  tls.AlertError
		issuer x509.UnknownAuthorityError
	)
	return errors.As(err, &verify) || errors.As(err, &header) || errors.As(err, &alert) || errors.As(err, &issuer) ||
		strings.HasPrefix(err.Error(), "tls: ") || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// answered reads what a git server says in words: an ERR line or its stderr.
func answered(text string) *fault {
	low := strings.ToLower(text)
	err := errors.New("the server says: " + clean(text, 300))
	for _, s := range []string{"not found", "does not appear to be a git repository", "does not exist", "no such repository", "could not be found", "no such file"} {
		if strings.Contains(low, s) {
			return &fault{cause: CauseNotFound, err: err, hint: "see that the URL is right and the key may read it"}
		}
	}
	for _, s := range []string{"denied", "unauthorized", "authentication", "not allowed", "forbidden"} {
		if strings.Contains(low, s) {
			return &fault{cause: CauseAuth, err: err, hint: "see that the credentials may read this repository"}
		}
	}
	return &fault{cause: CauseServer, err: err}
}

// redact gives err back, or where it shows a credential or what no line should
// hold, its text without.
func (m *mirror) redact(err error) error {
	text := err.Error()
	if safe := m.redactText(clean(text, maxError)); safe != text {
		return errors.New(safe)
	}
	return err
}

func (m *mirror) redactText(text string) string {
	for _, s := range m.secrets {
		text = strings.ReplaceAll(text, s, "<redacted>")
	}
	return text
}

// maxError is how long an error's text may be, in bytes.
const maxError = 1000
