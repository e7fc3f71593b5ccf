package apiservertest

import "crypto/tls"

// tb is the part of testing.TB that is needed here.
type tb interface {
	Helper()
	Cleanup(func())
	Fatal(args ...any)
}

// MustStart is [Start] for tests, with a *testing.T or B: t fails if it does, and closes the server at
// its end.
func MustStart(t tb, c Config) *Server {
	t.Helper()
	s, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// MustNewCA is [NewCA] for tests, with a *testing.T or B: t fails if it does.
func MustNewCA(t tb, name string) *CA {
	t.Helper()
	ca, err := NewCA(name)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// MustIssue is [CA.Issue] for tests, with a *testing.T or B: t fails if it does.
func (ca *CA) MustIssue(t tb, c Certificate) tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(c)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
