package stack

import (
	"errors"
	"fmt"
	"strings"
)

// lookup gives a variable's value, and whether it is set.
type lookup func(name string) (string, bool)

// undefinedError is a variable that nothing sets and that has no default.
type undefinedError struct{ name string }

func (e *undefinedError) Error() string {
	return fmt.Sprintf("variable %s is not set; set it in .env or give a default: ${%s:-default}", e.name, e.name)
}

// requiredError is ${NAME:?message} for a variable without a value.
type requiredError struct{ name, message string }

func (e *requiredError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("variable %s is required and has no value", e.name)
	}
	return fmt.Sprintf("variable %s is required and has no value: %s", e.name, e.message)
}

// interpolate replaces $NAME, ${NAME}, ${NAME:-word}, ${NAME-word},
// ${NAME:?word}, ${NAME?word}, ${NAME:+word} and ${NAME+word} in s; words may
// hold variables themselves and are replaced only where they are used. $$ is a
// dollar, and so is one that no name or brace follows. The grammar is
// compose-go's; its own code makes an unset variable empty with no more than a
// line on stderr, here it is an error.
func interpolate(s string, vars lookup) (string, error) {
	return interpolateAt(s, vars, 0)
}

// interpolateAt is interpolate for a word that depth variables hold.
func interpolateAt(s string, vars lookup, depth int) (string, error) {
	if depth > maxWords {
		return "", fmt.Errorf("more than %d variables inside one another", maxWords)
	}
	if !strings.Contains(s, "$") {
		return s, nil
	}
	var out strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			out.WriteString(s)
			break
		}
		out.WriteString(s[:i])
		value, rest, err := variable(s[i:], vars, depth)
		if err != nil {
			return "", err
		}
		if out.WriteString(value); out.Len() > maxValue {
			return "", fmt.Errorf("value longer than %d bytes", maxValue)
		}
		s = rest
	}
	return out.String(), nil
}

// variable replaces what s starts with, a dollar and what belongs to it, and
// gives the rest of s.
func variable(s string, vars lookup, depth int) (value, rest string, err error) {
	if strings.HasPrefix(s, "$$") {
		return "$", s[2:], nil
	}
	if n := nameLength(s[1:]); n > 0 {
		value, err = plain(s[1:1+n], vars)
		return value, s[1+n:], err
	}
	if !strings.HasPrefix(s, "${") {
		return "$", s[1:], nil
	}
	end := closingBrace(s)
	if end < 0 {
		return "", "", errors.New("a ${ without its closing brace; write $$ for a dollar")
	}
	value, err = braced(s[2:end], vars, depth)
	return value, s[end+1:], err
}

// braced replaces what stands between ${ and }.
func braced(s string, vars lookup, depth int) (string, error) {
	n := nameLength(s)
	if n == 0 {
		return "", errors.New("a ${ without a variable's name behind it; write $$ for a dollar")
	}
	name, op := s[:n], s[n:]
	if op == "" {
		return plain(name, vars)
	}
	value, set := vars(name)
	full := set
	if op[0] == ':' {
		op, full = op[1:], set && value != ""
	}
	if op == "" {
		return "", fmt.Errorf("${%s:} lacks one of - ? + behind the colon", name)
	}
	switch op[0] {
	case '-':
		if full {
			return value, nil
		}
		return interpolateAt(op[1:], vars, depth+1)
	case '+':
		if full {
			return interpolateAt(op[1:], vars, depth+1)
		}
		return "", nil
	case '?':
		if full {
			return value, nil
		}
		message, err := interpolateAt(op[1:], vars, depth+1)
		if err != nil {
			return "", err
		}
		return "", &requiredError{name, message}
	}
	return "", fmt.Errorf("${%s is followed by %q, which is no part of a variable; write $$ for a dollar", name, op[:1])
}

func plain(name string, vars lookup) (string, error) {
	value, set := vars(name)
	if !set {
		return "", &undefinedError{name}
	}
	return value, nil
}

// nameLength says how many bytes at the start of s are a variable's name.
func nameLength(s string) int {
	for i := range len(s) {
		c := s[i] | 0x20 // lower case
		switch {
		case c >= 'a' && c <= 'z', s[i] == '_', i > 0 && s[i] >= '0' && s[i] <= '9':
		default:
			return i
		}
	}
	return len(s)
}

// closingBrace finds the brace that closes the one at s[1].
func closingBrace(s string) int {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}
