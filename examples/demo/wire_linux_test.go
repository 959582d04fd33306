package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// wireVariable makes the test binary run in a network of its own.
const wireVariable = "TULLE_DEMO_WIRE"

// Every byte that the demo's processes send one another, read from the wire, is a
// TLS record, and none of what they say can be read in them. The wire is the
// loopback interface of a network namespace that holds nothing else.
func TestEveryByteOnTheWireIsTLS(t *testing.T) {
	if os.Getenv(wireVariable) == "" {
		inOwnNetwork(t)
		return
	}
	if err := raiseLoopback(); err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(t.TempDir(), "demo")
	if out, err := exec.Command("go", "build", "-o", demo, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	capture, err := startCapture()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(demo, "--requests", "200", "-o", "json")
	cmd.Stderr = &said
	if out, err := cmd.Output(); err != nil {
		t.Fatalf("%v: %s%s", err, out, said.String())
	}
	flows := capture.stop()
	admin := regexp.MustCompile(`TULLE_ADMIN=(\S+)`).FindStringSubmatch(said.String())
	if admin == nil {
		t.Fatalf("the demo named no admin port: %s", said.String())
	}
	u, err := url.Parse(admin[1])
	if err != nil {
		t.Fatal(err)
	}

	plain, readable := u.Port(), [][]byte{[]byte("PRI * HTTP/2.0"), []byte("VotingService"), []byte("grpc-status"), []byte("rocket")}
	checked, records := 0, 0
	control := false // the admin port, which is the operator's on this machine, is plain HTTP: what is looked for can be found
	for name, payload := range flows {
		if strings.HasSuffix(name[0], ":"+plain) || strings.HasSuffix(name[1], ":"+plain) {
			control = control || bytes.Contains(payload, []byte("AdminService"))
			continue
		}
		n, err := tlsRecords(payload)
		if err != nil {
			t.Errorf("%s -> %s: %v", name[0], name[1], err)
		}
		for _, text := range readable {
			if bytes.Contains(payload, text) {
				t.Errorf("%s -> %s: %q can be read", name[0], name[1], text)
			}
		}
		checked, records = checked+1, records+n
	}
	if !control {
		t.Error("the capture saw nothing of the admin port: it would not have seen a plaintext call either")
	}
	// Each of 200 requests is a record or more in each direction on some hop.
	if checked < 20 || records < 1000 {
		t.Errorf("%d directions with %d TLS records were seen, want the traffic of 200 requests", checked, records)
	}
	t.Logf("%d directions of connections, %d TLS records, no other byte", checked, records)
}

// inOwnNetwork runs this test again in a new network namespace.
func inOwnNetwork(t *testing.T) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), wireVariable+"=1")
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		// Whoever owns a user namespace owns the networks made in it.
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this system gives nobody a network namespace: the wire cannot be read here")
	}
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

// raiseLoopback brings up lo, which is down in a new namespace.
func raiseLoopback() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	var request struct { // struct ifreq, netdevice(7)
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("lo: %w", errno)
	}
	return nil
}

// A flow is one direction of a TCP connection: from and to, as host:port.
type flow [2]string

// A capture reads all TCP segments on lo.
type capture struct {
	fd      int
	reading sync.WaitGroup
	done    chan struct{}
	flows   map[flow]map[uint32][]byte // payloads by sequence number
}

const allProtocols = 0x0300 // ETH_P_ALL in network order

func startCapture() (*capture, error) {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, allProtocols)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	lo, err := net.InterfaceByName("lo")
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: allProtocols, Ifindex: lo.Index})
	}
	if err == nil {
		err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 64<<20)
	}
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 50_000})
	}
	if err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	c := &capture{fd: fd, done: make(chan struct{}), flows: map[flow]map[uint32][]byte{}}
	c.reading.Go(c.read)
	return c, nil
}

