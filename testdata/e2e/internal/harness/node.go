package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NodeAddress returns an address of this machine that a node can have. The API server passes requests on to global
// unicast addresses only, and a kubelet takes no loopback address for its node, so 127.0.0.1 will not do: it is an
// address of one of this machine's interfaces. Packets to such an address do not leave the machine.
func NodeAddress() (string, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return "", err
	}
	var found []string
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return "", err
		}
		for _, address := range addresses {
			network, ok := address.(*net.IPNet)
			if !ok || !network.IP.IsGlobalUnicast() {
				continue
			}
			if network.IP.To4() != nil {
				return network.IP.String(), nil
			}
			found = append(found, network.IP.String())
		}
	}
	if len(found) == 0 {
		return "", errors.New("no interface of this machine has an address beyond loopback and link-local")
	}
	return found[0], nil
}

// RequireNodeAddress is NodeAddress for tests that need one: without, the test is skipped.
func RequireNodeAddress(t testing.TB) string {
	t.Helper()
	address, err := NodeAddress()
	if err != nil {
		Skip(t, "a node needs an address that the API server passes requests on to: %v", err)
	}
	return address
}

// CreateNode makes a node whose kubelet is at the address and port, for the length of the test.
func (c *Cluster) CreateNode(t testing.TB, name, address string, port int) {
	t.Helper()
	nodes := c.Admin.CoreV1().Nodes()
	node, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating node %s: %v", name, err)
	}
	t.Cleanup(func() { c.deleteNode(name) })
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
	if _, err := nodes.UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("giving node %s its address: %v", name, err)
	}
}

// deleteNode deletes a node and does not mind if that fails.
func (c *Cluster) deleteNode(name string) {
	c.Admin.CoreV1().Nodes().Delete(context.Background(), name, metav1.DeleteOptions{})
}

// nodeIsReady is a check for poll: the node exists and is ready.
func (c *Cluster) nodeIsReady(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		node, err := c.Admin.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
				return nil
			}
			if condition.Type == corev1.NodeReady {
				err = errors.New(condition.Message)
			}
		}
		return fmt.Errorf("node %s is not ready: %w", name, errors.Join(err))
	}
}
