package main

import (
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The agent builds with all it needs in its vendor folder, without a network,
// a module cache or a C compiler; and what it needs is kubeletauth alone.
func TestVendored(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "authn", "authz", "kubeletapi", "testdata/embed"} {
		copySources(t, filepath.Join("../..", name), filepath.Join(root, name))
	}
	agent := filepath.Join(root, "testdata/embed")
	tool := func(flags string, args ...string) string {
		t.Helper()
		command := exec.Command("go", args...)
		command.Dir = agent
		command.Env = append(os.Environ(), "GOFLAGS="+flags, "GOMODCACHE="+filepath.Join(root, "none"), "GOPROXY=off", "GOSUMDB=off",
			"GONOSUMDB=*", "GOVCS=*:off", "GOTOOLCHAIN=local", "GOWORK=off", "CGO_ENABLED=0")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	tool("", "mod", "vendor")
	const vendored = "-mod=vendor -buildvcs=false"
	tool(vendored, "build", "-o", "agent.bin", ".")
	tool(vendored, "vet", ".")

	var ours int
	for path := range strings.FieldsSeq(tool(vendored, "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".")) {
		switch {
		case strings.HasPrefix(path, "kubeletauth/"):
			ours++
		case path != "example.com/nodeagent":
			t.Errorf("the agent is built from %s", path)
		}
	}
	if ours == 0 {
		t.Error("the agent is built without kubeletauth")
	}

	info, err := buildinfo.ReadFile(filepath.Join(agent, "agent.bin"))
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, module := range info.Deps {
		modules = append(modules, module.Path)
	}
	if info.Main.Path != "example.com/nodeagent" || !slices.Equal(modules, []string{"kubeletauth"}) {
		t.Errorf("the binary of %s has the modules %s, want kubeletauth alone", info.Main.Path, modules)
	}
	outside, err := filepath.Glob(filepath.Join(agent, "vendor/*"))
	if want := []string{"kubeletauth", "modules.txt"}; err != nil || len(outside) != len(want) || filepath.Base(outside[0]) != want[0] || filepath.Base(outside[1]) != want[1] {
		t.Errorf("vendor has %s (%v), want %s", outside, err, want)
	}
}

// copySources copies a file, or a folder without its tests.
func copySources(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != from && (entry.Name() == "testdata" || entry.Name() == "vendor"):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}
