package options

import (
	"os"
	"path/filepath"
	"testing"
)

// A port of 0 in the file means off, and one that is not there the default.
func TestHealthzPort(t *testing.T) {
	for _, tt := range []struct {
		field, flag string
		port        int
	}{
		{"", "", 10248},
		{"healthzPort: null", "", 10248},
		{"healthzPort: 0", "", 0},
		{"healthzPort: 10300", "", 10300},
		{"healthzPort: 0", "--healthz-port=10301", 10301},
		{"healthzPort: 10300", "--healthz-port=0", 0},
		{"port: 0", "", 10248},
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		text := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n" + tt.field + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"--config=" + file}
		if tt.flag != "" {
			args = append(args, tt.flag)
		}
		o, _, err := Parse(args)
		if err != nil || o.HealthzPort != tt.port || o.Port != 10250 {
			t.Errorf("%q %s: health at %d, the rest at %d, %v", tt.field, tt.flag, o.HealthzPort, o.Port, err)
		}
	}
}
