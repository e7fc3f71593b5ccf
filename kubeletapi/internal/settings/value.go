package settings

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// value makes a target a flag.Value.
type value struct{ target any }

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
// target is a negative one.
func (v value) Set(text string) (err error) {
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
		return value{(*[]string)(target)}.Set(text)
	case *[]string:
		*target = nil
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				*target = append(*target, item)
			}
		}
	case *map[string]bool:
		*target, err = parseGates(text)
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

func parseGates(text string) (map[string]bool, error) {
	gates := map[string]bool{}
	for pair := range strings.SplitSeq(text, ",") {
		if pair == "" {
			continue
		}
		name, state, _ := strings.Cut(strings.TrimSpace(pair), "=")
		on, err := strconv.ParseBool(state)
		if err != nil {
			return nil, fmt.Errorf("want name=true or name=false, not %q", pair)
		}
		gates[name] = on
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
