package kubeclient

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A file of each kind is replaced, broken, and mended, by renaming over it and by
// swapping the symbolic link that it is reached by, as in a mounted Secret.
func TestRotation(t *testing.T) {
	ca, ca2 := newAuthority(t, "ca"), newAuthority(t, "ca 2")
	first, second := ca.issue(t, "first"), ca.issue(t, "second")
	kubeconfig := func(user string) string {
		return kubeconfigText("https://h", user, "certificate-authority: ca.crt")
	}
	files := func(name, content string) map[string]string {
		all := map[string]string{
			"conf": kubeconfig("tokenFile: token, client-certificate: c.crt, client-key: c.key"), "ca.crt": string(ca.cert),
			"token": "one", "c.crt": string(first.cert), "c.key": string(first.key),
		}
		if name != "" {
			all[name] = content
		}
		return all
	}
	both := files("c.crt", string(second.cert))
	both["c.key"] = string(second.key)
	for _, test := range []struct {
		name    string
		next    map[string]string
		changed func(old, now *session) bool // and nothing else
		keeps   bool                         // the connection
	}{
		{"token", files("token", "two"), func(_, now *session) bool { return now.static.secret() == "two" }, true},
		{"CA", files("ca.crt", string(ca2.cert)), func(old, now *session) bool { return !old.static.tls.RootCAs.Equal(now.static.tls.RootCAs) }, false},
		{"certificate and key", both, func(_, now *session) bool { return string(now.to.certificate) == string(second.cert) }, false},
		{"kubeconfig", files("conf", kubeconfig("token: three, client-certificate: c.crt, client-key: c.key")), func(_, now *session) bool { return now.static.secret() == "three" }, true},
		{"an empty token", files("token", ""), nil, true},
		{"a token with junk behind it", files("token", "a\nb"), nil, true},
		{"a certificate of another key", files("c.crt", string(second.cert)), nil, true},
		{"half a certificate", files("c.crt", string(first.cert[:100])), nil, true},
		{"an empty key", files("c.key", ""), nil, true},
		{"half a CA", files("ca.crt", string(ca.cert)+string(ca.cert[:200])), nil, true},
		{"an empty CA", files("ca.crt", ""), nil, true},
		{"half a kubeconfig", files("conf", kubeconfig("")[:60]), nil, true},
		{"a kubeconfig without a server", files("conf", strings.Replace(kubeconfig(""), "https://h", "", 1)), nil, true},
		{"a kubeconfig for plain http", files("conf", strings.Replace(kubeconfig(""), "https://h", "http://h", 1)), nil, true},
		{"nothing", files("", ""), func(old, now *session) bool { return old == now }, true},
	} {
		for _, how := range []string{"rename", "symlink"} {
			t.Run(test.name+" by "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorldWithoutServer(t)
					write := func(version string, all map[string]string) {
						folder := ""
						if how == "symlink" {
							folder = version
						}
						for name, content := range all {
							w.write(filepath.Join(folder, name), content)
						}
						if how == "symlink" {
							must(t, os.Symlink(version, filepath.Join(w.folder, "..tmp")))
							must(t, os.Rename(filepath.Join(w.folder, "..tmp"), filepath.Join(w.folder, "data")))
						}
					}
					write("v1", files("", ""))
					path := filepath.Join(w.folder, "conf")
					if how == "symlink" {
						path = filepath.Join(w.folder, "data", "conf")
					}
					c := w.client(path)
					old, err := c.session()
					must(t, err)
					write("v2", test.next)
					time.Sleep(time.Second)
					now, err := c.session()
					must(t, err)
					switch {
					case test.changed == nil:
						if now != old || len(w.reports) != 1 || w.reports[0] == nil {
							t.Errorf("changed: %v, reports %v; want the old kept and one error", now != old, w.reports)
						}
						time.Sleep(10 * time.Second)
						write("v3", files("token", "four"))
						time.Sleep(time.Second)
						if now, err = c.session(); err != nil || now.static.secret() != "four" || len(w.reports) != 2 {
							t.Errorf("did not recover: %v, reports %v", err, w.reports)
						}
					case !test.changed(old, now):
						t.Error("not taken over within a second")
					}
					if (now.static.connection == old.static.connection) != test.keeps {
						t.Errorf("connection kept: %v, want %v", !test.keeps, test.keeps)
					}
					for _, err := range w.reports {
						if err != nil {
							mustFail(t, err, "kubeconfig "+path)
						}
					}
				})
			})
		}
	}
}

