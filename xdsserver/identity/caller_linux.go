package identity

import (
	"os"
	"syscall"
)

// peerUser returns the user at the other end of a unix socket, as it was when it
// connected (SO_PEERCRED of unix(7)), and whether that is this process's user or
// root; -1 for a socket of another kind. Only the user is taken: a process id may
// be another process's by now.
func peerUser(conn syscall.Conn) (uid int, local bool) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, false
	}
	uid = -1
	err = raw.Control(func(fd uintptr) {
		// The kernel is asked what the socket is, since an address is whatever a
		// wrapper says.
		addr, err := syscall.Getsockname(int(fd))
		if err != nil {
			return
		}
		if _, ok := addr.(*syscall.SockaddrUnix); !ok {
			return
		}
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	if err != nil {
		return -1, false
	}
	return uid, isLocal(uid, os.Geteuid())
}
