// Package exactjson decodes JSON as Kubernetes does: a field is the one whose name
// has the same letters, small and capital.
package exactjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Unmarshal is [json.Unmarshal] without the fields whose names are not, letter by
// letter, those in the tags of the structs of v, in its slices too. A field without a
// tag stays as it is, and none may be embedded.
func Unmarshal(data []byte, v any) error {
	return json.Unmarshal(exact(data, reflect.TypeOf(v).Elem()), v)
}

// exact returns what of data has a field in t. Data that is of another form stays
// as it is, for an error that says so.
func exact(data []byte, t reflect.Type) []byte {
	switch t.Kind() {
	case reflect.Pointer:
		return exact(data, t.Elem())
	case reflect.Slice:
		return exactList(data, t)
	case reflect.Struct:
		return exactObject(data, t)
	}
	return data
}

func exactList(data []byte, t reflect.Type) []byte {
	var list []json.RawMessage
	if t.Elem().Kind() != reflect.Struct || json.Unmarshal(data, &list) != nil || list == nil {
		return data
	}
	for i := range list {
		list[i] = exact(list[i], t.Elem())
	}
	data, _ = json.Marshal(list) // which was JSON before
	return data
}

// exactObject keeps a name that comes twice, whose values are laid one over the other.
func exactObject(data []byte, t reflect.Type) []byte {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, _ := d.Token(); start != json.Delim('{') || !json.Valid(data) {
		return data
	}
	types := map[string]reflect.Type{}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		types[name] = field.Type
	}
	var kept []string
	for d.More() {
		token, _ := d.Token()
		var value json.RawMessage
		d.Decode(&value) // which is valid, as all of it is
		name, _ := token.(string)
		if of, ok := types[name]; ok {
			kept = append(kept, strconv.Quote(name)+":"+string(exact(value, of)))
		}
	}
	return []byte("{" + strings.Join(kept, ",") + "}")
}
