package settings

import (
	"encoding/json"
	"fmt"
)

// Paths is a list of paths, which a file has as the API server's conditions for
// anonymous requests: objects with one field, path (AnonymousAuthCondition of
// k8s.io/apiserver pkg/apis/apiserver/v1/types.go).
type Paths []string

// UnmarshalJSON reads conditions, in place of those that p has.
func (p *Paths) UnmarshalJSON(data []byte) error {
	var conditions []map[string]string // a struct would take Path too
	if err := json.Unmarshal(data, &conditions); err != nil {
		return err
	}
	*p = nil
	for _, c := range conditions {
		for name := range c {
			if name != "path" {
				return fmt.Errorf("unknown field %q", name)
			}
		}
		*p = append(*p, c["path"])
	}
	return nil
}

// MarshalJSON writes conditions.
func (p Paths) MarshalJSON() ([]byte, error) {
	conditions := []map[string]string{}
	for _, path := range p {
		conditions = append(conditions, map[string]string{"path": path})
	}
	return json.Marshal(conditions)
}
