package identity

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// serverUser returns the user of the process that listens at the other end of a
// unix socket, as the kernel noted it when it began to (unix(7), SO_PEERCRED).
func serverUser(conn net.Conn) (int, error) {
	unix, ok := conn.(syscall.Conn)
	if !ok || conn.RemoteAddr().Network() != "unix" {
		return 0, errors.New("not a unix socket, so the kernel cannot say whose process the server is: enrol with a token")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("unix socket: %w", err)
	}
	var credentials *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		credentials, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("unix socket: whose process the server is: %w", err)
	}
	return int(credentials.Uid), nil
}
