package yaml_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/internal/yaml"
)

// rows checks one text a row.
type rows struct{ *testing.T }

// good wants text to be read, as exactly this JSON.
func (t rows) good(text, want string) {
	t.Helper()
	got, err := yaml.ToJSON([]byte(text))
	if err != nil || string(got) != want {
		t.Errorf("ToJSON(%q) = %s, %v, want %s", text, got, err, want)
	}
}

// bad wants text to be refused, with an error that contains want.
func (t rows) bad(text, want string) {
	t.Helper()
	got, err := yaml.ToJSON([]byte(text))
	switch {
	case err == nil || got != nil:
		t.Errorf("ToJSON(%.80q) = %.80s, %v, want only the error %q", text, got, err, want)
	case !errors.As(err, new(*yaml.Error)) || !strings.Contains(err.Error(), want):
		t.Errorf("ToJSON(%.80q) gives the %T %q, want %q", text, err, err, want)
	}
}

func TestDocuments(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good("", "null")
	good("\n \n# nothing\n", "null")
	good("\ufeff", "null")
	good("---", "null")
	good("---\n...\n", "null")
	good("---\n---\n", "null")
	good("--- # c\na: b\n...\n", `{"a":"b"}`)
	good("\ufeff# c\n---\na: b\n---\n", `{"a":"b"}`)
	good("a: b\n...\n---\n# c\n...\n", `{"a":"b"}`)
	good("--- text\n", `"text"`)
	good("---\ttext", `"text"`)
	good("--- [a]", `["a"]`)
	good("--- |\n text\n", `"text\n"`)
	good("---a", `"---a"`)
	good("- ---\n- ...", `["---","..."]`)
	good("  a: 1\n  b: 2\n", `{"a":1,"b":2}`)
	good("- a\r\n- |\r\n  b\r\n  c\r\n", `["a","b\nc\n"]`)
	good("\ufffd", "\"\ufffd\"") // looks like an error, and is none

	bad("...\na: b", `line 1: "..." ends a document`)
	bad("a: b\n---\nc: d", "line 3: only one document")
	bad("---\n---\na: b", "line 3: only one document") // the first is null
	bad("a: b\n...\nc: d", "line 3: only one document")
	bad("a: b\n--- c", "line 2: only one document")
	bad("a: b\n... c", "line 2: only one document")
	bad("%YAML 1.2\n---\na: b", "line 1: directives (%)")
	bad("--- a: b", `line 1: there is a second ":"`)
	bad("--- - a", "line 1: a '-' cannot stand here")
	bad("'a'\nb: c", "line 2: this line belongs to nothing")
	bad("a: |\n  b\nc", `line 3: there is no ":"`)
	bad("a\rb", "line 1: a control character, or a line end")
	bad("a\nb: \u0085", "line 2: a control character, or a line end")
	bad("a\n\u2028b", "line 2: a control character, or a line end")
	bad("\n\na: 'b\x1b'", "line 3: a control character")
	bad("a: \x00", "line 1: a control character")
	bad("a: \"\uffff\"", "line 1: a control character")
	bad("\ufeff\ufeffa", "line 1: a control character")
	bad("a\n\xffb", "line 2: the text is not valid UTF-8")
	bad("\xff\xfea\x00", "line 1: the text is not valid UTF-8") // UTF-16
}

