package kv

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// A wire is the way to an agent. It hands requests on, and cuts the connection in place
// of the answer to a transaction while it is told to.
type wire struct {
	lis  net.Listener
	to   string
	cut  atomic.Int32 // how many answers are to be lost
	lost atomic.Int32 // how many were
	open sync.WaitGroup
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{lis: lis, to: to}
	w.open.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			w.open.Go(func() { w.carry(c) })
		}
	})
	return w
}

// carry is one connection, until either end closes it.
func (w *wire) carry(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer to.Close()
	var writes atomic.Bool // the request on its way is a transaction
	w.open.Go(func() {
		defer to.Close()
		defer from.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := to.Read(b)
			if n > 0 && writes.Load() && w.cut.Add(-1) >= 0 {
				w.lost.Add(1)
				return
			}
			if _, writeErr := from.Write(b[:n]); err != nil || writeErr != nil {
				return
			}
		}
	})
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			writes.Store(bytes.HasPrefix(b[:n], []byte("PUT /v1/txn")))
		}
		if _, writeErr := to.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// A change that Consul took, and whose answer was lost, is found in the log: it is made
// once, and acknowledged.
func TestChangeWhoseAnswerIsLostIsFoundInTheLog(t *testing.T) {
	agent := consultest.Start(t)
	w := newWire(t, agent.Address())
	c, err := consul.New(consul.Config{Address: w.lis.Addr().String(), Prefix: "answer", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = w.lis.Close()
		w.open.Wait()
	})
	s, err := Open(t.Context(), Config{Client: c, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"first", "second", "third"} {
		w.cut.Store(1)
		if got := apply(t, s, name, "1"); got != uint64(i+1) || w.lost.Load() != int32(i+1) {
			t.Errorf("got revision %d after %d lost answers, want %d", got, w.lost.Load(), i+1)
		}
	}
	w.cut.Store(0)
	if got := dump(s); got != "first=1 second=1 third=1" || s.Status().Problem != "" {
		t.Errorf("got %q, %+v", got, s.Status())
	}
	other := open(t, agent, "answer", "")
	if other.Revision() != 3 || dump(other) != dump(s) {
		t.Errorf("another store: got %q at %d", dump(other), other.Revision())
	}
	// A token whose answer is lost is not acknowledged, and a repetition decides.
	w.cut.Store(1)
	if err := s.UpdateToken("a", func([]byte) ([]byte, error) { return []byte("used"), nil }); err == nil {
		t.Error("a token is acknowledged without an answer")
	}
	w.cut.Store(0)
	if err := s.UpdateToken("a", func([]byte) ([]byte, error) { return []byte("used"), nil }); err != nil {
		t.Error(err)
	}
}

// What Consul refuses for good was not applied, and the error says so.
func TestReadOnlyClientAppliesNothing(t *testing.T) {
	agent := consultest.Start(t)
	c, err := consul.New(consul.Config{Address: agent.Address(), Prefix: "read", ReadOnly: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := Open(t.Context(), Config{Client: c, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Apply(t.Context(), changes("web", "w"), store.Intent{})
	if err == nil || !strings.Contains(err.Error(), "only reads from Consul") || !strings.HasSuffix(err.Error(), nothing) {
		t.Errorf("got %v", err)
	}
}
