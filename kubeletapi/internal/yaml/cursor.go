package yaml

import (
	"fmt"
	"strings"
)

// A cursor is a place in the text. Copying it remembers the place.
type cursor struct {
	text  string // as newCursor left it
	pos   int    // the next byte
	line  int    // of pos; 1 is the first
	start int    // of that line
	flow  bool   // within a flow collection
	tabs  bool   // a line may begin with tabs
}

// fail leaves the parser for good: ToJSON returns the error.
func (c *cursor) fail(format string, args ...any) {
	panic(&Error{c.line, fmt.Sprintf(format, args...)})
}

// peek returns the next byte, or 0 at the end of the text.
func (c *cursor) peek() byte { return c.ahead(0) }

// ahead returns the byte n further on, or 0 past the end of the text.
func (c *cursor) ahead(n int) byte {
	if c.pos+n >= len(c.text) {
		return 0
	}
	return c.text[c.pos+n]
}

// spaceAhead tells whether white space or the end of the text is n further on.
func (c *cursor) spaceAhead(n int) bool {
	b := c.ahead(n)
	return b == 0 || b == '\n' || isBlank(b)
}

// column counts from 0. Nothing but ASCII stands before a column that matters.
func (c *cursor) column() int { return c.pos - c.start }

// marker tells whether "---" or "..." stands here, on its own at a line's start.
func (c *cursor) marker() bool {
	if c.column() != 0 || !c.spaceAhead(3) {
		return false
	}
	rest := c.text[c.pos:]
	return strings.HasPrefix(rest, "---") || strings.HasPrefix(rest, "...")
}

// ended tells whether the document ends here.
func (c *cursor) ended() bool { return c.peek() == 0 || c.marker() }

// blanks skips spaces and tabs.
func (c *cursor) blanks() {
	for isBlank(c.peek()) {
		c.pos++
	}
}

// spaces skips spaces up to a column.
func (c *cursor) spaces(column int) {
	for c.peek() == ' ' && c.column() < column {
		c.pos++
	}
}

// newline steps over a line end.
func (c *cursor) newline() {
	c.pos++
	c.line++
	c.start = c.pos
}

// indentation skips what a line begins with, and refuses tabs there.
func (c *cursor) indentation() {
	c.spaces(len(c.text))
	if c.peek() == '\t' && !c.tabs {
		c.fail("the line is indented with a tab: use spaces")
	}
	c.blanks()
}

// breaks goes from the end of a line to the text of the next line that has any,
// and counts the line ends. Anywhere else it does nothing.
func (c *cursor) breaks() (n int) {
	for c.peek() == '\n' {
		c.newline()
		c.indentation()
		n++
	}
	return n
}

// rest takes what is left of the line.
func (c *cursor) rest() string {
	rest, _, _ := strings.Cut(c.text[c.pos:], "\n")
	c.pos += len(rest)
	return rest
}

// comment skips a comment. It begins a line or stands behind white space.
func (c *cursor) comment() {
	if c.peek() == '#' && c.spaceBefore() {
		c.rest()
	}
}

func (c *cursor) spaceBefore() bool { return c.pos == c.start || isBlank(c.text[c.pos-1]) }

// nextLine goes from the end of a line, or from a comment, to the next token.
// Anywhere else it does nothing.
func (c *cursor) nextLine() {
	for c.comment(); c.breaks() > 0; c.comment() {
	}
}

// lineEnds tells whether nothing but a comment is left of the line.
func (c *cursor) lineEnds() bool {
	c.blanks()
	c.comment()
	return c.peek() == 0 || c.peek() == '\n'
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// isBracket tells whether b is punctuation of flow collections.
func isBracket(b byte) bool { return b != 0 && strings.IndexByte(",[]{}", b) >= 0 }
