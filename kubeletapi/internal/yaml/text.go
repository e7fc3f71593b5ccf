package yaml

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// newCursor returns the start of a text that has no byte order mark and LF line
// ends. It refuses characters that YAML does not allow, so that 0 never occurs
// in the text, and line ends other than LF and CRLF.
func newCursor(data []byte) cursor {
	c := cursor{line: 1}
	if len(data) > maxSize {
		c.line += bytes.Count(data[:maxSize], []byte("\n"))
		c.fail("the file is larger than 1 MiB: that is more than any of these files needs")
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	for i, r := range text {
		switch {
		case r == '\n':
			c.line++
		case r == '\t', r == '\r' && strings.HasPrefix(text[i:], "\r\n"):
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			c.fail("the text is not valid UTF-8: save the file as UTF-8")
		case !printable(r):
			c.fail("a control character, or a line end other than LF and CRLF: remove it, or write an escape within double quotes")
		}
	}
	return cursor{text: strings.ReplaceAll(text, "\r\n", "\n"), line: 1}
}

// printable tells whether r may stand in YAML as it is, other than as white
// space or byte order mark.
func printable(r rune) bool {
	return ' ' <= r && r < 0x7f || r >= 0xa0 && !strings.ContainsRune("\u2028\u2029\ufeff\ufffe\uffff", r)
}

// appendString appends s as a JSON string. What YAML does not allow as it is,
// is escaped, so that the JSON is YAML too.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\r':
			out = append(out, `\r`...)
		case !printable(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"')
}
