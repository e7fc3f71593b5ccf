package harness

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

// SignToken signs a token of the account with the API server's own key. It is a token that the API server could have
// made, but with any lifetime: one that ends in two seconds, or that ended yesterday.
func (c *Cluster) SignToken(t testing.TB, sa ServiceAccount, notBefore, expires time.Time, audiences ...string) string {
	t.Helper()
	if len(audiences) == 0 {
		audiences = []string{Issuer}
	}
	token, err := signJWT(c.tokenKey, map[string]any{
		"iss": Issuer,
		"sub": sa.Username(),
		"aud": audiences,
		"iat": notBefore.Unix(),
		"nbf": notBefore.Unix(),
		"exp": expires.Unix(),
		"jti": rand.Text(),
		"kubernetes.io": map[string]any{
			"namespace":      Namespace,
			"serviceaccount": map[string]string{"name": sa.Name, "uid": sa.UID},
		},
	})
	if err != nil {
		t.Fatalf("signing a token of %s: %v", sa.Name, err)
	}
	return token
}

// signJWT signs the claims as a compact JWT with ES256.
func signJWT(key *ecdsa.PrivateKey, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature), nil
}
