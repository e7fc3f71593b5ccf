package cleanpath

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// parseRequest is what net/http makes of a request target on the wire.
func parseRequest(method, target string) (*http.Request, error) {
	return http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: node\r\n\r\n")))
}

func TestRedirect(t *testing.T) {
	const served, refused = "", "400"
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/", served},
		{"GET", "/metrics", served},
		{"GET", "/stats/", served},
		{"GET", "/logs/a%20b", served},
		{"GET", "/p%6Fds", served},
		{"GET", "/logs/.hidden", served},
		{"GET", "/logs/...", served},
		{"GET", "/logs/a..b", served},
		{"GET", "/logs/..a", served},
		{"GET", "/x?a=%2f..", served},
		{"GET", "http://node/metrics", served},
		{"GET", "/metrics%252f", served}, // decoded once, a per cent sign
		{"GET", "/%e4%bd%a0", served},
		{"GET", "/a;b=c/d", served},

		{"GET", "//metrics", "/metrics"},
		{"GET", "/stats/../exec", "/exec"},
		{"GET", "/stats/./summary", "/stats/summary"},
		{"GET", "/stats/..", "/"},
		{"GET", "/..", "/"},
		{"GET", "/pods//", "/pods/"},
		{"GET", "/pods/.", "/pods"},
		{"GET", "/a%20b//c", "/a%20b/c"},
		{"GET", "http://node", "/"},
		{"POST", "/stats/../exec", "/exec"},
		{"GET", "/stats/../exec?command=a%20b;c", "/exec?command=a%20b;c"},

		{"GET", "/metrics/%2e%2e/exec", refused},
		{"GET", "/metrics/%2E./exec", refused},
		{"GET", "/metrics/.%2e/exec", refused},
		{"GET", "/metrics/%2e/exec", refused},
		{"GET", "/metrics/..%2fexec", refused},
		{"GET", "/metrics%2F..%2Fexec", refused},
		{"GET", "/stats%2Fsummary", refused},
		{"GET", "/stats%2f", refused},
		{"GET", "//%2fevil.example", refused},
		{"GET", "/stats%5csummary", refused},
		{"GET", `/stats\..\exec`, refused},
		{"GET", `//\evil.example`, refused},
		{"GET", "/stats%00", refused},
		{"GET", "/logs/%2e%2e/%2e%2e/etc/passwd", refused},
		{"OPTIONS", "*", refused},

		{"CONNECT", "node:10250", served},
		{"CONNECT", "/exec/ns/pod/ctr", served},
		{"CONNECT", "/stats/../exec", refused}, // ServeMux does not clean for CONNECT
		{"CONNECT", "//stats", refused},
	} {
		r, err := parseRequest(tt.method, tt.target)
		if err != nil {
			t.Errorf("%s %s: %v", tt.method, tt.target, err)
			continue
		}
		got, err := Redirect(r)
		if err != nil {
			got = refused
		}
		if got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.method, tt.target, got, tt.want)
		}
	}
}
