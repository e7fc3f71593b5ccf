package authn

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	maxTokenBytes = 16 << 10
	// expiredTokenGrace allows for a node's clock that runs ahead.
	expiredTokenGrace = 10 * time.Minute
)

// TokenExpiry returns the time in the exp claim of a JSON Web Token, and
// whether the token has one. Nothing is verified: the time may shorten how long
// an answer about the token is kept and may refuse it early, and must never
// accept it.
func TokenExpiry(token string) (exp time.Time, ok bool) {
	parts := strings.Split(token, ".")
	if len(token) > maxTokenBytes || len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims map[string]json.RawMessage // a struct would take EXP too
	var seconds *float64
	if json.Unmarshal(payload, &claims) != nil || json.Unmarshal(claims["exp"], &seconds) != nil || seconds == nil {
		return time.Time{}, false
	}
	const latest = 1 << 40 // some 35,000 years on, within what time.Unix takes
	return time.Unix(int64(min(max(*seconds, 0), latest)), 0), true
}

// refuseUnreviewed returns why a token cannot be good whatever the API server
// would say of it, or nil.
func refuseUnreviewed(token string) error {
	if len(token) > maxTokenBytes {
		return &InvalidTokenError{"the token is longer than 16384 bytes"}
	}
	if strings.ContainsFunc(token, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		// An API server would take what stands before it for the token.
		return &InvalidTokenError{"the token has white space or a control character in it"}
	}
	if exp, ok := TokenExpiry(token); ok && time.Since(exp) > expiredTokenGrace {
		return &InvalidTokenError{"the token expired at " + exp.UTC().Format(time.RFC3339)}
	}
	return nil
}

// InvalidTokenError is the definite refusal of a token, as opposed to a review
// that failed. It may be remembered; a failure may not.
type InvalidTokenError struct {
	Reason string // the API server's own words where it gave some; never the token
}

func (e *InvalidTokenError) Error() string { return e.Reason }

// IsRefusal reports whether err, which an authenticator returned, refuses a
// credential for good, so that the same one would be refused again. Otherwise
// something failed on our side. Of errors that came back together, all must be
// refusals.
func IsRefusal(err error) bool {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) && len(joined.Unwrap()) > 0 {
		return !slices.ContainsFunc(joined.Unwrap(), func(err error) bool { return !IsRefusal(err) })
	}
	var token *InvalidTokenError
	var certificate *InvalidCertificateError
	return errors.Is(err, errInvalidToken) || errors.As(err, &token) || errors.As(err, &certificate)
}
