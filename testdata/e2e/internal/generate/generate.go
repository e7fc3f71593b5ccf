// Package generate makes test cases from a seed, so that the case that failed can be made again.
package generate

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// SeedVariable is the name of the environment variable that sets the seed.
const SeedVariable = "KUBELETAUTH_E2E_SEED"

// Source makes what a test asks for by chance. It is not safe for concurrent use.
type Source struct {
	*rand.Rand
	Seed uint64
}

// New returns the source of a test. A test that fails says its seed, and with the environment variable
// [SeedVariable] set to that it does the same again.
func New(t testing.TB) *Source {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(SeedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", SeedVariable, err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with %s=%d", SeedVariable, seed)
		}
	})
	return &Source{rand.New(rand.NewPCG(seed, 0)), seed}
}

// Chance is true once in n times.
func (s *Source) Chance(n int) bool { return s.IntN(n) == 0 }

// Upto is a number from 0 to most.
func (s *Source) Upto(most int) int { return s.IntN(most + 1) }

// Pick is one of the list.
func Pick[T any](s *Source, list ...T) T { return list[s.IntN(len(list))] }

// List has from 0 to most elements, each as element makes it. Empty, it is nil or not.
func List[T any](s *Source, most int, element func() T) []T {
	var list []T
	if s.Chance(8) {
		list = []T{}
	}
	for range s.Upto(most) {
		list = append(list, element())
	}
	return list
}

// Text is made of up to most of the parts.
func (s *Source) Text(most int, parts ...string) string {
	var text strings.Builder
	for range s.Upto(most) {
		text.WriteString(Pick(s, parts...))
	}
	return text.String()
}

// Mangle changes, drops or adds a few bytes of text, or leaves it alone.
func (s *Source) Mangle(text string) string {
	const bytes = "aZ09 /.%:\t\x00\x7f\xff-_=,\"\n"
	for range s.Upto(2) {
		at := s.Upto(len(text))
		b := string(bytes[s.IntN(len(bytes))])
		switch {
		case at == len(text) || s.Chance(3):
			text = text[:at] + b + text[at:]
		case s.Chance(2):
			text = text[:at] + text[at+1:]
		default:
			text = text[:at] + b + text[at+1:]
		}
	}
	return text
}

// MixCase writes some letters in the other case.
func (s *Source) MixCase(text string) string {
	letters := []byte(text)
	for i, b := range letters {
		if s.Chance(4) && (b|0x20) >= 'a' && (b|0x20) <= 'z' {
			letters[i] = b ^ 0x20
		}
	}
	return string(letters)
}
