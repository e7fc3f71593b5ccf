// Package vectors holds the rules of the kubelet (v1.37.2) as rows of tests,
// one file for each area and one row on each line, and gives them to the
// packages that keep these rules. Rows up to 200 are a sample that was read
// from Kubernetes; rows from 201 on are more of the same rules.
//
// A row that a deliberate difference changes says so under "changed", in the
// words of the table of differences. A row about something that this project
// does not have says so under "skipped". What a row expects of an endpoint that
// is not there yet stands under "later", and is not run.
package vectors

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

//go:embed *.json
var files embed.FS

// Row is one case.
type Row struct {
	ID      string                     `json:"id"`
	Runs    string                     `json:"runs,omitempty"` // the packages that run it; empty: each that runs its area
	Title   string                     `json:"title"`
	Input   map[string]json.RawMessage `json:"input"`
	Expect  map[string]json.RawMessage `json:"expect"`
	Source  string                     `json:"source,omitempty"` // in Kubernetes; empty: the rules as they are described
	Note    string                     `json:"note,omitempty"`
	Changed string                     `json:"changed,omitempty"`
	Skipped string                     `json:"skipped,omitempty"`
	Later   json.RawMessage            `json:"later,omitempty"`
}

// Areas lists the areas there are.
func Areas() []string {
	entries, _ := files.ReadDir(".") // an embedded folder can be read
	var areas []string
	for _, entry := range entries {
		areas = append(areas, strings.TrimSuffix(entry.Name(), ".json"))
	}
	return areas
}

// Load returns the rows of an area. The test fails on a row that it cannot
// make sense of whole: an unknown key, no id or no title, an id that is not of
// this area or not the next one.
func Load(t testing.TB, area string) []Row {
	t.Helper()
	content, err := files.ReadFile(area + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []Row
	if err := strictly(content, &rows); err != nil {
		t.Fatalf("%s.json: %v", area, err)
	}
	last := ""
	for _, row := range rows {
		if err := row.check(area); err != nil {
			t.Fatalf("%s.json: row %q: %v", area, row.ID, err)
		}
		if row.ID <= last {
			t.Fatalf("%s.json: row %q does not come after %q", area, row.ID, last)
		}
		last = row.ID
	}
	return rows
}

func (r Row) check(area string) error {
	number, ok := strings.CutPrefix(r.ID, area+"-")
	switch {
	case !ok || len(number) != 3:
		return fmt.Errorf("its id is not %s-NNN", area)
	case r.Title == "":
		return fmt.Errorf("no title")
	case r.Skipped == "" && len(r.Expect) == 0:
		return fmt.Errorf("nothing is expected")
	}
	return nil
}

// Run runs test on the rows of an area that the package called runs has to run,
// each in a subtest of its own name and in parallel. The test fails if there are
// fewer than atLeast, and for each key of a row that test did not look at.
func Run(t *testing.T, area, runs string, atLeast int, test func(t *testing.T, input, expect *Object)) {
	t.Helper()
	rows := slices.DeleteFunc(Load(t, area), func(r Row) bool {
		return r.Runs != "" && !slices.Contains(strings.Fields(r.Runs), runs)
	})
	if len(rows) < atLeast {
		t.Errorf("%d rows of %s; there were %d", len(rows), area, atLeast)
	}
	for _, row := range rows {
		t.Run(row.ID, func(t *testing.T) {
			t.Parallel()
			if row.Skipped != "" {
				t.Skip(row.Skipped)
			}
			t.Log(row.Title)
			input, expect := newObject(t, "input", row.Input), newObject(t, "expect", row.Expect)
			test(t, input, expect)
			input.done()
			expect.done()
		})
	}
}

// Object is what a row says, key by key, and what of it the test has looked at.
type Object struct {
	t      testing.TB
	name   string
	fields map[string]json.RawMessage
	seen   map[string]bool
}

func newObject(t testing.TB, name string, fields map[string]json.RawMessage) *Object {
	return &Object{t, name, fields, map[string]bool{}}
}

func (o *Object) done() {
	o.t.Helper()
	for key := range o.fields {
		if !o.seen[key] && !o.t.Failed() {
			o.t.Errorf("nothing looked at %s.%s: %s", o.name, key, o.fields[key])
		}
	}
}

// Has reports whether the row says something under key. It is no look at it.
func (o *Object) Has(key string) bool {
	_, ok := o.fields[key]
	return ok
}

// Get sets *target to what the row says under key, and reports whether there
// is something. The test fails if it does not fit.
func (o *Object) Get(key string, target any) bool {
	o.t.Helper()
	raw, ok := o.fields[key]
	o.seen[key] = true
	if !ok {
		return false
	}
	if err := strictly(raw, target); err != nil {
		o.t.Fatalf("%s.%s: %v", o.name, key, err)
	}
	return true
}

// Elsewhere marks keys that another package's tests of the same rows look at.
func (o *Object) Elsewhere(keys ...string) {
	for _, key := range keys {
		o.seen[key] = true
	}
}

// Or returns what o says under key, or def if it says nothing.
func Or[T any](o *Object, key string, def T) T {
	o.t.Helper()
	o.Get(key, &def)
	return def
}

func strictly(content []byte, target any) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	return decoder.Decode(target)
}
