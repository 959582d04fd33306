package admin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// The kernel's diagnosis of sockets (sock_diag(7)) finds one by its two addresses at once,
// where the tables in /proc have to be read from their beginning: with thousands of
// connections that is milliseconds of a processor for each of them.
const (
	netlinkSockDiag  = 4  // NETLINK_SOCK_DIAG
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	established      = 1  // TCP_ESTABLISHED

	diagHeader  = syscall.NLMSG_HDRLEN
	diagRequest = diagHeader + 56 // struct inet_diag_req_v2
	diagAnswer  = diagHeader + 72 // struct inet_diag_msg
	// The places in both of the socket's id, and in the answer of what else is read.
	diagRequestID, diagID  = diagHeader + 8, diagHeader + 4
	diagState              = diagHeader + 1
	diagUser, diagInode    = diagHeader + 64, diagHeader + 68
	diagPorts, diagAddress = 4, 16 // sizes of the id's first parts, in bytes
)

var errDiag = errors.New("the kernel's diagnosis of sockets says nothing of use")

// diagnose asks for the TCP socket between two addresses. It is not found unless it is
// established.
func diagnose(local, remote netip.AddrPort) (s socket, found bool, err error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return socket{}, false, fmt.Errorf("%w: %w", errDiag, err)
	}
	defer func() { _ = syscall.Close(fd) }()
	// It answers before the call returns; if it does not, nobody must wait.
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Sec: 1})
	if err := syscall.Sendto(fd, diagQuestion(local, remote), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return socket{}, false, fmt.Errorf("%w: %w", errDiag, err)
	}
	answer := make([]byte, 1024)
	n, from, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return socket{}, false, fmt.Errorf("%w: %w", errDiag, err)
	}
	if sender, ok := from.(*syscall.SockaddrNetlink); !ok || sender.Pid != 0 {
		return socket{}, false, errDiag // another process, not the kernel
	}
	return readDiag(answer[:n], local, remote)
}

// diagQuestion is a request for one socket.
func diagQuestion(local, remote netip.AddrPort) []byte {
	b := make([]byte, diagRequest)
	binary.NativeEndian.PutUint32(b, diagRequest)
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(b[6:], syscall.NLM_F_REQUEST)
	b[diagHeader] = syscall.AF_INET6
	if local.Addr().Is4() {
		b[diagHeader] = syscall.AF_INET
	}
	b[diagHeader+1] = syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[diagHeader+4:], 1<<established)
	id := b[diagRequestID:]
	copy(id, diagPair(local, remote))
	for i := len(id) - 8; i < len(id); i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return b
}

// diagPair is the beginning of a socket's id: ports and addresses, in network order.
func diagPair(local, remote netip.AddrPort) []byte {
	b := make([]byte, diagPorts+2*diagAddress)
	binary.BigEndian.PutUint16(b, local.Port())
	binary.BigEndian.PutUint16(b[2:], remote.Port())
	copy(b[diagPorts:], local.Addr().AsSlice())
	copy(b[diagPorts+diagAddress:], remote.Addr().AsSlice())
	return b
}

// readDiag reads the answer.
func readDiag(b []byte, local, remote netip.AddrPort) (s socket, found bool, err error) {
	if len(b) < diagHeader+4 {
		return socket{}, false, errDiag
	}
	switch binary.NativeEndian.Uint16(b[4:]) {
	case syscall.NLMSG_ERROR:
		code := syscall.Errno(-int32(binary.NativeEndian.Uint32(b[diagHeader:])))
		if code == syscall.ENOENT {
			return socket{}, false, nil
		}
		return socket{}, false, fmt.Errorf("%w: %w", errDiag, code)
	case sockDiagByFamily:
	default:
		return socket{}, false, errDiag
	}
	if len(b) < diagAnswer {
		return socket{}, false, errDiag
	}
	// A listener may stand for a connection that is gone.
	if b[diagState] != established || string(b[diagID:diagID+diagPorts+2*diagAddress]) != string(diagPair(local, remote)) {
		return socket{}, false, nil
	}
	return socket{
		local: local, remote: remote, established: true,
		uid: int(binary.NativeEndian.Uint32(b[diagUser:])), inode: uint64(binary.NativeEndian.Uint32(b[diagInode:])),
	}, true, nil
}