func TestVanishedTokenFileIsNotReplacedByTheInlineToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWithoutServer(t)
		file := w.write("token", "from the file")
		c := w.client(w.kubeconfig("token: inline, tokenFile: token"))
		must(t, os.Remove(file))
		time.Sleep(time.Second)
		s, err := c.session()
		must(t, err)
		if s.static.secret() != "from the file" || len(w.reports) != 1 {
			t.Errorf("token %q, reports %v", s.static.secret(), w.reports)
		}
		w.write("token", "back")
		time.Sleep(time.Second)
		if s, err = c.session(); err != nil || s.static.secret() != "back" {
			t.Errorf("token %q, %v", s.static.secret(), err)
		}
	})
}

func TestInClusterCAIsNotReplacedByTheSystemsRoots(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "h")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWithoutServer(t)
		w.write("token", "one")
		w.write("ca.crt", string(w.ca.cert))
		cfg := w.config("")
		cfg.InCluster = true
		c, err := newClient(cfg, w.folder)
		must(t, err)
		defer c.Close()
		w.write("ca.crt", "junk")
		w.write("token", "two")
		time.Sleep(time.Second)
		s, err := c.session()
		must(t, err)
		if string(s.to.ca) != string(w.ca.cert) || len(w.reports) != 1 {
			t.Errorf("CA %q, reports %v", s.to.ca, w.reports)
		}
	})
}

// The API server refuses our credential, and the file has a new one that the
// client, which looked less than a second ago, does not know.
func TestRenewalAfter401(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]func(w *world){
		"token file": func(w *world) { w.write("token", "new-"+ourToken) },
		"kubeconfig": func(w *world) { w.kubeconfig("token: new-" + ourToken) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.write("token", ourToken)
			c := w.client(w.kubeconfig("tokenFile: token"))
			w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
				if s.authorization != "Bearer new-"+ourToken {
					send(rw, 401, `{"kind":"Status","status":"Failure","reason":"Unauthorized","message":"Unauthorized"}`)
					return
				}
				yes(n, s, rw)
			})
			_, err := reviewToken(c)
			mustFail(t, err, "401 (Unauthorized)")
			if n := len(w.arrived()); n != 1 {
				t.Errorf("%d requests with the same credential, want 1", n)
			}
			rotate(w)
			mustReview(t, c)
			if n := len(w.arrived()); n != 4 { // refused, refused, yes, yes
				t.Errorf("%d requests, want 4", n)
			}
			mustHide(t, w.log.text())
		})
	}
}

// All files of a client change under load, and the API server with them.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.ca.issue(t, "first")
	w.write("ca.crt", string(w.ca.cert))
	w.write("both.pem", string(p.cert)+string(p.key))
	path := w.write("kubeconfig", kubeconfigText(w.URL, "client-certificate: both.pem, client-key: both.pem", "certificate-authority: ca.crt"))
	c := w.client(path)
	mustReview(t, c)
	p = w.ca.issue(t, "second")
	w.write("both.pem", string(p.cert)+string(p.key))
	ca2 := newAuthority(t, "test CA 2")
	w.write("ca.crt", string(w.ca.cert)+string(ca2.cert))
	for until := time.Now().Add(1200 * time.Millisecond); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		mustReview(t, c)
	}
	seen := w.arrived()
	if last := seen[len(seen)-1].certificate; last != "second" {
		t.Errorf("the last certificate is %q, want the second", last)
	}
	w.serveAs(ca2)
	w.CloseClientConnections()
	time.Sleep(50 * time.Millisecond)
	mustReview(t, c)
}
