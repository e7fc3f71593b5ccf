package kubeclient

import (
	"context"
	"crypto/fips140"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

// shown is what each of the files of a session says.
func shown(s *session) map[string]string {
	return map[string]string{
		"conf": s.server.Host, "ca.crt": string(s.to.ca), "token": s.static.secret(), "pair": string(s.to.certificate) + string(s.to.key),
	}
}

// A file that is broken keeps nothing back but itself: each other one is renewed
// meanwhile, and it too as soon as it is good again.
func TestBrokenFileHoldsUpNoOther(t *testing.T) {
	ca, ca2 := newAuthority(t, "ca"), newAuthority(t, "ca 2")
	first, second := ca.issue(t, "first"), ca.issue(t, "second")
	const user = "tokenFile: token, client-certificate: c.crt, client-key: c.key"
	// The second kubeconfig has other names for the same user and cluster.
	conf2 := strings.NewReplacer("user: u", "user: v", "name: u", "name: v", "cluster: k,", "cluster: l,", "name: k", "name: l")
	was := map[string]string{
		"conf": kubeconfigText("https://one", user, "certificate-authority: ca.crt"), "ca.crt": string(ca.cert),
		"token": "one", "c.crt": string(first.cert), "c.key": string(first.key),
	}
	next := map[string]string{
		"conf": conf2.Replace(strings.Replace(was["conf"], "https://one", "https://two", 1)), "ca.crt": string(ca2.cert),
		"token": "two", "c.crt": string(second.cert), "c.key": string(second.key),
	}
	said := map[string][2]string{
		"conf": {"one", "two"}, "ca.crt": {was["ca.crt"], next["ca.crt"]}, "token": {"one", "two"},
		"pair": {was["c.crt"] + was["c.key"], next["c.crt"] + next["c.key"]},
	}
	parts := map[string][]string{"conf": {"conf"}, "ca.crt": {"ca.crt"}, "token": {"token"}, "pair": {"c.crt", "c.key"}}
	const gone = "\x00gone"
	for _, test := range []struct{ name, part, file, content string }{
		{"kubeconfig half written", "conf", "conf", was["conf"][:60]},
		{"kubeconfig empty", "conf", "conf", ""},
		{"kubeconfig gone", "conf", "conf", gone},
		{"kubeconfig for plain http", "conf", "conf", strings.Replace(was["conf"], "https", "http", 1)},
		{"kubeconfig without its user", "conf", "conf", strings.Replace(was["conf"], "name: u", "name: x", 1)},
		{"kubeconfig with a CA that is not there", "conf", "conf", strings.Replace(was["conf"], "ca.crt", "none", 1)},
		{"kubeconfig with a token that is not there", "conf", "conf", strings.Replace(was["conf"], "tokenFile: token", "tokenFile: none", 1)},
		{"kubeconfig with a key for a certificate", "conf", "conf", strings.Replace(was["conf"], "c.crt", "c.key", 1)},
		{"kubeconfig with data that is not base64", "conf", "conf", strings.Replace(was["conf"], "certificate-authority: ca.crt", "certificate-authority-data: '?'", 1)},
		{"CA half written", "ca.crt", "ca.crt", next["ca.crt"][:200]},
		{"CA with another one half written", "ca.crt", "ca.crt", was["ca.crt"] + next["ca.crt"][:200]},
		{"CA empty", "ca.crt", "ca.crt", ""},
		{"CA gone", "ca.crt", "ca.crt", gone},
		{"token empty", "token", "token", ""},
		{"token blank", "token", "token", " \n\t\r\n"},
		{"token gone", "token", "token", gone},
		{"token of two lines", "token", "token", "a\nb"},
		{"token with a NUL", "token", "token", "a\x00b"},
		{"certificate of another key", "pair", "c.crt", next["c.crt"]},
		{"key of another certificate", "pair", "c.key", next["c.key"]},
		{"certificate half written", "pair", "c.crt", next["c.crt"][:100]},
		{"certificate gone", "pair", "c.crt", gone},
		{"key empty", "pair", "c.key", ""},
	} {
		for _, renewed := range []string{"conf", "ca.crt", "token", "pair"} {
			if renewed == test.part {
				continue
			}
			t.Run(test.name+", "+renewed+" renewed", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorldWithoutServer(t)
					for name, content := range was {
						w.write(name, content)
					}
					c := w.client(filepath.Join(w.folder, "conf"))
					write := func(part string) {
						for _, file := range parts[part] {
							w.write(file, next[file])
						}
					}
					expect := func(when string, isNew map[string]bool, failures, reloads int) {
						t.Helper()
						time.Sleep(time.Second)
						s, err := c.session()
						must(t, err)
						for part, got := range shown(s) {
							want := said[part][0]
							if isNew[part] {
								want = said[part][1]
							}
							if got != want {
								t.Errorf("%s: %s says %q, want %q", when, part, got, want)
							}
						}
						for _, err := range w.reports {
							if err == nil {
								reloads--
								continue
							}
							failures--
							mustFail(t, err, "kubeconfig "+filepath.Join(w.folder, "conf")+": ")
							if !strings.Contains(strings.TrimPrefix(err.Error(), "kubeconfig "), filepath.Join(w.folder, test.file)) {
								t.Errorf("%v does not name %s", err, test.file)
							}
						}
						if failures != 0 || reloads != 0 {
							t.Errorf("%s: reported %v", when, w.reports)
						}
						w.reports = nil
					}
					if test.content == gone {
						must(t, os.Remove(filepath.Join(w.folder, test.file)))
					} else {
						w.write(test.file, test.content)
					}
					expect("broken", nil, 1, 0)
					write(renewed)
					expect("broken", map[string]bool{renewed: true}, 0, 1)
					expect("still broken", map[string]bool{renewed: true}, 0, 0)
					write(test.part)
					expect("mended", map[string]bool{renewed: true, test.part: true}, 0, 1)
				})
			})
		}
	}
}

