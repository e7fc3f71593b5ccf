package yaml

import "strings"

// A scalar is one that was read, with the place where it begins.
type scalar struct {
	text  string
	plain bool // not quoted, so that it may be something else than a string
	start int
	line  int
}

// scalar reads a plain or quoted scalar and the white space after it, within
// the collection at column parent.
func (p *parser) scalar(parent int) scalar {
	s := scalar{start: p.pos, line: p.line}
	switch p.peek() {
	case '"', '\'':
		s.text = p.quoted(p.peek())
		p.blanks()
	default:
		s.text, s.plain = p.plain(parent), true
	}
	return s
}

// value writes a scalar.
func (p *parser) value(s scalar) {
	if json := p.resolve(s); json != "" {
		p.out = append(p.out, json...)
		return
	}
	p.out = appendString(p.out, s.text)
}

// resolve returns the JSON of a scalar that is not a string, or "".
func (p *parser) resolve(s scalar) string {
	if !s.plain {
		return ""
	}
	json, doubt := resolve(s.text)
	if doubt != "" {
		p.line = s.line
		p.fail("%s: quote it", doubt)
	}
	return json
}

// fold appends what n line ends mean within a scalar that is folded: one is a
// space, more are one line end less.
func fold(text []byte, n int) []byte {
	if n == 1 {
		return append(text, ' ')
	}
	return append(text, strings.Repeat("\n", n-1)...)
}
