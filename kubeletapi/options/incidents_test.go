package options

import (
	"encoding/json"
	"strings"
	"testing"
)

// What is off is shown as off, and is not left out: whoever reads it back would
// take a default of their own for it (CVE-2025-46599).
func TestZeroIsShown(t *testing.T) {
	o, _, err := Parse([]string{"--anonymous-auth=false", "--authentication-token-webhook=false", "--healthz-port=0", "--profiling=false"})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(o.Configz())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"anonymous":{"conditions":[],"enabled":false}`, `"webhook":{"cacheTTL":"2m0s","enabled":false`, `"healthzPort":0`, `"enableProfilingHandler":false`} {
		if !strings.Contains(string(shown), want) {
			t.Errorf("/configz lacks %s: %s", want, shown)
		}
	}
}
