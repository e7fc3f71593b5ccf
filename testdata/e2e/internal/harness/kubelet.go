package harness

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// Kubelet is a running kubelet without any containers. It protects its API as in a cluster: no anonymous requests,
// client certificates of the cluster's authority, token and access reviews by the API server.
type Kubelet struct {
	*Process
	NodeName string
	URL      string // https://<node address>:<free port>
}

// KubeletOptions change how a kubelet is started.
type KubeletOptions struct {
	NodeName  string                                            // "" means a name of its own
	Configure func(config *kubeletv1beta1.KubeletConfiguration) // changes the configuration before it is written
	Flags     []string                                          // more flags
}

// StartKubelet starts a kubelet for the length of the test and waits until its node is ready.
// It is skipped where a kubelet cannot run: it needs root, a mount namespace of its own, and a node address.
func (c *Cluster) StartKubelet(t testing.TB, options KubeletOptions) *Kubelet {
	t.Helper()
	address := RequireNodeAddress(t)
	if err := canOwnMounts(); err != nil {
		Skip(t, "a kubelet needs to be root with mounts of its own: %v", err)
	}
	port, err := FreePort(address)
	if err != nil {
		t.Fatal(err)
	}
	k := &Kubelet{NodeName: options.NodeName, URL: "https://" + net.JoinHostPort(address, strconv.Itoa(port))}
	if k.NodeName == "" {
		k.NodeName = "kubelet-" + strconv.Itoa(port)
	}
	dir := t.TempDir()
	config := c.kubeletConfiguration(t, dir, address, port)
	if options.Configure != nil {
		options.Configure(config)
	}
	cmd, err := inOwnMounts(dir, c.Programs.Kubelet, append([]string{
		"--config=" + writeJSON(t, filepath.Join(dir, "config.json"), config),
		"--kubeconfig=" + c.NodeKubeconfig(t, k.NodeName),
		"--hostname-override=" + k.NodeName,
		"--node-ip=" + address,
		"--v=3",
	}, options.Flags...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.deleteNode(k.NodeName) })
	k.Process = RunFor(t, k.NodeName, cmd)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := k.Await(ctx, c.nodeIsReady(k.NodeName)); err != nil {
		t.Fatal(err)
	}
	return k
}

// kubeletConfiguration is a configuration that lets a kubelet run without a container runtime, without control groups
// of its own and without touching the packet filter.
func (c *Cluster) kubeletConfiguration(t testing.TB, dir, address string, port int) *kubeletv1beta1.KubeletConfiguration {
	t.Helper()
	pair, err := c.CA.Issue(ServerTemplate(address))
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, err := pair.Write(dir, "serving")
	if err != nil {
		t.Fatal(err)
	}
	yes, no, off := true, false, int32(0)
	return &kubeletv1beta1.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: kubeletv1beta1.SchemeGroupVersion.String(),
			Kind:       "KubeletConfiguration",
		},
		Address:           address,
		Port:              int32(port),
		HealthzPort:       &off,
		TLSCertFile:       certFile,
		TLSPrivateKeyFile: keyFile,
		Authentication: kubeletv1beta1.KubeletAuthentication{
			X509:      kubeletv1beta1.KubeletX509Authentication{ClientCAFile: c.CAFile},
			Webhook:   kubeletv1beta1.KubeletWebhookAuthentication{Enabled: &yes},
			Anonymous: kubeletv1beta1.KubeletAnonymousAuthentication{Enabled: &no},
		},
		Authorization:                 kubeletv1beta1.KubeletAuthorization{Mode: kubeletv1beta1.KubeletAuthorizationModeWebhook},
		ContainerRuntimeEndpoint:      startContainerRuntime(t),
		VolumePluginDir:               filepath.Join(kubeletFolder, "volume-plugins"),
		FailSwapOn:                    &no,
		FailCgroupV1:                  &no,
		CgroupsPerQOS:                 &no,
		EnforceNodeAllocatable:        []string{"none"},
		LocalStorageCapacityIsolation: &no,
		MakeIPTablesUtilChains:        &no,
	}
}

// writeJSON writes value into file and returns the file's name.
func writeJSON(t testing.TB, file string, value any) string {
	t.Helper()
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
