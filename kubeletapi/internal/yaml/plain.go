package yaml

// plain reads a plain scalar. In a block, it goes on with the lines that are
// indented more than parent; in a flow collection, with every line.
func (p *parser) plain(parent int) string {
	p.plainStart()
	text := []byte(p.plainLine())
	for {
		end := p.cursor
		n := p.breaks()
		if n == 0 || !p.plainContinues(parent) {
			p.cursor = end
			return string(text)
		}
		text = append(fold(text, n), p.plainLine()...)
	}
}

// plainStart refuses what a plain scalar cannot begin with.
func (p *parser) plainStart() {
	const quote = "quote the value if it is meant literally"
	switch c := p.peek(); c {
	case '&', '*':
		p.fail("anchors (&) and aliases (*) are not supported: write the value out, or %s", quote)
	case '!':
		p.fail("tags (!) are not supported: remove it, or %s", quote)
	case '%':
		p.fail("directives (%%) are not supported: remove it, or %s", quote)
	case '[', '{':
		p.fail("brackets and braces cannot begin a key: %s", quote)
	case '@', '`', '#', ',', ']', '}', '|', '>':
		p.fail("%q cannot begin a value here: %s", c, quote)
	case '?', ':', '-':
		// In a block, "?x", ":x" and "-x" are plain scalars; in a flow
		// collection readers differ on the first two, and on "-]".
		if p.spaceAhead(1) || p.flow && (c != '-' || isBracket(p.ahead(1))) {
			p.fail(`a %q cannot stand here: %s; keys are written "key: value", sequences begin on a line of their own`, c, quote)
		}
	}
}

// plainLine reads the part of a plain scalar that is on one line.
func (p *parser) plainLine() string {
	start, end := p.pos, p.pos
	for !p.plainEnds() {
		p.pos++
		if !isBlank(p.text[p.pos-1]) {
			end = p.pos
		}
	}
	return p.text[start:end]
}

// plainEnds tells whether a plain scalar cannot go on here.
func (p *parser) plainEnds() bool {
	switch c := p.peek(); {
	case c == 0 || c == '\n':
		return true
	case c == '#':
		return p.spaceBefore()
	case c == ':' && p.flow && isBracket(p.ahead(1)), c == '?' && p.flow:
		p.fail("a %q within brackets is read in two ways here: quote the text, or put a space after the colon", c)
	case c == ':':
		return p.spaceAhead(1)
	}
	return p.flow && isBracket(p.peek())
}

// plainContinues tells whether a plain scalar goes on with the line that has
// its first text here.
func (p *parser) plainContinues(parent int) bool {
	return (p.flow || p.column() > parent) && !p.marker() && !p.plainEnds()
}
