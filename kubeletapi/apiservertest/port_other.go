//go:build !linux

package apiservertest

// holdPort leaves the choice of a port to the listener, and holds none.
func holdPort() (addr string, release func(), err error) {
	return "127.0.0.1:0", func() {}, nil
}