func TestBlocks(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good("a:\nb: \nc: ~", `{"a":null,"b":null,"c":null}`)
	good("a:\n  b:\n    c: d\n  e: f\ng: h", `{"a":{"b":{"c":"d"},"e":"f"},"g":"h"}`)
	good("a:\n- b\n- c\nd:\n  - e", `{"a":["b","c"],"d":["e"]}`)
	good("a:\n-\n- \nb: c", `{"a":[null,null],"b":"c"}`)
	good("- - a\n  - b\n- - - c", `[["a","b"],[["c"]]]`)
	good("- a: 1\n  b:\n  - c\n  d: 2\n-   e: 3\n    f: 4", `[{"a":1,"b":["c"],"d":2},{"e":3,"f":4}]`)
	good("-\n  - a\n-\n b\n-\n- c: d", `[["a"],"b",null,{"c":"d"}]`)
	good("a: # c\n  # d\n\n # e\n  b # f\n# g", `{"a":"b"}`)
	good("'a': 1\n\"b\" : 2\nc d\t:\t3 # e", `{"a":1,"b":2,"c d":3}`)
	good("a:b: c\nd::\n", `{"a:b":"c","d:":null}`)
	good("- -a\n- --\n- ?b\n- :c", `["-a","--","?b",":c"]`)
	good("-a: b", `{"-a":"b"}`)
	good("'<<': a\n'null': b\n\"1\": c\n'': d", `{"<<":"a","null":"b","1":"c","":"d"}`)
	good("a: b\t\t\nc:\t# d\n", `{"a":"b","c":null}`) // tabs within lines
	good("z: 1\na: 2", `{"z":1,"a":2}`)               // in their order

	bad("a:\n\tb: c", "line 2: the line is indented with a tab")
	bad("a:\n  b: c\n \td: e", "line 3: the line is indented with a tab")
	bad("a: b\n\t\nc: d", "line 2: the line is indented with a tab") // though the line is empty
	bad("a: b\n\t# c", "line 2: the line is indented with a tab")
	bad("a: [\n\tb]", "line 2: the line is indented with a tab")
	bad("a: 'b\n\tc'", "line 2: the line is indented with a tab")
	bad("-\ta", `line 1: there is a tab after "-"`)
	bad("- \t- a", `line 1: there is a tab after "-"`)
	bad("a: b\n  c: d", `line 2: there is a second ":"`)
	bad("a: 'b'\n  c: d", "line 2: the line is indented more")
	bad("a:\n    b: c\n  d: e", "line 3: the line is indented more")
	bad("a:\n    b: c\n   # d\n     e: f", "line 4: the line is indented more")
	bad(" a: b\nc: d", "line 2: this line belongs to nothing")
	bad("- a: b\n c: d", "line 2: the line is indented more")
	bad("- a\nb: c", "line 2: this line belongs to nothing")
	bad("a: b\n- c", "line 2: a '-' cannot stand here")
	bad("a: - b", "line 1: a '-' cannot stand here")
	bad("a: b: c", `line 1: there is a second ":"`)
	bad("a: 'b': c", `line 1: there is a second ":"`)
	bad("a: b:\n", `line 1: there is a second ":"`)
	bad("a: ::", `line 1: there is a second ":"`)
	bad("a: 1\nb", `line 2: there is no ":"`)
	bad("a: 1\nb\nc: 2", `line 2: there is no ":"`) // a key over two lines
	bad("a: 1\n'b\n': 2", `line 2: there is no ":"`)
	bad("a: 1\n'b':2", `line 2: there is no ":"`)
	bad("a\nb: c", `line 1: there is no ":"`)
	bad(": a", "line 1: a ':' cannot stand here")
	bad("- : a", "line 1: a ':' cannot stand here")
	bad("? a\n: b", "line 1: a '?' cannot stand here")
	bad("a: 1\n\na: 2", `line 3: the key "a" is on line 1 already`)
	bad("a: 1\n\"\\x61\": 2", `line 2: the key "a" is on line 1 already`)
	bad("- b:\n    c: 1\n    c: 2", `line 3: the key "c" is on line 2 already`)
	bad("a: 1\n<<: {b: c}", `line 2: "<<" has a meaning of its own`)
	bad("a: 1\n2: b", "line 2: a key that is not a string")
	bad("~: a", "line 1: a key that is not a string")
	bad("TRUE: a", "line 1: a key that is not a string")
	bad("on: a", `line 1: "on" could be read as a boolean, which is written true or false: quote it`)
	bad("0x1: a", "line 1: a number that is not written as in JSON")
	bad("[a]: b", "line 1: there is more on the line")
	bad("a: 1\n{b: c}: d", "line 2: brackets and braces cannot begin a key")
	bad("&a b: c", "line 1: anchors (&)")
	bad("*a : b", "line 1: anchors (&)")
	bad("!!str a: b", "line 1: tags (!)")
}

