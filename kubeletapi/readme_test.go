package kubeletapi

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The README's and the package comment's tables are what the code does.
func TestReadmeMapping(t *testing.T) {
	text := readme(t)
	rows := regexp.MustCompile(`(?m)^\| (/.*?) \| (nodes/.*?) \|$`).FindAllStringSubmatch(text, -1)
	doc, err := os.ReadFile("doc.go")
	if err != nil || len(rows) != 10 {
		t.Fatal(err, len(rows))
	}
	for i, row := range rows {
		fineGrained := i >= 4
		for path := range strings.SplitSeq(row[1], ", ") {
			for _, path := range []string{path, path + "/", path + "/x"} {
				q := newQuestion("GET", path, fineGrained)
				var got []string
				for _, s := range q.subresources[:q.count] {
					got = append(got, "nodes/"+s.String())
				}
				if want := row[2]; strings.Join(got, ", ") != want {
					t.Errorf("%s asks for %s; the README says %s", path, got, want)
				}
			}
		}
		line := regexp.QuoteMeta(row[1]) + ` +` + regexp.QuoteMeta(strings.ReplaceAll(row[2], ", ", ", then ")) + "\n"
		if !regexp.MustCompile(line).Match(doc) {
			t.Errorf("the package comment lacks %s", line)
		}
	}
}

// The README's Go code is that of an example, which is compiled.
func TestReadmeExample(t *testing.T) {
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(readme(t), "```go\n")
	code, _, _ = strings.Cut(code, "```")
	if code = "\t" + strings.ReplaceAll(strings.TrimSuffix(code, "\n"), "\n", "\n\t"); !strings.Contains(string(examples), code) {
		t.Errorf("no example contains\n%s", code)
	}
}
