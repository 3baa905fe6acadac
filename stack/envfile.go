package stack

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// variableLine is one variable of an env file. Set is false for a name alone.
type variableLine struct {
	name, value string
	set         bool
	line        int
}

// lineError is an error on one line of a file. Its text holds nothing of the
// line but a variable's name: the file may hold secrets.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %s", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// parseRaw reads an env_file as docker does (docker/cli, pkg/kvfile): K=V lines
// whose values are taken as they are, quotes, # and $ included.
func parseRaw(data []byte) ([]variableLine, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8 text")
	}
	var out []variableLine
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, set := strings.Cut(line, "=")
		if name == "" {
			return nil, &lineError{i + 1, errors.New("no variable name before =")}
		}
		if strings.ContainsAny(name, " \t") {
			return nil, &lineError{i + 1, fmt.Errorf("blank in a variable's name (is %q meant for a shell? set format: dotenv)", firstWord(name))}
		}
		out = append(out, variableLine{name, value, set, i + 1})
	}
	return out, nil
}

func firstWord(s string) string {
	if words := strings.Fields(s); len(words) > 0 {
		return words[0]
	}
	return ""
}

// parseDotenv reads an env file as compose does: export, quotes, comments,
// escapes and variables. A variable in a value is looked for in above, then in
// the lines before it, then in below.
func parseDotenv(data []byte, above, below lookup) ([]variableLine, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8 text")
	}
	p := dotenvReader{text: strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n"), line: 1, own: map[string]string{}, above: above, below: below}
	var out []variableLine
	for {
		v, more, err := p.next()
		if err != nil {
			return nil, &lineError{p.line, err}
		}
		if !more {
			return out, nil
		}
		out = append(out, v)
	}
}

// dotenvReader is the state of parseDotenv: what is left of the text and what it set so far.
type dotenvReader struct {
	text         string
	line         int
	bytes        int // of all values
	own          map[string]string
	above, below lookup
}

// next reads one statement.
func (p *dotenvReader) next() (v variableLine, more bool, err error) {
	p.skipBlank()
	if p.text == "" {
		return v, false, nil
	}
	if rest, ok := strings.CutPrefix(p.text, "export"); ok && rest != "" && (rest[0] == ' ' || rest[0] == '\t') {
		p.text = strings.TrimLeft(rest, " \t")
	}
	v.line = p.line
	end := strings.IndexAny(p.text, "=:\n")
	if end < 0 {
		end = len(p.text)
	}
	v.name = strings.TrimSpace(p.text[:end])
	if !dotenvName(v.name) {
		return v, false, errors.New("not NAME=value: a variable's name holds letters, digits, _, . and - only")
	}
	if end == len(p.text) || p.text[end] == '\n' {
		p.text = p.text[end:]
		return v, true, nil
	}
	p.text = strings.TrimLeft(p.text[end+1:], " \t\r\v\f")
	v.set = true
	if v.value, err = p.value(); err != nil {
		return v, false, fmt.Errorf("%s: %w", v.name, err)
	}
	if p.bytes += len(v.value); p.bytes > maxBytes {
		return v, false, fmt.Errorf("more than %d bytes of values in one file", maxBytes)
	}
	p.own[v.name] = v.value
	return v, true, nil
}

// skipBlank skips blank lines and comments.
func (p *dotenvReader) skipBlank() {
	for p.text != "" {
		switch c := p.text[0]; {
		case c == '\n':
			p.line++
			p.text = p.text[1:]
		case c == '#':
			_, rest, found := strings.Cut(p.text, "\n")
			if found {
				p.line++
			}
			p.text = rest
		default:
			trimmed := strings.TrimLeftFunc(p.text, func(r rune) bool { return r != '\n' && unicode.IsSpace(r) })
			if len(trimmed) == len(p.text) {
				return
			}
			p.text = trimmed
		}
	}
}

// value reads what stands behind NAME=.
func (p *dotenvReader) value() (string, error) {
	if p.text == "" || p.text[0] != '"' && p.text[0] != '\'' {
		line, _, _ := strings.Cut(p.text, "\n")
		p.text = p.text[len(line):]
		line, _, _ = strings.Cut(line, " #")
		return interpolate(strings.TrimRightFunc(line, unicode.IsSpace), p.lookup)
	}
	quote := p.text[0]
	var out strings.Builder
	for i := 1; i < len(p.text); i++ {
		c := p.text[i]
		switch {
		case c == quote:
			p.line += strings.Count(p.text[:i], "\n")
			p.text = p.text[i+1:]
			if quote == '\'' {
				return out.String(), nil
			}
			return interpolate(unescape(out.String()), p.lookup)
		case c == '\\' && i+1 < len(p.text) && p.text[i+1] == quote:
			out.WriteByte(quote)
			i++
		case c == '\\' && i+1 < len(p.text):
			out.WriteString(p.text[i : i+2])
			i++
		default:
			out.WriteByte(c)
		}
	}
	return "", errors.New("quote without its end")
}

func (p *dotenvReader) lookup(name string) (string, bool) {
	if v, ok := p.above(name); ok {
		return v, true
	}
	if v, ok := p.own[name]; ok {
		return v, true
	}
	return p.below(name)
}

// unescape replaces the escapes of a double-quoted value; \$ becomes $$, a
// dollar for interpolate.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case '$':
			out.WriteString("$$")
		case '0':
			digits := 0
			for digits < 3 && i+1+digits < len(s) && s[i+1+digits] >= '0' && s[i+1+digits] <= '7' {
				digits++
			}
			n, err := strconv.ParseUint(s[i+1:i+1+digits], 8, 8)
			if digits < 3 || err != nil { // octal escapes have three digits
				out.WriteString(`\0`)
				continue
			}
			out.WriteRune(rune(n))
			i += digits
		default:
			if j := strings.IndexByte(`abfnrtv\"`, c); j >= 0 {
				out.WriteByte("\a\b\f\n\r\t\v\\\""[j])
				continue
			}
			out.WriteByte('\\')
			out.WriteByte(c)
		}
	}
	return out.String()
}

func dotenvName(s string) bool {
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_.-[]", r) {
			return false
		}
	}
	return s != ""
}
