// Package yaml turns the YAML that kubeconfig and KubeletConfiguration files
// are written in into JSON.
//
// It reads a subset of YAML, and refuses the rest with the line and the way
// out. Whatever it accepts, sigs.k8s.io/yaml (the reader of the kubelet and of
// kubectl, for YAML 1.1) accepts too and gives the same value, and so does the
// core schema of YAML 1.2. What could be read in two ways is an error here.
//
// # What is read
//
//   - Block mappings and sequences, the latter also at the column of their key,
//     and the compact forms "- key: value" and "- - item".
//   - Flow mappings and sequences over any number of lines, with or without a
//     comma at the end, and so JSON, also where tabs indent it.
//   - Plain, 'single-quoted' and "double-quoted" scalars, on one line or folded
//     over several; literal (|) and folded (>) block scalars, with chomping and
//     indentation indicators.
//   - Comments, a byte order mark, CRLF line ends, "---" before the document,
//     "..." after it, and further documents as long as they are empty.
//
// A plain null, Null, NULL, ~ or nothing is null; true, True, TRUE, false, False
// and FALSE are booleans; a number as JSON writes it, of no more than fifteen
// digits, is that number; an empty document is null. All else is a string.
//
// # What is refused
//
//   - Anchors, aliases, tags, merge keys, directives, "? key", collections and
//     non-strings as keys, "[key: value]" and "{key}".
//   - Plain scalars that some reader takes for something else than a string:
//     yes, no, on, off, y and n; 0123, 0x1f, 0o17, 0b1, 1_000, +1, .5, 1., -0,
//     1:20, .inf and .nan; dates; "=" and "<<"; numbers of more digits than a
//     float64 is sure to hold.
//   - Tabs as indentation (but for a flow collection that is the whole
//     document), and after "-".
//   - The same key twice in one mapping, keys over 1,024 bytes, collections more
//     than 64 deep, more than 1 MiB of input, a second document.
//   - Invalid UTF-8, control characters, the line ends CR, NEL, LS and PS, and a
//     byte order mark that is not at the start; \u2028 and the like are fine.
//   - The escapes \/ and \ud83d\ude00 (a surrogate pair). JSON has them, but
//     sigs.k8s.io/yaml does not read them.
//
// Reading takes time and memory in proportion to the input. The JSON is at most
// four times as long as the input and four bytes longer.
package yaml

import "fmt"

const (
	maxSize  = 1 << 20 // bytes of input
	maxDepth = 64      // collections within one another
	maxKey   = 1024    // bytes of a key, as written and as JSON
)

// An Error tells what is wrong with a line, and what to do about it. It repeats
// keys and words like "yes", but no other value: that could be a secret.
type Error struct {
	Line    int // 1 is the first
	Problem string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Problem) }

// ToJSON converts one YAML document to JSON. It keeps the order of keys and the
// spelling of numbers. An error is always an *Error.
//
// The package comment says what is read and what is refused.
func ToJSON(data []byte) (json []byte, err error) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case *Error: // from fail
			json, err = nil, e
		default:
			panic(e)
		}
	}()
	p := parser{cursor: newCursor(data)}
	p.document()
	return p.out, nil
}

// A parser reads the text at its cursor and appends JSON to out. What its
// methods refuse, they refuse with fail.
type parser struct {
	cursor
	out   []byte
	depth int // of open collections
}

// document reads the whole text. Only the first document may hold anything.
func (p *parser) document() {
	p.indentation()
	p.nextLine()
	switch {
	case p.peek() == 0:
		p.out = append(p.out, "null"...)
	case p.marker() && p.peek() == '-':
		p.pos += len("---")
		p.child(-1, true)
	case p.marker():
		p.fail(`"..." ends a document, and there is none before it: remove it`)
	default:
		p.node(-1, true)
	}
	p.noMore()
}

// noMore refuses what stands behind the first document, but for empty ones.
func (p *parser) noMore() {
	problem := "this line belongs to nothing before it: check the indentation of this line and of those above"
	for p.marker() {
		p.pos += len("---")
		p.blanks()
		p.nextLine()
		problem = "only one document can be read, and a second begins here: keep one to a file"
	}
	if p.peek() != 0 {
		p.fail("%s", problem)
	}
}

// open writes the start of a collection, close the end.
func (p *parser) open(bracket byte) {
	if p.depth++; p.depth > maxDepth {
		p.fail("collections are nested more than %d deep: that is more than any of these files needs", maxDepth)
	}
	p.out = append(p.out, bracket)
}

func (p *parser) close(bracket byte) {
	p.depth--
	p.out = append(p.out, bracket)
}
