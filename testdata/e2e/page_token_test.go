package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"kubeletauth/testdata/e2e/internal/harness"
)

// pageTokens shows which tokens of service accounts get in, and when they no longer do.
func pageTokens(t *testing.T, c *harness.Cluster) {
	s := startPageServer(t, c, pageGuarded(c)...)
	sa := c.CreateServiceAccount(t, "page-token")
	now := time.Now()
	good := c.RequestToken(t, sa, 0)
	for name, token := range map[string]string{
		"requested": good,
		"signed":    c.SignToken(t, sa, now.Add(-time.Minute), now.Add(time.Minute)),
	} {
		t.Run(name, func(t *testing.T) { s.forbidden(t, pageCaller{token: token}, sa.Username(), "get", "metrics") })
	}
	for name, token := range map[string]string{
		"expired two minutes ago":  c.SignToken(t, sa, now.Add(-time.Hour), now.Add(-2*time.Minute)),
		"expired an hour ago":      c.SignToken(t, sa, now.Add(-2*time.Hour), now.Add(-time.Hour)),
		"not valid yet":            c.SignToken(t, sa, now.Add(time.Hour), now.Add(2*time.Hour)),
		"for another audience":     c.RequestToken(t, sa, 0, "elsewhere"),
		"with another signature":   pageForge(good),
		"of nobody":                c.SignToken(t, harness.ServiceAccount{Name: "page-nobody", UID: sa.UID}, now, now.Add(time.Hour)),
		"of a namesake":            c.SignToken(t, harness.ServiceAccount{Name: sa.Name, UID: "another"}, now, now.Add(time.Hour)),
		"that is rubbish":          "rubbish",
		"that is rubbish in three": "a.b.c",
	} {
		t.Run("not one "+name, func(t *testing.T) { s.unauthorized(t, pageCaller{token: token}) })
	}
	t.Run("for the audience that the server asks for", func(t *testing.T) { pageAudience(t, c, sa) })
	t.Run("of an account that is deleted", func(t *testing.T) { pageDeletedAccount(t, c) })
	t.Run("that expires while it is remembered", func(t *testing.T) { pageExpiringToken(t, c) })
}

// pageForge changes one character in the middle of a token's signature.
func pageForge(token string) string {
	at := (strings.LastIndexByte(token, '.') + len(token)) / 2
	other := "A"
	if token[at] == 'A' {
		other = "B"
	}
	return token[:at] + other + token[at+1:]
}

// pageAudience shows --api-audiences: a token must be for one of them, and one for the API server is not.
func pageAudience(t *testing.T, c *harness.Cluster, sa harness.ServiceAccount) {
	s := startPageServer(t, c, append(pageGuarded(c), "--api-audiences=nodes")...)
	s.forbidden(t, pageCaller{token: c.RequestToken(t, sa, 0, "nodes", "elsewhere")}, sa.Username(), "get", "metrics")
	s.unauthorized(t, pageCaller{token: c.RequestToken(t, sa, 0, "elsewhere")})
	s.unauthorized(t, pageCaller{token: c.RequestToken(t, sa, 0)})
}

// pageAPIServerMemory is how long the API server itself remembers a token that it accepted, whatever happens to it.
const pageAPIServerMemory = 10 * time.Second

// pageDeletedAccount shows that a token is refused at most the TTL later than by the API server.
func pageDeletedAccount(t *testing.T, c *harness.Cluster) {
	t.Parallel()
	const ttl = 3 * time.Second // the API server's time is no multiple of it, so some of it is left then
	s := startPageServer(t, c, append(pageGuarded(c), "--authentication-token-webhook-cache-ttl="+ttl.String())...)
	sa := c.CreateServiceAccount(t, "page-deleted")
	caller := pageCaller{token: c.RequestToken(t, sa, 0)}
	s.forbidden(t, caller, sa.Username(), "get", "metrics")
	c.DeleteServiceAccount(t, sa)

	refused := func() bool { return s.get(t, caller, "/metrics").Status == http.StatusUnauthorized }
	pageWithin(t, pageAPIServerMemory+5*time.Second, "the API server refuses the token", func() bool {
		refused() // so that it is remembered until the last moment
		return !review(t, c, caller.token).Authenticated
	})
	took := pageWithin(t, ttl+2*time.Second, "our server refuses the token", refused)
	t.Logf("refused %s after the API server had", took)
}

// pageExpiringToken shows that a token is not accepted for the TTL of two minutes when it expires before. The API server
// allows clocks to differ by a minute: for it, this token is good for three seconds more.
func pageExpiringToken(t *testing.T, c *harness.Cluster) {
	t.Parallel()
	const left = 3 * time.Second
	s := startPageServer(t, c, pageGuarded(c)...)
	sa := c.CreateServiceAccount(t, "page-expiring")
	now := time.Now()
	caller := pageCaller{token: c.SignToken(t, sa, now.Add(-time.Hour), now.Add(left-time.Minute))}
	s.forbidden(t, caller, sa.Username(), "get", "metrics")
	pageWithin(t, left+pageAPIServerMemory+5*time.Second, "our server refuses the token", func() bool {
		return s.get(t, caller, "/metrics").Status == http.StatusUnauthorized
	})
}
