package stack

import (
	"fmt"
	"strings"
)

// Position is a place in one of the tenant's files. Line counts from 1; 0: the whole file.
type Position struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
}

// String is file:line, or the file alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Severity says whether a finding stops the stack.
type Severity string

// An Error stops the stack, a Warning does not.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing to say about a tenant's file. It never holds a tainted value.
type Finding struct {
	Position
	Severity Severity `json:"severity"`
	Service  string   `json:"service,omitempty"` // key, where it concerns one
	Key      string   `json:"key,omitempty"`     // compose path such as services.web.devices
	Text     string   `json:"text"`              // what is wrong and what to do instead
	Err      error    `json:"-"`                 // the cause, for errors.Is and errors.As; may be nil
}

// String is one line: file:line: severity: text.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s: %s", f.Position, f.Severity, f.Text)
}

// RenderError says why a stack cannot be rendered: at least one finding of severity Error.
type RenderError struct {
	Tenant, Stack string
	Findings      []Finding // errors and warnings, by file and line
}

// Error gives the errors among the findings, one a line.
func (e *RenderError) Error() string {
	var lines []string
	for _, f := range e.Findings {
		if f.Severity == Error {
			lines = append(lines, fmt.Sprintf("%s: %s", f.Position, f.Text))
		}
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the causes of the errors, so that callers find an EscapeError or
// the secrets lens' own error with errors.As.
func (e *RenderError) Unwrap() []error {
	var causes []error
	for _, f := range e.Findings {
		if f.Severity == Error && f.Err != nil {
			causes = append(causes, f.Err)
		}
	}
	return causes
}

// EscapeError is a path that leaves the tenant's tree. It reads the same whether
// or not the target exists.
type EscapeError struct {
	Path string // as the tenant wrote it
}

// Error names the path and the rule.
func (e *EscapeError) Error() string {
	return fmt.Sprintf("%s: path leaves the tenant's folder; keep a copy inside it", e.Path)
}
