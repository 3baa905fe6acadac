package swarmtest

import (
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
)

const noLeader = "The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online."

// Error is an answer of the API that is not a success, as the Docker client
// gives it: the daemon's text, and a class that package errdefs tells.
type Error struct {
	Text  string
	class error
}

// Error is the client's text.
func (e *Error) Error() string { return "Error response from daemon: " + e.Text }

// Unwrap gives the class.
func (e *Error) Unwrap() error { return e.class }

func rpc(class error, code, format string, args ...any) error {
	return &Error{Text: "rpc error: code = " + code + " desc = " + fmt.Sprintf(format, args...), class: class}
}

// The classes in which swarm's manager answers, and the HTTP status that each becomes.
func invalid(format string, args ...any) error { // 400
	return rpc(cerrdefs.ErrInvalidArgument, "InvalidArgument", format, args...)
}

func precondition(format string, args ...any) error { // 400
	return rpc(cerrdefs.ErrInvalidArgument, "FailedPrecondition", format, args...)
}

func exists(format string, args ...any) error { // 409
	return rpc(cerrdefs.ErrConflict, "AlreadyExists", format, args...)
}

func unimplemented(format string, args ...any) error { // 501
	return rpc(cerrdefs.ErrNotImplemented, "Unimplemented", format, args...)
}

func internal(format string, args ...any) error { // 500
	return rpc(cerrdefs.ErrInternal, "Unknown", format, args...)
}

// The classes in which the daemon itself answers.
func missing(format string, args ...any) error { // 404
	return &Error{Text: fmt.Sprintf(format, args...), class: cerrdefs.ErrNotFound}
}

func taken(format string, args ...any) error { // 409
	return &Error{Text: fmt.Sprintf(format, args...), class: cerrdefs.ErrConflict}
}

func denied(format string, args ...any) error { // 403
	return &Error{Text: fmt.Sprintf(format, args...), class: cerrdefs.ErrPermissionDenied}
}

func unavailable(format string, args ...any) error { // 503
	return &Error{Text: fmt.Sprintf(format, args...), class: cerrdefs.ErrUnavailable}
}