func TestFlow(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good("[]", "[]")
	good("{ }", "{}")
	good("[a, b , c,]", `["a","b","c"]`)
	good("{a: b, c : d,}", `{"a":"b","c":"d"}`)
	good("{a: , b: [], c: }", `{"a":null,"b":[],"c":null}`)
	good(`{"a":1,'b':[2],"c" :3}`, `{"a":1,"b":[2],"c":3}`)
	good("[[[]], {a: {b: [c]}}]", `[[[]],{"a":{"b":["c"]}}]`)
	good("[a\n  b,\n\n c\n,\n\n# d\n'e' # f\n]", `["a b","c","e"]`)
	good("a: [b,\n c]\nd: {\n  e: f\n}", `{"a":["b","c"],"d":{"e":"f"}}`)
	good("{\n\t\"a\":\t[\n\t\t1,\n\t\ttrue\n\t],\n\t# c\n\t\"b\": 2\t}\t\n", `{"a":[1,true],"b":2}`)
	good("- [a,\n b]\n- {c: d}", `[["a","b"],{"c":"d"}]`)
	good("[a#b, c:d, http://e/f, -1, -g, 1:x]", `["a#b","c:d","http://e/f",-1,"-g","1:x"]`)
	good(`["a:", 'b, c', "]"]`, `["a:","b, c","]"]`)
	good("{a:b: c}", `{"a:b":"c"}`)
	good("{a: 'x\n  y'}", `{"a":"x y"}`)

	bad("[a", "line 1: a bracket or brace on this line is never closed")
	bad("a: {b: [c,\n d}", `line 2: "," or ']' is expected here`)
	bad("a:\n- {b: [c]\n\n", "line 2: a bracket or brace on this line is never closed")
	bad("a: [b\n---\n]", "line 1: a bracket or brace on this line is never closed")
	bad("\n{\na:\n", "line 2: a bracket or brace on this line is never closed")
	bad("[a]]", "line 1: there is more on the line")
	bad("[a] b", "line 1: there is more on the line")
	bad("{}#c", "line 1: there is more on the line")
	bad("[a]\n[b]", "line 2: this line belongs to nothing")
	bad("[,]", "line 1: ',' cannot begin a value here")
	bad("[a,,b]", "line 1: ',' cannot begin a value here")
	bad("{,}", "line 1: ',' cannot begin a value here")
	bad("['a' 'b']", `line 1: "," or ']' is expected here`)
	bad("[a: b]", `line 1: "," or ']' is expected here`)
	bad("['a':b]", `line 1: "," or ']' is expected here`)
	bad("{a}", `line 1: there is no ":"`)
	bad("{a:b}", `line 1: there is no ":"`) // a key to some, a pair to others
	bad("{a, b: c}", `line 1: there is no ":"`)
	bad("{a: b: c}", `line 1: "," or '}' is expected here`)
	bad("{a: b\n c: d}", `line 2: "," or '}' is expected here`)
	bad("{'a'\n: b}", `line 1: there is no ":"`)
	bad("{a\n b: c}", `line 1: there is no ":"`)
	bad("{'a' 'b'}", `line 1: there is no ":"`)
	bad("{[a]: b}", "line 1: brackets and braces cannot begin a key")
	bad("{{a: b}: c}", "line 1: brackets and braces cannot begin a key")
	bad("[a:]", "line 1: a ':' within brackets is read in two ways")
	bad("{a:, b: c}", "line 1: a ':' within brackets is read in two ways")
	bad("[http://a?b]", "line 1: a '?' within brackets is read in two ways")
	bad("[:a]", "line 1: a ':' cannot stand here")
	bad("[? a]", "line 1: a '?' cannot stand here")
	bad("[- a]", "line 1: a '-' cannot stand here")
	bad("[-]", "line 1: a '-' cannot stand here")
	bad("[a,#b\n]", "line 1: '#' cannot begin a value here")
	bad("[|\n a]", "line 1: '|' cannot begin a value here")
	bad("[*a]", "line 1: anchors (&)")
	bad("[!a b]", "line 1: tags (!)")
	bad("{\n%a: b}", "line 2: directives (%)")
	bad("{\"a\": 1,\n\"b\": 2,\n \"a\": 3}", `line 3: the key "a" is on line 1 already`)
	bad("[{a: {b: 1, b: 2}}]", `line 1: the key "b" is on line 1 already`)
	bad("{1: a}", "line 1: a key that is not a string")
	bad("{? a : b}", "line 1: a '?' cannot stand here")
}

