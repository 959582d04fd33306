package consul_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A wire carries connections to an agent, and can be cut.
type wire struct {
	lis    net.Listener
	target string
	group  sync.WaitGroup

	mu     sync.Mutex
	broken bool
	open   map[net.Conn]struct{}
	dialed int
}

// newWire connects to a host:port until the test ends.
func newWire(t *testing.T, target string) *wire {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{lis: lis, target: target, open: map[net.Conn]struct{}{}}
	w.group.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			w.group.Go(func() { w.carry(conn) })
		}
	})
	t.Cleanup(func() {
		lis.Close()
		w.cut()
		w.group.Wait()
	})
	return w
}

func (w *wire) addr() string { return w.lis.Addr().String() }

// carry copies both ways until either ends.
func (w *wire) carry(here net.Conn) {
	defer here.Close()
	there, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer there.Close()
	w.mu.Lock()
	if w.broken {
		w.mu.Unlock()
		return
	}
	w.open[here] = struct{}{}
	w.dialed++
	w.mu.Unlock()
	w.group.Go(func() {
		_, _ = io.Copy(there, here)
		there.Close()
	})
	_, _ = io.Copy(here, there)
	w.mu.Lock()
	delete(w.open, here)
	w.mu.Unlock()
}

// cut breaks what is open, and whatever is dialled until mend.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for conn := range w.open {
		conn.Close()
	}
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = false
}

// count returns how many connections are open, and how many ever were.
func (w *wire) count() (open, dialed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open), w.dialed
}
