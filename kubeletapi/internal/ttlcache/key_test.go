package ttlcache

import (
	"crypto/fips140"
	"crypto/sha256"
	"crypto/x509"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Of credentials that are not the same, no two share a key. With another secret all
// have others, but for FIPS 140.
func TestKeys(t *testing.T) {
	long := strings.Repeat("a", 16<<10)
	keyer, seen := NewKeyer(), map[Key]string{}
	for _, token := range []string{
		"", "\x00", "\x00\x00", strings.Repeat("\x00", 16), // a GMAC is filled up with zeros
		"a", "b", "ab", "ba", "a\x00", strings.Repeat("a", 15), strings.Repeat("a", 15) + "\x00", strings.Repeat("a", 16),
		strings.Repeat("a", 16) + strings.Repeat("b", 16), strings.Repeat("b", 16) + strings.Repeat("a", 16),
		long[:2<<10-1], long[:2<<10], long[:2<<10+1], long, long[1:] + "b", "b" + long[1:],
	} {
		key := keyer.Token(token)
		if key != keyer.Token(strings.Clone(token)) {
			t.Errorf("%.20q (%d bytes) has two keys", token, len(token))
		}
		if plain := key == sha256.Sum256([]byte(token)); plain != fips140.Enabled() || plain != (key == NewKeyer().Token(token)) {
			t.Errorf("%.20q (%d bytes) has a key without a secret (%t), or another Keyer's", token, len(token), plain)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%.20q (%d bytes) and %.20q (%d bytes) share a key", token, len(token), other, len(other))
		}
		seen[key] = token
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
	if k.Token("janes-secret"); *s != (scratch{}) {
		t.Error("a token is still there, or its GMAC")
	}
	k, token := NewKeyer(), strings.Repeat("t", 1<<10)
	if n := testing.AllocsPerRun(1000, func() { k.Token(token) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeysWithFIPS140(t *testing.T) {
	for _, mode := range []string{"on", "only"} {
		again := exec.Command(os.Args[0], "-test.run=^TestKeys$", "-test.v")
		again.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
		if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestKeys") {
			t.Errorf("%s: %v: %s", mode, err, out)
		}
	}
}
