package settings

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// value makes a target a flag.Value.
type value struct {
	target any
	given  bool // before: what is a list goes on
}

// IsBoolFlag lets an on-off flag stand without a value.
func (v value) IsBoolFlag() bool {
	_, ok := v.target.(*bool)
	return ok
}

// form is that of the value in the help text, with the default.
func (v value) form() string {
	kind := "string"
	switch v.target.(type) {
	case *bool:
		kind = "true|false"
	case *time.Duration:
		kind = "duration"
	case *int:
		kind = "number"
	case *[]string, *Paths:
		kind = "list"
	case *map[string]bool:
		kind = "pairs"
	}
	if def := v.String(); def != "" {
		kind += " (default " + def + ")"
	}
	return kind
}

func (v value) String() string {
	switch target := v.target.(type) {
	case *string, *bool, *int, *time.Duration:
		return fmt.Sprint(v.get())
	case *[]string:
		return strings.Join(*target, ",")
	case *Paths:
		return strings.Join(*target, ",")
	}
	return ""
}

// Set takes the value of a flag. A duration of 0 means off, which in the
// target is a negative one. What is switched on and off, and a list that was given
// before, it adds to.
func (v *value) Set(text string) (err error) {
	switch target := v.target.(type) {
	case *string:
		*target = text
	case *bool:
		if *target, err = strconv.ParseBool(text); err != nil {
			err = errors.New("want true or false")
		}
	case *int:
		if *target, err = strconv.Atoi(text); err != nil {
			err = errors.New("want a number")
		}
	case *time.Duration:
		*target, err = parseTTL(text)
	case *Paths:
		list := &value{(*[]string)(target), v.given}
		v.given = true
		return list.Set(text)
	case *[]string:
		if !v.given {
			*target, v.given = nil, true
		}
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*target = append(*target, item)
			}
		}
	case *map[string]bool:
		*target, err = parseGates(*target, text)
	}
	return err
}

func parseTTL(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, errDuration
	case d < 0:
		return 0, errors.New("want a duration that is not negative (0 is off)")
	case d == 0:
		return -1, nil
	}
	return d, nil
}

// parseGates returns before with those in text.
func parseGates(before map[string]bool, text string) (map[string]bool, error) {
	gates := map[string]bool{}
	maps.Copy(gates, before)
	for pair := range strings.SplitSeq(text, ",") {
		if pair == "" {
			continue
		}
		name, state, _ := strings.Cut(pair, "=")
		on, err := strconv.ParseBool(strings.TrimSpace(state))
		if err != nil {
			return nil, fmt.Errorf("want name=true or name=false, not %q", pair)
		}
		gates[strings.TrimSpace(name)] = on
	}
	return gates, nil
}

// json is the value as a file would have it.
func (v value) json() any {
	if d, ok := v.target.(*time.Duration); ok {
		return max(*d, 0).String()
	}
	return v.get()
}

func (v value) get() any { return reflect.ValueOf(v.target).Elem().Interface() }
