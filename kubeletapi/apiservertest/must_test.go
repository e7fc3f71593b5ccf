package apiservertest_test

import (
	"testing"

	"kubeletauth/kubeletapi/apiservertest"
)

// failing is a test that notes its failure.
type failing struct{ failed, cleaned int }

func (*failing) Helper()          {}
func (f *failing) Cleanup(func()) { f.cleaned++ }
func (f *failing) Fatal(...any)   { f.failed++; panic(f) }

func TestMust(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "test")
	for name, fail := range map[string]func(*failing){
		"MustStart": func(f *failing) { apiservertest.MustStart(f, apiservertest.Config{Addr: "no address"}) },
		"MustNewCA": func(f *failing) { apiservertest.MustNewCA(f, "\xff") },
		"MustIssue": func(f *failing) { ca.MustIssue(f, apiservertest.Certificate{CommonName: "\xff"}) },
	} {
		var f failing
		func() {
			defer func() { recover() }()
			fail(&f)
		}()
		if f.failed != 1 || f.cleaned != 0 {
			t.Errorf("%s: failed %d times, %d things to clean up", name, f.failed, f.cleaned)
		}
	}
}