// Whatever a kubeconfig names for the first time must be good for it to be taken
// over; what it named before need not be.
func TestKubeconfigNamesOtherFiles(t *testing.T) {
	ca := newAuthority(t, "ca")
	conf := func(server, user string) string {
		return kubeconfigText("https://"+server, user, "certificate-authority: ca.crt")
	}
	for _, test := range []struct {
		name                string
		first, second       string            // kubeconfigs
		meanwhile           map[string]string // written with the second
		server, token       string            // then
		mend                map[string]string
		mendServer, mendTok string
	}{
		{"another token file, which is good", conf("one", "tokenFile: token"), conf("two", "tokenFile: token2"), map[string]string{"token2": "new"}, "two", "new", nil, "two", "new"},
		{"another token file, which is not there", conf("one", "tokenFile: token"), conf("two", "tokenFile: token2"), map[string]string{"token": "renewed"}, "one", "renewed", map[string]string{"token2": "new"}, "two", "new"},
		{"another token file, which is empty", conf("one", "tokenFile: token"), conf("two", "tokenFile: token2"), map[string]string{"token2": ""}, "one", "old", map[string]string{"token2": "new"}, "two", "new"},
		{"the same token file, which is broken", conf("one", "tokenFile: token"), conf("two", "tokenFile: token"), map[string]string{"token": ""}, "two", "old", map[string]string{"token": "new"}, "two", "new"},
		{"the same token file, by another name", conf("one", "tokenFile: token"), conf("two", "tokenFile: ./x/../token"), map[string]string{"token": ""}, "two", "old", map[string]string{"token": "new"}, "two", "new"},
		{"no token file", conf("one", "tokenFile: token"), conf("two", "token: inline"), map[string]string{"token": ""}, "two", "inline", map[string]string{"token": "new"}, "two", "inline"},
		{"a token file in place of an inline token", conf("one", "token: inline"), conf("two", "tokenFile: none"), nil, "one", "inline", map[string]string{"none": "new"}, "two", "new"},
		{"an inline token beside a file that was never there", conf("one", "token: inline, tokenFile: none"), conf("two", "token: inline2, tokenFile: none"), nil, "two", "inline2", map[string]string{"none": "new"}, "two", "new"},
		{"an inline token beside a file that was there", conf("one", "token: inline, tokenFile: token"), conf("two", "token: inline2, tokenFile: token"), map[string]string{"token": ""}, "two", "old", map[string]string{"token": "new"}, "two", "new"},
		{"a file that was never there, without the inline token", conf("one", "token: inline, tokenFile: none"), conf("two", "tokenFile: none"), nil, "one", "inline", map[string]string{"none": "new"}, "two", "new"},
		{"another CA, which is not there", conf("one", "tokenFile: token"), strings.Replace(conf("two", "tokenFile: token"), "ca.crt", "ca2.crt", 1), map[string]string{"token": "renewed"}, "one", "renewed", map[string]string{"ca2.crt": string(ca.cert)}, "two", "renewed"},
		{"back to the first", conf("one", "tokenFile: token"), conf("two", "tokenFile: none"), nil, "one", "old", map[string]string{"conf": conf("one", "tokenFile: token"), "token": "new"}, "one", "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorldWithoutServer(t)
				write := func(all map[string]string) {
					for name, content := range all {
						w.write(name, content)
					}
				}
				write(map[string]string{"conf": test.first, "token": "old", "ca.crt": string(ca.cert)})
				c := w.client(filepath.Join(w.folder, "conf"))
				expect := func(server, token string) {
					t.Helper()
					time.Sleep(time.Second)
					s, err := c.session()
					must(t, err)
					if s.server.Host != server || s.static.secret() != token {
						t.Errorf("%q at %s, want %q at %s; reported %v", s.static.secret(), s.server.Host, token, server, w.reports)
					}
				}
				expect(expectFirst(test.first))
				write(test.meanwhile)
				w.write("conf", test.second)
				expect(test.server, test.token)
				write(test.mend)
				expect(test.mendServer, test.mendTok)
			})
		})
	}
}

