package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kubeletauth/authz"
	"kubeletauth/kubeletapi/apiservertest"
)

func TestExplainGolden(t *testing.T) {
	w := newTown(t)
	w.api.AllowUser("jane", "get", "metrics")
	for name, line := range map[string]string{
		"explain-allowed.txt": "explain SECURE --token-file=DIR/token GET /metrics",
		"explain-denied.txt":  "explain SECURE --cert-file=DIR/joe.crt --feature-gates=KubeletFineGrainedAuthz=true GET /pods?x",
		"explain-denied.json": "explain SECURE --user=system:serviceaccount:monitoring:agent -o json DELETE /logs/x",
	} {
		_, said := w.run(line)
		golden(t, name, said)
	}
}

func TestExplain(t *testing.T) {
	w := newTown(t)
	w.api.AllowUser("jane", "get", "metrics")
	w.api.AllowUser("root", "*", "*")
	w.api.Allow(apiservertest.Rule{Name: "own", Users: []string{"jane"}, Verbs: []string{"get"}, NonResourceURLs: []string{"/a"}})
	w.write("stranger", []byte("SECRET-of-a-stranger"))
	other := apiservertest.MustNewCA(t, "other-ca")
	w.write("other.crt", apiservertest.CertPEM(other.MustIssue(t, apiservertest.Certificate{CommonName: "joe"})))
	w.write("expired.crt", apiservertest.CertPEM(w.ca.MustIssue(t, apiservertest.Certificate{CommonName: "joe", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})))
	w.write("nameless.crt", apiservertest.CertPEM(w.ca.MustIssue(t, apiservertest.Certificate{Organizations: []string{"ops"}})))
	for _, tt := range []struct {
		line string
		code int
		want string
	}{
		// Who asks.
		{"explain SECURE GET /metrics", 1, "401|no credential that counts|--user|!review|!Role"},
		{"explain SECURE --anonymous-auth GET /metrics", 1, "403|user system:anonymous|groups system:unauthenticated|kind: Group name: \"system:unauthenticated\""},
		{"explain SECURE --token-file=DIR/token GET /metrics", 0, "answer passes|user jane|groups readers, system:authenticated|review get nodes/metrics of n1: allow: RBAC: allowed by|!Role\""},
		{"explain SECURE --token-file=DIR/stranger GET /metrics", 1, "401|Unauthorized: invalid bearer token|!SECRET|!user "},
		{"explain SECURE --anonymous-auth --token-file=DIR/stranger GET /metrics", 1, "401|invalid bearer token"},
		{"explain SECURE --authentication-token-webhook=false --token-file=DIR/token GET /metrics", 1, "401|note bearer tokens are off (--authentication-token-webhook)"},
		{"explain SECURE --authentication-token-webhook=false --anonymous-auth --token-file=DIR/token GET /metrics", 1, "403|note bearer tokens are off|user system:anonymous"},
		{"explain SECURE --cert-file=DIR/joe.crt GET /metrics", 1, "403|user joe|groups ops, system:authenticated"},
		{"explain SECURE --cert-file=DIR/other.crt GET /metrics", 1, "401|unknown authority"},
		{"explain SECURE --cert-file=DIR/expired.crt GET /metrics", 1, "401|has expired"},
		{"explain SECURE --cert-file=DIR/nameless.crt GET /metrics", 1, "401|no credential that counts"},
		{"explain SECURE --client-ca-file= --cert-file=DIR/joe.crt GET /metrics", 1, "401|note client certificates are off (--client-ca-file)"},
		{"explain SECURE --user=jane --group=ops GET /metrics", 0, "groups ops, system:authenticated"},
		{"explain SECURE --user=system:anonymous GET /metrics", 1, "groups system:unauthenticated asks|!groups system:authenticated"},
		{"explain SECURE --user=system:serviceaccount:a:b GET /metrics", 1, "groups system:serviceaccounts, system:serviceaccounts:a, system:authenticated|kind: ServiceAccount name: \"b\" namespace: \"a\""},
		{"explain SECURE --user=system:serviceaccount:a:b --group=g GET /metrics", 1, "groups g, system:authenticated"},
		{"explain SECURE --user=system:serviceaccount:A:b GET /metrics", 1, "!kind: ServiceAccount|kind: User name: \"system:serviceaccount:A:b\""},
		{"explain SECURE --user=system:serviceaccount:a: GET /metrics", 1, "!kind: ServiceAccount|kind: User"},

		// What is asked for.
		{"explain SECURE --user=jane HEAD /metrics/cadvisor", 0, "asks for get nodes/metrics of n1"},
		{"explain SECURE --user=jane POST /metrics", 1, "asks for create nodes/metrics of n1|verbs: [\"create\"]|resourceNames: [\"n1\"]"},
		{"explain SECURE --user=jane OPTIONS /metrics", 1, "asks for (no verb) nodes/metrics of n1|verbs: [\"*\"]"},
		{"explain SECURE --user=jane --feature-gates=KubeletFineGrainedAuthz=true GET /pods", 1, "asks for get nodes/pods of n1|asks for get nodes/proxy of n1|review get nodes/proxy of n1: no opinion|resources: [\"nodes/pods\"]|!resources: [\"nodes/proxy\"]"},
		{"explain SECURE --user=root --feature-gates=KubeletFineGrainedAuthz=true GET /pods", 0, "review get nodes/pods of n1: allow|!review get nodes/proxy"},
		{"explain SECURE --user=jane --request-attributes=nonresource GET /a", 0, "asks for get /a review"},
		{"explain SECURE --user=jane --request-attributes=nonresource GET /b", 1, "asks for get /b|nonResourceURLs: [\"/b\"]"},
		{"explain SECURE --user=jane --request-attributes=nonresource GET /b*", 1, "403|No role is as small|!kind:"},
		{"explain SECURE --user=jane --strict-streaming-verbs GET /exec/ns/pod/c", 1, "asks for create nodes/proxy of n1"},
		{"explain SECURE --user=jane GET /exec/ns/pod/c", 1, "asks for get nodes/proxy of n1"},
		{"explain --user=jane GET /metrics", 0, "AlwaysAllow, and nobody is asked|!review"},

		// What is never asked for.
		{"explain SECURE --user=jane GET //metrics?a=b", 1, "307 Temporary Redirect: /metrics?a=b|ask for the path it resolves to|!user"},
		{"explain SECURE --user=jane GET /a/../metrics", 1, "307 Temporary Redirect: /metrics"},
		{"explain SECURE --user=jane GET /metrics/%2e%2e/exec", 1, "400 Bad Request|two programs|!asks"},
		{"explain SECURE --user=jane GET /a%2fb", 1, "400 Bad Request"},
		{"explain SECURE --user=jane OPTIONS *", 1, "400 Bad Request"},
	} {
		w.want(tt.line, tt.code, tt.want)
	}
}

