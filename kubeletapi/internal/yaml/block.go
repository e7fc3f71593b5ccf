package yaml

// Every method here that reads a node leaves the cursor on the first token of
// a later line, or at the end of the document.

// child reads the node of "key:", "-" or "---", on the same line or below. The
// node is null when there is none. A collection cannot begin on the line of its
// key (or ---), but a sequence may stand at the column of its key.
func (p *parser) child(parent int, ofKey bool) {
	if !ofKey {
		p.spaces(len(p.text))
		if p.peek() == '\t' {
			p.fail(`there is a tab after "-": use a space`)
		}
	}
	if !p.lineEnds() {
		p.node(parent, !ofKey)
		return
	}
	p.nextLine()
	switch {
	case p.column() > parent && !p.ended():
		p.node(parent, true)
	case p.column() == parent && ofKey && p.entry():
		p.sequence(parent)
	default:
		p.out = append(p.out, "null"...)
	}
}

// node reads the node that begins here, within the collection at column parent.
// Only where a collection may begin is it a block collection.
func (p *parser) node(parent int, collection bool) {
	switch c := p.peek(); {
	case p.entry() && collection:
		p.sequence(p.column())
	case c == '|' || c == '>':
		p.out = appendString(p.out, p.blockScalar(parent))
		p.nextLine()
	case c == '[' || c == '{':
		p.flow, p.tabs = true, parent < 0
		p.flowNode()
		p.flow, p.tabs = false, false
		p.endLine()
	default:
		p.scalarOrMapping(parent, collection)
	}
}

// scalarOrMapping reads the scalar that begins here, or the mapping whose first
// key it is.
func (p *parser) scalarOrMapping(parent int, collection bool) {
	column := p.column()
	s := p.scalar(parent)
	switch {
	case !p.colon():
		p.value(s)
		p.endLine()
	case collection:
		p.mapping(column, s)
	default:
		p.fail(`there is a second ":" on this line: quote the value, or begin a mapping on a line of its own`)
	}
}

// endLine refuses to find anything more on the line of a value.
func (p *parser) endLine() {
	if !p.lineEnds() {
		p.fail("there is more on the line after the end of the value: quote the whole of it, or put a space before a comment")
	}
	p.nextLine()
}

// more tells whether the collection at a column goes on.
func (p *parser) more(column int) bool {
	if p.ended() || p.column() < column {
		return false
	}
	if p.column() > column {
		p.fail("the line is indented more than the one it should line up with: check the indentation")
	}
	return true
}

// entry tells whether an entry of a sequence begins here.
func (p *parser) entry() bool { return p.peek() == '-' && p.spaceAhead(1) }

func (p *parser) sequence(column int) {
	p.open('[')
	for {
		p.pos += len("-")
		p.child(column, false)
		if !p.more(column) || !p.entry() {
			break
		}
		p.out = append(p.out, ',')
	}
	p.close(']')
}

// mapping reads a mapping from the colon of its first key on.
func (p *parser) mapping(column int, key scalar) {
	p.open('{')
	seen := make(keys)
	for {
		p.key(key, seen)
		p.child(column, true)
		if !p.more(column) {
			break
		}
		p.out = append(p.out, ',')
		key = p.scalar(column)
	}
	p.close('}')
}

// keys has the keys of a mapping so far, with the line of each.
type keys map[string]int

// key writes a key and steps over the colon that must come next.
func (p *parser) key(key scalar, seen keys) {
	if !p.colon() || p.line != key.line {
		p.line = key.line
		p.fail(`there is no ":" after the key on its line: write "key: value"`)
	}
	if p.resolve(key) != "" {
		p.fail("a key that is not a string: quote it")
	}
	if line, ok := seen[key.text]; ok {
		p.fail("the key %.64q is on line %d already: remove one", key.text, line)
	}
	seen[key.text] = key.line
	start := len(p.out)
	p.out = appendString(p.out, key.text)
	if max(p.pos-key.start, len(p.out)-start) > maxKey {
		p.fail("a key is longer than %d bytes: shorten it", maxKey)
	}
	p.out = append(p.out, ':')
	p.pos += len(":")
}

// colon tells whether the colon of a key stands here. In a block white space
// follows it.
func (p *parser) colon() bool { return p.peek() == ':' && (p.flow || p.spaceAhead(1)) }
