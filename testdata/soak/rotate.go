package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"kubeletauth/kubeletapi/apiservertest"
)

// noticed is how long a file's new contents may take to be in force everywhere.
const noticed = 1100 * time.Millisecond

// notice waits until a file that the API server's client reads has been noticed:
// it is looked at only when there is something to review.
func (t *town) notice() {
	time.Sleep(noticed)
	client := t.client(51, true)
	defer client.CloseIdleConnections()
	cold(t, client) // whatever the answer is
}

// rotate replaces each file again and again until ctx ends.
func (t *town) rotate(ctx context.Context) (wait func()) {
	turns := []func(ctx context.Context, i int){t.rotateClientCA, t.rotateServing, t.rotateKubeconfig, t.rotateToken, t.rotateAPICA}
	done := make(chan bool)
	for _, turn := range turns {
		go func() {
			defer func() { done <- true }()
			for i := 1; rest(ctx, 100*time.Millisecond, 300*time.Millisecond); i++ {
				t.pause.RLock()
				turn(ctx, i)
				t.pause.RUnlock()
			}
		}()
	}
	return func() {
		for range turns {
			<-done
		}
	}
}

// replace gives a file new contents in one of the ways in which that happens.
// Some of them leave it unusable first, which must not matter. Whether a token
// is whole does not show.
func (t *town) replace(name string, content []byte) {
	path := t.path(name)
	ways := []string{"renamed over", "swapped by a symlink", "empty first", "vanished first", "junk first", "half written first"}
	way := ways[rand.N(len(ways))]
	if name == "token" && way == "half written first" {
		way = "renamed over"
	}
	switch way {
	case "empty first":
		t.write(name, nil)
	case "vanished first":
		must(os.Remove(path))
	case "junk first":
		t.write(name, []byte("junk\njunk"))
	case "half written first":
		t.write(name, content[:len(content)*2/3])
	}
	if way[len(way)-5:] == "first" {
		time.Sleep(600 * time.Millisecond)
	}
	if way == "swapped by a symlink" {
		swap(path, content)
	} else {
		t.write(name+".new", content)
		must(os.Rename(path+".new", path))
	}
	t.count(name + " " + way)
	t.count(name)
}

// swap replaces a file as a mounted Secret does.
func swap(path string, content []byte) {
	version, err := os.MkdirTemp(filepath.Dir(path), "..version-")
	must(err)
	must(os.WriteFile(filepath.Join(version, filepath.Base(path)), content, 0o600))
	data := path + "..data"
	old, _ := os.Readlink(data)
	must(os.Symlink(version, data+".new"))
	must(os.Rename(data+".new", data))
	if to, _ := os.Readlink(path); to == "" {
		must(os.Symlink(filepath.Join(data, filepath.Base(path)), path+".new"))
		must(os.Rename(path+".new", path))
	}
	if old != "" {
		must(os.RemoveAll(old))
	}
}

// rotateClientCA sees when somebody of the authority that is gone is refused, on
// the connections that they have, and that somebody of the new one is served.
func (t *town) rotateClientCA(_ context.Context, i int) {
	next, err := apiservertest.NewCA("guests")
	must(err)
	var olds []*http.Client
	for _, ca := range []*apiservertest.CA{t.guests, t.guests, next} {
		certificate, err := ca.Issue(apiservertest.Certificate{CommonName: "jane"})
		must(err)
		client := t.client(50, len(olds)%2 == 0)
		t.present(client, certificate)
		defer client.CloseIdleConnections()
		olds = append(olds, client)
	}
	call, young := get("/metrics", nil), olds[2]
	for _, old := range olds[:2] {
		t.expect(200, call, old, "client CA: before it is replaced")
	}
	t.guests = next
	t.replace("ca.crt", t.bundle())
	start := time.Now()
	for _, old := range olds[:2] {
		t.refused(start, call, old)
	}
	t.expect(200, call, young, "client CA: after it was replaced")
}

// refused calls until the answer is 401, and takes note of when the last other one
// was asked for, however long it took to come.
func (t *town) refused(start time.Time, call func(*town, *http.Client) (int, error), client *http.Client) {
	for ; ; time.Sleep(20 * time.Millisecond) {
		sent := time.Since(start)
		code, err := call(t, client)
		if code == 401 {
			return
		}
		t.mu.Lock()
		t.revoked = max(t.revoked, sent)
		t.mu.Unlock()
		if sent > 5*time.Second {
			t.violate(fmt.Sprintf("client CA: %d, %v to a request sent %v after it was replaced", code, err, sent.Round(100*time.Millisecond)))
			return
		}
	}
}

// expect makes a call with a certificate that was never seen before, for which
// access has to be reviewed.
func (t *town) expect(want int, call func(*town, *http.Client) (int, error), client *http.Client, when string) {
	start := time.Now()
	if code, err := call(t, client); code != want && !(code == 500 && t.apiDown.since(start)) {
		t.violate(fmt.Sprintf("%s: %d, %v", when, code, err))
	}
}

func (t *town) violate(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.violateLocked(what)
}

// violateLocked keeps a hundred kinds, each with what the log said last.
func (t *town) violateLocked(what string) {
	if len(t.violations) >= 100 {
		what = "others"
	}
	if t.violations[what]++; t.violations[what] == 1 && what != "others" {
		delete(t.violations, what)
		t.violations[fmt.Sprintf("%s; %.400s", what, t.said.String())]++
	}
}

func (t *town) rotateServing(context.Context, int) {
	pair := t.serving()
	t.replace("tls.crt", apiservertest.CertPEM(pair)) // which does not fit the key
	if rand.N(2) == 0 {
		time.Sleep(600 * time.Millisecond)
	}
	t.replace("tls.key", apiservertest.KeyPEM(pair))
	time.Sleep(noticed)
}

func (t *town) rotateKubeconfig(_ context.Context, i int) {
	t.replace("kubeconfig", t.kubeconfig(i))
	t.notice()
}

// rotateToken revokes the old token once the new one is there.
func (t *town) rotateToken(_ context.Context, i int) {
	old, err := os.ReadFile(t.path("token"))
	must(err)
	next := fmt.Sprint("client-token-", i)
	t.api.SetClientTokens(string(old), next)
	t.replace("token", []byte(next))
	t.notice()
	t.api.SetClientTokens(next)
}

// rotateAPICA has both authorities in the file while the API server changes its
// certificate.
func (t *town) rotateAPICA(context.Context, int) {
	old, err := os.ReadFile(t.path("api-ca.crt"))
	must(err)
	next, err := apiservertest.NewCA("api-ca")
	must(err)
	serving, err := next.Issue(apiservertest.Certificate{CommonName: "kube-apiserver", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	must(err)
	t.replace("api-ca.crt", append(next.PEM(), old...))
	t.notice()
	t.api.SetCertificate(serving)
	t.replace("api-ca.crt", next.PEM())
	t.notice()
}