func (c *capture) read() {
	buffer := make([]byte, 128<<10)
	for {
		n, from, err := syscall.Recvfrom(c.fd, buffer, 0)
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
			select {
			case <-c.done:
				return
			default:
				continue
			}
		}
		if err != nil {
			return
		}
		// What is sent on lo is seen leaving and coming in.
		if link, ok := from.(*syscall.SockaddrLinklayer); ok && link.Pkttype != 4 {
			c.segment(buffer[:n])
		}
	}
}

// segment keeps the payload of an IPv4 TCP segment.
func (c *capture) segment(packet []byte) {
	if len(packet) < 40 || packet[0]>>4 != 4 || packet[9] != syscall.IPPROTO_TCP {
		return
	}
	packet = packet[:min(len(packet), int(binary.BigEndian.Uint16(packet[2:])))]
	ip := int(packet[0]&15) * 4
	tcp := packet[ip:]
	payload := tcp[int(tcp[12]>>4)*4:]
	if len(payload) == 0 {
		return
	}
	address := func(host []byte, port []byte) string {
		return fmt.Sprintf("%v:%d", net.IP(host), binary.BigEndian.Uint16(port))
	}
	f := flow{address(packet[12:16], tcp[0:2]), address(packet[16:20], tcp[2:4])}
	if c.flows[f] == nil {
		c.flows[f] = map[uint32][]byte{}
	}
	c.flows[f][binary.BigEndian.Uint32(tcp[4:])] = bytes.Clone(payload)
}

// stop ends the capture and returns the bytes of each direction, in order.
func (c *capture) stop() map[flow][]byte {
	<-time.After(200 * time.Millisecond) // the kernel hands over what it has; nothing tells when it has
	close(c.done)
	c.reading.Wait()
	_ = syscall.Close(c.fd)
	whole := make(map[flow][]byte, len(c.flows))
	for f, segments := range c.flows {
		numbers := make([]uint32, 0, len(segments))
		for n := range segments {
			numbers = append(numbers, n)
		}
		// No direction carries 2 GiB here: differences do not wrap.
		slices.SortFunc(numbers, func(a, b uint32) int { return int(int32(a - b)) })
		next := numbers[0]
		for _, n := range numbers {
			part := segments[n]
			if skip := int32(next - n); skip > 0 { // sent again
				part = part[min(int(skip), len(part)):]
			}
			whole[f] = append(whole[f], part...)
			next = max(next, n+uint32(len(segments[n])))
		}
	}
	return whole
}

// tlsRecords reads a direction as TLS records (RFC 8446, section 5.1) from the
// first byte to the last; the last may be cut.
func tlsRecords(b []byte) (n int, err error) {
	for len(b) > 0 {
		if kind := b[0]; kind < 20 || kind > 23 || n == 0 && kind != 22 {
			return n, fmt.Errorf("record %d begins with %#x, which is no TLS", n, b[0])
		}
		if len(b) < 5 {
			return n, nil
		}
		if b[1] != 3 {
			return n, fmt.Errorf("record %d has version %#x", n, b[1:3])
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size > 1<<14+256 {
			return n, fmt.Errorf("record %d has %d bytes", n, size)
		}
		b = b[min(len(b), 5+size):]
		n++
	}
	return n, nil
}

func TestPlaintextIsNoTLS(t *testing.T) {
	for name, test := range map[string]struct {
		bytes []byte
		good  bool
	}{
		"HTTP/2 in the clear":            {[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), false},
		"application data first":         {[]byte{23, 3, 3, 0, 1, 0}, false},
		"a handshake":                    {[]byte{22, 3, 1, 0, 1, 0}, true},
		"a handshake, then plaintext":    {append([]byte{22, 3, 1, 0, 1, 0}, "HTTP"...), false},
		"a handshake, then a cut record": {[]byte{22, 3, 1, 0, 1, 0, 23, 3, 3, 0, 9, 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := tlsRecords(test.bytes); (err == nil) != test.good {
				t.Errorf("got %v, want good %v", err, test.good)
			}
		})
	}
}
