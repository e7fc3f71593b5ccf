package apiservertest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"slices"
	"time"
)

// Run runs all tests of a package and returns the exit code for its TestMain: 1
// also if all passed and goroutines are left of them after five seconds, whose
// stacks it prints. The idle connections of [http.DefaultTransport] are closed
// first.
//
//	func TestMain(m *testing.M) { os.Exit(apiservertest.Run(m)) }
func Run(m interface{ Run() int }) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	http.DefaultClient.CloseIdleConnections()
	left := others()
	for end := time.Now().Add(5 * time.Second); len(left) > 0 && time.Now().Before(end); left = others() {
		time.Sleep(10 * time.Millisecond)
	}
	if len(left) == 0 {
		return 0
	}
	fmt.Fprintf(os.Stderr, "FAIL: %d goroutines are left:\n\n%s\n", len(left), bytes.Join(left, []byte("\n\n")))
	return 1
}

// others returns the stacks of all goroutines but the caller's and the one that
// package os/signal starts for good.
func others() [][]byte {
	var all bytes.Buffer
	pprof.Lookup("goroutine").WriteTo(&all, 2)
	stacks := bytes.Split(bytes.TrimSpace(all.Bytes()), []byte("\n\n"))
	return slices.DeleteFunc(stacks[1:], func(stack []byte) bool { return bytes.Contains(stack, []byte("\nos/signal.loop(")) })
}