// What the API server does not answer is no denial.
func TestExplainFailures(t *testing.T) {
	w := newTown(t)
	w.write("wrong-ca", []byte(strings.Replace(string(w.api.Kubeconfig("")), "certificate-authority-data: ", "insecure-skip-tls-verify: false # ", 1)))
	w.write("unknown", w.api.Kubeconfig("SECRET-unknown"))
	const line = "explain SECURE --user=jane GET /metrics"
	w.want(strings.Replace(line, "--user", "--kubeconfig=DIR/wrong-ca --user", 1), 1, "500|certificate-authority in the kubeconfig|: none: ")
	w.want(strings.Replace(line, "--user", "--kubeconfig=DIR/unknown --user", 1), 1, "500|answered 401|!SECRET")
	w.api.Inject(apiservertest.SubjectAccessReviews, apiservertest.Fault{Status: 403})
	w.want(line, 1, "500|!kind:|answered 403 (Forbidden)|review get nodes/metrics of n1: none: ")
	w.api.Inject(apiservertest.SubjectAccessReviews, apiservertest.Fault{Break: apiservertest.BreakContradict})
	w.want(line, 1, "500|both allow and deny")
	w.api.Inject(apiservertest.SubjectAccessReviews)
	w.api.SetDecide(func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
		return authz.SubjectAccessReviewStatus{Denied: true, Reason: "\x1b[31mno\tway\nanswer  passes"}
	})
	w.want(line, 1, `403|: deny: \u001b[31mno\u0009way\nanswer passes|something denies it|!kind:|`+"!\x1b")
	w.api.Inject(apiservertest.TokenReviews, apiservertest.Fault{Status: 403})
	w.want("explain SECURE --token-file=DIR/token GET /", 1, "401|answered 403")
	w.api.Stop()
	w.want(line, 1, "500|is the API server up")
	w.want("explain SECURE --token-file=DIR/token GET /", 1, "401|is the API server up")
	w.want("explain SECURE --cert-file=DIR/joe.crt GET /a%2fb", 1, "400")
}