func TestPlain(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good("a b  c", `"a b  c"`)
	good("a: b # c", `{"a":"b"}`)
	good("a: b#c", `{"a":"b#c"}`)
	good("a: b\tc\t# d", `{"a":"b\tc"}`)
	good("a: b, [c] {d} 'e' \"f\" & * ! | > % @ `", "{\"a\":\"b, [c] {d} 'e' \\\"f\\\" & * ! | > % @ `\"}")
	good("a\nb\n\n c\n\n\nd", `"a b\nc\n\nd"`)
	good("a: b\n c\n  d\n\n   e\nf: g", `{"a":"b c d\ne","f":"g"}`)
	good("a:\n b\n c", `{"a":"b c"}`)
	good("- a\n - b\n- c", `["a - b","c"]`)
	good("- - a\n   b", `[["a b"]]`)
	good("a: 1\n  2", `{"a":"1 2"}`)
	good("a: b\n  'c' [d, {e", `{"a":"b 'c' [d, {e"}`)
	good("é: 日本\u00a0", `{"é":"日本`+"\u00a0"+`"}`)

	bad("a: b\n # c\n d", "line 3: the line is indented more") // a comment ends it
	bad("a: b\n  \tc", "line 2: the line is indented with a tab")
	bad("a: @b", "line 1: '@' cannot begin a value here")
	bad("a: `b`", "line 1: '`' cannot begin a value here")
	bad("a: %b", "line 1: directives (%)")
	bad("a: ]", "line 1: ']' cannot begin a value here")
	bad("a: ,b", "line 1: ',' cannot begin a value here")
	bad("a: ? b", "line 1: a '?' cannot stand here")
	bad("a: &b", "line 1: anchors (&)")
	bad("a: *b", "line 1: anchors (&)")
	bad("a: !b", "line 1: tags (!)")
	bad("a:\n  {{ .b }}", "line 2: brackets and braces cannot begin a key")
}

