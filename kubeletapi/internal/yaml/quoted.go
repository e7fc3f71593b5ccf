package yaml

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quoted reads a quoted scalar.
func (p *parser) quoted(quote byte) string {
	opened := p.line
	var text []byte
	for p.pos++; ; {
		switch c := p.peek(); {
		case c == 0 || p.marker():
			p.line = opened
			p.fail("the quote %q on this line is never closed: close it", quote)
		case c == '\'' && quote == c && p.ahead(1) == c:
			text = append(text, c)
			p.pos += len("''")
		case c == quote:
			p.pos++
			return string(text)
		case c == '\\' && quote == '"':
			text = p.escape(text)
		case c == '\n' || isBlank(c):
			text = p.quotedSpace(text)
		default:
			text = append(text, c)
			p.pos++
		}
	}
}

// quotedSpace appends white space, folded where the line ends.
func (p *parser) quotedSpace(text []byte) []byte {
	start := p.pos
	p.blanks()
	if p.peek() == '\n' {
		return fold(text, p.breaks())
	}
	return append(text, p.text[start:p.pos]...)
}

// escape appends what an escape sequence stands for. A line end can be escaped
// too: it is left out with the indentation of the next line.
func (p *parser) escape(text []byte) []byte {
	p.pos += len(`\`)
	c := p.peek()
	if c == '\n' {
		return append(text, strings.Repeat("\n", p.breaks()-1)...)
	}
	p.pos++
	if i := strings.IndexByte("xuU", c); i >= 0 {
		return p.hex(text, 2<<i)
	}
	i := strings.IndexByte(escapes, c)
	if i < 0 {
		p.fail(`an escape sequence is not known: write \\ for a backslash`)
	}
	return utf8.AppendRune(text, []rune(escaped)[i])
}

// escapes are the letters of escape sequences, and escaped what each stands for.
const (
	escapes = "0abtnvfre \"\\\tN_LP"
	escaped = "\x00\a\b\t\n\v\f\r\x1b \"\\\t\u0085\u00a0\u2028\u2029"
)

// hex appends the character whose code has n hexadecimal digits.
func (p *parser) hex(text []byte, n int) []byte {
	digits := p.text[p.pos:min(p.pos+n, len(p.text))]
	code, err := strconv.ParseUint(digits, 16, 32)
	switch {
	case err != nil || len(digits) < n:
		p.fail("an escape has to have %d hexadecimal digits", n)
	case code > utf8.MaxRune || !utf8.ValidRune(rune(code)):
		p.fail("an escape is no character, or half of one (a surrogate): write the character itself")
	}
	p.pos += n
	return utf8.AppendRune(text, rune(code))
}
