package settings

import (
	"encoding/json"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// config has one setting of each type.
type config struct {
	Name  string
	On    bool
	Count int
	TTL   time.Duration
	List  []string
	IDs   []int
	Gates map[string]bool
}

func (c *config) table() Table {
	return Table{
		{Title: "One"},
		{Flag: "name", Field: "name", Target: &c.Name, Usage: "a name"},
		{Flag: "on", Field: "deep.er.on", Target: &c.On},
		{Flag: "count", Field: "deep.count", Target: &c.Count},
		{Title: "Two"},
		{Flag: "ttl", Field: "ttl", Target: &c.TTL},
		{Flag: "list", Field: "list", Target: &c.List},
		{Field: "ids", Target: &c.IDs},
		{Flag: "gates", Field: "gates", Target: &c.Gates},
	}
}

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args string
		want config
		err  string
	}{
		{"", config{Name: "n", TTL: 1}, ""},
		{"--name=x --on --count 3 --ttl=2m --list=a,b,,c --gates=A=true,B=false", config{Name: "x", On: true, Count: 3, TTL: 2 * time.Minute, List: []string{"a", "b", "c"}, Gates: map[string]bool{"A": true, "B": false}}, ""},
		{"--on=false --name=", config{TTL: 1}, ""},
		{"--ttl=0", config{Name: "n", TTL: -1}, ""},
		{"--list=a --list=b,c", config{Name: "n", TTL: 1, List: []string{"a", "b", "c"}}, ""},
		{"--gates=A=true --gates= --gates=B=false", config{Name: "n", TTL: 1, Gates: map[string]bool{"A": true, "B": false}}, ""},
		{"--gates=A=true --gates=A=false", config{Name: "n", TTL: 1, Gates: map[string]bool{"A": false}}, ""},
		{"--on=x", config{}, "true or false"},
		{"--count=x", config{}, "number"},
		{"--ttl=5", config{}, "such as 2m"},
		{"--ttl=-5s", config{}, "not negative"},
		{"--gates=A", config{}, "name=true"},
		{"--gates=A=maybe", config{}, "name=true"},
	} {
		got := config{Name: "n", TTL: 1}
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		got.table().Register(flags)
		err := flags.Parse(strings.Fields(tt.args))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.args, err, tt.err)
			}
		} else if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got)\n%s", tt.args, err, diff)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		document string
		want     config
		ignored  string
		err      string
	}{
		{`{}`, config{Name: "n", Count: 1, TTL: 1}, "", ""},
		{`{"name":"x","deep":{"er":{"on":true},"count":3},"ttl":"2m","list":["a"],"ids":[23],"gates":{"A":true}}`, config{Name: "x", On: true, Count: 3, TTL: 2 * time.Minute, List: []string{"a"}, IDs: []int{23}, Gates: map[string]bool{"A": true}}, "", ""},
		{`{"name":"","deep":null,"ttl":"0s"}`, config{Name: "d", Count: 7, TTL: 7}, "", ""},
		{`{"deep":{"count":0,"er":null},"ttl":null}`, config{Name: "n", Count: 7, TTL: 7}, "", ""},
		{`{"deep":{},"name":null,"ttl":""}`, config{Name: "d", Count: 1, TTL: 7}, "", ""},
		{`{"ttl":"0m","list":null,"gates":null,"ids":null}`, config{Name: "n", Count: 1, TTL: 7}, "", ""},
		{`{"":1}`, config{}, "", `unknown field ""`},
		{`{"gates":{"B":false,"A":"true"}}`, config{}, "", "field gates: A: want true or false, not a string"},
		{`{"gates":[]}`, config{}, "", "field gates: want a mapping, not a list"},
		{`{"other":{"x":[1]},"another":1}`, config{Name: "n", Count: 1, TTL: 1}, "another other", ""},
		{`{"Name":"x"}`, config{}, "", `unknown field "Name"`},
		{`{"deep":{"other":1}}`, config{}, "", `unknown field "deep.other"`},
		{`{"deep":{"er":{"On":true}}}`, config{}, "", `unknown field "deep.er.On"`},
		{`{"deep":[]}`, config{}, "", "field deep: want a mapping, not a list"},
		{`{"deep":{"er":{"on":"true"}}}`, config{}, "", "field deep.er.on: want true or false, not a string"},
		{`{"deep":{"count":1.5}}`, config{}, "", "field deep.count: want a whole number, not a number 1.5"},
		{`{"ttl":120}`, config{}, "", "field ttl: want a duration"},
		{`{"ttl":"-2m"}`, config{}, "", "field ttl: want a duration that is not negative"},
		{`{"list":"a"}`, config{}, "", "field list: want a list, not a string"},
	} {
		got := config{Name: "n", Count: 1, TTL: 1}
		var document map[string]json.RawMessage
		if err := json.Unmarshal([]byte(tt.document), &document); err != nil {
			t.Fatal(err)
		}
		ignored, err := got.table().Decode(document, []string{"other", "another"}, (&config{Name: "d", Count: 7, TTL: 7}).table())
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.document, err, tt.err)
			}
		} else if diff := cmp.Diff(tt.want, got); diff != "" || err != nil || strings.Join(ignored, " ") != tt.ignored {
			t.Errorf("%s: ignored %q, %v (-want +got)\n%s", tt.document, ignored, err, diff)
		}
	}
}

// What is encoded says the same when it is decoded.
func TestEncode(t *testing.T) {
	want := config{Name: "x", On: true, Count: 3, TTL: time.Minute, List: []string{"a"}, IDs: []int{23}, Gates: map[string]bool{"A": true}}
	encoded, err := json.Marshal(want.table().Encode())
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]json.RawMessage
	json.Unmarshal(encoded, &document)
	var got config
	if _, err := got.table().Decode(document, nil, (&config{}).table()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	off := config{TTL: -1}
	if ttl := off.table().Encode()["ttl"]; ttl != "0s" {
		t.Errorf("a duration that is off is encoded as %v", ttl)
	}
}

func TestPrint(t *testing.T) {
	var got strings.Builder
	(&config{Name: "n", TTL: time.Minute}).table().Print(&got, (&config{Name: "n", TTL: time.Minute, On: true}).table())
	want := `
One:
  --name string (default n)
        a name
        field name
`
	if !strings.HasPrefix(got.String(), want) || !strings.Contains(got.String(), "--ttl duration (default 1m0s)\n") || !strings.Contains(got.String(), "true|false (default false; with --config true)\n") {
		t.Errorf("got %s", got.String())
	}
}
