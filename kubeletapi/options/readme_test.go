package options

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The README's table of flags is the table that flags are parsed by.
func TestReadmeFlags(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	flags, file := flagDefaults(), fileDefaults()
	withFile := file.settings()
	var rows []string
	for i, s := range flags.settings() {
		name := s.Flag
		if name != "" {
			name = "--" + name
		}
		if s.Title == "" {
			row := fmt.Sprintf("| %s | %s | %s | %s |", name, s.Field, s, withFile[i])
			rows = append(rows, strings.ReplaceAll(row, "  ", " "))
		}
	}
	if want := strings.Join(rows, "\n") + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("the README's table of flags should be:\n%s", want)
	}
}
