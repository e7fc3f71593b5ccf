package options

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const configHead = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

func TestAnonymousConditions(t *testing.T) {
	const on = "authentication:\n  anonymous:\n    enabled: true\n    conditions:"
	for _, test := range []struct {
		file, flag string
		paths      []string
		err        string
	}{
		{on + "\n    - path: /healthz\n    - path: /readyz\n", "", []string{"/healthz", "/readyz"}, ""},
		{on + " []\n", "", nil, ""},
		{on + " null\n", "", nil, ""},
		{on + "\n    - path: /healthz\n", "--anonymous-auth-paths=/a, /b", []string{"/a", "/b"}, ""},
		{on + "\n    - path: /healthz\n", "--anonymous-auth-paths=", nil, ""},
		{on + "\n    - path: healthz\n", "", nil, `--anonymous-auth-paths "healthz": must begin with a slash`},
		{on + "\n    - {}\n", "", nil, `--anonymous-auth-paths "": must begin with a slash`},
		{on + "\n    - prefix: /healthz\n", "", nil, `authentication.anonymous.conditions: unknown field "prefix"`},
		{on + "\n    - Path: /healthz\n", "", nil, `authentication.anonymous.conditions: unknown field "Path"`},
		{on + "\n    - /healthz\n", "", nil, "authentication.anonymous.conditions: want"},
		{on + " /healthz\n", "", nil, "authentication.anonymous.conditions: want"},
		{"", "--anonymous-auth-paths=/healthz", nil, "--anonymous-auth-paths: needs --anonymous-auth=true"},
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, []byte(configHead+test.file), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"--config=" + path}
		if test.flag != "" {
			args = append(args, test.flag)
		}
		o, _, err := Parse(args)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s%s: %v, not %s", test.file, test.flag, err, test.err)
			}
		case err != nil || !slices.Equal(o.AnonymousAuthPaths, test.paths):
			t.Errorf("%s%s: %q, %v", test.file, test.flag, o.AnonymousAuthPaths, err)
		default:
			shown, err := json.Marshal(o.Configz())
			var conditions []string
			for _, path := range test.paths {
				conditions = append(conditions, `{"path":"`+path+`"}`)
			}
			if want := `"conditions":[` + strings.Join(conditions, ",") + `]`; err != nil || !strings.Contains(string(shown), want) {
				t.Errorf("/configz is %s (%v), without %s", shown, err, want)
			}
		}
	}
}
