package authz

// Requirement is one condition of a selector, as a request states it: an
// operator is one of =, ==, in, !=, notin, and for labels also exists and !.
type Requirement struct {
	Key      string
	Operator string
	Values   []string
}

// Selector is a field or label selector in the JSON form of
// authorization.k8s.io.
type Selector struct {
	Requirements []SelectorRequirement `json:"requirements,omitempty"`
}

// SelectorRequirement is one condition of a [Selector]; its operator is one of
// In, NotIn, Exists and DoesNotExist.
type SelectorRequirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// newSelector translates requirements as fieldSelectorToAuthorizationAPI and
// labelSelectorToAuthorizationAPI of the kubelet's webhook do, of which only labels
// can be there or not. An unknown operator is dropped: requirements only ever narrow,
// so that without one of them more is asked for, never less.
func newSelector(requirements []Requirement, labels bool) *Selector {
	operators := map[string]string{"=": "In", "==": "In", "in": "In", "!=": "NotIn", "notin": "NotIn"}
	if labels {
		operators["exists"], operators["!"] = "Exists", "DoesNotExist"
	}
	var s Selector
	for _, r := range requirements {
		if operator, ok := operators[r.Operator]; ok {
			s.Requirements = append(s.Requirements, SelectorRequirement{r.Key, operator, r.Values})
		}
	}
	if len(s.Requirements) == 0 {
		return nil
	}
	return &s
}
