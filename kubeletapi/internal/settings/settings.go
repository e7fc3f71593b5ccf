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
func (s Setting) String() string { return value{s.Target}.String() }

// Table is all that can be configured.
type Table []Setting

// Register defines the flags.
func (t Table) Register(flags *flag.FlagSet) {
	for _, s := range t {
		if s.Flag != "" {
			flags.Var(value{s.Target}, s.Flag, s.Usage)
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
		form, other := value{s.Target}.form(), withConfig[i].String()
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
// a string, duration or number that is empty or zero, says nothing. Of the fields that are not
// in the table, those in others are returned, and any other is an error.
func (t Table) Decode(document map[string]json.RawMessage, others []string) (ignored []string, err error) {
	return t.decode("", document, others)
}

func (t Table) decode(prefix string, fields map[string]json.RawMessage, others []string) (ignored []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, raw := prefix+name, fields[name]
		s, inner := t.field(field)
		switch {
		case s.Target != nil:
			err = s.decode(raw)
		case inner:
			var below map[string]json.RawMessage
			if err = json.Unmarshal(raw, &below); err == nil {
				if _, err := t.decode(field+".", below, nil); err != nil {
					return nil, err
				}
			}
		case slices.Contains(others, name):
			ignored = append(ignored, name)
		default:
			return nil, fmt.Errorf("unknown field %q: mind its spelling, small and capital letters too", field)
		}
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", field, plain(err))
		}
	}
	return ignored, nil
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

func (s Setting) decode(raw json.RawMessage) error {
	switch target := s.Target.(type) {
	case *time.Duration:
		var text string
		wrong := json.Unmarshal(raw, &text)
		d, err := time.ParseDuration(cmp.Or(text, "0"))
		if wrong != nil || err != nil || d < 0 {
			return errDuration
		}
		*target = cmp.Or(d, *target)
		return nil
	case *string:
		before := *target
		err := json.Unmarshal(raw, target)
		*target = cmp.Or(*target, before)
		return err
	case *int:
		before := *target
		err := json.Unmarshal(raw, target)
		if *target == 0 && !s.ZeroCounts {
			*target = before
		}
		return err
	}
	return json.Unmarshal(raw, s.Target)
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
		at[path[len(path)-1]] = value{s.Target}.json()
	}
	return root
}
