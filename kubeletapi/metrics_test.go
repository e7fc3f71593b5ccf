package kubeletapi

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

// shown returns the lines of auth's metrics whose names begin like this.
func shown(t *testing.T, auth *Auth, name string) (lines []string) {
	t.Helper()
	var text bytes.Buffer
	if err := auth.WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^`+name+`.*$`).FindAllString(text.String(), -1)
}

// Each row is requests, and what the caches are said to have done for them. "&"
// has requests come together, and "hang" has reviews take until "go".
func TestCacheMetrics(t *testing.T) {
	for _, test := range []struct{ requests, want string }{
		{"", ""},
		{"good /metrics", "decisions miss 1, tokens miss 1"},
		{"good /metrics|good /metrics|good /metrics", "decisions hit 2, decisions miss 1, tokens hit 2, tokens miss 1"},
		{"good /metrics|good /logs/", "decisions miss 2, tokens hit 1, tokens miss 1"},
		{"good /metrics&good /metrics&good /metrics", "decisions joined 2, decisions miss 1, tokens joined 2, tokens miss 1"},
		{"good /metrics|good /logs/&good /logs/", "decisions joined 1, decisions miss 2, tokens hit 2, tokens miss 1"},
		{"bad /metrics|bad /metrics", "tokens hit 1, tokens miss 1"},
		{"good /metrics|285s|good /metrics", "decisions hit 1, decisions miss 1, tokens miss 2"}, // and is renewed
		{"good /metrics|130s|good /metrics", "decisions hit 1, decisions miss 1, tokens miss 2"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFlooded(t, Config{})
			defer f.auth.Close()
			for step := range strings.SplitSeq(test.requests, "|") {
				if d, err := time.ParseDuration(step); err == nil {
					time.Sleep(d)
					continue
				}
				for i, request := range strings.Split(step, "&") {
					token, path, _ := strings.Cut(request, " ")
					if token == "" {
						continue
					}
					r := httptest.NewRequest("GET", path, nil)
					r.Header.Set("Authorization", "Bearer "+token)
					go func() {
						time.Sleep(time.Duration(i) * time.Millisecond) // a review takes 5
						f.auth.Check(r)
					}()
				}
				time.Sleep(time.Second)
			}
			var got []string
			for _, line := range shown(t, f.auth, "kubeletauth_cache_requests_total") {
				m := regexp.MustCompile(`cache="(.*)",result="(.*)"} (.*)`).FindStringSubmatch(line)
				if m[3] != "0" {
					got = append(got, strings.Join(m[1:], " "))
				}
			}
			if got := strings.Join(got, ", "); got != test.want {
				t.Errorf("%s: %s, want %s", test.requests, got, test.want)
			}
		})
	}
}

// What is under way, and who waits or is turned away, shows while it is so.
func TestReviewMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t, Config{})
		f.api.hangs.Store(true)
		want := func(lines ...string) {
			t.Helper()
			synctest.Wait()
			got := append(shown(t, f.auth, "kubeletauth_review"), shown(t, f.auth, "kubelet_http_inflight_requests")...)
			for _, line := range lines {
				if !slices.Contains(got, line) {
					t.Errorf("no %s in\n%s", line, strings.Join(got, "\n"))
				}
			}
		}
		const requests = maxReviewed + maxWaiting + 7
		handler := f.auth.Handler(nil)
		for i := range requests {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.Header.Set("Authorization", fmt.Sprint("Bearer ", i))
			go handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		want(`kubeletauth_reviews_in_flight{resource="tokenreviews"} 576`, `kubeletauth_reviews_in_flight{resource="subjectaccessreviews"} 0`,
			`kubeletauth_review_queue{queue="strangers",state="asking"} 64`, `kubeletauth_review_queue{queue="strangers",state="waiting"} 512`,
			`kubeletauth_review_queue_refused_total{queue="strangers"} 7`, `kubeletauth_review_queue_refused_total{queue="insiders"} 0`,
			`kubelet_http_inflight_requests{method="GET",path="metrics",server_type="readwrite",long_running="false"} 576`)
		time.Sleep(time.Minute)
		want(`kubeletauth_reviews_in_flight{resource="tokenreviews"} 0`, `kubeletauth_review_queue{queue="strangers",state="waiting"} 0`,
			`kubelet_http_inflight_requests{method="GET",path="metrics",server_type="readwrite",long_running="false"} 0`)
		f.auth.Close()
	})
}

// The end of certificates and the last time that a file was taken over follow
// the files.
func TestFileMetrics(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content ...[]byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Join(content, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now := time.Now().Truncate(time.Second)
	until := func(d time.Duration) apiservertest.Certificate {
		return apiservertest.Certificate{CommonName: "n1", DNSNames: []string{"n1"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(d), Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	}
	root := apiservertest.MustNewCA(t, "root")
	short, err := root.IssueCA(until(2 * time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair := root.MustIssue(t, until(4*time.Hour))
	leaf := apiservertest.CertPEM(pair)
	cfg := Config{ClientCAFile: write("ca.crt", root.PEM(), short.PEM()), AuthorizationMode: ModeAlwaysAllow, HostnameOverride: "n1",
		TLSCertFile: write("tls.crt", leaf, short.PEM()), TLSPrivateKeyFile: write("tls.key", apiservertest.KeyPEM(pair))}
	auth, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	server := &Server{Config: cfg, Auth: auth}
	if _, err := server.httpServer(); err != nil {
		t.Fatal(err)
	}
	await := func(name, label string, ok func(at int64) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			var at int64
			lines := shown(t, auth, name+`\{.*`+label)
			if len(lines) == 1 {
				fmt.Sscan(lines[0][strings.LastIndex(lines[0], " "):], &at)
			}
			if ok(at) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s of %s: %q", name, label, lines)
			}
		}
	}
	is := func(d time.Duration) func(int64) bool {
		return func(at int64) bool { return at == now.Add(d).Unix() }
	}
	const expiration, success = "kubeletauth_certificate_expiration_timestamp_seconds", "kubeletauth_reload_last_success_timestamp_seconds"
	await(expiration, "serving", is(2*time.Hour)) // the intermediate's
	await(expiration, "client-ca", is(2*time.Hour))
	await(success, "client-ca-file", func(at int64) bool { return at >= now.Unix() })
	time.Sleep(time.Until(now.Add(2 * time.Second)))
	changed := time.Now().Unix()
	write("tls.crt", leaf)
	write("ca.crt", []byte("no certificate"))
	await(expiration, "serving", is(4*time.Hour))
	await(success, "tls-cert-file", func(at int64) bool { return at >= changed })
	await(success, "client-ca-file", func(at int64) bool { return at > 0 && at < changed }) // the bad one does not count
	await(expiration, "client-ca", is(2*time.Hour))

	// A program may have files of its own.
	report := auth.ReportReload("own")
	report(os.ErrNotExist)
	if lines := shown(t, auth, `kubeletauth_reload_total\{file="own"`); strings.Join(lines, " ") != `kubeletauth_reload_total{file="own",status="error"} 1 kubeletauth_reload_total{file="own",status="ok"} 0` {
		t.Errorf("%q", lines)
	}

	// A certificate that is made has an end too, and no file to reload.
	made, err := New(Config{AnonymousAuth: true, AuthorizationMode: ModeAlwaysAllow})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	if _, err := (&Server{Config: Config{HostnameOverride: "n1"}, Auth: made}).httpServer(); err != nil {
		t.Fatal(err)
	}
	if lines := shown(t, made, `(`+expiration+`|`+success+`)\{`); len(lines) != 1 || !strings.Contains(lines[0], `"serving"} `+fmt.Sprint(now.AddDate(1, 0, 0).Unix())[:4]) {
		t.Errorf("%q", lines)
	}
}

// A certificate is looked up for each connection, and verified once.
func TestCertificateMetrics(t *testing.T) {
	ca := apiservertest.MustNewCA(t, "ca")
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := New(Config{ClientCAFile: path, AuthorizationMode: ModeAlwaysAllow})
	if err != nil {
		t.Fatal(err)
	}
	defer auth.Close()
	pair := ca.MustIssue(t, apiservertest.Certificate{CommonName: "jane", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for range 3 { // connections
		r := httptest.NewRequest("GET", "/", nil).WithContext(withSlot(t.Context(), (net.Conn)(nil)))
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{pair.Leaf}}
		for range 5 {
			if _, err := auth.Check(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := strings.Join(shown(t, auth, "kubeletauth_cache_requests_total"), "\n")
	if want := "kubeletauth_cache_requests_total{cache=\"certificates\",result=\"hit\"} 2\nkubeletauth_cache_requests_total{cache=\"certificates\",result=\"miss\"} 1"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
