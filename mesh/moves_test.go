package mesh_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// on returns those of the members that a server serves.
func on(target string, members []*mesh.Mesh) []*mesh.Mesh {
	return slices.DeleteFunc(slices.Clone(members), func(m *mesh.Mesh) bool {
		s := m.Status()
		return s.Control.Server != target || !s.Control.Connected || s.Stale
	})
}

// Twenty members over two servers, one of which is killed under their calls, and comes
// back.
func TestMembersMoveFromAServerThatDiesAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewWith(t, meshtest.Config{Servers: 2})
		var members []*mesh.Mesh
		for _, name := range []string{"a", "b", "c"} {
			members = append(members, m.Serve("voting", named(name)).Mesh)
		}
		var calls sync.WaitGroup
		done := make(chan struct{})
		counts := make([]int, 20)
		for i := range counts {
			member, conn := caller(t, m, mesh.Config{})
			members = append(members, member)
			calls.Go(func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-done:
						return
					case <-tick.C:
					}
					if _, err := ask(t.Context(), conn); err != nil {
						t.Errorf("a call failed: %v", err)
						return
					}
					counts[i]++
				}
			})
		}
		time.Sleep(10 * time.Second)
		first := on(m.Target(0), members)
		if n := len(first); n == 0 || n == len(members) {
			t.Fatalf("%d of %d are on the first server, want some on each", n, len(members))
		}

		m.StopOne(0)
		killed := time.Now()
		for len(on(m.Target(1), members)) < len(members) && time.Since(killed) < 3*time.Second {
			time.Sleep(10 * time.Millisecond)
		}
		moved := time.Since(killed)
		if n := len(on(m.Target(1), members)); n < len(members) {
			t.Errorf("%d of %d are on the other server after %v", n, len(members), moved)
		}
		m.Apply("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec: {timeout: 4s}\n") // and all of them hear of it
		time.Sleep(10 * time.Second)

		m.StartOne(0)
		time.Sleep(2 * time.Minute)
		if back := on(m.Target(0), members); !slices.Equal(back, first) {
			t.Errorf("%d are back on the first server after two minutes, want the %d that were there", len(back), len(first))
		}
		close(done)
		calls.Wait()
		sum := 0
		for _, n := range counts {
			sum += n
		}
		t.Logf("%d calls; %d of %d members moved within %v", sum, len(first), len(members), moved)
	})
}

// What a member does beside its configuration goes to the server that it moved to.
func TestDutiesFollowToAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.NewWith(t, meshtest.Config{Servers: 2, LeafTTL: 4 * time.Hour})
		in := m.Serve("voting", named("a"))
		member, conn := caller(t, m, mesh.Config{Server: m.Target(0) + "," + m.Target(1)})
		call := func() {
			t.Helper()
			if _, err := ask(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
		}
		call()
		w, err := m.Taps().Open(tap.Request{Service: serviceName("web"), Duration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		tapping(t, w, 1)
		time.Sleep(10 * time.Second)
		// Whichever each of them is on, it loses it once.
		for _, server := range []int{0, 1} {
			m.StopOne(server)
			time.Sleep(5 * time.Second)
			if r := in.Mesh.Status().Registrations[0]; !r.Registered {
				t.Errorf("the endpoint is not registered 5 s after the loss of server %d: %v", server, r.Err)
			}
			before := allowed(m)
			call()
			if e := told(t, w, 5*time.Second); len(e) != 1 {
				t.Errorf("the tap saw %d calls after the loss of server %d, want 1", len(e), server)
			}
			time.Sleep(10 * time.Second)
			if got := allowed(m); got != before+1 {
				t.Errorf("%d calls were reported after the loss of server %d, want %d", got, server, before+1)
			}
			m.StartOne(server)
			time.Sleep(2 * time.Minute)
		}
		m.StopOne(0)
		serials := []string{in.Mesh.Status().Identity.Identity.Serial(), member.Status().Identity.Identity.Serial()}
		time.Sleep(2*time.Hour + 30*time.Minute)
		for i, s := range []mesh.Status{in.Mesh.Status(), member.Status()} {
			if s.Identity.From != "renewal" || s.Identity.Identity.Serial() == serials[i] || s.Identity.Err != nil {
				t.Errorf("%s has its identity by %s, %v, want it renewed", s.Service, s.Identity.From, s.Identity.Err)
			}
		}
		call()
	})
}

// allowed is how many calls of voting were reported.
func allowed(m *meshtest.Mesh) (n uint64) {
	for _, c := range m.Callers("voting") {
		n += c.Allowed
	}
	return n
}
