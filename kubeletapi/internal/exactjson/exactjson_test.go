package exactjson

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Name string         `json:"name,omitempty"`
	Any  map[string]any `json:"any"`
}

type outer struct {
	One  inner           `json:"one"`
	Ref  *inner          `json:"ref"`
	List []inner         `json:"list"`
	Raw  json.RawMessage `json:"raw"`
	When *time.Time      `json:"when"`
	Text []string        `json:"text"`
}

func TestUnmarshal(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		data string
		want outer
		err  string
	}{
		{`{"one":{"name":"a"},"ref":{"name":"b"},"list":[{"name":"c"}]}`, outer{One: inner{Name: "a"}, Ref: &inner{Name: "b"}, List: []inner{{Name: "c"}}}, ""},
		{`{"One":{"name":"a"},"REF":{"name":"b"},"lisT":[{"name":"c"}]}`, outer{}, ""},
		{`{"one":{"name":"a","NAME":"b"},"ONE":{"name":"c"}}`, outer{One: inner{Name: "a"}}, ""},
		{`{"ref":{"Name":"b"},"list":[{"nAme":"c"},null]}`, outer{Ref: &inner{}, List: []inner{{}, {}}}, ""},
		{`{"one":{"name":"a","name":"b"}}`, outer{One: inner{Name: "b"}}, ""},
		{`{"one":{"name":"a"},"one":{"any":{}}}`, outer{One: inner{Name: "a", Any: map[string]any{}}}, ""},
		{`{"one":{"name":"a"},"one":null,"One":{"name":"b"}}`, outer{One: inner{Name: "a"}}, ""},
		{`{"list":[{"name":"a"}],"list":[]}`, outer{List: []inner{}}, ""},
		{`{"one":{"name":"a"}`, outer{}, "unexpected end of JSON input"},
		{`{"one":{"name":"a"}}}`, outer{}, "invalid character '}' after top-level value"},
		{`{"one":{"n\u0061me":"a","ſ":1}}`, outer{One: inner{Name: "a"}}, ""},
		{`{"one":{"any":{"Name":1,"name":2}}}`, outer{One: inner{Any: map[string]any{"Name": 1., "name": 2.}}}, ""},
		{`{"raw":{"Name":1},"when":"2026-01-02T03:04:05Z","text":["a"]}`, outer{Raw: json.RawMessage(`{"Name":1}`), When: &when, Text: []string{"a"}}, ""},
		{`{"one":null,"ref":null,"list":null}`, outer{}, ""},
		{`null`, outer{}, ""},
		{`{"":1,"unknown":{"deep":[[[]]]}}`, outer{}, ""},
		{`{"one":{"name":1}}`, outer{}, "json: cannot unmarshal number into Go struct field inner.one.name of type string"},
		{`{"list":{"name":"c"}}`, outer{}, "json: cannot unmarshal object into Go struct field outer.list of type []exactjson.inner"},
		{`[]`, outer{}, "json: cannot unmarshal array into Go value of type exactjson.outer"},
		{`{"one":`, outer{}, "unexpected end of JSON input"},
		{`{} {}`, outer{}, "invalid character '{' after top-level value"},
		{``, outer{}, "unexpected end of JSON input"},
	} {
		var got outer
		err := Unmarshal([]byte(tt.data), &got)
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: error %v, want %q", tt.data, err, tt.err)
		}
		if err == nil && !cmp.Equal(got, tt.want) {
			t.Errorf("%s: %s", tt.data, cmp.Diff(tt.want, got))
		}
	}
}
