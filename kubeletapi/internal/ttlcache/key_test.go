package ttlcache

import (
	"crypto/sha256"
	"crypto/x509"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Of credentials that are not the same, no two share a key, and with another secret
// all have others.
func TestKeys(t *testing.T) {
	long := strings.Repeat("a", 16<<10)
	one, two := NewKeyer(), NewKeyer()
	seen := map[Key]string{}
	for _, token := range []string{
		"", "\x00", "\x00\x00", strings.Repeat("\x00", 16), // a GMAC is filled up with zeros
		"a", "b", "ab", "ba", "a\x00", strings.Repeat("a", 15), strings.Repeat("a", 15) + "\x00", strings.Repeat("a", 16),
		strings.Repeat("a", 16) + strings.Repeat("b", 16), strings.Repeat("b", 16) + strings.Repeat("a", 16),
		long[:2<<10-1], long[:2<<10], long[:2<<10+1], long, long[1:] + "b", "b" + long[1:],
	} {
		key := one.Token(token)
		if key != one.Token(strings.Clone(token)) {
			t.Errorf("%.20q (%d bytes) has two keys", token, len(token))
		}
		for _, key := range []Key{key, two.Token(token), sha256.Sum256([]byte(token))} {
			if other, ok := seen[key]; ok {
				t.Errorf("%.20q (%d bytes) and %.20q (%d bytes) share a key", token, len(token), other, len(other))
			}
			seen[key] = token
		}
	}
}

func TestKeysOfChains(t *testing.T) {
	certificate := func(raw string) *x509.Certificate { return &x509.Certificate{Raw: []byte(raw)} }
	a, b, ab := certificate("a"), certificate("b"), certificate("ab")
	keyer, seen := NewKeyer(), map[Key]bool{}
	chains := [][]*x509.Certificate{{a}, {b}, {ab}, {a, b}, {b, a}, {a, a}, {a, a, a}, {a, b, a}, {a, a, b}, {a, ab}}
	for range 2 {
		for _, chain := range chains {
			seen[keyer.Chain(chain)] = true
		}
	}
	if len(seen) != len(chains) {
		t.Errorf("%d chains have %d keys", len(chains), len(seen))
	}
}

// What was hashed is not kept, and a token costs no allocation.
func TestKeyerKeepsNoToken(t *testing.T) {
	k, s := NewKeyer(), new(scratch)
	k.scratch.New = func() any { return s }
	if k.Token("janes-secret"); *s != (scratch{mac: s.mac}) {
		t.Error("a token is still there")
	}
	k, token := NewKeyer(), strings.Repeat("t", 1<<10)
	if n := testing.AllocsPerRun(1000, func() { k.Token(token) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Where FIPS 140 is enforced there are keys too.
func TestKeysWithFIPS140(t *testing.T) {
	if os.Getenv("GODEBUG") == "fips140=only" {
		if k := NewKeyer(); k.mac != nil || k.Token("a") != sha256.Sum256([]byte("a")) {
			t.Error("a key that is not a SHA-256 sum")
		}
		return
	}
	again := exec.Command(os.Args[0], "-test.run=^TestKeysWithFIPS140$", "-test.v")
	again.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestKeysWithFIPS140") {
		t.Errorf("%v: %s", err, out)
	}
}
