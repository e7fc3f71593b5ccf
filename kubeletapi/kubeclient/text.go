package kubeclient

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
)

const (
	maxText = 1 << 10
	// minSecret keeps words of the message from being taken for a secret.
	minSecret = 6
)

// oneLine makes text from elsewhere fit for an error or a log line: without the
// secrets, without control characters, and not longer than 1 KiB.
func oneLine(text string, secrets ...string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(strings.TrimSpace(redact(text, secrets...)), "?"))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return text
}

// redact returns text without the secrets, also as they are quoted, by JSON or Go.
func redact(text string, secrets ...string) string {
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			encoded, _ := json.Marshal(secret) // which is a string
			for _, form := range []string{secret, string(encoded[1 : len(encoded)-1])} {
				quoted := strconv.Quote(form)
				text = strings.NewReplacer(form, "[redacted]", quoted[1:len(quoted)-1], "[redacted]").Replace(text)
			}
		}
	}
	return text
}

// hiddenError is an error whose own text has secrets in it.
type hiddenError struct {
	error
	text string
}

func (e *hiddenError) Error() string { return e.text }

func (e *hiddenError) Unwrap() error { return e.error }

// hide returns err without the secrets in its text: net/http quotes what it cannot
// read of an answer, which may repeat the request.
func hide(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := redact(err.Error(), secrets...)
	if text == err.Error() {
		return err
	}
	return &hiddenError{err, text}
}

// validHeader reports whether s may be the value of an HTTP header.
func validHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
