package upstream

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The upstream is spoken to in HTTP/2 where it is to be, or can be.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		protocol   string
		encrypted  bool
		understood []string
		want       string
	}{
		{"", false, []string{"1"}, "HTTP/1.1"},
		{"", false, []string{"1", "h2c"}, "HTTP/1.1"},
		{"h2c", false, []string{"1", "h2c"}, "HTTP/2.0"},
		{"h2c", false, []string{"h2c"}, "HTTP/2.0"},
		{"", true, []string{"1", "2"}, "HTTP/2.0"},
		{"", true, []string{"1"}, "HTTP/1.1"},
	} {
		service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
		service.Config.Protocols = new(http.Protocols)
		for _, p := range tt.understood {
			switch p {
			case "1":
				service.Config.Protocols.SetHTTP1(true)
			case "2":
				service.Config.Protocols.SetHTTP2(true)
				service.EnableHTTP2 = true
			case "h2c":
				service.Config.Protocols.SetUnencryptedHTTP2(true)
			}
		}
		cfg := Config{Protocol: tt.protocol}
		if tt.encrypted {
			service.StartTLS()
			cfg.CAFile = filepath.Join(t.TempDir(), "ca.crt")
			ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: service.Certificate().Raw})
			if err := os.WriteFile(cfg.CAFile, ca, 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			service.Start()
		}
		defer service.Close()
		cfg.URL = service.URL
		proxy, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer proxy.Shutdown(t.Context())
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Body.String() != tt.want {
			t.Errorf("%+v: %d %q", tt, w.Code, w.Body)
		}
	}
}

// An answer that ends with its header, as errors of gRPC do, ends with it for
// the client too, over any protocol and each time.
func TestAnswerWithoutBody(t *testing.T) {
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Length"] = nil
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(200)
	}))
	service.Config.Protocols = new(http.Protocols)
	service.Config.Protocols.SetUnencryptedHTTP2(true)
	service.Start()
	defer service.Close()
	proxy, err := New(Config{URL: service.URL, Protocol: "h2c"})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Shutdown(t.Context())
	front := httptest.NewUnstartedServer(proxy)
	front.EnableHTTP2 = true
	front.StartTLS()
	defer front.Close()
	for i := range 500 {
		res, err := front.Client().Post(front.URL, "application/grpc", strings.NewReader("request"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.ProtoMajor != 2 || res.ContentLength != 0 || res.Header.Get("Grpc-Status") != "5" {
			t.Fatalf("answer %d: %s, of %d bytes (-1: it goes on), %v", i, res.Proto, res.ContentLength, res.Header)
		}
	}
}
