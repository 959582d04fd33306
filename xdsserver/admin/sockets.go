package admin

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// A socket is a row of the kernel's table, proc_pid_net(5).
type socket struct {
	local, remote netip.AddrPort
	established   bool
	uid           int
	inode         uint64
}

// stateEstablished is TCP_ESTABLISHED of the kernel's tcp_states.h.
const stateEstablished = "01"

// sockets reads a table as /proc/net/tcp and tcp6 have it. It ends after an error.
func sockets(r io.Reader) iter.Seq2[socket, error] {
	return func(yield func(socket, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Scan() // the header
		for lines.Scan() {
			s, err := parseSocket(lines.Text())
			if !yield(s, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(socket{}, err)
		}
	}
}

// parseSocket reads a row: number, local and remote address, state, queues, timer,
// retransmissions, user, timeout, inode, and more.
func parseSocket(line string) (socket, error) {
	fields := strings.Fields(line)
	if len(fields) < 10 {
		return socket{}, fmt.Errorf("a row has %d fields, want 10", len(fields))
	}
	var s socket
	var err error
	if s.local, err = parseEnd(fields[1]); err != nil {
		return socket{}, err
	}
	if s.remote, err = parseEnd(fields[2]); err != nil {
		return socket{}, err
	}
	s.established = fields[3] == stateEstablished
	uid, err := strconv.ParseUint(fields[7], 10, 32)
	if err != nil {
		return socket{}, fmt.Errorf("a row's user: %w", err)
	}
	s.uid = int(uid)
	if s.inode, err = strconv.ParseUint(fields[9], 10, 64); err != nil {
		return socket{}, fmt.Errorf("a row's inode: %w", err)
	}
	return s, nil
}

// parseEnd reads "0100007F:1F90": an address as words of four bytes, each in the
// machine's order, and a port.
func parseEnd(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(address)
	if err != nil || (len(b) != 4 && len(b) != 16) {
		return netip.AddrPort{}, errors.New("a row's address is none")
	}
	for i := 0; i < len(b); i += 4 {
		word := binary.BigEndian.Uint32(b[i:])
		binary.NativeEndian.PutUint32(b[i:], word)
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("a row's port: %w", err)
	}
	addr, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(addr.Unmap(), uint16(n)), nil
}
