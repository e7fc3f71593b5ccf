package e2e

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"kubeletauth/testdata/e2e/internal/generate"
	"kubeletauth/testdata/e2e/internal/harness"
)

// callers are all credentials that requests come with. What their users may do differs, so that an answer tells them
// apart. Who may do something with checkpoint may do it with spec: see asCheckpoint.
type callers struct {
	tokens       []string
	expired      string // how a token begins that expired long ago
	certificates []certificate
}

// certificate is a client certificate with a name for failures. One without a pair is none.
type certificate struct {
	name string
	pair *harness.Pair
}

// newCallers makes the users, lets each of them do something else, and makes credentials for them.
func newCallers(t *testing.T, c *harness.Cluster) *callers {
	t.Helper()
	all := []string{"proxy", "stats", "metrics", "log", "pods", "healthz", "configz", "checkpoint", "spec", "statusz"}
	for _, grant := range []struct {
		subject rbacv1.Subject
		rules   []rbacv1.PolicyRule
	}{
		{harness.User("diff-stats"), []rbacv1.PolicyRule{harness.Nodes("get", "stats", "metrics")}},
		{harness.User("diff-log"), []rbacv1.PolicyRule{harness.Nodes("get", "log", "healthz"), harness.Nodes("create", "checkpoint", "spec")}},
		{harness.Group("diff-configz"), []rbacv1.PolicyRule{harness.Nodes("get", "configz", "statusz")}},
		{harness.User("diff-all"), []rbacv1.PolicyRule{harness.Nodes("*", all...)}},
		{harness.User("system:anonymous"), []rbacv1.PolicyRule{harness.Nodes("get", "healthz")}},
	} {
		c.Grant(t, grant.subject, grant.rules...)
	}
	u := &callers{}
	u.makeTokens(t, c)
	u.makeCertificates(t, c)
	return u
}

// makeTokens makes tokens of accounts that may do different things, and tokens that are worth nothing.
func (u *callers) makeTokens(t *testing.T, c *harness.Cluster) {
	t.Helper()
	now := time.Now()
	pods := c.CreateServiceAccount(t, "diff-pods")
	c.Grant(t, pods.Subject(), harness.Nodes("get", "pods"), harness.Nodes("update", "proxy"))
	proxy := c.CreateServiceAccount(t, "diff-proxy")
	c.Grant(t, proxy.Subject(), harness.Nodes("get", "proxy"), harness.Nodes("create", "proxy"))
	nothing := c.CreateServiceAccount(t, "diff-nothing")
	expired := c.SignToken(t, pods, now.Add(-2*time.Hour), now.Add(-time.Hour))
	u.expired = expired[:strings.LastIndexByte(expired, '.')+1]
	u.tokens = []string{
		anyValidToken: c.RequestToken(t, pods, 0),

		expired,
		strings.Repeat("long", maxTokenBytes/4),
		strings.Repeat("long", maxTokenBytes/4) + "+",
		c.RequestToken(t, pods, 0),
		c.RequestToken(t, pods, 0), // another credential of the same user
		c.RequestToken(t, proxy, 0),
		c.RequestToken(t, nothing, 0),
		c.RequestToken(t, pods, 0, "elsewhere"),
		c.SignToken(t, pods, now.Add(-time.Hour), now.Add(-5*time.Minute)),
		c.SignToken(t, pods, now.Add(time.Hour), now.Add(2*time.Hour)),
		c.SignToken(t, pods, now, now.Add(time.Hour)),
		c.SignToken(t, pods, now, now.Add(time.Hour)) + "A",
		"rubbish", "a.b.c", "tök", "=", "bytes\xff",
	}
}

// anyValidToken is where a token stands that the API server accepts.
const anyValidToken = 0

// maxTokenBytes is how long a token may be.
const maxTokenBytes = 16 << 10

// isUnreviewed says whether a token falls under rowUnreviewed.
func (u *callers) isUnreviewed(token string) bool {
	const notUTF8 = "\ufffd" // as the audit log has it
	return len(token) > maxTokenBytes || strings.HasPrefix(token, u.expired) || strings.Contains(token, notUTF8)
}

