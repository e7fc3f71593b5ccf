package authn

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestTokensRefusedUnreviewed(t *testing.T) {
	ago := func(d time.Duration) string { return jwt(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(-d).Unix())) }
	for _, tt := range []struct{ name, token, want string }{
		{"opaque", "abc", ""},
		{"longest", strings.Repeat("x", 16<<10), ""},
		{"too long", strings.Repeat("x", 16<<10+1), "longer than 16384 bytes"},
		{"valid", ago(-time.Hour), ""},
		{"expired a moment ago, by a clock that may run ahead", ago(9 * time.Minute), ""},
		{"expired", ago(11 * time.Minute), "expired at"},
		{"no exp", jwt(`{"iss":"x"}`), ""},
		{"exp that is no number", jwt(`{"exp":"soon"}`), ""},
		{"EXP is another claim", jwt(`{"EXP":1}`), ""},
		{"and does not take the place of exp", jwt(`{"exp":4102444800,"Exp":1}`), ""},
		{"exp that is null", jwt(`{"exp":null}`), ""},
		{"exp before all time", jwt(`{"exp":-1e300}`), "expired at 1970"},
		{"exp after all time", jwt(`{"exp":1e300}`), ""},
		{"not JSON", "e30.e30x.c2ln", ""},
		{"a good token and more, of which an API server would see the first word", ago(-time.Hour) + " x1", "white space"},
		{"line break", "abc\n", "white space"},
		{"tab", "a\tbc", "white space"},
		{"no-break space", "abc\u00a0", "white space"},
		{"NUL", "a\x00bc", "control character"},
	} {
		err := refuseUnreviewed(tt.token)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), tt.token)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
