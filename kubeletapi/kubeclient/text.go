package kubeclient

import (
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
		if unicode.IsGraphic(r) && r != '\u2028' && r != '\u2029' {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(strings.TrimSpace(redact(text, secrets...)), "?"))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return text
}

// redact returns text without the secrets.
func redact(text string, secrets ...string) string {
	for _, secret := range secrets {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// validHeader reports whether s may be the value of an HTTP header.
func validHeader(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
