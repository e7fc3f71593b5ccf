package kubeletapi

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
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
				for i := range q.len() {
					s := q.at(i).subresource
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

// The metrics that the README names are there.
func TestReadmeMetrics(t *testing.T) {
	f := newFlooded(t, Config{})
	defer f.auth.Close()
	f.auth.metrics.expires("serving", time.Now)
	f.auth.metrics.watch("file")
	f.auth.metrics.review("tokenreviews", "201", 0)
	f.auth.metrics.review("subjectaccessreviews", "201", 0)
	all := strings.Join(shown(t, f.auth, "# HELP "), "\n")
	names := regexp.MustCompile("`((?:kubeletauth|apiserver|authentication)_\\w+)`").FindAllStringSubmatch(readme(t), -1)
	for _, name := range names {
		if !strings.Contains(all, "# HELP "+name[1]+" ") {
			t.Errorf("there is no metric %s", name[1])
		}
	}
	if len(names) < 15 {
		t.Errorf("only %d metrics are named", len(names))
	}
}

// The README's links within itself lead somewhere.
func TestReadmeLinks(t *testing.T) {
	text := readme(t)
	for _, link := range regexp.MustCompile(`\]\(#(.*?)\)`).FindAllStringSubmatch(text, -1) {
		found := false
		for _, heading := range regexp.MustCompile(`(?m)^##+ (.*)$`).FindAllStringSubmatch(text, -1) {
			anchor := strings.ReplaceAll(strings.ToLower(strings.ReplaceAll(heading[1], ",", "")), " ", "-")
			found = found || anchor == link[1]
		}
		if !found {
			t.Errorf("no heading is #%s", link[1])
		}
	}
}
