package stack

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// report collects findings while a stack is loaded.
type report struct {
	findings         []Finding
	errors, warnings int
}

// add keeps a finding: the first maxFinding errors, and as many warnings.
func (r *report) add(f Finding) {
	count := &r.warnings
	if f.Severity == Error {
		count = &r.errors
	}
	if *count++; *count <= maxFinding {
		r.findings = append(r.findings, f)
	}
}

func (r *report) errorf(p Position, format string, args ...any) {
	r.add(Finding{Position: p, Severity: Error, Text: fmt.Sprintf(format, args...)})
}

func (r *report) warnf(p Position, format string, args ...any) {
	r.add(Finding{Position: p, Severity: Warning, Text: fmt.Sprintf(format, args...)})
}

// fail is errorf with a cause that callers can look at.
func (r *report) fail(p Position, cause error, format string, args ...any) {
	r.add(Finding{Position: p, Severity: Error, Text: fmt.Sprintf(format, args...), Err: cause})
}

// failLine reports an error in a file, at its line where it has one, else at the first.
func (r *report) failLine(file string, err error) {
	p, text := Position{file, 1}, err.Error()
	var l *lineError
	if errors.As(err, &l) {
		p.Line, text = l.line, l.err.Error()
	}
	r.fail(p, err, "%s", text)
}

// sorted gives the findings by file and line, each once, with every tainted
// value taken out and nothing in them that could disturb a terminal.
func (r *report) sorted(t Taint) []Finding {
	out := slices.Clone(r.findings)
	for i := range out {
		f := &out[i]
		f.Text = cut(t.Redact(f.Text))
		f.Service = cut(t.Redact(f.Service))
		f.Key = cut(t.Redact(f.Key))
		f.File = cut(t.Redact(f.File))
		f.Err = shown(f.Err, t)
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Severity, b.Severity),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(out, func(a, b Finding) bool {
		return a.Position == b.Position && a.Severity == b.Severity && a.Text == b.Text
	})
}

// shown is a cause as it may be handed on: without one that names a tainted value.
func shown(err error, t Taint) error {
	if err == nil || !t.In(err.Error()) {
		return err
	}
	var escape *EscapeError
	if errors.As(err, &escape) {
		return &EscapeError{Path: t.Redact(escape.Path)}
	}
	return nil
}

// cut shortens a text and takes its control characters out.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return '�'
		}
		return r
	}, s)
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