func TestQuoted(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good(`'it''s "\n"'`, `"it's \"\\n\""`)
	good(`''''`, `"'"`)
	good(`"it's \"\\\""`, `"it's \"\\\""`)
	good(`"\0\a\b\t\n\v\f\r\e\ \N\_\L\P\	"`, `"\u0000\u0007\u0008\t\n\u000b\u000c\r\u001b \u0085`+"\u00a0"+`\u2028\u2029\t"`)
	good(`"\x41\u00e9\U0001F600\uFFFE\ufeff\x7f"`, `"Aé😀\ufffe\ufeff\u007f"`)
	good("\"a\tb\"", `"a\tb"`)
	good("'  a \n  b\n\n c\n '", `"  a b\nc "`)
	good("\"\n a\"", `" a"`)
	good("\"a\\\n  b \\\n c\\\n \\ d\"", `"ab c d"`)
	good("\"a\\\n\n\n b\"", `"a\n\nb"`)
	good("\"a\\n\n b\\ \n c\"", `"a\n b  c"`)
	good("a: 'b\nc'", `{"a":"b c"}`)
	good("'a # b: c, ]'", `"a # b: c, ]"`)
	good("'---'", `"---"`)
	good("'null'", `"null"`)
	good("a: 'b' # c", `{"a":"b"}`)

	bad("a: 'b\nc: d\n", "line 1: the quote '\\'' on this line is never closed")
	bad("a:\n- \"b", "line 2: the quote '\"' on this line is never closed")
	bad(`"\`, "line 1: an escape sequence is not known")
	bad("'a\n--- b'", "line 1: the quote '\\'' on this line is never closed")
	bad("\"a\n...\n\"", "line 1: the quote '\"' on this line is never closed")
	bad("\"a\n\\q\"", "line 2: an escape sequence is not known")
	bad(`"\/"`, "line 1: an escape sequence is not known")
	bad(`"\'"`, "line 1: an escape sequence is not known")
	bad(`"\é"`, "line 1: an escape sequence is not known")
	bad(`"\x4"`, "line 1: an escape has to have 2 hexadecimal digits")
	bad(`"\u+041"`, "line 1: an escape has to have 4 hexadecimal digits")
	bad(`"\U`, "line 1: an escape has to have 8 hexadecimal digits")
	bad(`"\U00110000"`, "line 1: an escape is no character")
	bad(`"\UFFFFFFFF"`, "line 1: an escape is no character")
	bad(`"\ud83d\ude00"`, "line 1: an escape is no character, or half of one")
	bad(`'a'b`, "line 1: there is more on the line")
	bad(`'a' 'b'`, "line 1: there is more on the line")
	bad(`'a'#b`, "line 1: there is more on the line")
	bad(`a: "b" c`, "line 1: there is more on the line")
}

func TestBlockScalars(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad

	good("|\n a\n  b\n\n c\n\n", `"a\n b\n\nc\n"`)
	good("|-\n a\n\n", `"a"`)
	good("|+\n a\n\n \n", `"a\n\n\n"`)
	good("|\n a", `"a"`) // no line end to keep
	good("|+\n a\n ", `"a\n"`)
	good("|", `""`)
	good("a: |\nb: |-\nc: >+\n\n  \nd: >\n\n", `{"a":"","b":"","c":"\n\n","d":""}`)
	good("a: | # b\n  # c\n # d\n", `{"a":"# c\n"}`)
	good("a:\t>-\t# b\n  c\n  d", `{"a":"c d"}`)
	good("a: |\n\n\n  b", `{"a":"\n\nb"}`)
	good("a: |2\n    b\n  c\n", `{"a":"  b\nc\n"}`)
	good("a: |-1\n   b\n", `{"a":"  b"}`)
	good("- - |1+\n    a\n\n", `[[" a\n\n"]]`)
	good("a:\n- |\n b\n- >\n c\nd: e", `{"a":["b\n","c\n"],"d":"e"}`)
	good("- a: |\n   b\n  c: d", `[{"a":"b\n","c":"d"}]`)
	good("a:\n  |\n  b\n", `{"a":"b\n"}`)
	good("a: |\n  b\tc \n  \td\n   \n", `{"a":"b\tc \n\td\n \n"}`)
	good("a: |\n  ---\n  b: 'c\n  \"\\\n", `{"a":"---\nb: 'c\n\"\\\n"}`)
	good("a: >\n  b\n  c\n\n  d\n\n\n  e\n", `{"a":"b c\nd\n\ne\n"}`)
	good("a: >\n  b\n    c\n\n    d\n  e\n", `{"a":"b\n  c\n\n  d\ne\n"}`)
	good("a: >\n\n  b\n  \tc\n  d", `{"a":"\nb\n\tc\nd"}`)
	good("a: >1\n  b\n c\n", `{"a":" b\nc\n"}`)

	bad("a: |b\n", "line 1: only + or -")
	bad("a: | b\n", "line 1: only + or -")
	bad("a: |#b\n", "line 1: only + or -")
	bad("a: |0\n b\n", "line 1: only + or -")
	bad("a: |12\n b\n", "line 1: only + or -")
	bad("a: |+-\n b\n", "line 1: only + or -")
	bad("|1\n a\n", "line 1: only + or -") // readers count from different columns
	bad("|\na\n", "line 2: this line belongs to nothing")
	bad("a: |\nb\n", `line 2: there is no ":"`)
	bad("a: |\n    b\n  c\n", "line 3: the line is indented more")
	bad("a: |\n   \n  b\n", "line 3: the text is indented less than an empty line")
	bad("a: |\n\tb\n", "line 2: a block scalar is indented with a tab")
	bad("a: |\n  \tb\n", "line 2: a block scalar is indented with a tab")
	bad("a: |\n  b\n\t\n", "line 3: a block scalar is indented with a tab")
	bad("|\n a\n: b", "line 3: this line belongs to nothing")
}

func TestResolve(t *testing.T) {
	is := func(text, json string) { t.Helper(); rows{t}.good("- "+text, "["+json+"]") }
	text := func(text string) { t.Helper(); is(text, `"`+text+`"`) }
	doubt := func(text, want string) {
		t.Helper()
		rows{t}.bad("a: b\nc:\n  "+text+"\n", "line 3: "+want)
		rows{t}.bad(text+": a", "line 1: "+want)
		is("'"+text+"'", `"`+text+`"`)
	}

	for _, null := range strings.Fields("~ null Null NULL") {
		is(null, "null")
	}
	is("true", "true")
	is("True", "true")
	is("TRUE", "true")
	is("false", "false")
	is("False", "false")
	is("FALSE", "false")
	for _, number := range strings.Fields("0 1 -1 10 0.5 -0.5 1.50 0.0 1e3 1E3 1e+3 1e-3 1.5e03 0e0 999999999999999 -0.12345678901234 1e99") {
		is(number, number)
	}
	for _, s := range strings.Fields("nULL ~a tRUE yEs oN nope yesno none nan inf Infinity -inf +Inf .infinity . .. ... + - -- +a -a " +
		"1.2.3 10.0.0.1 10.0.0.0/8 fd00::1 5m0s 100m 1Gi 10% 1e 1e+ e3 1.e 0x 0xg 0o 0o8 0b 0b2 _1 __ 1a 12-34 " +
		"1:60 1:2:345 1:2:x 2026-01 2026-01-31-a 2026-01-31x 20260-01-31 07401b.f395accd246ae52d = == <<< a=b") {
		if s != "-" && s != "=" {
			text(s)
		}
	}
	text("2026-01-31 backup")

	for _, b := range strings.Fields("y Y yes Yes YES on On ON n N no No NO off Off OFF") {
		doubt(b, `"`+b+`" could be read as a boolean, which is written true or false: quote it`)
	}
	for _, n := range strings.Fields("01 00 0123 08 09.5 0x1f 0X1F -0x1 0o17 0O17 0o-7 0b1 0B1 -0b1 0b-1 0b+1 1_000 1_ +_1 0x_f 0b_1 0o_7 " +
		"+1 +1.5 .5 -.5 +.5 5. 5.e3 .5e-3 -0 -0.0 -0e5 1e100 1e400 1e-400 9007199254740993 1234567890123456 0.1234567890123456 " +
		"1:20 -1:20 190:20:30 1_0:20 1:20.5 20:30:40.123 0xffffffffffffffffffff") {
		doubt(n, "a number that is not written as in JSON, or has over 15 digits, is read in several ways: quote it")
	}
	for _, d := range strings.Fields("2026-01-31 2026-1-3 2026-01-31T09:10:11Z 2026-01-31t09:10:11.5+01:00") {
		doubt(d, "a date could be read as a time or as a string: quote it")
	}
	doubt("2026-01-31 09:10:11", "a date could be read")
	for _, f := range strings.Fields(".inf .Inf .INF +.inf -.INF .nan .NaN .NAN") {
		doubt(f, ".inf and .nan are numbers to some readers")
	}
	doubt("=", `"=" has a meaning of its own to some readers`)
	doubt("<<", `"<<" has a meaning of its own to some readers`)
}

func TestLimits(t *testing.T) {
	good, bad := rows{t}.good, rows{t}.bad
	deep := func(n int, open, end string) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	const many = 1 << 20

	good(deep(64, "[", "]"), deep(64, "[", "]"))
	bad("\n"+deep(65, "[", "]"), "line 2: collections are nested more than 64 deep")
	bad(deep(many/2, "[", "]"), "line 1: collections are nested more than 64 deep")
	good(deep(64, "- ", "")+"a", deep(64, "[", "]")[:64]+`"a"`+deep(64, "", "]"))
	bad(deep(65, "- ", ""), "line 1: collections are nested more than 64 deep")
	bad(deep(many/4, "{a: ", ""), "line 1: collections are nested more than 64 deep")

	good("'"+strings.Repeat("a", many-2)+"'", `"`+strings.Repeat("a", many-2)+`"`)
	bad(strings.Repeat("\n", many+1), "line 1048577: the file is larger than 1 MiB")

	key := strings.Repeat("k", 1022)
	good(key+": a", `{"`+key+`":"a"}`)
	good(`{"`+key+`":1}`, `{"`+key+`":1}`)
	bad("a: b\n"+key+"k: c", "line 2: a key is longer than 1024 bytes")
	bad("'"+key+"' : c", "line 1: a key is longer than 1024 bytes")
	bad(`"`+strings.Repeat(`\0`, 200)+`": c`, "line 1: a key is longer than 1024 bytes") // as JSON
	bad("a"+strings.Repeat(" ", 1024)+": b", "line 1: a key is longer than 1024 bytes")
}

// Reading takes time in proportion to the text, whatever is in it: these texts
// take milliseconds each.
func TestHostileTexts(t *testing.T) {
	const size = 1 << 17
	for _, part := range []string{
		"a", " ", "\n", "\t", "#", "- ", "-\n", "- a\n", "a: ", "[", "{", "[],", "{},", "~,", "'", "\"", "\\\"",
		"a\n\n", " a\n", "  \n", "\n #", "- |\n", "- >+\n\n\n", "- |\n \n", "9", "9_", "1:", "---\n", "? ", "a:\n",
	} {
		for _, start := range []string{"", "[", "{a: [", "'", "\"", "|\n ", ">\n a\n", "a: "} {
			text := start + strings.Repeat(part, (size-len(start))/len(part))
			began := time.Now()
			got, _ := yaml.ToJSON([]byte(text))
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("ToJSON(%q and then many %q) took %v", start, part, took)
			}
			if len(got) > 4*len(text)+4 {
				t.Errorf("ToJSON(%q and then many %q) has %d bytes", start, part, len(got))
			}
		}
	}
}

