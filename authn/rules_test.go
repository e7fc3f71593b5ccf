package authn

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
)

type oddAnswer struct {
	u   *UserInfo
	ok  bool
	err error
}

func (a *oddAnswer) AuthenticateRequest(*http.Request) (*UserInfo, bool, error) {
	return a.u, a.ok, a.err
}

type silent struct{}

func (silent) ReviewToken(context.Context, TokenReviewSpec) (*TokenReviewStatus, error) {
	return nil, nil
}

// What the package comment promises of answers that are odd.
func TestOddAnswers(t *testing.T) {
	jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1,"x":"`+strings.Repeat("x", maxTokenBytes)+`"}`)) + ".x"
	if _, ok := TokenExpiry(jwt); ok {
		t.Error("an endless token has an expiry")
	}
	failure, refusal := errors.New("x"), &InvalidTokenError{"y"}
	if IsRefusal(JoinErrors(refusal, failure)) || !IsRefusal(JoinErrors(refusal, errInvalidToken)) {
		t.Error("joined")
	}
	if IsRefusal(errors.Join(refusal, failure)) || IsRefusal(fmt.Errorf("%w, %w", refusal, failure)) || !IsRefusal(errors.Join(refusal, refusal)) {
		t.Error("joined by others")
	}
	if IsRefusal(fmt.Errorf("%w, %w", error(nil), error(nil))) {
		t.Error("of no errors")
	}
	if JoinErrors(nil, nil) != nil || JoinErrors(nil, failure).Error() != "x" {
		t.Error("nil errors")
	}
	jane := &oddAnswer{&UserInfo{Username: "jane"}, true, nil}
	members := []Authenticator{&oddAnswer{nil, true, nil}, jane}
	u := Union(members...)
	members[1] = &oddAnswer{}
	if user, ok, err := u.AuthenticateRequest(nil); user != jane.u || !ok || err != nil {
		t.Error(user, ok, err)
	}
	if user, ok, err := AddAuthenticatedGroup(&oddAnswer{nil, true, nil}).AuthenticateRequest(nil); user != nil || ok || err != nil {
		t.Error(user, ok, err)
	}
	groups := make([]string, 1, 8)
	AuthenticatedUser(&UserInfo{Username: "jane", Groups: groups})
	if groups[:2][1] != "" {
		t.Error("a group was added to those of somebody else")
	}
	if user, ok, err := (Webhook{Reviewer: silent{}}).AuthenticateToken(t.Context(), "x"); user != nil || ok || err == nil || IsRefusal(err) {
		t.Error(user, ok, err)
	}
	if got := shortSerial(&x509.Certificate{SerialNumber: new(big.Int).Lsh(big.NewInt(1), 512)}); got != "(over 512 bits)" {
		t.Error(got)
	}
	if got := colonHex(make([]byte, 65)); got != "(over 64 bytes)" {
		t.Error(got)
	}
}
