package yaml

import "strings"

// blockScalar reads a literal (|) or folded (>) scalar within the collection at
// column parent. It leaves the cursor on the first text behind it.
func (p *parser) blockScalar(parent int) string {
	folded := p.peek() == '>'
	chomp, indent := p.blockHeader(parent)
	if indent == 0 {
		indent = p.blockIndent(parent)
	}
	text, breaks := p.blockText(indent, folded)
	switch {
	case chomp == '-' || chomp == 0 && len(text) == 0:
		breaks = 0
	case chomp == 0:
		breaks = min(breaks, 1)
	}
	return string(text) + strings.Repeat("\n", breaks)
}

// blockHeader reads the line of the indicators. chomp is '+', '-' or 0, indent
// the column of the text, or 0 when the text is to tell.
func (p *parser) blockHeader(parent int) (chomp byte, indent int) {
	for p.pos++; ; p.pos++ {
		switch c := p.peek(); {
		case chomp == 0 && (c == '+' || c == '-'):
			chomp = c
		case indent == 0 && '1' <= c && c <= '9' && parent >= 0:
			indent = parent + int(c-'0')
		default:
			if !p.lineEnds() {
				p.fail("only + or -, an indentation of 1 to 9 (not at the top level) and a comment can follow | or >: put the text on the next line")
			}
			if p.peek() == '\n' {
				p.newline()
			}
			return chomp, indent
		}
	}
}

// blockIndent finds the column of the text: that of the first line that is not
// empty. Where there is no text, it is the width of the widest empty line.
func (p *parser) blockIndent(parent int) int {
	here := p.cursor
	defer func() { p.cursor = here }()
	least, widest := max(parent, 0)+1, 0
	for {
		p.spaces(len(p.text))
		column := p.column()
		if p.peek() == '\n' {
			widest = max(widest, column)
			p.newline()
			continue
		}
		if p.peek() == '\t' {
			p.fail("a block scalar is indented with a tab: use spaces")
		}
		if p.peek() != 0 && widest > column && column >= least {
			p.fail("the text is indented less than an empty line before it: remove the spaces from the empty line")
		}
		return max(column, widest, least)
	}
}

// blockText reads the lines of a block scalar, and counts the line ends after
// the last. Line ends are not folded at the start, nor next to a line that
// begins with white space.
func (p *parser) blockText(indent int, folded bool) (text []byte, breaks int) {
	keep := true
	for {
		breaks = p.blockBreaks(indent)
		if p.peek() == 0 || p.column() < indent {
			return text, breaks
		}
		spaced := isBlank(p.peek())
		if folded && !keep && !spaced {
			text = fold(text, breaks)
		} else {
			text = append(text, strings.Repeat("\n", breaks)...)
		}
		text = append(text, p.rest()...)
		keep = spaced
	}
}

// blockBreaks skips line ends and indentation.
func (p *parser) blockBreaks(indent int) (n int) {
	for p.spaces(indent); p.peek() == '\n'; p.spaces(indent) {
		p.newline()
		n++
	}
	if p.peek() == '\t' && p.column() < indent {
		p.fail("a block scalar is indented with a tab: use spaces")
	}
	return n
}
