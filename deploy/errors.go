package deploy

import (
	"errors"
	"fmt"
)

// ErrStale means that a plan rests on a look that is no longer true: look again.
var ErrStale = errors.New("the swarm changed since it was looked at")

// ErrUnsure means that the swarm could not be read whole (no leader, a worker,
// a list that was cut): nothing may be decided on it.
var ErrUnsure = errors.New("the swarm could not be read whole")

// ConflictError is an object that a stack needs and that is not ours to change.
type ConflictError struct {
	Kind  Kind
	Name  string
	Owner string // in words: tenant "a", stack "x" of docker stack deploy, …
	Hint  string // what to do next
}

// Error names the object, its owner and what to do.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s %q belongs to %s: %s", e.Kind, e.Name, e.Owner, e.Hint)
}

// RefusedError is a change that cannot be made as the stack stands, such as a
// mode change without x-skep.replace, or a limit that would be broken.
type RefusedError struct {
	Kind    Kind
	Name    string
	Service string // key
	Text    string // what, and what to do next
	// Passing says that something outside the stack stands in the way, such as
	// an external secret that is missing: the same change may be possible later.
	Passing bool
}

// Error names the object and what to do.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s %q: %s", e.Kind, e.Name, e.Text)
}

// StepError is one step of a plan that the daemon refused.
type StepError struct {
	Action Action
	Kind   Kind
	Name   string
	Err    error
	// Refused says that the same request would be refused again (invalid spec);
	// otherwise the cause may pass by itself.
	Refused bool
}

// Error names the step, the object and the daemon's words.
func (e *StepError) Error() string {
	return fmt.Sprintf("%s %s %q: %v", e.Action, e.Kind, e.Name, e.Err)
}

// Unwrap gives the daemon's error.
func (e *StepError) Unwrap() error { return e.Err }

// UnequalError is a secret whose data differs from git's: the answer to the
// question that adopting it asks. The next Diff, told by DiffOptions.Unequal,
// rotates it.
type UnequalError struct{ ID, Name string }

// Error names the secret.
func (e *UnequalError) Error() string {
	return fmt.Sprintf("secret %q differs from git and will be rotated", e.Name)
}
