package main

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// rbacOutput is what `server rbac` prints with these flags.
func rbacOutput(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"rbac"}, args...), &stdout, &stderr); code != 0 || stderr.Len() != 0 {
		t.Fatalf("%q: exit code %d: %s", args, code, stderr.String())
	}
	return stdout.String()
}

func TestRBAC(t *testing.T) {
	for _, tt := range []struct {
		golden string
		args   []string
	}{
		{"rbac.yaml", nil},
		{"rbac-fine-grained.yaml", []string{
			"--name=edge", "--fine-grained", `--user=system:node: "x"`, "--apiserver-user=kube-apiserver",
			"--scraper-service-account=agent.v2", "--scraper-namespace=otel", "--scraper-subresources=stats,pods",
		}},
	} {
		golden(t, tt.golden, rbacOutput(t, tt.args...))
	}
}

// What is left out, and what the rest is.
func TestRBACSubjects(t *testing.T) {
	const none = "--service-account= --apiserver-user= --scraper-service-account="
	for _, tt := range []struct{ args, has, lacks string }{
		{"--service-account=", "api-server|scraper", "auth-delegator"},
		{"--apiserver-user=", "auth-delegator|scraper", "api-server|\"*\""},
		{"--scraper-service-account=", "auth-delegator|api-server", "scraper|\"get\""},
		{none + " --user=x", "kind: User|\"x\"|system:auth-delegator", "ServiceAccount|---"},
		{none + " --scraper-user=x", "kind: User|\"x\"|nodes/metrics", "ServiceAccount|system:auth-delegator|proxy"},
		{none + " --scraper-user=x --scraper-subresources=stats", "nodes/stats", "nodes/metrics"},
		{none + " --apiserver-user=x", "nodes/spec|\"*\"", "nodes/pods"},
		{none + " --apiserver-user=x --fine-grained", "nodes/spec|nodes/pods", "auth-delegator"},
		{none + " --service-account=a.b-c --namespace=n", "\"a.b-c\"|namespace: \"n\"", "User"},
		{"--user=x", "kind: User\n  name: \"x\"", "name: \"kubeletauth\"\n"},
		{"--user=x", "name: \"kubeletauth:auth-delegator:x\"", ""},
		{"--user=x/y", "name: \"kubeletauth:auth-delegator-", "auth-delegator:"},
		{"--service-account=b --namespace=a", "name: \"kubeletauth:auth-delegator:system:serviceaccount:a:b\"", ""},
		{"--apiserver-user=x --scraper-user=x", "name: \"kubeletauth:api-server:x\"|name: \"kubeletauth:scraper:x\"", ""},
		{`--user=a\b"c:é`, `name: "a\\b\"c:é"`, ""},
	} {
		got := rbacOutput(t, strings.Fields(tt.args)...)
		for part := range strings.SplitSeq(tt.has, "|") {
			if !strings.Contains(got, part) {
				t.Errorf("%s lacks %q:\n%s", tt.args, part, got)
			}
		}
		for part := range strings.SplitSeq(tt.lacks, "|") {
			if part != "" && strings.Contains(got, part) {
				t.Errorf("%s has %q:\n%s", tt.args, part, got)
			}
		}
	}
}

