package harness

import (
	"os"
	"testing"
)

// Skip skips a test because this machine lacks something. With KUBELETAUTH_E2E_NOSKIP set it is a failure instead:
// for a machine that is known to have everything, where a skip would hide that nothing was tested.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("KUBELETAUTH_E2E_NOSKIP") != "" {
		t.Fatalf("must not be skipped here: "+format, args...)
	}
	t.Skipf(format, args...)
}
