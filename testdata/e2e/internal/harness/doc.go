// Package harness runs a real Kubernetes control plane, a real kubelet and a real kubectl on this machine,
// for the tests of the module that it stands in.
//
// The programs are built from the modules that go.mod pins, so nothing but a Go toolchain is needed:
//
//	programs, err := harness.BuildPrograms(ctx, log.Printf)
//	cluster, err := harness.StartCluster(ctx, programs, dir)
//	defer cluster.Close()
//
// Everything has its own folder, its own certificates and its own free ports. Whatever is started dies with
// the test process, however that ends: see [Process]. The control plane listens on 127.0.0.1 only;
// a kubelet listens on an address of one of this machine's interfaces, because a node with a loopback
// address is refused by the API server's proxy: see [NodeAddress].
//
// The functions that a test calls take its testing.TB and end the test when something cannot be done.
package harness
