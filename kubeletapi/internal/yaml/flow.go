package yaml

// flowNode reads a node within a flow collection, or the collection itself.
func (p *parser) flowNode() {
	opened := p.line
	switch p.peek() {
	case '[':
		p.flowCollection(']', p.flowNode)
	case '{':
		seen := make(keys)
		p.flowCollection('}', func() { p.flowPair(opened, seen) })
	default:
		p.value(p.scalar(-1))
	}
}

// flowCollection reads a flow collection, and with item each of its items.
func (p *parser) flowCollection(end byte, item func()) {
	opened := p.line
	p.open(p.peek())
	p.pos += len("[")
	for p.flowToken(opened) != end {
		if last := p.out[len(p.out)-1]; last != '[' && last != '{' {
			p.out = append(p.out, ',')
		}
		item()
		switch p.flowToken(opened) {
		case end:
		case ',':
			p.pos += len(",")
		default:
			p.fail(`"," or %q is expected here: check brackets and commas; a pair "key: value" needs braces`, end)
		}
	}
	p.pos += len("]")
	p.close(end)
}

// flowPair reads a key, a colon and perhaps a value, of a mapping that begins on
// line opened.
func (p *parser) flowPair(opened int, seen keys) {
	p.key(p.scalar(-1), seen)
	switch p.flowToken(opened) {
	case ',', '}':
		p.out = append(p.out, "null"...)
	default:
		p.flowNode()
	}
}

// flowToken goes to the next token of a flow collection and returns its first
// byte. The collection begins on line opened, which is in error if it never ends.
func (p *parser) flowToken(opened int) byte {
	p.blanks()
	p.nextLine()
	if p.ended() {
		p.line = opened
		p.fail("a bracket or brace on this line is never closed: close it")
	}
	return p.peek()
}