// makeCertificates makes client certificates that mean somebody, nobody, and nothing.
func (u *callers) makeCertificates(t *testing.T, c *harness.Cluster) {
	t.Helper()
	issue := func(ca *harness.CA, template x509.Certificate, change func(*x509.Certificate)) *harness.Pair {
		if change != nil {
			change(&template)
		}
		pair, err := ca.Issue(template)
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	stranger, err := harness.NewCA("diff-stranger")
	if err != nil {
		t.Fatal(err)
	}
	client := harness.ClientTemplate
	uid := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: "uid-7"}
	u.certificates = []certificate{
		{"stats", issue(c.CA, client("diff-stats"), nil)},
		{"log", issue(c.CA, client("diff-log", "a", "b", "a"), nil)},
		{"a group", issue(c.CA, client("diff-somebody", "diff-configz"), nil)},
		{"all", issue(c.CA, client("diff-all"), nil)},
		{"nothing", issue(c.CA, client("diff nobody, is=it\n"), nil)},
		{"in a master's group", issue(c.CA, client("diff-master", "system:masters", "system:authenticated"), nil)},
		{"system:anonymous", issue(c.CA, client("system:anonymous"), nil)},
		{"with a UID", issue(c.CA, client("diff-stats"), func(x *x509.Certificate) { x.Subject.ExtraNames = []pkix.AttributeTypeAndValue{uid} })},
		{"with two UIDs", issue(c.CA, client("diff-stats"), func(x *x509.Certificate) { x.Subject.ExtraNames = []pkix.AttributeTypeAndValue{uid, uid} })},
		{"without a name", issue(c.CA, client("", "diff-configz"), nil)},
		{"foreign", issue(stranger, client("diff-all"), nil)},
		{"expired", issue(c.CA, client("diff-all"), func(x *x509.Certificate) {
			x.NotBefore, x.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})},
		{"not valid yet", issue(c.CA, client("diff-all"), func(x *x509.Certificate) {
			x.NotBefore, x.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		})},
		{"for servers", issue(c.CA, client("diff-all"), func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })},
		{"for any usage", issue(c.CA, client("diff-stats"), func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} })},
		{"without a usage", issue(c.CA, client("diff-stats"), func(x *x509.Certificate) { x.ExtKeyUsage = nil })},
	}
}

// certificate is one of them, or none.
func (u *callers) certificate(s *generate.Source) certificate {
	if s.Chance(2) {
		return certificate{name: "none"}
	}
	return generate.Pick(s, u.certificates...)
}

// token is one of the tokens.
func (u *callers) token(s *generate.Source) string { return generate.Pick(s, u.tokens...) }

// authorization are header lines with a token, or with something that nearly is one.
func (u *callers) authorization(s *generate.Source) (lines []string) {
	for range generate.Pick(s, 0, 1, 1, 1, 1, 2) {
		name := generate.Pick(s, "Authorization", "Authorization", "authorization", "AUTHORIZATION")
		lines = append(lines, name+":"+u.authorizationValue(s))
	}
	return lines
}

// authorizationValue is the value of one header line.
func (u *callers) authorizationValue(s *generate.Source) string {
	if s.Chance(6) {
		return generate.Pick(s, "", " ", " Bearer", " Bearer ", " Bearer  ", " Basic amFuZTpkb2U=", " bearer", " token", "\tBearer")
	}
	value := generate.Pick(s, " ", " ", " ", "", "\t", "   ") + generate.Pick(s, "Bearer", "Bearer", "Bearer", "bearer", "BEARER", "bEaReR", "Bearer:", "JWT")
	value += generate.Pick(s, " ", " ", " ", " ", " ", "  ", "\t", "") + u.token(s)
	return value + generate.Pick(s, "", "", "", " ", "\t", " and more", "  x", ", x")
}

// webSocket are the header lines of an upgrade, perhaps with a token among the protocols.
func (u *callers) webSocket(s *generate.Source) []string {
	lines := []string{
		"Connection: " + generate.Pick(s, "Upgrade", "Upgrade", "upgrade", "keep-alive, Upgrade", "keep-alive", "notupgraded"),
		"Upgrade: " + generate.Pick(s, "websocket", "websocket", "websocket", "WebSocket", "SPDY/3.1", "h2c"),
		"Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}
	for range s.Upto(2) {
		line := "Sec-WebSocket-Protocol: " + u.protocol(s)
		for range s.Upto(2) {
			line += generate.Pick(s, ",", ", ", " , ") + u.protocol(s)
		}
		lines = append(lines, line)
	}
	return lines
}

// protocol is one WebSocket protocol.
func (u *callers) protocol(s *generate.Source) string {
	if s.Chance(2) {
		return generate.Pick(s, "v4.channel.k8s.io", "v5.channel.k8s.io", "channel.k8s.io", "x")
	}
	if s.Chance(6) {
		return protocolPrefix + generate.Pick(s, "", "*", "YQ==", "_w", base64.StdEncoding.EncodeToString([]byte(u.token(s))))
	}
	token := u.token(s) + generate.Pick(s, "", "", "", "", "", "", " x", "\n", "\x00")
	return protocolPrefix + base64.RawURLEncoding.EncodeToString([]byte(token))
}
