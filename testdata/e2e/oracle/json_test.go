package oracle

import (
	"encoding/json"
	"fmt"
)

// mustJSON is the JSON of a value that has one.
func mustJSON(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("%v: %v", value, err))
	}
	return text
}

// anyJSON is a value as its JSON means it.
func anyJSON(value any) (meaning any) {
	if err := json.Unmarshal(mustJSON(value), &meaning); err != nil {
		panic(err)
	}
	return meaning
}

// specOf is the spec of a review in JSON.
func specOf(review []byte) any {
	var object struct{ Spec any }
	if err := json.Unmarshal(review, &object); err != nil {
		return err.Error()
	}
	return object.Spec
}
