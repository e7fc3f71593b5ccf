package apiservertest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"

	"github.com/google/go-cmp/cmp"
)

func TestWireFormat(t *testing.T) {
	s, c := start(t)
	s.SetToken("jane-token", authn.UserInfo{Username: "jane", UID: "7", Groups: []string{"dev"}, Extra: map[string][]string{"k": {"v"}}})
	s.AllowGroup("dev", "get", "metrics")
	access := func(version, groups string) string {
		return fmt.Sprintf(`{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/%s","metadata":{},"spec":{"resourceAttributes":{"verb":"get","version":"v1","resource":"nodes","subresource":"metrics","name":"n1"},"user":"jane",%q:["dev"],"extra":{"k":["v"]},"uid":"7"},"status":`, version, groups)
	}
	const allowed = `{"allowed":true,"reason":"RBAC: allowed by ClusterRoleBinding \"dev\" of ClusterRole \"dev\" to Group \"dev\""}}` + "\n"
	const jane = `"status":{"authenticated":true,"user":{"username":"jane","uid":"7","groups":["dev"],"extra":{"k":["v"]}},"audiences":["https://kubernetes.default.svc.cluster.local"]}}` + "\n"
	for _, row := range []struct{ name, path, body, want string }{
		{"a good token", tokenPath, janesToken,
			`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"jane-token"},` + jane},
		{"a good token in v1beta1", tokenBeta, strings.Replace(janesToken, "/v1", "/v1beta1", 1),
			`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1beta1","metadata":{},"spec":{"token":"jane-token"},` + jane},
		{"without kind and version", tokenPath, `{"spec":{"token":"jane-token"}}`,
			`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"jane-token"},` + jane},
		{"a bad token", tokenPath, `{"spec":{"token":"x"},"status":{"authenticated":true}}`,
			`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":{"token":"x"},"status":{"user":{},"error":"invalid bearer token"}}` + "\n"},
		{"access", accessPath, access("v1", "groups") + `{"allowed":false}}`, access("v1", "groups") + allowed},
		{"access in v1beta1", accessBeta, access("v1beta1", "group") + `{"allowed":false}}`, access("v1beta1", "group") + allowed},
		{"v1beta1 knows no groups", accessBeta, access("v1beta1", "groups") + `{"allowed":false}}`,
			strings.Replace(access("v1beta1", "group"), `"group":["dev"],`, "", 1) +
				`{"allowed":false,"reason":"RBAC: no rules authorize user \"jane\" with groups [] to \"get\" resource \"nodes/metrics\" named \"n1\" cluster-wide"}}` + "\n"},
		{"a path", accessPath, `{"metadata":{"creationTimestamp":null},"spec":{"groups":["g"],"nonResourceAttributes":{"path":"/x","verb":"get"}}}`,
			`{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","metadata":{},"spec":{"nonResourceAttributes":{"path":"/x","verb":"get"},"groups":["g"]},"status":{"allowed":false,"reason":"RBAC: no rules authorize user \"\" with groups [\"g\"] to \"get\" nonResourceURL \"/x\" cluster-wide"}}` + "\n"},
	} {
		got := c.post(t, row.path, row.body)
		if got.code != http.StatusCreated || got.err != nil || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %v, error %v", row.name, got.code, got.header, got.err)
		}
		if diff := cmp.Diff(got.body, row.want); diff != "" {
			t.Errorf("%s: answer (-got+want):\n%s", row.name, diff)
		}
	}
}

