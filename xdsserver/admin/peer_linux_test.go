package admin

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that the tests do not run as.
const nobody = 65534

// listen serves the API at an address until the test ends.
func listen(t *testing.T, network, address string) net.Addr {
	t.Helper()
	lis, err := net.Listen(network, address)
	if err != nil {
		t.Skip(err)
	}
	s := New(Config{Published: func() *Publication { return nil }, Logger: slog.New(slog.DiscardHandler)})
	srv := s.HTTPServer(nil)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return lis.Addr()
}

// as makes a socket of a user of this machine.
func as(t *testing.T, uid, family int) int {
	t.Helper()
	// A thread has a user of its own for the files, and sockets, that it makes.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if uid != os.Getuid() {
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(uid), 0, 0); e != 0 {
			t.Fatal(e)
		}
		defer syscall.RawSyscall(syscall.SYS_SETFSUID, uintptr(os.Getuid()), 0, 0)
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	return fd
}

// post asks for the list of endpoints over a connected socket.
func post(t *testing.T, fd int) (status int, body string) {
	t.Helper()
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	fmt.Fprint(file, "POST /tulle.admin.v1.AdminService/ListEndpoints HTTP/1.1\r\nHost: localhost\r\n"+
		"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
	answer, err := http.ReadResponse(bufio.NewReader(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func TestTheAPIAnswersItsOwnUserOnly(t *testing.T) {
	four, six := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for name, test := range map[string]struct {
		listen string
		to     netip.Addr // from a socket of its family
	}{
		"over IPv4":                       {"127.0.0.1:0", four},
		"over IPv6":                       {"[::1]:0", six},
		"over IPv4 from a socket of IPv6": {"127.0.0.1:0", netip.AddrFrom16(four.As16())},
	} {
		t.Run(name, func(t *testing.T) {
			port := listen(t, "tcp", test.listen).(*net.TCPAddr).Port
			connect := func(uid int) (int, string) {
				family, to := syscall.AF_INET6, syscall.Sockaddr(&syscall.SockaddrInet6{Port: port, Addr: test.to.As16()})
				if test.to.Is4() {
					family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: test.to.As4()}
				}
				fd := as(t, uid, family)
				if err := syscall.Connect(fd, to); err != nil {
					t.Fatal(err)
				}
				return post(t, fd)
			}
			if status, body := connect(os.Getuid()); status != http.StatusOK {
				t.Errorf("its own user got %d %s, want 200", status, body)
			}
			if os.Getuid() != 0 {
				t.Skip("only root can be somebody else")
			}
			status, body := connect(nobody)
			if status != http.StatusForbidden || !strings.Contains(body, "a process of user 65534 asks, and it answers to user 0 and root only") {
				t.Errorf("another user got %d %s, want 403 and why", status, body)
			}
		})
	}
}

func TestTheAPIAnswersOverAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	listen(t, "unix", path)
	fd := as(t, os.Getuid(), syscall.AF_UNIX)
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, fd); status != http.StatusOK {
		t.Errorf("got %d %s, want 200", status, body)
	}
	if err := judge(nobody); err == nil {
		t.Error("another user is answered")
	}
}

// TestAConnectionThatIsGoneIsNobodys holds the order of the two look-ups: whoever
// gets the address of a connection that is gone must not get its requests answered.
func TestAConnectionThatIsGoneIsNobodys(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	client, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := trusted(server); err != nil {
		t.Errorf("while it is there: %v", err)
	}
	if err := client.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	client.Close()
	_, _ = server.Read(make([]byte, 1)) // returns when the reset is here
	if err := trusted(server); err == nil || !strings.Contains(err.Error(), "does not know the process") {
		t.Errorf("got %v, want that nobody is there", err)
	}
}

func TestRequestsOfUnknownConnectionsAreRefused(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Published: func() *Publication { return nil }, Logger: slog.New(slog.DiscardHandler)})
	srv := &http.Server{Handler: s.Handler(nil)} // without ConnContext
	done := make(chan error, 1)
	go func() { done <- srv.Serve(lis) }()
	defer func() { _ = srv.Close(); <-done }()
	answer, err := http.Post("http://"+lis.Addr().String()+"/tulle.admin.v1.AdminService/List", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("got %s, want 403", answer.Status)
	}
}
