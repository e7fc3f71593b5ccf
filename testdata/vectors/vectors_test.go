package vectors

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// packages are those that run rows.
var packages = []string{"authn", "authz", "kubeletapi", "kubeclient"}

func TestRows(t *testing.T) {
	for _, area := range Areas() {
		for _, row := range Load(t, area) {
			for name := range strings.FieldsSeq(row.Runs) {
				if !slices.Contains(packages, name) {
					t.Errorf("row %s runs in %q, which runs nothing", row.ID, name)
				}
			}
			if row.Skipped != "" && row.Changed != "" {
				t.Errorf("row %s is both skipped and changed", row.ID)
			}
		}
	}
}

func TestOneRowOnEachLine(t *testing.T) {
	for _, area := range Areas() {
		content, err := files.ReadFile(area + ".json")
		if err != nil {
			t.Fatal(err)
		}
		rows := Load(t, area)
		if lines := strings.Count(string(content), "\n"); lines != len(rows)+2 {
			t.Errorf("%s.json: %d lines for %d rows", area, lines, len(rows))
		}
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	for _, text := range []string{
		`[{"id":"x-001","expects":{}}]`,
		`[{"id":"x-001","inputs":{}}]`,
		`[{"id":"x-001","skip":"why"}]`,
	} {
		if err := strictly([]byte(text), new([]Row)); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
}

// failures is a testing.TB that remembers whether it failed.
type failures struct {
	testing.TB
	failed bool
}

func (f *failures) Helper()               {}
func (f *failures) Failed() bool          { return f.failed }
func (f *failures) Errorf(string, ...any) { f.failed = true }

func TestKeysThatNobodyLooksAtFail(t *testing.T) {
	fields := map[string]json.RawMessage{"a": json.RawMessage("1"), "b": json.RawMessage("2")}
	for _, tt := range []struct {
		looks []string
		fails bool
	}{
		{[]string{"a"}, true},
		{[]string{"a", "b"}, false},
		{[]string{"a", "b", "c"}, false},
	} {
		result := &failures{TB: t}
		o := newObject(result, "expect", fields)
		for _, key := range tt.looks {
			o.Get(key, new(int))
		}
		o.Has("b")
		o.done()
		if result.failed != tt.fails {
			t.Errorf("looking at %q: failed %t, want %t", tt.looks, result.failed, tt.fails)
		}
	}
}