// The expected values were written by sigs.k8s.io/yaml.
func TestValidFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/valid/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		got, err := yaml.ToJSON(read(t, file))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		want := read(t, strings.TrimSuffix(file, ".yaml")+".json")
		if !reflect.DeepEqual(decode(t, got), decode(t, want)) {
			t.Errorf("%s is read as\n%s\nwant\n%s", file, got, want)
		}
		if again, err := yaml.ToJSON(want); err != nil || !reflect.DeepEqual(decode(t, again), decode(t, want)) {
			t.Errorf("%s as JSON is read as\n%s, %v\nwant\n%s", file, again, err, want)
		}
	}
}

// The first line of each file is a comment with the error.
func TestRefusedFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/refused/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		text := string(read(t, file))
		comment, _, _ := strings.Cut(text, "\n")
		want, ok := strings.CutPrefix(comment, "# line ")
		if !ok {
			t.Errorf("%s: the first line is not the error", file)
		}
		rows{t}.bad(text, "line "+want)
	}
}

// An error may be logged, so it must not give away what stands in the file.
func TestErrorsKeepSecrets(t *testing.T) {
	const secret = "s3cr3t"
	for _, text := range []string{
		"token: s3cr3t: x", "token: 's3cr3t", "token: 's3cr3t' s3cr3t", "token: \"\\s3cr3t\"", "token: &s3cr3t", "token: !s3cr3t", "token: @s3cr3t",
		"token: [s3cr3t: x]", "token: [s3cr3t", "token: {s3cr3t}", "token: | s3cr3t", "s3cr3t", "token: a\ns3cr3t", "token:\n  'a'\n  s3cr3t", "token: [a] s3cr3t",
		"token: 's3cr3t\x00'", "token: 's3cr3t\xff'", "- a\n--- s3cr3t",
	} {
		if _, err := yaml.ToJSON([]byte(text)); err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("ToJSON(%q) gives the error %q", text, err)
		}
	}
	if _, err := yaml.ToJSON([]byte("token: 1234567890123456")); strings.Contains(err.Error(), "123") {
		t.Errorf("the error %q has the token", err)
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(t testing.TB, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}
