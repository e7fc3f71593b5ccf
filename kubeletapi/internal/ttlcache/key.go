package ttlcache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"sync"
)

// Key names an entry. Those of credentials are a [Keyer]'s.
type Key [sha256.Size]byte

// Keyer makes the keys of credentials: SHA-256 sums, so that no secret is kept. It is
// safe for concurrent use.
//
// What is summed is not the credential but a GMAC of it, unless FIPS 140 is asked for:
// with instructions for AES and none for SHA-256, that takes a tenth of the time. Its
// nonce is always the same, which makes it a universal hash: of two credentials that
// somebody chose without knowing the secret, it is equal with a probability of about
// 2^-112. To see one would help them, so the GMACs never leave this file. As a
// certificate is no secret, whoever finds a chain by its key has to compare the
// public key too.
type Keyer struct {
	mac     cipher.AEAD // nil with FIPS 140, which has no such nonces
	scratch sync.Pool
}

// scratch is what would escape to the heap on each call.
type scratch struct {
	token [2 << 10]byte
	nonce [12]byte
	mac   [16]byte
}

// NewKeyer returns a Keyer with a secret of its own.
func NewKeyer() *Keyer {
	k := &Keyer{scratch: sync.Pool{New: func() any { return new(scratch) }}}
	if fips140.Enabled() {
		return k
	}
	secret := make([]byte, 32)
	rand.Read(secret)
	if block, err := aes.NewCipher(secret); err == nil { // as it is for this length
		k.mac, _ = cipher.NewGCM(block)
	}
	return k
}

// Token returns the key of a token. It allocates nothing for one of an ordinary
// length.
func (k *Keyer) Token(token string) Key {
	s := k.scratch.Get().(*scratch)
	defer k.scratch.Put(s)
	text := append(s.token[:0], token...)
	defer clear(text)
	return k.sum(s, text)
}

// Chain returns the key of a chain, in which all of its certificates are:
// intermediates decide whether a leaf is accepted.
func (k *Keyer) Chain(chain []*x509.Certificate) Key {
	s := k.scratch.Get().(*scratch)
	defer k.scratch.Put(s)
	key := k.sum(s, chain[0].Raw)
	for _, c := range chain[1:] {
		next := k.sum(s, c.Raw)
		key = sha256.Sum256(append(key[:], next[:]...))
	}
	return key
}

func (k *Keyer) sum(s *scratch, text []byte) Key {
	if k.mac == nil {
		return sha256.Sum256(text)
	}
	defer clear(s.mac[:])
	return sha256.Sum256(k.mac.Seal(s.mac[:0], s.nonce[:], nil, text))
}
