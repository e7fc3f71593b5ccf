package harness

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
)

// startEtcd starts an etcd of one member that keeps nothing safe, and returns its client URL.
func startEtcd(ctx context.Context, program, dir string) (*Process, string, error) {
	clients, err := FreePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	peers, err := FreePort("127.0.0.1")
	if err != nil {
		return nil, "", err
	}
	clientURL := fmt.Sprintf("http://127.0.0.1:%d", clients)
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", peers)
	process, err := StartProcess(exec.Command(program,
		"--data-dir="+filepath.Join(dir, "etcd"),
		"--listen-client-urls="+clientURL, "--advertise-client-urls="+clientURL,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL,
		"--initial-cluster=default="+peerURL,
		"--unsafe-no-fsync",
		"--logger=zap", "--log-outputs=stderr",
	), filepath.Join(dir, "etcd.log"))
	if err != nil {
		return nil, "", err
	}
	if err := process.Await(ctx, answers200(&http.Client{}, clientURL+"/health")); err != nil {
		process.Kill()
		return nil, "", err
	}
	return process, clientURL, nil
}
