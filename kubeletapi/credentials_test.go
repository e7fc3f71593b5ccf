package kubeletapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kubeletauth/authn"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
)

var serverAuth = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}

// offer is a credential, and what it makes of a request by itself.
type offer struct {
	name    string
	value   string           // of the Authorization header
	pair    *tls.Certificate // of the connection
	user    string           // whom it authenticates
	refused bool             // it is there, and no good
}

func (w *world) certificates() []offer {
	foreign := apiservertest.MustNewCA(w.t, "foreign-ca")
	pair := func(ca *apiservertest.CA, c apiservertest.Certificate) *tls.Certificate {
		issued := ca.MustIssue(w.t, c)
		return &issued
	}
	ann := apiservertest.Certificate{CommonName: "ann", Organizations: []string{"ops"}}
	expired, server, nameless := ann, ann, ann
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	server.Usages = serverAuth
	nameless.CommonName = ""
	return []offer{
		{name: "no certificate"},
		{name: "certificate", pair: pair(w.ca, ann), user: "ann"},
		{name: "expired certificate", pair: pair(w.ca, expired), refused: true},
		{name: "certificate of a foreign CA", pair: pair(foreign, ann), refused: true},
		{name: "server's certificate", pair: pair(w.ca, server), refused: true},
		{name: "certificate without a name", pair: pair(w.ca, nameless)},
	}
}

func tokens() []offer {
	return []offer{
		{name: "no token"},
		{name: "token", value: "Bearer " + goodToken, user: "jane"},
		{name: "garbage token", value: "Bearer garbage-token", refused: true},
		{name: "empty token", value: "Bearer  "},
		{name: "other scheme", value: "Basic amFuZTpzZWNyZXQ="},
		{name: "token and junk", value: "bearer " + goodToken + " junk", user: "jane"},
	}
}

// answer is the rule that the kubelet's chain comes down to.
func answer(certificate, token offer, cfg kubeletapi.Config) (code int, body string) {
	user := certificate.user
	if user == "" {
		user = token.user
	}
	if user == "" {
		if certificate.refused || token.refused || !cfg.AnonymousAuth {
			return 401, "Unauthorized"
		}
		user = authn.UserAnonymous
	}
	if cfg.AuthorizationMode == kubeletapi.ModeAlwaysAllow || user != authn.UserAnonymous {
		return 200, "ok"
	}
	return 403, "Forbidden (user=" + user + ", verb=get, resource=nodes, subresource(s)=[proxy])\n"
}

// Every credential, alone and in pairs, over real TLS through the real client.
func TestCredentials(t *testing.T) {
	for _, anonymous := range []bool{true, false} {
		for _, mode := range []string{kubeletapi.ModeAlwaysAllow, kubeletapi.ModeWebhook} {
			t.Run(fmt.Sprintf("anonymous=%v/%s", anonymous, mode), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.cfg.AnonymousAuth, w.cfg.AuthorizationMode = anonymous, mode
				w.api.AllowUser("ann", "get", "proxy")
				w.api.AllowUser("jane", "get", "proxy")
				w.start()
				for _, certificate := range w.certificates() {
					for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
						w.tryTokens(proto, certificate)
					}
				}
				if strings.Contains(w.log.String(), goodToken) || strings.Contains(w.log.String(), "garbage-token") {
					t.Error("there is a token in the log")
				}
				if strings.Contains(w.log.String(), "level=ERROR") {
					t.Error("what clients did is in the log as our failure")
				}
			})
		}
	}
}

func (w *world) tryTokens(proto string, certificate offer) {
	client := w.client(proto, certificate.pair)
	for _, token := range tokens() {
		code, want := answer(certificate, token, w.cfg)
		response, body := w.get(client, "/healthz", token.value)
		if response.StatusCode != code || body != want {
			w.t.Errorf("%s, %s, %s: %d %q, want %d %q", proto, certificate.name, token.name, response.StatusCode, body, code, want)
		}
		if response.Proto != proto {
			w.t.Errorf("asked for %s, got %s", proto, response.Proto)
		}
		if code == 401 && response.Header.Get("WWW-Authenticate") != "" {
			w.t.Error("a 401 with WWW-Authenticate")
		}
	}
}

// What a reviewer is asked, through the real client.
func TestReviewsSent(t *testing.T) {
	w := newWorld(t)
	w.cfg.APIAudiences = []string{"node-api"}
	w.api.SetToken(goodToken, authn.UserInfo{Username: "jane", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}}, "node-api")
	w.api.SetToken("token-for-others", authn.UserInfo{Username: "jane"}, "other")
	w.api.AllowUser("jane", "get", "stats")
	w.start()
	client := w.client("HTTP/2.0", nil)
	w.want(200, client, "/stats/summary", "Bearer "+goodToken)
	w.want(401, client, "/stats/summary", "Bearer token-for-others")

	reviews := w.api.Reviews()
	if len(reviews) != 3 {
		t.Fatalf("%d reviews, want a token's, an access and a token's", len(reviews))
	}
	if token := reviews[0].Token; token == nil || token.Token != goodToken || len(token.Audiences) != 1 {
		t.Errorf("first review: %+v", reviews[0])
	}
	access := reviews[1].Access
	if access == nil || access.User != "jane" || access.UID != "7" || strings.Join(access.Groups, ",") != "dev,system:authenticated" || access.Extra["k"][0] != "v" {
		t.Fatalf("second review: %+v", access)
	}
	if a := access.ResourceAttributes; a == nil || a.Verb != "get" || a.Resource != "nodes" || a.Subresource != "stats" || a.Name != nodeName || a.Version != "v1" || a.Namespace+a.Group != "" {
		t.Errorf("attributes: %+v", a)
	}
	if reviews[0].Protocol != "HTTP/2.0" {
		t.Errorf("asked over %s", reviews[0].Protocol)
	}
}

// A token that was accepted does not reach the handler; one that nobody looked
// at does.
func TestHandlerSees(t *testing.T) {
	w := newWorld(t)
	w.api.AllowUser("jane", "*", "*")
	w.api.AllowUser("ann", "*", "*")
	auth, err := kubeletapi.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(&kubeletapi.Server{Config: w.cfg, Auth: auth, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		u, _ := authn.UserFrom(r.Context())
		fmt.Fprintf(rw, "%s %q %q", u.Username, r.Header["Authorization"], r.Header["Sec-Websocket-Protocol"])
	})})
	ann := w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "ann"})
	for _, tt := range []struct {
		client *http.Client
		header http.Header
		want   string
	}{
		{w.client("HTTP/1.1", nil), http.Header{"Authorization": {"Bearer " + goodToken, "Basic other"}}, `jane [] []`},
		{w.client("HTTP/1.1", &ann), http.Header{"Authorization": {"Bearer x"}}, `ann ["Bearer x"] []`},
		{w.client("HTTP/1.1", nil), http.Header{"Upgrade": {"websocket"}, "Connection": {"upgrade"}, "Sec-Websocket-Protocol": {
			"a, base64url.bearer.authorization.k8s.io.Z29vZC10b2tlbi1vZi1qYW5l", "b"}}, `jane [] ["a,b"]`},
	} {
		r, _ := http.NewRequest("GET", w.url+"/x", nil)
		r.Header = tt.header
		response, err := tt.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := readBody(t, response); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