func TestRBACMistakes(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--bogus", "-bogus"},
		{"apply", `unexpected argument "apply"`},
		{"--fine-grained=maybe", "-fine-grained"},
		{"--name=", "--name"},
		{"--name=a/b", "--name|slash"},
		{"--name=a%2f", "--name|percent"},
		{"--name=\xff", "--name"},
		{"--user=\xff", "--user|UTF-8"},
		{"--apiserver-user=\xff", "--apiserver-user|UTF-8"},
		{"--scraper-user=\xff", "--scraper-user|UTF-8"},
		{"--service-account=Kubelet", "--service-account|lower-case|--user"},
		{"--service-account=-a", "--service-account"},
		{"--service-account=a..b", "--service-account"},
		{"--service-account=a\nb", "--service-account"},
		{"--service-account=" + strings.Repeat("a", 254), "--service-account"},
		{"--service-account=system:serviceaccount:kube-system:a", "--service-account|--user"},
		{"--namespace=a.b", "--namespace|63"},
		{"--namespace=", "--namespace"},
		{"--namespace=" + strings.Repeat("a", 64), "--namespace"},
		{"--scraper-service-account=a_b", "--scraper-service-account|--scraper-user"},
		{"--scraper-namespace=x:y", "--scraper-namespace"},
		{"--scraper-subresources=", "--scraper-subresources|metrics, stats, spec and log"},
		{"--scraper-subresources=metrics,", "--scraper-subresources"},
		{"--scraper-subresources=nodes/metrics", `"nodes/metrics"`},
		{"--scraper-subresources=*", `"*"`},
		{"--scraper-subresources=metrics,proxy", "nodes/proxy|commands|pods"},
		{"--scraper-subresources=proxy|--fine-grained", "nodes/proxy|commands"},
		{"--scraper-subresources=pods", "pods needs --fine-grained"},
		{"--user=a|--service-account=b", "--user and --service-account: give one of them"},
		{"--scraper-user=a|--scraper-service-account=b", "--scraper-user and --scraper-service-account: give one of them"},
		{"--service-account=|--apiserver-user=|--scraper-service-account=", "every subject is empty|--apiserver-user"},
	} {
		var stdout, stderr bytes.Buffer
		code := rbacCommand(t.Context(), strings.Split(tt.args, "|"), &stdout, &stderr)
		message := stderr.String()
		if code != 2 || stdout.Len() != 0 || !strings.HasPrefix(message, "server rbac: ") || !strings.HasSuffix(message, "(-h lists the flags)\n") {
			t.Errorf("%q: exit code %d, %q, %q", tt.args, code, stdout.String(), message)
		}
		for part := range strings.SplitSeq(tt.want, "|") {
			if !strings.Contains(message, part) {
				t.Errorf("%q: %q lacks %q", tt.args, message, part)
			}
		}
	}
}

func TestRBACHelp(t *testing.T) {
	got := rbacOutput(t, "-h")
	for _, part := range []string{"Usage: server rbac", "  --fine-grained true|false (default false)\n", "  --name string (default kubeletauth)\n        what", "  --user string\n", "\nExamples:\n"} {
		if !strings.Contains(got, part) {
			t.Errorf("-h lacks %q:\n%s", part, got)
		}
	}
	var flags roles
	for example := range strings.Lines(got[strings.Index(got, "Examples:"):]) {
		if args, ok := strings.CutPrefix(example, "  server rbac"); ok {
			args, _, _ = strings.Cut(args, "|")
			if err := flags.flags().Parse(strings.Fields(args)); err != nil || flags.check() != nil {
				t.Errorf("%s: %v, %v", example, err, flags.check())
			}
		}
	}
}

// All that the README's tables say a request asks for is granted.
func TestRBACIsWhole(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	got := rbacOutput(t, "--fine-grained")
	asked := regexp.MustCompile(`(?m)^\| (?:/|any other).* \| (nodes/.*) \|$`).FindAllStringSubmatch(string(readme), -1)
	if len(asked) != 11 {
		t.Fatalf("the tables have %d rows: %q", len(asked), asked)
	}
	for _, row := range asked {
		for sub := range strings.SplitSeq(row[1], ", ") {
			if !strings.Contains(got, "  - "+sub+"\n") {
				t.Errorf("%s is not granted", sub)
			}
		}
	}
}

func TestRBACCannotWrite(t *testing.T) {
	var stderr bytes.Buffer
	if code := rbacCommand(t.Context(), nil, full{}, &stderr); code != 1 || stderr.String() != "server rbac: no space\n" {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }

// The server's own help names the subcommands, and each has a help of its own.
func TestSubcommands(t *testing.T) {
	var help, stderr bytes.Buffer
	run(t.Context(), []string{"-h"}, &help, &stderr)
	for _, c := range subcommands() {
		if !strings.Contains(help.String(), "  server "+c.name+" [-h]\n        "+c.usage+"\n") {
			t.Errorf("-h does not name %s", c.name)
		}
		var own bytes.Buffer
		if code := run(t.Context(), []string{c.name, "-h"}, &own, &stderr); code != 0 || !strings.HasPrefix(own.String(), "Usage: server "+c.name) {
			t.Errorf("%s -h: exit code %d, %s", c.name, code, own.String())
		}
	}
}

// YAML forbids signs that JSON does not.
func TestQuoted(t *testing.T) {
	for in, want := range map[string]string{
		"a":                 `"a"`,
		"\x7f":              `"\u007f"`,
		"\u0085":            `"\u0085"`,
		"\u009f\u2028":      `"\u009f\u2028"`,
		"\ufeff":            `"\ufeff"`,
		"\x00\n\"\\":        `"\u0000\n\"\\"`,
		"\U000e0001 müller": `"\U000e0001 müller"`,
	} {
		if got := quoted(in); got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
}
