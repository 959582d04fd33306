package xdsclient

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// moveWithin is how soon after the loss of a server a client has another's answer.
const moveWithin = 3 * time.Second

func TestLostServerIsReplacedWithinThreeSeconds(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(n *network, a *fakeServer)
	}{
		{"it was killed", func(_ *network, a *fakeServer) { a.stop() }},
		{"it takes connections and refuses streams", func(_ *network, a *fakeServer) {
			a.refuse(status.Error(codes.Unavailable, "not now"))
		}},
		{"it was killed, and its address is silent", func(n *network, a *fakeServer) {
			a.stop()
			n.setSilent("a", true)
		}},
		{"another is silent, too", func(n *network, a *fakeServer) {
			n.setSilent("b", true)
			a.stop()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 30 { // the pauses are random
				synctest.Test(t, func(t *testing.T) {
					n := newNetwork()
					a, _ := twoServers(t, n)
					c := newServer(t, n, "c")
					c.set(typeA, "one", "vb", "one=b") // as b has it
					h := startClient(t, config(n, "a", "b", "c"))
					one := h.watch(typeA, "one")
					settle(time.Minute)
					one.want(t, "a@va")
					one.tellings()
					test.lose(n, a)
					lost := time.Now()
					for one.text() == "a@va" && time.Since(lost) < moveWithin {
						settle(10 * time.Millisecond)
					}
					// The last good configuration until then, and never a stale one.
					one.want(t, "b@vb")
					if got := one.tellings(); got != 1 {
						t.Errorf("told %d times, want once", got)
					}
					h.log.wantCount(t, "level=WARN", 0)
				})
			}
		})
	}
}

func TestClientsSpreadAgainWithinTwoMinutes(t *testing.T) {
	for _, away := range []time.Duration{4 * time.Second, time.Minute, time.Hour} {
		t.Run("after "+away.String(), func(t *testing.T) {
			for range 10 {
				synctest.Test(t, func(t *testing.T) {
					n := newNetwork()
					a, b := twoServers(t, n)
					h := startClient(t, config(n, "a", "b"))
					one := h.watch(typeA, "one")
					settle(time.Minute)
					a.stop()
					settle(away)
					one.want(t, "b@vb")
					a.start()
					settle(2 * time.Minute)
					one.want(t, "a@va")
					if got := b.streamsOpened(); got != 1 {
						t.Errorf("%d streams were opened on the other, want 1", got)
					}
					settle(time.Hour)
					if got := n.open(); got != 1 {
						t.Errorf("%d connections are open, want 1: who is where it wants to be asks nobody else", got)
					}
				})
			}
		})
	}
}

func TestConnSaysWhereCallsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := twoServers(t, n)
		h := startClient(t, config(n, "a", "b"))
		h.watch(typeA, "one")
		conn := h.Conn().(interface{ Server() string }) //nolint:forcetypeassert // it is what is tested
		settle(time.Minute)
		if got := conn.Server(); got != "a" {
			t.Errorf("got %s, want a", got)
		}
		a.stop()
		settle(moveWithin)
		if got := conn.Server(); got != "b" {
			t.Errorf("got %s, want b", got)
		}
	})
}

func TestAServerThatStaysAwayIsLookedForWithOneAttemptEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		a, _ := twoServers(t, n)
		h := startClient(t, config(n, "a", "b"))
		h.watch(typeA, "one")
		settle(time.Minute)
		a.stop()
		settle(time.Minute)
		before := n.dialled("a")
		settle(time.Hour)
		if got := n.dialled("a") - before; got < int(time.Hour/probeMost) || got > int(time.Hour/probeLeast) {
			t.Errorf("%d attempts in an hour, want one every 15 to 45 s", got)
		}
	})
}
