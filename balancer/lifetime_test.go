package balancer_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
)

func TestSharedLimit(t *testing.T) {
	limited := one("a")
	limited.limit = 2 + 1
	begin := func(t *testing.T, w *world, connections ...*ours) map[string]int {
		t.Helper()
		results := make(chan string, 3*len(connections))
		var held sync.WaitGroup
		for _, o := range connections {
			for range 3 {
				held.Go(func() { results <- who(t.Context(), o.conn, holdMethod) })
			}
		}
		synctest.Wait()
		close(w.hold)
		held.Wait()
		got := make(map[string]int)
		for range len(results) {
			got[<-results]++
		}
		return got
	}
	t.Run("connections of one mesh share a cluster's limit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a")
			shared := balancer.NewShared()
			x, y := newOurs(t, w, shared), newOurs(t, w, shared)
			x.update(limited)
			y.update(limited)
			if got := begin(t, w, x, y); got["a"] != 2 {
				t.Errorf("of 6 calls %v", got)
			}
		})
	})
	t.Run("connections without a mesh in common do not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a")
			x, y := newOurs(t, w, nil), newOurs(t, w, nil)
			x.update(limited)
			y.update(limited)
			if got := begin(t, w, x, y); got["a"] != 4 {
				t.Errorf("of 6 calls %v", got)
			}
		})
	})
}

func TestClose(t *testing.T) {
	t.Run("a closed connection dials nobody and waits for nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("b")
			w.silence("a")
			o := newOurs(t, w, nil)
			o.update(ranked("a", "b"))
			time.Sleep(9 * time.Second) // the failover to b is a second away
			if err := o.conn.Close(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour)
			if got := w.dialled("b"); got != 0 {
				t.Errorf("b was dialled %d times", got)
			}
		})
	})
	t.Run("a connection closed in the midst of a failover leaves nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("b")
			for range 20 {
				o := newOurs(t, w, nil)
				o.update(ranked("a", "b"))
				_ = o.conn.Close()
			}
		})
	})
}

// While one endpoint stays, nothing an operator or a crash does to the others
// may fail a call that was not on its way to them.
func TestNoCallFailsWhileOneEndpointStays(t *testing.T) {
	t.Run("a hundred changes under load", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a", "b", "c", "d", "e")
			o := newOurs(t, w, balancer.NewShared())
			o.update(one("ab"))
			synctest.Wait()

			ctx, stop := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for i := range 4 {
				callers.Go(func() {
					for ctx.Err() == nil {
						in := t.Context()
						if i%2 == 0 {
							in = &call.Call{Context: in, Cluster: service}
						}
						if got := who(in, o.conn, whoMethod); len(got) != 1 {
							t.Errorf("a call got %s", got)
							return
						}
						time.Sleep(time.Duration(i+1) * time.Millisecond)
					}
				})
			}
			for range 100 {
				cut := 1 + rand.IntN(4)
				s := spec{localities: []place{
					{zone: "x", backends: "a", weight: 1 + rand.Uint32N(9)},
					{zone: "y", backends: "abcde"[cut:], weight: 1 + rand.Uint32N(9)},
					{zone: "z", backends: "abcde"[1:cut], priority: 1},
				}}
				o.set(configOf(t, map[string]spec{service: s, "voting/v2": one("ce")}))
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			}
			stop()
			callers.Wait()
		})
	})
}

// The race detector is this test's judge.
func TestEverythingAtOnce(t *testing.T) {
	t.Run("changes, crashes and calls", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.up("a", "b", "c", "d")
			o := newOurs(t, w, balancer.NewShared())
			o.update(one("a"))
			synctest.Wait()

			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			var all sync.WaitGroup
			repeat := func(every time.Duration, do func()) {
				all.Go(func() {
					for ctx.Err() == nil {
						do()
						time.Sleep(time.Duration(rand.Int64N(int64(2 * every))))
					}
				})
			}
			for range 3 {
				repeat(100*time.Millisecond, func() {
					c, cancel := context.WithTimeout(ctx, time.Second)
					defer cancel()
					_ = who(&call.Call{Context: c, Cluster: service}, o.conn, whoMethod)
				})
			}
			repeat(3*time.Second, func() {
				name := string("abcd"[rand.IntN(4)])
				switch rand.IntN(3) {
				case 0:
					w.silence(name)
				case 1:
					w.down(name)
				default:
					w.down(name)
					w.up(name)
				}
			})
			for ctx.Err() == nil {
				cut := rand.IntN(5)
				s := ranked("abcd"[:cut], "abcd"[cut:])
				s.drops = []uint32{rand.Uint32N(20)}
				o.set(configOf(t, map[string]spec{service: s, "voting/v2": one("bd")}))
				time.Sleep(time.Duration(rand.Int64N(int64(2 * time.Second))))
			}
			all.Wait()

			for _, name := range []string{"a", "b", "c", "d"} {
				w.down(name)
				w.up(name)
			}
			o.update(ranked("ab", "cd"))
			time.Sleep(5 * time.Minute)
			if got := tally(t.Context(), o.conn, 20); got["a"] != 10 || got["b"] != 10 {
				t.Errorf("in the end calls go to %v", got)
			}
		})
	})
}
