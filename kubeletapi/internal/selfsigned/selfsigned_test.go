package selfsigned

import (
	"crypto/fips140"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// A server that runs for years always has a certificate that is valid for
// another month, and does not change it more often than that takes.
func TestRenewal(t *testing.T) {
	skipInFIPSMode(t)
	synctest.Test(t, func(t *testing.T) {
		c := &Certificate{Host: "n1", Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
		serials := map[string]bool{}
		for range 3 * 365 {
			pair, err := c.Get(nil)
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(pair.Leaf.NotAfter); left < renewal || time.Now().Before(pair.Leaf.NotBefore) {
				t.Fatalf("%v left", left)
			}
			serials[pair.Leaf.SerialNumber.String()] = true
			time.Sleep(24 * time.Hour)
		}
		if len(serials) != 4 {
			t.Errorf("%d certificates in three years", len(serials))
		}
	})
}

// When no new one can be stored, the old one serves on.
func TestCannotStore(t *testing.T) {
	skipInFIPSMode(t)
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "pki")
		c := &Certificate{Host: "n1", Dir: dir, Logger: slog.New(slog.DiscardHandler)}
		before, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(dir)
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lifetime)
		if after, err := c.Get(nil); err != nil || after != before {
			t.Errorf("got another one, %v", err)
		}
		if _, err := (&Certificate{Host: "n1", Dir: dir, Logger: c.Logger}).Get(nil); err == nil {
			t.Error("no error where there is no certificate at all")
		}
	})
}

// Keys cannot be made in a bubble there: the source of entropy is time.
func skipInFIPSMode(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("FIPS 140 cryptography makes no keys where time stands still")
	}
}
