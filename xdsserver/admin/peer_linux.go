package admin

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// mayBeReadByOthers is empty where the kernel says whose a connection is.
const mayBeReadByOthers = ""

// owner is the user whose process is at the other end of a connection, by the kernel's
// word.
//
// A TCP connection has no SO_PEERCRED, but one within a machine has both its ends
// in the kernel's table of sockets, which says whose each is. Our end is looked up
// after the other: a connection that is established then was so all the time,
// and nobody else can have had the same pair of addresses.
func owner(c net.Conn) (uid int, err error) {
	switch c := c.(type) {
	case *net.UnixConn:
		return ownerOfSocket(c)
	case *net.TCPConn:
		local, remote, err := ends(c)
		if err != nil {
			return 0, err
		}
		other, found, err := between(remote, local)
		if err != nil {
			return 0, err
		}
		inode, err := inodeOf(c)
		if err != nil {
			return 0, err
		}
		own, ours, err := between(local, remote)
		switch {
		case err != nil:
			return 0, err
		case !found || !ours || own.inode != inode:
			return 0, errors.New("the kernel does not know the process that asks: it answers to processes of this machine only")
		}
		return other.uid, nil
	}
	return 0, errors.New("it answers over TCP and unix sockets only")
}

func ownerOfSocket(c *net.UnixConn) (uid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look up who asks: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return 0, fmt.Errorf("look up who asks: %w", errors.Join(err, credErr))
	}
	return int(cred.Uid), nil
}

func ends(c *net.TCPConn) (local, remote netip.AddrPort, err error) {
	l, okl := c.LocalAddr().(*net.TCPAddr)
	r, okr := c.RemoteAddr().(*net.TCPAddr)
	if !okl || !okr {
		return local, remote, errors.New("the connection has no addresses")
	}
	return plain(l.AddrPort()), plain(r.AddrPort()), nil
}

// plain is an address as both tables of the kernel would have it: a socket of IPv6
// may speak IPv4, and links are told apart by the addresses already.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

func inodeOf(c *net.TCPConn) (uint64, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("look up who asks: %w", err)
	}
	var stat syscall.Stat_t
	var statErr error
	if err := raw.Control(func(fd uintptr) { statErr = syscall.Fstat(int(fd), &stat) }); err != nil || statErr != nil {
		return 0, fmt.Errorf("look up who asks: %w", errors.Join(err, statErr))
	}
	return stat.Ino, nil
}

// between finds the TCP socket between two addresses that is established: by the kernel's
// diagnosis, and where that is not to be had or does not know it (a link-local address
// wants more than the address) in the kernel's tables.
func between(local, remote netip.AddrPort) (s socket, found bool, err error) {
	if s, found, err = diagnose(local, remote); found && err == nil {
		return s, true, nil
	}
	return lookup(func(s socket) bool { return s.local == local && s.remote == remote && s.established })
}

// lookup finds a TCP socket of this machine in the kernel's tables.
func lookup(is func(socket) bool) (s socket, found bool, err error) {
	for _, name := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return socket{}, false, fmt.Errorf("look up who asks: %w", err)
		}
		s, found, err = find(f, is)
		_ = f.Close()
		if err != nil {
			return socket{}, false, fmt.Errorf("look up who asks: %s: %w", name, err)
		}
		if found {
			return s, true, nil
		}
	}
	return socket{}, false, nil
}

// find reads one table until a socket is the one that is looked for.
func find(r io.Reader, is func(socket) bool) (found socket, ok bool, err error) {
	for s, err := range sockets(r) {
		if err != nil {
			return socket{}, false, err
		}
		if is(s) {
			return s, true, nil
		}
	}
	return socket{}, false, nil
}
