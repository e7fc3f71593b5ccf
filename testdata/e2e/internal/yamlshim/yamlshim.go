// Package yamlshim lets the tests of another module reach kubeletapi/internal/yaml. Its module is named as a folder of
// kubeletapi would be, so that it may import what is internal there.
package yamlshim

import "kubeletauth/kubeletapi/internal/yaml"

// ToJSON is yaml.ToJSON.
func ToJSON(text []byte) ([]byte, error) { return yaml.ToJSON(text) }
