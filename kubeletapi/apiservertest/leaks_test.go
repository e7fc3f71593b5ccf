package apiservertest_test

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

// tests are those of a package, and their exit code.
type tests func() int

func (t tests) Run() int { return t() }

func waitForever() { select {} }

var packages = map[string]tests{
	"nothing":              func() int { return 0 },
	"signals":              func() int { signal.Notify(make(chan os.Signal, 1), os.Interrupt); return 0 },
	"one that ends soon":   func() int { go time.Sleep(100 * time.Millisecond); return 0 },
	"a failure and a leak": func() int { go waitForever(); return 3 },
	"a leak":               func() int { go waitForever(); return 0 },
}

// TestMain is that of the package above which the environment names, if any.
func TestMain(m *testing.M) {
	if tests, ok := packages[os.Getenv("APISERVERTEST_PACKAGE")]; ok {
		os.Exit(apiservertest.Run(tests))
	}
	os.Exit(apiservertest.Run(m))
}

func TestLeaksFail(t *testing.T) {
	for name := range packages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.Command(os.Args[0])
			command.Env = append(os.Environ(), "APISERVERTEST_PACKAGE="+name)
			out, _ := command.CombinedOutput()
			code, printed := command.ProcessState.ExitCode(), string(out)
			want := map[string]int{"a failure and a leak": 3, "a leak": 1}[name]
			if code != want || strings.Contains(printed, "waitForever") != (want == 1) {
				t.Errorf("exit code %d, want %d; printed %s", code, want, printed)
			}
		})
	}
}

// No package has tests that leaks do not fail.
func TestLeaksFailEverywhere(t *testing.T) {
	checked := map[string]bool{} // folders
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		files, _ := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(pattern), "*_test.go"))
		for _, file := range files {
			folder := filepath.Dir(file)
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(folder, "testdata") { // those are modules of their own
				checked[folder] = checked[folder] || bytes.Contains(content, []byte("apiservertest.Run(m"))
			}
		}
	}
	for folder, checks := range checked {
		if !checks {
			t.Errorf("the tests of %s have no TestMain that calls apiservertest.Run", folder)
		}
	}
	if len(checked) < 23 {
		t.Errorf("only %d folders have tests", len(checked))
	}
}
