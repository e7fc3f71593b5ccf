package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	apihttpstream "k8s.io/apimachinery/pkg/util/httpstream"
	apiproxy "k8s.io/apimachinery/pkg/util/proxy"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	streaming "k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"kubeletauth/testdata/e2e/internal/harness"
)

// forwardService is an upstream that forwards ports as a kubelet and its container runtime do: over SPDY by itself, and
// over WebSockets through the tunnel that Kubernetes has for that. The pod is this machine.
type forwardService struct {
	url  string
	seen chan *http.Request
}

func (s *forwardService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/translated" {
		s.seen <- r
	}
	if wsstream.IsWebSocketRequestWithTunnelingProtocol(r) {
		location, err := url.Parse(s.url + "/translated")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		translator.NewTunnelingHandler(apiproxy.NewUpgradeAwareHandler(location, nil, false, true, forwardFailed{})).ServeHTTP(w, r)
		return
	}
	streaming.ServePortForward(w, r, forwardHere{}, "pod", "", nil, time.Minute, time.Minute, streaming.SupportedProtocols)
}

type forwardFailed struct{}

func (forwardFailed) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusBadGateway)
}

type forwardHere struct{}

func (forwardHere) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	go io.Copy(conn, stream) // until the client closes it
	_, err = io.Copy(stream, conn)
	return err
}

// TestUpstreamPortForward shows ports that are forwarded behind our server, by both of client-go's ways: many
// connections in one tunnel, both ways at once, and an end when the client wants it.
func TestUpstreamPortForward(t *testing.T) {
	c := theCluster(t)
	service := &forwardService{seen: make(chan *http.Request, 10)}
	service.url = upstreamService(t, service)
	s := startUpstream(t, c, service.url, harness.Nodes("create", "proxy"), "--upstream-identity-headers")
	c.Grant(t, s.account.Subject(), harness.Nodes("get", "proxy"))
	for _, way := range []string{"SPDY/3.1", "websocket"} {
		t.Run(way, func(t *testing.T) { forwardPorts(t, s, service, way) })
	}
}

func forwardPorts(t *testing.T, s *upstreamServer, service *forwardService, way string) {
	pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	defer pod.Close()
	_, port, _ := net.SplitHostPort(pod.Listener.Addr().String())
	stop, ready, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var complaints bytes.Buffer
	forwarder := forwarderTo(t, s, s.token, way, port, stop, ready, &complaints)
	go func() { done <- forwarder.ForwardPorts() }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 10 {
		wait.Go(func() { forwardEcho(t, fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local), i*100_000) })
	}
	wait.Wait()
	close(stop)
	if err := upstreamTake(t, done); err != nil || complaints.Len() > 0 {
		t.Errorf("%v %s", err, &complaints)
	}
	execExpectSeenOf(t, s, upstreamTake(t, service.seen), execMethods[way], way)
	refused := forwarderTo(t, s, "rubbish", way, port, make(chan struct{}), make(chan struct{}), io.Discard)
	if err := refused.ForwardPorts(); err == nil || len(service.seen) > 0 {
		t.Errorf("with a bad token: %v, and the upstream saw %d requests", err, len(service.seen))
	}
}

// forwarderTo forwards any port of this machine to a port behind our server.
func forwarderTo(t *testing.T, s *upstreamServer, token, way, port string, stop, ready chan struct{}, complaints io.Writer) *portforward.PortForwarder {
	t.Helper()
	target, err := url.Parse(s.URL + "/portForward/default/pod")
	if err != nil {
		t.Fatal(err)
	}
	forwarder, err := portforward.NewOnAddresses(forwardDialer(t, s, token, way, target), []string{"127.0.0.1"}, []string{"0:" + port}, stop, ready, io.Discard, complaints)
	if err != nil {
		t.Fatal(err)
	}
	return forwarder
}

// forwardDialer is one of client-go's ways to our server.
func forwardDialer(t *testing.T, s *upstreamServer, token, way string, target *url.URL) apihttpstream.Dialer {
	t.Helper()
	if way == "websocket" {
		dialer, err := portforward.NewSPDYOverWebsocketDialer(target, execConfig(s, token))
		if err != nil {
			t.Fatal(err)
		}
		return dialer
	}
	transport, upgrader, err := spdy.RoundTripperFor(execConfig(s, token))
	if err != nil {
		t.Fatal(err)
	}
	return spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", target)
}

// forwardEcho sends so many bytes through a forwarded port, on a connection of its own, and wants them back.
func forwardEcho(t *testing.T, target string, size int) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	sent := bytes.Repeat([]byte{byte(size)}, size)
	res, err := client.Post(target, "", bytes.NewReader(sent))
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	if got, err := io.ReadAll(res.Body); err != nil || sha256.Sum256(got) != sha256.Sum256(sent) {
		t.Errorf("of %d bytes, %d came back: %v", size, len(got), err)
	}
}
