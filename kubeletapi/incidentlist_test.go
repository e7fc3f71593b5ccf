package kubeletapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// incidents are all that are known, each of which testdata/incidents.md must
// name once.
const incidents = `
path confusion, Connection: X-Remote-User, golang/go#50580, X_Remote_User, Upgrade: h2c,

CVE-2025-68121, GO-2026-4337, golang/go#77217, GHSA-gv8r-9rw9-9697, CVE-2026-39825, GO-2026-4976, GO-2026-6089,
CVE-2026-32283, GO-2026-4870, GO-2026-6090, CVE-2023-44487, CVE-2023-39325, GO-2023-2102, kubernetes/kubernetes#121120,
kubernetes/kubernetes#121196, openshift/kube-rbac-proxy#85, CVE-2023-45288, GO-2024-2687, CVE-2022-2880, GO-2022-1038,
CVE-2021-33197, GO-2021-0241, CVE-2022-32148, CVE-2022-1705, CVE-2025-22871, CVE-2025-61729, CVE-2025-61723,
CVE-2026-27145, CVE-2026-32280, CVE-2026-32281, CVE-2025-4673, CVE-2024-45336, golang/go#80416, golang/go#80425,
traefik#13797, golang/go#81320,

CVE-2018-1002105, kubernetes/kubernetes#71411, CVE-2020-8559, GO-2024-2748, kubernetes/kubernetes#119640,
NCC-E003660-WV3, nodes-proxy-rce, kubernetes/kubernetes#134577, CVE-2019-11248, CVE-2025-0426, GO-2025-3465,
kubernetes/kubernetes#130016, CVE-2025-46599, GO-2025-3646, CVE-2024-9042, GO-2025-3522, CVE-2020-8551, GO-2022-0867,
kubernetes/kubernetes#89377, CVE-2020-8552, CVE-2020-8558, GO-2022-0885, kubernetes/kubernetes#92315, CVE-2019-11250,
GO-2021-0065, CVE-2020-8565, GO-2021-0064, cluster-machine-approver#98, ocs-operator#4072, kube-rbac-proxy v0.18.2,
CVE-2019-11253, GO-2022-0703, CVE-2022-3172, CVE-2022-3294, GO-2023-1629, CVE-2020-8555, CVE-2022-3162, GO-2023-1628,
CVE-2019-3818, kubernetes/kubernetes#141457, kueue#12536, CVE-2025-64484, GO-2025-4113, CVE-2025-54576, GO-2025-3833,
CVE-2026-41059, GO-2026-5559, CVE-2026-40575, GO-2026-5236, oauth2-proxy#3506, CVE-2026-34457, GO-2026-5147,
cluster-proxy#335, kube-rbac-proxy#131, kube-rbac-proxy#361, BuildAuth, rke#409, kubeadm#178,
kubernetes/kubernetes#7965, kubernetes/kubernetes#38784, TeamTNT, Kinsing, CVE-2019-9901, CVE-2021-29492,
CVE-2021-32779, Deckhouse's stale cache, delegate-urls of OpenShift's oauth-proxy`

var incidentTest = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)\\w+)(?:: ([^`]+))?`")

// Each incident has a test that is there, with the row that is named, or the
// reason why it has none.
func TestIncidentsAreTested(t *testing.T) {
	content, err := os.ReadFile("../testdata/incidents.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for line := range strings.Lines(string(content)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.TrimSpace(cells[0]) == "incident" {
			if strings.HasPrefix(line, "| ") && len(cells) != 3 {
				t.Errorf("%d cells: %s", len(cells), line)
			}
			continue
		}
		for id := range strings.SplitSeq(cells[0], ",") {
			named = append(named, strings.TrimSpace(id))
		}
		tests := incidentTest.FindAllStringSubmatch(cells[2], -1)
		reason, hasReason := strings.CutPrefix(strings.TrimSpace(cells[2]), "none: ")
		if rest := strings.TrimSpace(incidentTest.ReplaceAllString(cells[2], "")); !hasReason && (len(tests) == 0 || rest != "") || hasReason && (len(tests) > 0 || len(reason) < 20) {
			t.Errorf("%s: want tests, or a reason, in %q", cells[0], cells[2])
		}
		for _, test := range tests {
			checkTestExists(t, cells[0], test[1], test[2], test[3])
		}
	}
	var want []string
	for id := range strings.SplitSeq(incidents, ",") {
		want = append(want, strings.TrimSpace(id))
	}
	slices.Sort(named)
	slices.Sort(want)
	for _, id := range want {
		if _, found := slices.BinarySearch(named, id); !found {
			t.Errorf("%s is missing", id)
		}
	}
	for i, id := range named {
		if _, found := slices.BinarySearch(want, id); !found || i > 0 && named[i-1] == id {
			t.Errorf("%s is not on the list, or twice in the table", id)
		}
	}
}

// checkTestExists looks for a test in the folder of its package, and for its row
// among what is said in the function that it is.
func checkTestExists(t *testing.T, incident, folder, name, row string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join("..", filepath.FromSlash(folder), "*_test.go"))
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			f, ok := declaration.(*ast.FuncDecl)
			if !ok || f.Name.Name != name {
				continue
			}
			if row != "" && !says(f, row) {
				t.Errorf("%s: %s of %s has no row %q", incident, name, file, row)
			}
			return
		}
	}
	t.Errorf("%s: there is no %s in %s", incident, name, folder)
}

// says reports whether a string in f is row, or has it in it if it is long.
func says(f *ast.FuncDecl, row string) (found bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			found = found || err == nil && (text == row || len(row) > 7 && strings.Contains(text, row))
		}
		return !found
	})
	return found
}
