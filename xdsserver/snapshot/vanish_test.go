package snapshot

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// after builds the world some time later and returns a cluster's endpoints.
func (w *world) after(t *testing.T, b *Builder, d time.Duration, cluster string) string {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	snap, _ := w.build(t, b, 0)
	return instances(t, snap, cluster)
}

func TestServiceThatIsGoneHasNoEndpointsForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := builder(t, false)
		w := newWorld("web", "voting")
		w.build(t, b, 0)
		delete(w.services, "voting")
		delete(w.endpoints, "voting")
		snap, _ := w.build(t, b, 0)
		if got := instances(t, snap, "voting"); got != "" {
			t.Errorf("at once: got %q", got)
		}
		for _, typeURL := range []string{resource.ListenerType, resource.RouteType, resource.ClusterType} {
			if snap.Resource(typeURL, "voting") != nil {
				t.Errorf("%s is still published", kindOf(typeURL))
			}
		}
		if got := w.after(t, b, buriedFor-time.Second, "voting"); got != "" {
			t.Errorf("before the hour is over: got %q", got)
		}
		if got := w.after(t, b, time.Second, "voting"); got != "missing" {
			t.Errorf("after it: got %q", got)
		}
	})
}

func TestServiceThatIsBackHasItsEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := builder(t, false)
		w := newWorld("web", "voting")
		w.build(t, b, 0)
		delete(w.services, "voting")
		w.build(t, b, 0)
		w.service("voting", 0)
		if got := w.after(t, b, time.Minute, "voting"); got != "v1-1 v1-2" {
			t.Errorf("got %q", got)
		}
		if got := w.after(t, b, 2*buriedFor, "voting"); got != "v1-1 v1-2" {
			t.Errorf("much later: got %q", got)
		}
	})
}

// A client may hear of the endpoints before it hears of the route that leaves them.
func TestClusterThatRoutesLeaveKeepsItsEndpointsForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := builder(t, false)
		w := newWorld("web", "voting")
		w.route("web", "voting/v1")
		w.build(t, b, 0)
		w.route("web", "voting")
		if got := w.after(t, b, 0, "voting/v1"); got != "v1-1 v1-2" {
			t.Errorf("at once: got %q", got)
		}
		if got := w.after(t, b, lingerFor-time.Second, "voting/v1"); got != "v1-1 v1-2" {
			t.Errorf("a moment later: got %q", got)
		}
		if got := w.after(t, b, time.Second, "voting/v1"); got != "" {
			t.Errorf("then: got %q", got)
		}
		w.route("web", "voting/v1")
		if got := w.after(t, b, 0, "voting/v1"); got != "v1-1 v1-2" {
			t.Errorf("routed to again: got %q", got)
		}
	})
}

// What another route still leads to is not left: its endpoints are gone.
func TestServiceThatDiesWhileRoutedToIsEmptyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := builder(t, false)
		w := newWorld("web", "shop", "voting")
		w.route("web", "voting")
		w.route("shop", "voting")
		w.build(t, b, 0)
		delete(w.services, "voting")
		delete(w.endpoints, "voting")
		w.route("web")
		snap, _ := w.build(t, b, 0)
		if got := instances(t, snap, "voting"); got != "" {
			t.Errorf("got %q", got)
		}
		if snap.Resource(resource.ClusterType, "voting") == nil {
			t.Error("shop's routes lead to no Cluster")
		}
	})
}

func TestWhatIsKeptOfTheGoneIsBounded(t *testing.T) {
	b := builder(t, false)
	for i := range maxVanished {
		b.vanished[string(rune(i+1))] = &vanished{resource: emptyAssignment("x"), dropAt: time.Now().Add(buriedFor), empty: true}
	}
	w := newWorld("web", "voting")
	w.build(t, b, 0)
	delete(w.services, "voting")
	b.Build(t.Context(), w.set())
	if got := len(b.vanished); got > maxVanished {
		t.Errorf("got %d", got)
	}
}
