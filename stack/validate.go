package stack

import (
	"errors"
	"io/fs"
)

// Validate gives everything there is to say about one stack, errors and
// warnings, by file and line. None: the stack is fine.
func Validate(fsys fs.FS, def Definition, o Options) []Finding {
	spec, err := Render(fsys, def, o)
	if err == nil {
		return spec.Warnings
	}
	var r *RenderError
	if errors.As(err, &r) {
		return r.Findings
	}
	return []Finding{{Position: Position{File: def.Dir}, Severity: Error, Text: err.Error(), Err: err}}
}