// The grant allows what was asked for, and nothing more, whatever the names.
func TestExplainGrant(t *testing.T) {
	w := newTown(t)
	seen := map[string]string{}
	for _, user := range []string{"jane", "system:node:n1", "a: b # c", `"'\`, "- x", "{}", "null", "x\ny: z", "\u202eevil\u0085\x7f\x1b", "日本", "\U000e0041", "<&>", " ", "a/b%c"} {
		for _, method := range []string{"GET", "OPTIONS"} {
			_, said := w.run("explain "+secureFlags+" -o json", "--user="+user, method, "/stats/summary")
			var e explanation
			if err := json.Unmarshal([]byte(said), &e); err != nil || e.Status != 403 || e.User.Username != user {
				t.Fatalf("%q: %v: %s", user, err, said)
			}
			role, binding, _ := strings.Cut(e.Grant, "---\n")
			if printable(e.Grant) != e.Grant || strings.Count(e.Grant, "\n") != 22 || strings.Contains(e.Grant, "\ny: z") {
				t.Errorf("%q: not a plain document of 22 lines:\n%s", user, e.Grant)
			}
			name := lineOf(role, "  name: ")
			if strings.Count(binding, "name: "+name+"\n") != 2 || strings.ContainsAny(name, "/% ") {
				t.Errorf("%q: the binding is of another role:\n%s", user, e.Grant)
			}
			if before, taken := seen[name]; taken {
				t.Errorf("%q has the name of the grant for %q", user, before)
			}
			seen[name] = user
			// What JSON reads from the quoted name is the name; \U is of YAML only.
			var subject string
			quoted := strings.ReplaceAll(lineOf(binding[strings.Index(binding, "subjects:"):], "  name: "), `\U000e0041`, "\U000e0041")
			if err := json.Unmarshal([]byte(quoted), &subject); err != nil || subject != user {
				t.Errorf("%q: bound to %s (%v)", user, quoted, err)
			}
		}
	}
	if _, again := w.run("explain "+secureFlags, "--user=jane", "GET", "/stats/other"); !strings.Contains(again, firstName(seen, "jane", t, w)) {
		t.Errorf("another path of the same resource has another role:\n%s", again)
	}
}

// firstName is the name of the grant for get nodes/stats.
func firstName(seen map[string]string, user string, t *testing.T, w *town) string {
	t.Helper()
	_, said := w.run("explain "+secureFlags, "--user="+user, "GET", "/stats/")
	name := lineOf(said, "  name: ")
	if seen[name] != user {
		t.Errorf("%s is not the name for %s", name, user)
	}
	return name
}

// lineOf is the rest of the first line that begins like this.
func lineOf(text, begin string) string {
	_, rest, _ := strings.Cut(text, begin)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}
