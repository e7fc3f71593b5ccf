package e2e

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"kubeletauth/testdata/e2e/internal/harness"
	"kubeletauth/testdata/e2e/internal/ours"
)

// newDifferential starts a kubelet and our server. They have the same node name, authorities, API server and settings.
func newDifferential(t *testing.T, c *harness.Cluster, callers *callers, anonymous bool) *differentialPair {
	t.Helper()
	kubelet := c.StartKubelet(t, harness.KubeletOptions{Configure: func(config *kubeletv1beta1.KubeletConfiguration) {
		many := int32(10_000)
		config.KubeAPIQPS, config.KubeAPIBurst = &many, many
		config.Authentication.Anonymous.Enabled = &anonymous
		config.FeatureGates = map[string]bool{"KubeletAllocatedPodsEndpoint": true}
	}})
	server := ours.Start(t, c, ours.Options{}, append(ours.Protected(t, c, kubelet.NodeName),
		"--anonymous-auth="+fmt.Sprint(anonymous), "--feature-gates=KubeletFineGrainedAuthz=true")...)
	d := &differentialPair{
		kubelet: newEndpoint(t, c, "the kubelet", kubelet.URL),
		ours:    newEndpoint(t, c, "ours", server.URL),
		callers: callers,
		seen:    map[string]int{},
	}
	d.ours.filterFirst = true
	return d
}

// tally says how many requests there were of each kind.
func (d *differentialPair) tally() string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(d.seen)) {
		list = append(list, fmt.Sprintf("%s: %d", what, d.seen[what]))
	}
	return strings.Join(list, "; ")
}

// endpoint is a server that raw requests are sent to. It keeps connections by the certificate they were opened with.
type endpoint struct {
	name, address string
	filterFirst   bool // whatever it answers, the filter has let pass
	roots         *tls.Config

	mu   sync.Mutex
	idle map[*harness.Pair][]*connection
}

// newEndpoint returns the endpoint of a server; its connections are closed with the test.
func newEndpoint(t *testing.T, c *harness.Cluster, name, address string) *endpoint {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{
		name:    name,
		address: u.Host,
		roots:   &tls.Config{RootCAs: c.CA.Pool()},
		idle:    map[*harness.Pair][]*connection{},
	}
	t.Cleanup(e.close)
	return e
}