// A token file that is not there is not passed over in silence, whenever it is named.
func TestWarningOfATokenFile(t *testing.T) {
	for _, first := range []string{"token: inline, tokenFile: none", "token: inline"} {
		w := newWorldWithoutServer(t)
		c := w.client(w.write("conf", kubeconfigText("https://one", first)))
		w.write("conf", kubeconfigText("https://two", "token: inline, tokenFile: none"))
		s := c.files.reload()
		if n := strings.Count(w.log.String(), "the tokenFile cannot be read"); s.server.Host != "two" || n != 1+strings.Count(first, "none") {
			t.Errorf("%s: %d warnings, and %s", first, n, s.server.Host)
		}
	}
}

// expectFirst is what a kubeconfig says while the file token holds "old".
func expectFirst(conf string) (server, token string) {
	if strings.Contains(conf, "tokenFile: token") {
		return "one", "old"
	}
	return "one", "inline"
}

// Files that change together, as those of a mounted Secret, are never half in force.
func TestFilesThatChangeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldWithoutServer(t)
		swap := func(version string) {
			w.write(version+"/conf", kubeconfigText("https://"+version, "tokenFile: token"))
			w.write(version+"/token", version)
			must(t, os.Symlink(version, filepath.Join(w.folder, "..tmp")))
			must(t, os.Rename(filepath.Join(w.folder, "..tmp"), filepath.Join(w.folder, "data")))
		}
		swap("v0")
		c := w.client(filepath.Join(w.folder, "data", "conf"))
		for i := range 50 {
			version := fmt.Sprint("v", i)
			c.files.root.Get().tokenFile.Reload() // so that its turns alone are not those of the kubeconfig
			swap(version)
			for range 80 {
				time.Sleep(7 * time.Millisecond)
				if s, err := c.session(); err != nil || s.server.Host != s.static.secret() {
					t.Fatalf("the token of %s goes to %s (%v)", s.static.secret(), s.server.Host, err)
				}
			}
			if s, _ := c.session(); s.static.secret() != version {
				t.Errorf("%s is in force, want %s", s.static.secret(), version)
			}
		}
	})
}

// Nor where they change while they are looked at.
func TestFilesThatChangeDuringALook(t *testing.T) {
	w := newWorldWithoutServer(t)
	swap := func(version string) {
		w.write(version+"/ca.crt", string(newAuthority(t, version).cert))
		w.write(version+"/conf", kubeconfigText("https://"+version, "tokenFile: token", "certificate-authority: ca.crt"))
		w.write(version+"/token", version)
		must(t, os.Symlink(version, filepath.Join(w.folder, "..tmp")))
		must(t, os.Rename(filepath.Join(w.folder, "..tmp"), filepath.Join(w.folder, "data")))
	}
	swap("one")
	config := w.config(filepath.Join(w.folder, "data", "conf"))
	once := sync.OnceFunc(func() { swap("two") })
	config.Report = func(error) { once() } // between two files
	c, err := New(config)
	must(t, err)
	defer c.Close()
	w.write("one/ca.crt", string(newAuthority(t, "another").cert))
	if s := c.files.reload(); s.server.Host != s.static.secret() || s.server.Host != "two" {
		t.Errorf("the token of %s goes to %s", s.static.secret(), s.server.Host)
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
		if string(s.to.ca) != string(w.ca.cert) || s.static.secret() != "two" || len(w.reports) != 2 {
			t.Errorf("token %q with CA %q, reports %v; want the new token with the old CA", s.static.secret(), s.to.ca, w.reports)
		}
	})
}

