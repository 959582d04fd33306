package proc

import "net"

// FreePort returns an address of loopback that nobody listens on, which another process may
// take before it is used.
func FreePort() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return lis.Addr().String(), lis.Close()
}
