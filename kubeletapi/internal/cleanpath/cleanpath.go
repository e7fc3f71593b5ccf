// Package cleanpath tells whether the path of a request may be authorized and
// served as it stands.
package cleanpath

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// ErrUnclean is the error for a path that nobody is redirected from, and the one to
// return where nobody can be.
var ErrUnclean = errors.New("the path has an empty or a dot segment: ask for the path it resolves to")

var errAmbiguous = errors.New("the path has an encoded slash or dot segment, a backslash or a NUL: two programs could read it in two ways")

// Redirect returns "" for a request whose path may be authorized and
// served as it stands, and otherwise the path and query to redirect to: repeated
// slashes and dot segments are resolved as http.ServeMux resolves them. It refuses what
// two programs could read in two ways: a backslash or a NUL, and a slash or a
// dot segment that is percent-encoded. Of a path that may be served, the
// decoded form, which is authorized, and the encoded one, which a handler may
// route on, have the same segments.
func Redirect(r *http.Request) (redirect string, err error) {
	if r.URL.RawPath == "" && isPlain(r.URL.Path) {
		return "", nil
	}
	escaped := r.URL.EscapedPath()
	if strings.IndexByte(r.URL.Path, '\\') >= 0 || strings.IndexByte(r.URL.Path, 0) >= 0 || ambiguous(escaped) || escaped == "*" {
		return "", errAmbiguous
	}
	clean := cleanPath(escaped)
	switch {
	case clean == escaped, r.Method == http.MethodConnect && escaped == "": // only a host is named
		return "", nil
	case r.Method == http.MethodConnect: // ServeMux would serve it as it is
		return "", ErrUnclean
	case r.URL.RawQuery != "":
		clean += "?" + r.URL.RawQuery
	}
	return clean, nil
}

// isPlain reports whether a path is clean, and every byte of it stands for
// itself: nearly all are.
func isPlain(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '~':
		case c != '/' && c != '.' || p[i-1] == '/':
			return false
		}
	}
	return true
}

// ambiguous reports whether an encoded path has a slash or a dot segment that
// only decoding shows.
func ambiguous(escaped string) bool {
	if !strings.Contains(escaped, "%") {
		return false
	}
	for segment := range strings.SplitSeq(escaped, "/") {
		decoded, err := url.PathUnescape(segment)
		if err != nil || strings.Contains(decoded, "/") || decoded != segment && (decoded == "." || decoded == "..") {
			return true
		}
	}
	return false
}

// cleanPath is the rule of http.ServeMux: a trailing slash stays.
func cleanPath(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
