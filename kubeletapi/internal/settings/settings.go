// Package settings is a table of things that can be configured, by flags and by
// the fields of a file.
package settings

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Setting is one thing that can be configured: by a flag, by a field of the
// file, such as authentication.anonymous.enabled, or by both.
type Setting struct {
	Flag, Field string // either may be empty

	// Target points to what is set: a string, bool, int, time.Duration,
	// []string, Paths, []int or map[string]bool. A duration that is negative is one
	// that is off.
	Target any
	Usage  string

	ZeroCounts bool // of a number in the file: 0 does not stand for saying nothing

	Title string // a heading of the help text, in a row of its own
}

// String returns the present value, as a flag takes it.
func (s Setting) String() string { return value{target: s.Target}.String() }

// Table is all that can be configured.
type Table []Setting

// Register defines the flags.
func (t Table) Register(flags *flag.FlagSet) {
	for _, s := range t {
		if s.Flag != "" {
			flags.Var(&value{target: s.Target}, s.Flag, s.Usage)
		}
	}
}

// Print writes the flags below their titles, each with its present value as the default,
// with that of the same table withConfig if it differs, and with the field that
// means the same.
func (t Table) Print(w io.Writer, withConfig Table) {
	for i, s := range t {
		if s.Title != "" {
			fmt.Fprintf(w, "\n%s:\n", s.Title)
		}
		if s.Flag == "" {
			continue
		}
		form, other := value{target: s.Target}.form(), withConfig[i].String()
		if other != s.String() {
			form = strings.TrimSuffix(form, ")") + "; with --config " + other + ")"
		}
		fmt.Fprintf(w, "  --%s %s\n        %s\n", s.Flag, form, s.Usage)
		if s.Field != "" {
			fmt.Fprintf(w, "        field %s\n", s.Field)
		}
	}
}

// Decode sets what the fields of a document stand for. Fields are told apart by
// case, as Kubernetes does and encoding/json does not. A field that is null, and
// a string, duration or number that is empty or zero, says nothing, and gets the
// value it has in the same table of defaults. Of the fields that are not in the table,
// those in others are returned, and any other is an error.
func (t Table) Decode(document map[string]json.RawMessage, others []string, defaults Table) (ignored []string, err error) {
	return t.decode("", document, others, defaults)
}

func (t Table) decode(prefix string, fields map[string]json.RawMessage, others []string, defaults Table) (ignored []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, raw := prefix+name, fields[name]
		s, inner := t.field(field)
		said := true
		switch {
		case s.Target != nil:
			said, err = s.decode(raw)
		case inner:
			var below map[string]json.RawMessage
			err = json.Unmarshal(raw, &below)
			if _, err := t.decode(field+".", below, nil, defaults); err != nil {
				return nil, err
			}
			said = below != nil
		case slices.Contains(others, name):
			ignored = append(ignored, name)
		default:
			return nil, fmt.Errorf("unknown field %q: mind its spelling, small and capital letters too", field)
		}
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", field, plain(err))
		}
		if !said {
			t.reset(field, defaults)
		}
	}
	return ignored, nil
}

// reset gives a field, or all below it, the defaults.
func (t Table) reset(field string, defaults Table) {
	for i, s := range t {
		if s.Target != nil && (s.Field == field || strings.HasPrefix(s.Field, field+".")) {
			reflect.ValueOf(s.Target).Elem().Set(reflect.ValueOf(defaults[i].Target).Elem())
		}
	}
}

// field returns the setting of a field, or reports that it has fields below.
func (t Table) field(name string) (found Setting, inner bool) {
	for _, s := range t {
		if s.Field == name {
			return s, false
		}
		inner = inner || strings.HasPrefix(s.Field, name+".")
	}
	return Setting{}, inner
}

// decode reports whether the value says anything.
func (s Setting) decode(raw json.RawMessage) (said bool, err error) {
	if string(raw) == "null" {
		return false, nil
	}
	switch target := s.Target.(type) {
	case *time.Duration:
		var text string
		wrong := json.Unmarshal(raw, &text)
		*target, err = time.ParseDuration(cmp.Or(text, "0"))
		switch {
		case wrong != nil || err != nil:
			return false, errDuration
		case *target < 0:
			return false, errors.New("want a duration that is not negative")
		}
		return *target != 0, nil
	case *string:
		err = json.Unmarshal(raw, target)
		return *target != "", err
	case *int:
		err = json.Unmarshal(raw, target)
		return *target != 0 || s.ZeroCounts, err
	case *map[string]bool:
		return true, decodeEach(raw, target)
	}
	return true, json.Unmarshal(raw, s.Target)
}

// decodeEach lays what is switched on and off over a map.
func decodeEach(raw json.RawMessage, over *map[string]bool) error {
	var each map[string]json.RawMessage
	if err := json.Unmarshal(raw, &each); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(each)) {
		if err := json.Unmarshal(each[name], new(bool)); err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
	}
	return json.Unmarshal(raw, over)
}

var errDuration = errors.New("want a duration such as 2m or 30s")

// plain is an error of encoding/json in the words of someone who writes YAML.
func plain(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	want := "a string"
	switch wrong.Type.Kind() {
	case reflect.Bool:
		want = "true or false"
	case reflect.Int:
		want = "a whole number"
	case reflect.Slice:
		want = "a list"
	case reflect.Map, reflect.Struct:
		want = "a mapping"
	}
	found := strings.NewReplacer("array", "list", "object", "mapping").Replace(wrong.Value)
	return fmt.Errorf("want %s, not a %s", want, found)
}

// Encode returns the fields with their present values, for encoding as JSON.
func (t Table) Encode() map[string]any {
	root := map[string]any{}
	for _, s := range t {
		if s.Field == "" {
			continue
		}
		path := strings.Split(s.Field, ".")
		at := root
		for _, name := range path[:len(path)-1] {
			if at[name] == nil {
				at[name] = map[string]any{}
			}
			at = at[name].(map[string]any)
		}
		at[path[len(path)-1]] = value{target: s.Target}.json()
	}
	return root
}