func TestStrictness(t *testing.T) {
	s, c := start(t)
	status := func(code int, reason, message string) string {
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`+"\n", message, reason, code)
	}
	bad := func(message string) string { return status(400, "BadRequest", message) }
	invalid := func(causes ...[2]string) string {
		var texts, objects []string
		for _, cause := range causes {
			texts = append(texts, cause[0]+": "+cause[1])
			objects = append(objects, fmt.Sprintf(`{"reason":"FieldValueInvalid","message":%q,"field":%q}`, cause[1], cause[0]))
		}
		text := strings.Join(texts, ", ")
		if len(texts) > 1 {
			text = "[" + text + "]"
		}
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":"Invalid","details":{"group":"authorization.k8s.io","kind":"SubjectAccessReview","causes":[%s]},"code":422}`+"\n",
			`SubjectAccessReview.authorization.k8s.io "" is invalid: `+text, strings.Join(objects, ","))
	}
	oneKind, someone := "exactly one of nonResourceAttributes or resourceAttributes must be specified", "at least one of user or group must be specified"
	for _, row := range []struct {
		name, method, contentType, path, body string
		code                                  int
		want                                  string
	}{
		{"GET", "GET", "", tokenPath, "", 405, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}` + "\n"},
		{"protobuf", "POST", "application/vnd.kubernetes.protobuf", tokenPath, janesToken, 415, status(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json")},
		{"content type that is none", "POST", "application/", tokenPath, janesToken, 415, status(415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json")},
		{"content type with a parameter", "POST", "application/json; charset=utf-8", tokenPath, `{"spec":{}}`, 400, bad("token is required for TokenReview in authentication")},
		{"no content type", "POST", "", tokenPath, `{"spec":{}}`, 400, bad("token is required for TokenReview in authentication")},
		{"3 MiB and a byte", "POST", "application/json", tokenPath, strings.Repeat(" ", 3<<20+1), 413, status(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728")},
		{"3 MiB", "POST", "application/json", tokenPath, `{"spec":{}}` + strings.Repeat(" ", 3<<20-11), 400, bad("token is required for TokenReview in authentication")},
		{"no JSON", "POST", "application/json", tokenPath, "{", 400, bad("the object provided is unrecognized (must be of type TokenReview): couldn't get version/kind; json parse error: unexpected end of JSON input")},
		{"wrong type", "POST", "application/json", accessPath, `{"spec":7}`, 400, `cannot be handled as a SubjectAccessReview: json: cannot unmarshal number`},
		{"another kind", "POST", "application/json", accessPath, janesToken, 400, bad(`TokenReview in version "v1" cannot be handled as a SubjectAccessReview: no kind "TokenReview" is registered for version "authentication.k8s.io/v1"`)},
		{"another version", "POST", "application/json", tokenBeta, janesToken, 400, bad("the API version in the data (authentication.k8s.io/v1) does not match the expected API version (authentication.k8s.io/v1beta1)")},
		{"no attributes", "POST", "application/json", accessPath, `{"spec":{"user":"jane"}}`, 422, invalid([2]string{"spec", "Invalid value: null: " + oneKind})},
		{"both kinds of attributes", "POST", "application/json", accessBeta, `{"spec":{"group":["g"],"resourceAttributes":{},"nonResourceAttributes":{"path":"/"}}}`, 422, invalid([2]string{"spec", `Invalid value: {"path":"/"}: ` + oneKind})},
		{"nobody", "POST", "application/json", accessPath, `{"spec":{"resourceAttributes":{}}}`, 422, invalid([2]string{"spec.user", `Invalid value: "": ` + someone})},
		{"nobody and nothing", "POST", "application/json", accessPath, `{}`, 422, invalid([2]string{"spec", "Invalid value: null: " + oneKind}, [2]string{"spec.user", `Invalid value: "": ` + someone})},
		{"metadata", "POST", "application/json", accessPath, `{"metadata":{"name":"x"},"spec":{"user":"u","resourceAttributes":{}}}`, 422, invalid([2]string{"metadata", `Invalid value: {"name":"x"}: must be empty`})},
		{"another path", "POST", "application/json", "/apis/authentication.k8s.io/v2/tokenreviews", janesToken, 404, `"reason":"NotFound","details":{},"code":404`},
		{"trailing slash", "POST", "application/json", tokenPath + "/", janesToken, 404, `"reason":"NotFound","details":{},"code":404`},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := c.request(t, row.method, row.path, row.body)
			if r.Header.Del("Content-Type"); row.contentType != "" {
				r.Header.Set("Content-Type", row.contentType)
			}
			got := c.do(r)
			got.want(t, row.code, row.want)
			if strings.HasPrefix(row.want, "{") && got.body != row.want {
				t.Errorf("body (-got+want):\n%s", cmp.Diff(got.body, row.want))
			}
		})
	}
	if reviews := s.Reviews(); len(reviews) != 8 {
		t.Errorf("%d requests were well-formed reviews, want 8", len(reviews))
	}
}

func TestInformation(t *testing.T) {
	_, c := start(t)
	c.get(t, "/readyz").want(t, 200, "ok")
	c.get(t, "/version").want(t, 200, `"gitVersion":"v1.37.2"`)
	c.token = ""
	c.get(t, "/livez").want(t, 200, "ok")
	c.get(t, "/version").want(t, 200, `"major":"1"`)
	c.get(t, "/apis").want(t, 401, "Unauthorized")
	c.token = "expired"
	c.get(t, "/version").want(t, 401, "Unauthorized")
}

func TestTokens(t *testing.T) {
	s := apiservertest.MustStart(t, apiservertest.Config{Audiences: []string{"api", "api2"}})
	c := newClient(t, s, false)
	s.SetToken("plain", authn.UserInfo{Username: "jane"})
	s.SetToken("vault", authn.UserInfo{Username: "jane"}, "vault", "api2", "kubelet")
	s.SetToken("gone", authn.UserInfo{Username: "jane"})
	s.SetToken("plain2", authn.UserInfo{Username: "old"}, "old")
	s.SetToken("plain2", authn.UserInfo{Username: "new"})
	s.RevokeToken("gone")
	s.RevokeToken("never there")
	review := func(spec, want string) {
		t.Helper()
		c.post(t, tokenPath, `{"spec":{`+spec+`}}`).want(t, 201, `"status":`+want+"}\n")
	}
	const good = `{"authenticated":true,"user":{"username":"jane"},"audiences":`
	review(`"token":"plain"`, good+`["api","api2"]}`)
	review(`"token":"plain","audiences":["x","api2"]`, good+`["api2"]}`)
	review(`"token":"vault"`, good+`["api2"]}`)
	review(`"token":"vault","audiences":["kubelet","vault"]`, good+`["vault","kubelet"]}`) // in the token's order
	review(`"token":"vault","audiences":["api"]`, `{"user":{},"error":"token audiences [\"vault\" \"api2\" \"kubelet\"] is invalid for the target audiences [\"api\"]"}`)
	review(`"token":"plain2"`, `{"authenticated":true,"user":{"username":"new"},"audiences":["api","api2"]}`)
	review(`"token":"gone"`, `{"user":{},"error":"invalid bearer token"}`)
	s.SetRefusal("[invalid bearer token, token lookup failed]")
	review(`"token":"gone"`, `{"user":{},"error":"[invalid bearer token, token lookup failed]"}`)
	s.SetRefusal("")
	review(`"token":"Plain"`, `{"user":{}}`)
}

func TestPolicy(t *testing.T) {
	s, c := start(t)
	s.AllowUser("jane", "get", "metrics", "")
	s.AllowGroup("admins", "*", "*")
	s.Allow(
		apiservertest.Rule{Name: "any-log", Users: []string{"lee"}, Verbs: []string{"get"}, Resources: []string{"*/log"}},
		apiservertest.Rule{Name: "one-node", Users: []string{"ann"}, Verbs: []string{"get"}, Resources: []string{"nodes/stats"}, ResourceNames: []string{"n1"}},
		apiservertest.Rule{Name: "apps", Users: []string{"app"}, Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}},
		apiservertest.Rule{Name: "urls", Users: []string{"url"}, Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics", "/logs/*"}},
		apiservertest.Rule{Name: "no-subject", Verbs: []string{"*"}, Resources: []string{"*"}, NonResourceURLs: []string{"*"}},
	)
	ask := func(user, attributes string) answer {
		return c.post(t, accessPath, fmt.Sprintf(`{"spec":{"user":%q,"groups":[%q],%s}}`, user, user, attributes))
	}
	node := func(verb, subresource, name string) string {
		return fmt.Sprintf(`"resourceAttributes":{"resource":"nodes","verb":%q,"subresource":%q,"name":%q}`, verb, subresource, name)
	}
	url := func(verb, path string) string {
		return fmt.Sprintf(`"nonResourceAttributes":{"path":%q,"verb":%q}`, path, verb)
	}
	allow := func(user, attributes string) { t.Helper(); ask(user, attributes).want(t, 201, `"allowed":true`) }
	deny := func(user, attributes string) {
		t.Helper()
		ask(user, attributes).want(t, 201, `"allowed":false,"reason":"RBAC: no rules authorize`)
	}
	allow("jane", node("get", "metrics", "n1"))
	allow("jane", node("get", "", ""))
	deny("jane", node("get", "stats", "n1"))
	deny("jane", node("", "metrics", "n1"))
	deny("Jane", node("get", "metrics", "n1"))
	deny("jane", `"resourceAttributes":{"resource":"nodes","verb":"get","subresource":"metrics","group":"apps"}`)
	deny("jane", url("get", "/metrics"))
	allow("admins", node("", "proxy", "n2")) // an empty verb is for * only
	deny("admins", url("get", "/metrics"))
	allow("lee", node("get", "log", ""))
	deny("lee", node("get", "", ""))
	allow("ann", node("get", "stats", "n1"))
	deny("ann", node("get", "stats", "n2"))
	deny("ann", node("get", "stats", ""))
	allow("app", `"resourceAttributes":{"resource":"deployments","verb":"get","group":"apps","namespace":"x"}`)
	deny("app", `"resourceAttributes":{"resource":"deployments","verb":"get"}`)
	ask("app", `"resourceAttributes":{"resource":"deployments","subresource":"scale","verb":"get","group":"apps","namespace":"x"}`).
		want(t, 201, `to \"get\" resource \"deployments.apps/scale\" in namespace \"x\""`)
	allow("url", url("get", "/metrics"))
	allow("url", url("get", "/logs/x"))
	deny("url", url("get", "/metrics/x"))
	deny("url", url("post", "/metrics"))
	deny("url", node("get", "metrics", "n1"))

	s.SetRules()
	deny("jane", node("get", "metrics", "n1"))
	s.SetDecide(func(spec authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
		return authz.SubjectAccessReviewStatus{Denied: true, Reason: "not " + spec.User, EvaluationError: "oops"}
	})
	ask("jane", node("get", "metrics", "n1")).want(t, 201, `"status":{"allowed":false,"denied":true,"reason":"not jane","evaluationError":"oops"}}`)
	s.SetDecide(nil)
	deny("jane", node("get", "metrics", "n1"))
}
