package kubeclient_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"kubeletauth/kubeletapi/internal/yaml"
	"kubeletauth/kubeletapi/kubeclient"
)

// What the log grants is YAML for the user alone, in both formats of a log, or
// is not there.
func TestGrantInTheLog(t *testing.T) {
	const binding = "needs a ClusterRoleBinding"
	forbidden := func(user string) string {
		return `tokenreviews.authentication.k8s.io is forbidden: User ` + user + ` cannot create resource "tokenreviews" in API group "authentication.k8s.io" at the cluster scope`
	}
	for _, test := range []struct {
		name, message string
		code          int
		user, hint    string
	}{
		{"a user", forbidden(`"jane"`), 403, "jane", binding},
		{"a service account", forbidden(`"system:serviceaccount:kube-system:agent"`), 403, "system:serviceaccount:kube-system:agent", binding},
		{"what YAML could misread", forbidden(`"o'hara}, {kind: Group, name: 'x' #"`), 403, "o'hara}, {kind: Group, name: 'x' #", binding},
		{"letters of the world", forbidden(`"Zoë 日本"`), 403, "Zoë 日本", binding},
		{"a reason after it", forbidden(`"jane"`) + `: x is forbidden: User "mallory" cannot`, 403, "jane", binding},
		{"a quotation mark", forbidden(`"a\"b"`), 403, "", binding},
		{"a backslash", forbidden(`"a\\b"`), 403, "", binding},
		{"a new line", forbidden(`"a\nb"`), 403, "", binding},
		{"cut off", `x is forbidden: User "system:serviceacc`, 403, "", binding},
		{"a character", forbidden(`'x'`), 403, "", binding},
		{"no user", "no", 403, "", binding},
		{"nothing", "", 403, "", binding},
		{"the anonymous user is granted nothing", forbidden(`"system:anonymous"`), 403, "", "no credential"},
		{"not known", forbidden(`"jane"`), 401, "", "own credential"},
		{"not there", forbidden(`"jane"`), 404, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var text, structured bytes.Buffer
			advice := kubeclient.Advice(&kubeclient.StatusError{Code: test.code, Message: test.message})
			slog.New(slog.NewTextHandler(&text, nil)).Error("x", advice)
			slog.New(slog.NewJSONHandler(&structured, nil)).Error("x", advice)
			_, hint, _ := strings.Cut(text.String(), " hint=")
			if (test.hint == "") != (hint == "") || !strings.Contains(hint, test.hint) {
				t.Errorf("hint %s, want %q", hint, test.hint)
			}
			for _, line := range []string{text.String(), structured.String()} {
				_, grant, found := strings.Cut(line, `grant="`)
				if !found {
					_, grant, found = strings.Cut(line, `"grant":"`)
				}
				if found != (test.user != "") {
					t.Fatalf("granted: %v in %s", found, line)
				}
				if found {
					checkGrant(t, grant[:strings.IndexByte(grant, '"')], test.user)
				}
			}
		})
	}
	if advice := kubeclient.Advice(errors.New("x")); !advice.Equal(slog.Attr{}) {
		t.Errorf("%v", advice)
	}
}

// checkGrant reads what was pasted.
func checkGrant(t *testing.T, pasted, user string) {
	t.Helper()
	data, err := yaml.ToJSON([]byte(pasted))
	if err != nil {
		t.Fatalf("%v: %s", err, pasted)
	}
	var binding struct {
		APIVersion, Kind string
		Metadata         struct{ Name string }
		RoleRef          struct{ APIGroup, Kind, Name string }
		Subjects         []struct{ APIGroup, Kind, Name string }
	}
	if err := json.Unmarshal(data, &binding); err != nil {
		t.Fatal(err)
	}
	if binding.Kind != "ClusterRoleBinding" || binding.RoleRef.Name != "system:auth-delegator" || len(binding.Subjects) != 1 ||
		binding.Subjects[0].Kind != "User" || binding.Subjects[0].Name != user || !strings.HasPrefix(binding.Metadata.Name, "kubeletauth:auth-delegator-") {
		t.Errorf("for %q: %s", user, pasted)
	}
}
