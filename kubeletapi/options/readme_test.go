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
	for i, group := range flags.settings() {
		for j, s := range group.Settings {
			name := s.Flag
			if name != "" {
				name = "--" + name
			}
			row := fmt.Sprintf("| %s | %s | %s | %s |", name, s.Field, s, withFile[i].Settings[j])
			rows = append(rows, strings.ReplaceAll(row, "  ", " "))
		}
	}
	if want := strings.Join(rows, "\n") + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("the README's table of flags should be:\n%s", want)
	}
}
