package settings

import (
	"bytes"
	"encoding/json"
)

// Paths is a list of paths, which a file has as the API server's conditions for
// anonymous requests: objects with one field, path (AnonymousAuthCondition of
// k8s.io/apiserver pkg/apis/apiserver/v1/types.go).
type Paths []string

type condition struct {
	Path string `json:"path"`
}

// UnmarshalJSON reads conditions, in place of those that p has.
func (p *Paths) UnmarshalJSON(data []byte) error {
	var conditions []condition
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&conditions); err != nil {
		return err
	}
	*p = nil
	for _, c := range conditions {
		*p = append(*p, c.Path)
	}
	return nil
}

// MarshalJSON writes conditions.
func (p Paths) MarshalJSON() ([]byte, error) {
	conditions := []condition{}
	for _, path := range p {
		conditions = append(conditions, condition{path})
	}
	return json.Marshal(conditions)
}
