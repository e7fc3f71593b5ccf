package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"

	"kubeletauth/testdata/e2e/internal/harness"
)

// upstreamMirror is an upstream that answers with what it was asked.
type upstreamMirror struct {
	Method, Target, Host string
	Header               http.Header
	User                 authenticationv1.UserInfo // as Kubernetes' own reader of such headers sees it
}

func (upstreamMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := upstreamMirror{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header.Clone()}
	reader, err := headerrequest.New([]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer, ok, err := reader.AuthenticateRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if ok {
		m.User = authenticationv1.UserInfo{Username: answer.User.GetName(), UID: answer.User.GetUID(), Groups: answer.User.GetGroups()}
		for key, values := range answer.User.GetExtra() {
			if m.User.Extra == nil {
				m.User.Extra = map[string]authenticationv1.ExtraValue{}
			}
			m.User.Extra[key] = values
		}
	}
	json.NewEncoder(w).Encode(m)
}

// mirrored sends a request to an upstreamMirror and returns what that saw.
func mirrored(t *testing.T, client *http.Client, r *http.Request) (m upstreamMirror) {
	t.Helper()
	answer := harness.Send(t, client, r)
	if answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	if err := json.Unmarshal([]byte(answer.Body), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestUpstreamIdentity shows that the upstream is told who asks, by Kubernetes' own reader: just as the API server
// said it, whatever the client says of itself.
func TestUpstreamIdentity(t *testing.T) {
	c := theCluster(t)
	url := upstreamService(t, upstreamMirror{})
	s := startUpstream(t, c, url, upstreamProxyRights(), "--upstream-identity-headers")
	c.Grant(t, harness.Group("upstream-devs"), harness.Nodes("get", "proxy"))
	said := review(t, c, s.token).User
	lies := []string{"X-Remote-User", "admin", "X_Remote_User", "admin", "X-Remote-Uid", "0", "X-Remote-Group", "system:masters", "X-Remote-Extra-Scopes", "all",
		"Connection", "X-Remote-User, X-Remote-Group, X-Remote-Uid"}
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		headers := lies
		if proto == "HTTP/2.0" {
			headers = lies[:len(lies)-2] // it has no Connection
		}
		t.Run(proto, func(t *testing.T) {
			m := mirrored(t, s.client(t, proto), s.request(t, "GET", "/who?a=b", nil, headers...))
			if diff := cmp.Diff(said, m.User); diff != "" || len(said.Extra) == 0 {
				t.Errorf("the API server said -, the upstream reads +:\n%s", diff)
			}
			if m.Method != "GET" || m.Target != "/who?a=b" || "http://"+m.Host != url {
				t.Errorf("the upstream was asked %s %s of %s", m.Method, m.Target, m.Host)
			}
		})
	}
	t.Run("client certificate", func(t *testing.T) {
		client := c.HTTPClient(t, c.ClientCertificate(t, "upstream jäne%", "upstream-devs", "ops, too"))
		r := s.request(t, "GET", "/who", nil, lies...)
		r.Header.Del("Authorization")
		r.Header.Del("Connection")
		m := mirrored(t, client, r)
		want := []string{"ops, too", "system:authenticated", "upstream-devs"}
		if got := slices.Sorted(slices.Values(m.User.Groups)); m.User.Username != "upstream jäne%" || !slices.Equal(got, want) {
			t.Errorf("the user is %+v", m.User)
		}
	})
}

// TestUpstreamCredentials shows all that the upstream sees of a request: no credential, and nothing that could pass for
// the word of a trusted proxy.
func TestUpstreamCredentials(t *testing.T) {
	c := theCluster(t)
	s := startUpstream(t, c, upstreamService(t, upstreamMirror{}), upstreamProxyRights())
	protocol := "base64url.bearer.authorization.k8s.io." + base64.RawURLEncoding.EncodeToString([]byte(s.token))
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			r := s.request(t, "POST", "/x", strings.NewReader("body"), "User-Agent", "curl", "Accept", "*/*", "Cookie", "a=b", "X-Own", "kept",
				"Proxy-Authorization", "Basic YTpi", "Proxy_Authorization", "Basic YTpi",
				"X-Remote-User", "admin", "x-remote_user", "admin", "X-Remote-Group", "system:masters", "X-Remote-Extra-A", "b",
				"Impersonate-User", "admin", "Impersonate_Group", "system:masters", "Impersonate-Extra-A", "b", "Impersonate-Uid", "0",
				"X-Forwarded-For", "192.0.2.1", "X_Forwarded_Proto", "https", "X-Forwarded-Client-Cert", "x", "Forwarded", "for=192.0.2.1", "X-Real-Ip", "192.0.2.1",
				"X-Original-Url", "/admin", "X-Http-Method-Override", "DELETE", "Proxy", "http://192.0.2.1", "Sec-Websocket-Protocol", protocol+", chat")
			m := mirrored(t, s.client(t, proto), r)
			if text, _ := json.Marshal(m); upstreamHasToken(string(text), s.token) {
				t.Error("the upstream sees the token")
			}
			want := http.Header{"User-Agent": {"curl"}, "Accept": {"*/*"}, "Cookie": {"a=b"}, "X-Own": {"kept"}, "Content-Length": {"4"}, "Sec-Websocket-Protocol": {"chat"}}
			if diff := cmp.Diff(want, m.Header); diff != "" {
				t.Errorf("want -, the upstream sees +:\n%s", diff)
			}
		})
	}
}
