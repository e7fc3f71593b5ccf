package kubeletapi

import (
	"testing"
	"time"

	"kubeletauth/kubeletapi/internal/fair"
)

// The README's limits, of those that no other test comes near.
func TestDefaults(t *testing.T) {
	s, err := (&Server{Config: Config{HostnameOverride: "n1"}}).httpServer()
	if err != nil {
		t.Fatal(err)
	}
	for what, is := range map[string]bool{
		"header":        s.ReadHeaderTimeout == 10*time.Second,
		"body":          s.Handler.(*fair.Handler).BodyTimeout == time.Minute,
		"answer":        s.WriteTimeout == 4*time.Hour,
		"next request":  s.IdleTimeout == 90*time.Second,
		"header bytes":  s.MaxHeaderBytes == 64<<10,
		"identities":    maxIdentities == 8192 && maxUsers == 8192,
		"refusals":      maxRefused == 4096,
		"verifications": maxVerifying == 4096,
	} {
		if !is {
			t.Errorf("%s: not what the README says", what)
		}
	}
}
