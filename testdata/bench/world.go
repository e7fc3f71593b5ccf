package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"

	"kubeletauth/authn"
	"kubeletauth/authz"
	"kubeletauth/kubeletapi"
	"kubeletauth/kubeletapi/apiservertest"
	"kubeletauth/testdata/bench/kubelet"
)

// world is what a measurement needs around it: an API server that allows every
// user everything, and a certificate authority.
type world struct {
	api        *apiservertest.Server
	dir        string
	caFile     string
	kubeconfig string

	ctx    context.Context // of the servers that are started
	cancel context.CancelFunc
	served sync.WaitGroup
	auths  []*kubeletapi.Auth
}

// newWorld starts an API server that takes as long as it is told to answer.
func newWorld(latency time.Duration) *world {
	w := &world{api: must(apiservertest.Start(apiservertest.Config{})), dir: must(os.MkdirTemp("", "bench-"))}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.caFile = w.write("ca.crt", w.api.CA.PEM())
	w.kubeconfig = w.write("kubeconfig", w.api.Kubeconfig(""))
	w.api.SetDecide(func(authz.SubjectAccessReviewSpec) authz.SubjectAccessReviewStatus {
		return authz.SubjectAccessReviewStatus{Allowed: true}
	})
	for _, reviews := range []string{apiservertest.TokenReviews, apiservertest.SubjectAccessReviews} {
		w.api.Inject(reviews, apiservertest.Fault{Latency: latency})
	}
	return w
}

func (w *world) close() {
	w.cancel()
	w.served.Wait()
	for _, auth := range w.auths {
		auth.Close()
	}
	w.api.Close()
	os.RemoveAll(w.dir)
}

func (w *world) write(name string, content []byte) string {
	path := filepath.Join(w.dir, name)
	check(os.WriteFile(path, content, 0o600))
	return path
}

// token returns a new token of 1 KB, as long as a service account's, that the
// API server knows.
func (w *world) token() string {
	token := strings.Repeat(rand.Text(), 40)[:1024]
	w.api.SetToken(token, serviceAccount(token[:8]))
	return token
}

// serviceAccount is the user that a service account's token stands for.
func serviceAccount(id string) authn.UserInfo {
	return authn.UserInfo{
		Username: "system:serviceaccount:monitoring:" + id, UID: "0b1d9f9e-6f1f-4b9d-9a53-1f1c3d2b4a5e",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:monitoring", "system:authenticated"},
		Extra: map[string][]string{
			"authentication.kubernetes.io/credential-id": {"JTI=" + id},
			"authentication.kubernetes.io/node-name":     {"n1"},
			"authentication.kubernetes.io/pod-name":      {"prometheus-" + id},
		},
	}
}

// config is the kubelet's own configuration, with its table of subresources, with
// every way to authenticate on.
func (w *world) config(mode string) kubeletapi.Config {
	return kubeletapi.Config{
		AnonymousAuth: true, ClientCAFile: w.caFile, AuthenticationTokenWebhook: true, AuthorizationMode: mode,
		FeatureGates: map[string]bool{"KubeletFineGrainedAuthz": true}, HostnameOverride: "n1",
		Kubeconfig: w.kubeconfig, Logger: slog.New(slog.DiscardHandler),
	}
}

// ours returns our chain.
func (w *world) ours(c kubeletapi.Config) *kubeletapi.Auth {
	auth := must(kubeletapi.New(c))
	w.auths = append(w.auths, auth)
	return auth
}

// kubelet returns the kubelet's chain.
func (w *world) kubelet(mode string, ttl time.Duration) *kubelet.Chain {
	return must(kubelet.New(kubelet.Config{
		ClientCAFile: w.caFile, Mode: kubeletconfig.KubeletAuthorizationMode(mode), Kubeconfig: w.kubeconfig, TTL: ttl,
	}))
}

// connected opens a connection to a server of ours and returns a request as a
// handler sees it there, with the connection in its context, but with its token
// still in its header. The connection stays open as long as the world.
func (w *world) connected(auth *kubeletapi.Auth, token string, certificate *tls.Certificate) *http.Request {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	seen := make(chan *http.Request, 1)
	server := kubeletapi.Server{Config: w.config(kubeletapi.ModeWebhook), Auth: auth,
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			seen <- r
			<-w.ctx.Done()
		})}
	w.served.Go(func() { check(server.Serve(w.ctx, listener)) })

	config := &tls.Config{InsecureSkipVerify: true} // of a server in this process
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	r := must(http.NewRequest("GET", "https://"+listener.Addr().String()+"/metrics", nil))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w.served.Go(func() {
		if answer, err := client.Do(r.WithContext(w.ctx)); w.ctx.Err() == nil {
			panic(fmt.Sprint("the server answered before the handler did: ", answer, err))
		}
	})
	got := <-seen
	inside := got.Clone(got.Context())
	if token != "" {
		inside.Header.Set("Authorization", "Bearer "+token)
	}
	return inside
}
