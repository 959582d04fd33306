package identity

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestAUnixSocketOfTheSameUserNeedsNoToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "xds.sock")
	l, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, domain)
	a.local = true
	defer a.serve(l)()
	p := start(t, nil, Config{Service: "voting", Servers: []string{"unix://" + file}})
	if i := p.must(); i.ID.Service != "voting" || a.requests()[0].GetAttestation() != nil {
		t.Errorf("got %v", i)
	}
}

// The listener is made by a thread that is another user for that moment, which is
// what the kernel notes.
func TestAUnixSocketOfAnotherUserIsNotAsked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a socket of another user")
	}
	const nobody = 65534
	name := "@tulle-identity-" + strconv.Itoa(os.Getpid())
	l, err := listenAs(nobody, name)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t, domain)
	a.local = true
	defer a.serve(l)()
	p := start(t, nil, Config{Service: "voting", Servers: []string{"unix-abstract:" + name[1:]}})
	want := "the unix socket is that of a process of user 65534, which is neither this process's user nor root"
	if _, err := p.wait(500 * time.Millisecond); !contains(err, want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if len(a.requests()) > 0 {
		t.Error("it was asked to sign")
	}
	// A token proves the server in the kernel's place.
	q := start(t, nil, Config{Service: "voting", Servers: []string{"unix-abstract:" + name[1:]}, Token: a.token(xds).Reveal()})
	q.must()
}

func listenAs(uid int, name string) (net.Listener, error) {
	var l net.Listener
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Not unlocked: the thread ends with the goroutine, whatever user it is.
		runtime.LockOSThread()
		const unchanged = ^uintptr(0)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, unchanged, uintptr(uid), unchanged); errno != 0 {
			err = errno
			return
		}
		l, err = net.Listen("unix", name)
	}()
	<-done
	return l, err
}

func TestAPipeInPlaceOfAUnixSocketProvesNothing(t *testing.T) {
	n, a := newNetwork(), newAuthority(t, domain)
	a.local = true
	const target = "unix:///run/tulle/xds.sock"
	defer a.serve(n.listen(target))()
	p := start(t, nil, Config{Service: "voting", Servers: []string{target}, Dial: n.dialAny(target)})
	if _, err := p.wait(500 * time.Millisecond); !contains(err, "not a unix socket, so the kernel cannot say") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyRootAndTheSameUserAreLocal(t *testing.T) {
	if !local(0) || !local(os.Geteuid()) || local(os.Geteuid()+12345) {
		t.Error("local is wrong")
	}
}