// The API server refuses our credential, and the file has a new one that the
// client, which looked less than a second ago, does not know.
func TestRenewalAfter401(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]func(w *world, c *Client){
		"token file": func(w *world, _ *Client) { w.write("token", "new-"+ourToken) },
		"kubeconfig": func(w *world, _ *Client) { w.kubeconfig("token: new-" + ourToken) },
		"token file that was read half written": func(w *world, c *Client) {
			w.write("token", ("new-" + ourToken)[:10])
			c.files.reload()
			w.write("token", "new-"+ourToken)
		},
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
			rotate(w, c)
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

// The kubeconfig, the token file and the CA of the API server are replaced a hundred
// times in all ways while somebody always asks. No review fails, and within a second
// nothing depends on what was replaced: the API server refuses it from then on.
func TestRotationsUnderLoad(t *testing.T) {
	if fips140.Enabled() {
		t.Skip("FIPS 140 cryptography makes no keys where time stands still")
	}
	t.Setenv("DISABLE_HTTP2", "1")
	w := newWorld(t)                     // outside of the bubble, whose time stands still while a request is on its way
	w.Config.SetKeepAlivesEnabled(false) // and would for as long as a connection is open
	var oldest atomic.Int64              // that the API server accepts
	w.setAnswer(func(n int, s seen, rw http.ResponseWriter) {
		var token, pair int64
		fmt.Sscanf(s.authorization+" "+s.certificate, "Bearer token-%d pair-%d", &token, &pair)
		if min(token, pair) < oldest.Load() {
			t.Errorf("%q and %q are still used, want %d", s.authorization, s.certificate, oldest.Load())
		}
		yes(n, s, rw)
	})
	synctest.Test(t, func(t *testing.T) { w.rotate(t, &oldest) })
	if n := len(w.arrived()); n < 1000 {
		t.Errorf("%d reviews are no load", n)
	}
}

func (w *world) rotate(t *testing.T, oldest *atomic.Int64) {
	const gone = "\x00gone"
	kubeconfig := func(certificate, key pair) string {
		return kubeconfigText(w.URL, fmt.Sprintf("tokenFile: token, client-certificate-data: %s, client-key-data: %s", b64(certificate.cert), b64(key.key)), "certificate-authority: ca.crt")
	}
	ca := newAuthority(t, "ca 0")
	p := ca.issue(t, "pair-0")
	w.serveAs(ca)
	w.write("ca.crt", string(ca.cert))
	w.write("token", "token-0")
	c, err := New(w.config(w.write("conf", kubeconfig(p, p))))
	must(t, err)
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	defer load.Wait()
	defer cancel()
	for _, review := range []func() error{
		func() error { _, err := reviewToken(c); return err },
		func() error { _, err := reviewAccess(c); return err },
	} {
		load.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(230 * time.Millisecond) {
				if err := review(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := 1; i <= 100 && !t.Failed(); i++ {
		nextCA := newAuthority(t, fmt.Sprint("ca ", i))
		next := nextCA.issue(t, fmt.Sprint("pair-", i))
		content := map[string]string{"conf": kubeconfig(next, next), "token": fmt.Sprint("token-", i, "\n"), "ca.crt": string(ca.cert) + string(nextCA.cert)}
		broken := map[string][]string{ // that half of a token is none does not show
			"conf":   {content["conf"][:len(content["conf"])/2], "", gone, kubeconfig(next, p)},
			"token":  {"token-0\n" + content["token"], "", gone, "\x01"},
			"ca.crt": {content["ca.crt"][:len(content["ca.crt"])*2/3], "", gone, string(next.key)},
		}
		way := map[string]int{"conf": i % 6, "token": i / 6 % 6, "ca.crt": (i + i/6) % 6} // 4: renamed over, 5: swapped by a symlink
		for name, way := range way {
			if way < 4 && broken[name][way] != gone {
				w.write(name, broken[name][way])
			} else if way < 4 {
				must(t, os.Remove(filepath.Join(w.folder, name)))
			}
		}
		time.Sleep(700 * time.Millisecond)
		for name, way := range way {
			if way == 5 {
				must(t, os.Symlink(w.write(fmt.Sprint("v", i, "/", name), content[name]), filepath.Join(w.folder, "..tmp")))
				must(t, os.Rename(filepath.Join(w.folder, "..tmp"), filepath.Join(w.folder, name)))
			} else {
				w.write(name, content[name])
			}
		}
		time.Sleep(time.Second)
		oldest.Store(int64(i))
		w.serveAs(nextCA)
		ca, p = nextCA, next
	}
}
