package oracle

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"kubeletauth/kubeletapi/yamlshim"
	"kubeletauth/testdata/e2e/internal/generate"
)

// TestYAML compares what YAML means: whatever our reader accepts means the same to the one that Kubernetes uses. Ours
// may refuse more, and does.
func TestYAML(t *testing.T) {
	s := generate.New(t)
	files := yamlFiles(t)
	accepted := 0
	run(t, 400_000, func() string {
		var text string
		switch s.IntN(8) {
		case 0:
			text = mangleLines(s, generate.Pick(s, files...))
		default:
			text = strings.Join(anyNode(s, 3), "\n") + generate.Pick(s, "", "\n", "\n\n# end\n")
		}
		if s.Chance(4) {
			text = s.Mangle(text)
		}
		ok, wrong := compareYAML(text)
		if ok {
			accepted++
		}
		return wrong
	})
	t.Logf("our reader accepts %d of them", accepted)
}

// compareYAML says whether our reader accepts the text, and what is wrong if it does.
func compareYAML(text string) (accepted bool, wrong string) {
	got, err := yamlshim.ToJSON([]byte(text))
	if err != nil {
		return false, ""
	}
	want, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return true, fmt.Sprintf("%q is accepted as %s, and Kubernetes says %v", text, got, err)
	}
	var ours, theirs any
	if err := json.Unmarshal(got, &ours); err != nil {
		return true, fmt.Sprintf("%q becomes %s, which is not JSON: %v", text, got, err)
	}
	if err := json.Unmarshal(want, &theirs); err != nil {
		return true, err.Error()
	}
	if !cmp.Equal(theirs, ours) {
		return true, fmt.Sprintf("%q becomes %s, and in Kubernetes %s", text, got, want)
	}
	return true, ""
}

// yamlFiles are the examples of our reader's own tests.
func yamlFiles(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("../../../kubeletapi/internal/yaml/testdata/*/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	var files []string
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(content))
	}
	return files
}

// mangleLines changes, moves, repeats and drops a few lines.
func mangleLines(s *generate.Source, text string) string {
	lines := strings.Split(text, "\n")
	for range s.Upto(3) {
		at := s.IntN(len(lines))
		switch s.IntN(5) {
		case 0:
			lines[at] = " " + lines[at]
		case 1:
			lines[at] = strings.TrimPrefix(lines[at], " ")
		case 2:
			lines[at] = generate.Pick(s, lines...)
		case 3:
			lines[at] = s.Mangle(lines[at])
		default:
			lines[at] += generate.Pick(s, " ", " # c", ":", " |", " >-", ",", "\r")
		}
	}
	return strings.Join(lines, "\n")
}

// anyNode is a block of lines that mean something, most likely.
func anyNode(s *generate.Source, depth int) []string {
	if depth == 0 {
		return []string{anyScalar(s)}
	}
	var lines []string
	sequence := s.Chance(3)
	for range 1 + s.Upto(3) {
		key := "-"
		if !sequence {
			key = anyKey(s) + ":"
		}
		lines = append(lines, entryLines(s, key, depth)...)
		if s.Chance(12) {
			lines = append(lines, generate.Pick(s, "", "# comment", "   # comment", "  "))
		}
	}
	return lines
}

// entryLines are a key and its value, on one line or on several.
func entryLines(s *generate.Source, key string, depth int) []string {
	indent := strings.Repeat(" ", generate.Pick(s, 2, 2, 2, 4, 1, 0))
	switch s.IntN(8) {
	case 0:
		lines := []string{key + " " + generate.Pick(s, "|", "|-", "|+", ">", ">-", ">+", "|2", "| # c")}
		for range s.Upto(3) {
			lines = append(lines, generate.Pick(s, "  ", "  ", "    ", "", " ")+generate.Pick(s, "text", "more text", "", "# no comment", "- x", "a: b", "\ttab"))
		}
		return lines
	case 1, 2, 3:
		lines := []string{key}
		for _, line := range anyNode(s, depth-1) {
			lines = append(lines, indent+line)
		}
		return lines
	case 4:
		if key == "-" { // a mapping that begins behind the dash
			lines := anyNode(s, depth-1)
			for i := range lines[1:] {
				lines[i+1] = "  " + lines[i+1]
			}
			lines[0] = "- " + lines[0]
			return lines
		}
	}
	return []string{key + generate.Pick(s, " ", " ", " ", "  ", "\t", "") + anyScalar(s) + generate.Pick(s, "", "", "", " ", " # c", "#c", "\t# c")}
}

// anyKey is the key of a mapping.
func anyKey(s *generate.Source) string {
	return generate.Pick(s, "a", "b", "name", "client-certificate-data", "\"quoted\"", "'single'", "x.y/z", "1", "true", "null", "~", "on", "1.5", "", "<<", "a b", "é", "0x1", "a#b", "2001-01-01") +
		generate.Pick(s, "", "", "", "2", " ")
}

// anyScalar is a scalar, or a collection on one line.
func anyScalar(s *generate.Source) string {
	switch s.IntN(10) {
	case 0:
		return "[" + anyFlow(s) + "]"
	case 1:
		return "{" + generate.Pick(s, "", "a: 1", "\"a\": 1", "a: [1, 2]", "a: 1, b: 2,", "a", "a:1", "\"a\":1", "a: {b: c}") + "}"
	case 2:
		return `"` + s.Text(3, "a", " ", `\n`, `\"`, `\\`, `\u00e9`, `\ud83d\ude00`, `\x41`, `\/`, `\t`, "'", ": ", " #", "\\", "é", `\0`, `\e`, `\ud800`) + `"`
	case 3:
		return "'" + s.Text(3, "a", " ", "''", "'", `\n`, ": ", " #", "\"", "é") + "'"
	case 4:
		return s.Text(4, "0", "1", "9", ".", "-", "+", "e", "E", "_", "0x", "0o", "0b", ":", "inf", "nan", "NaN")
	}
	return generate.Pick(s, "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "yes", "Yes", "no", "on", "off", "y", "n", "Y",
		"1", "-1", "+1", "0", "-0", "007", "0x1F", "0o17", "1_000", "1e3", "1E-3", "1.5", ".5", "5.", ".inf", "-.inf", ".nan", "1e400", "9223372036854775807",
		"9223372036854775808", "18446744073709551615", "18446744073709551616", "1:30", "2001-01-01", "2001-01-01T00:00:00Z", "text", "two words", "a: b", "a:b",
		"a #b", "a#b", "- a", "-a", "--- a", "---", "...", "? a", "?a", "&a b", "*a", "!!str 1", "!a", "@a", "`a", "%a", "|", ">", "a, b", "[a", "{a", "a]", "2m0s",
		"https://127.0.0.1:6443", "/etc/kubernetes/pki/ca.crt", "system:node:a", "==", "=", "<<", "é", "\u0085", "\u2028", "\ufeff", "a\u00a0b", "1.0.0", "0.0.0.0", "::")
}

// anyFlow is what stands between brackets.
func anyFlow(s *generate.Source) string {
	var parts []string
	for range s.Upto(3) {
		parts = append(parts, generate.Pick(s, "1", "a", "\"b\"", "'c'", "[d]", "{e: f}", "a: b", "", "null", "x y", "-", "a:", ":a", "http://x:1"))
	}
	return strings.Join(parts, generate.Pick(s, ",", ", ", " , ", ",,"))
}
