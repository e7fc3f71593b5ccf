package yaml_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"kubeletauth/kubeletapi/internal/yaml"
)

// FuzzToJSON checks what holds for every text: either an error with a line of
// the text, or valid JSON without duplicate keys, of at most four times the
// size and four bytes, that is read as itself.
func FuzzToJSON(f *testing.F) {
	for _, pattern := range []string{"testdata/valid/*", "testdata/refused/*"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			f.Add(read(f, file))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := yaml.ToJSON(text)
		if err != nil {
			checkError(t, text, got, err)
			return
		}
		if len(got) > 4*len(text)+4 {
			t.Errorf("%d bytes became %d", len(text), len(got))
		}
		if err := checkJSON(json.NewDecoder(bytes.NewReader(got))); err != nil || !json.Valid(got) {
			t.Errorf("%s: %v", got, err)
		}
		if again, err := yaml.ToJSON(got); len(got) <= 1<<20 && (err != nil || !bytes.Equal(again, got)) {
			t.Errorf("%s is read as %s, %v", got, again, err)
		}
	})
}

func checkError(t *testing.T, text, got []byte, err error) {
	var e *yaml.Error
	if !errors.As(err, &e) || e.Line < 1 || e.Line > 1+bytes.Count(text, []byte("\n")) {
		t.Errorf("the error %q does not have a line of the text", err)
	}
	if got != nil {
		t.Errorf("%s comes with the error %v", got, err)
	}
}

// checkJSON reads a value and refuses duplicate keys.
func checkJSON(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil || token != json.Delim('[') && token != json.Delim('{') {
		return err
	}
	keys := make(map[json.Token]bool)
	for d.More() {
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil || keys[key] {
				return fmt.Errorf("key %v: duplicate, or %v", key, err)
			}
			keys[key] = true
		}
		if err := checkJSON(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}
