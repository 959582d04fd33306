package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

func TestClientIsBackWithinThreeSecondsOfTheServer(t *testing.T) {
	for _, outage := range []time.Duration{10 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, time.Hour} {
		t.Run(outage.String(), func(t *testing.T) {
			for range 10 { // the pauses are random
				synctest.Test(t, func(t *testing.T) {
					n := newNetwork()
					f := newServer(t, n, "a")
					f.set(typeA, "one", "v1", "one=1")
					h := startClient(t, config(n, "a"))
					one := h.watch(typeA, "one")
					synctest.Wait()
					one.want(t, "1@v1")
					f.stop()
					settle(outage)
					f.set(typeA, "one", "v2", "one=2")
					f.start()
					settle(maxDelay)
					one.want(t, "2@v2")
				})
			}
		})
	}
}

func TestStreamIsContinuedWithTheVersionsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "good", "v1", "good=1")
		f.set(typeA, "refused", "v1", "refused=1")
		f.set(typeA, "never", "v1", "never=bad")
		f.set(typeA, "closed", "v1", "closed=1")
		f.set(typeA, "unversioned", "", "unversioned=1")
		cfg := config(n, "a")
		h := startClient(t, cfg)
		good := h.watch(typeA, "good")
		for _, name := range []string{"refused", "never", "missing", "unversioned"} {
			h.watch(typeA, name)
		}
		closed := h.watch(typeA, "closed")
		synctest.Wait()
		f.set(typeA, "refused", "v2", "refused=bad")
		closed.Close()
		synctest.Wait()
		f.stop()
		synctest.Wait()
		f.take()
		good.tellings()
		f.start()
		settle(maxDelay)
		want := &discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: cfg.Node.GetId(), Cluster: cfg.Node.GetCluster()}, TypeUrl: typeA,
			ResourceNamesSubscribe:  []string{"good", "missing", "never", "refused", "unversioned"},
			InitialResourceVersions: map[string]string{"good": "v1", "refused": "v1"},
		}
		if diff := cmp.Diff(want, f.take()[0], protocmp.Transform()); diff != "" {
			t.Errorf("first request (-want +got):\n%s", diff)
		}
		if got := good.tellings(); got != 0 {
			t.Errorf("a restart of the server was told %d times to a subscriber it does not concern", got)
		}
	})
}

func TestValuesAreStaleWhileNoServerConfirmsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		f.set(typeB, "one", "v1", "one=1")
		h := startClient(t, config(n, "a"))
		a, b, none := h.watch(typeA, "one"), h.watch(typeB, "one"), h.watch(typeB, "none")
		settle(time.Minute)
		connected := h.Status()
		if !connected.Connected || !connected.StaleSince.IsZero() || connected.LastErr != nil || connected.Server != "a" {
			t.Errorf("status is %+v, want connected to a, current and without error", connected)
		}
		a.tellings()

		f.stop()
		lost := time.Now()
		settle(staleAfter - time.Millisecond)
		a.want(t, "1@v1")
		settle(time.Millisecond)
		a.want(t, "1@v1 stale")
		b.want(t, "1@v1 stale")
		none.want(t, `error: xdsclient: Beta "none" is not known to a`)
		settle(time.Hour)
		st := h.Status()
		if st.Connected || !st.Since.Equal(lost) || !st.StaleSince.Equal(lost) || st.LastErr == nil {
			t.Errorf("status is %+v, want not connected and stale since %v with an error", st, lost)
		}
		if got := fmt.Sprint(st.LastErr); !strings.Contains(got, "a: unavailable: ") || !strings.Contains(got, "connection refused") {
			t.Errorf("LastErr is %q, want the server and the cause", got)
		}
		if got := a.tellings(); got != 1 {
			t.Errorf("told %d times, want once: stale", got)
		}
		h.log.wantCount(t, "level=WARN", 1)
		h.log.wantCount(t, "configuration is stale", 1)
		h.log.wantCount(t, "since=2000-01-01T00:01:00.000", 1)

		// The server has the same: it says nothing, and that is consent. Of
		// typeB it has something to say.
		f.remove(typeB, "one")
		f.start()
		settle(maxDelay)
		b.want(t, `1@v1 but xdsclient: Beta "one" is not known to a`)
		settle(settleAfter)
		a.want(t, "1@v1")
		if got := a.tellings(); got != 1 {
			t.Errorf("told %d times, want once: current", got)
		}
		if st := h.Status(); !st.Connected || !st.StaleSince.IsZero() {
			t.Errorf("status is %+v, want connected and current", st)
		}
		h.log.wantCount(t, "level=WARN", 1)
		h.log.wantCount(t, "configuration is current again", 1)
	})
}

func TestResponseConfirmsWhatElseWasOfferedOfItsType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		f.set(typeA, "two", "v1", "two=1")
		h := startClient(t, config(n, "a"))
		one, two := h.watch(typeA, "one"), h.watch(typeA, "two")
		synctest.Wait()
		f.set(typeA, "one", "v2", "one=bad")
		synctest.Wait()
		one.want(t, `1@v1 but xdsclient: Alpha "one", version "v2", was refused: text: bad is not good enough`)
		f.stop()
		settle(time.Minute)
		f.set(typeA, "one", "v1", "one=1")
		f.set(typeA, "two", "v2", "two=2")
		f.start()
		for h.Status().Connected == false {
			settle(time.Millisecond)
		}
		one.want(t, "1@v1") // at once, not after settleAfter
		two.want(t, "2@v2")
	})
}

func TestHalfOpenConnectionIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		h := startClient(t, config(n, "a"))
		h.watch(typeA, "one")
		settle(time.Second)
		n.setSilent("a", true)
		settle(42 * time.Second) // keepalive: 30 s of silence, 10 s for the answer
		if h.Status().Connected {
			t.Error("still connected to a server that has been silent for 42 s")
		}
		settle(5 * time.Minute)
		n.setSilent("a", false)
		// An attempt may be under way that will hang; after it there is a pause
		// before the next connection, and one before the next stream.
		settle(connectTimeout + 2*maxDelay)
		if !h.Status().Connected {
			t.Error("not connected although packets arrive again")
		}
	})
}

func TestServerThatRefusesStreamsIsAskedAgainAndNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		f.refuse(status.Error(codes.PermissionDenied, "who are you"))
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		settle(time.Second)
		one.want(t, `error: xdsclient: Alpha "one": no server answers and the disk remembers nothing: a: permissiondenied: who are you unknown`)
		// Who comes later is told at once.
		h.watch(typeA, "two").want(t, strings.ReplaceAll(one.text(), "one", "two"))
		settle(5 * time.Minute)
		if got := f.streamsOpened(); got < 60 || got > 600 {
			t.Errorf("%d streams in 5 minutes, want one each 1.5 s or so", got)
		}
		h.log.wantCount(t, "level=WARN", 1)
		f.refuse(nil)
		settle(maxDelay)
		one.want(t, "1@v1")
		h.log.wantCount(t, "level=WARN", 1)
	})
}

func TestSilenceOfAServerIsSaidAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "one", "v1", "one=1")
		f.setMute(true)
		h := startClient(t, config(n, "a"))
		one := h.watch(typeA, "one")
		settle(answerAfter - time.Millisecond)
		one.want(t, "nothing unknown")
		settle(2 * keepGap)
		one.want(t, `error: xdsclient: Alpha "one": no server answers and the disk remembers nothing: no answer for 15s unknown`)
		f.setMute(false)
		synctest.Wait()
		one.want(t, "1@v1")
	})
}

func TestReady(t *testing.T) {
	ready := func(h *harness, within time.Duration) error {
		ctx, cancel := context.WithTimeout(h.t.Context(), within)
		defer cancel()
		return h.Ready(ctx)
	}
	t.Run("once a server answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			newServer(t, n, "a")
			h := newClient(t, config(n, "a"))
			h.watch(typeA, "one")
			if err := ready(h, time.Second); fmt.Sprint(err) != "xdsclient: no answer from a: context deadline exceeded" {
				t.Errorf("before Run: %v", err)
			}
			h.run()
			if err := ready(h, time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("once a server takes the stream, while nothing is subscribed to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork()
			newServer(t, n, "a")
			h := startClient(t, config(n, "a"))
			if err := ready(h, time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("not while no server can be reached and the disk remembers nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := startClient(t, config(newNetwork(), "a"))
			err := ready(h, time.Minute)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(fmt.Sprint(err), "a: unavailable: ") {
				t.Errorf("got %v, want the deadline and why the server does not answer", err)
			}
		})
	})
	t.Run("not once the client has stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := startClient(t, config(newNetwork(), "a"))
			h.cancel()
			if err := ready(h, time.Minute); !errors.Is(err, errStopped) {
				t.Errorf("got %v", err)
			}
			h.stop()
			if err := h.Run(t.Context()); err == nil {
				t.Error("a second Run returned nil")
			}
			want := "error: xdsclient: Alpha \"one\": no server answers and the disk remembers nothing: xdsclient: the client has stopped unknown"
			h.watch(typeA, "one").want(t, want)
			if err := h.Conn().Invoke(t.Context(), "/x/y", nil, nil); status.Code(err) != codes.Unavailable {
				t.Errorf("a call on Conn returned %v", err)
			}
			if _, err := h.Conn().NewStream(t.Context(), &grpc.StreamDesc{}, "/x/y"); status.Code(err) != codes.Unavailable {
				t.Errorf("a stream on Conn returned %v", err)
			}
		})
	})
}

func TestOneConnectionWhateverIsSubscribedTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		h := newClient(t, config(n, "a"))
		if n.dialled("a") != 0 {
			t.Error("New has dialled")
		}
		h.run()
		h.watch(typeA, "0")
		settle(time.Second)
		before := runtime.NumGoroutine()
		for i := range 1000 {
			h.watch(typeA, fmt.Sprint(i))
			h.watch(typeB, fmt.Sprint(i))
		}
		settle(time.Minute)
		if got := runtime.NumGoroutine(); got > before {
			t.Errorf("%d goroutines with 2000 subscriptions, %d with one", got, before)
		}
		if got := len(f.subscribed()); got != 2000 {
			t.Errorf("%d names are subscribed to, want 2000", got)
		}
		// Another RPC takes the same connection.
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(h.Conn()).DeltaAggregatedResources(t.Context())
		if err == nil {
			err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeA, ResourceNamesSubscribe: []string{"x"}})
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Errorf("stream on Conn: %v", err)
		}
		if got := n.dialled("a"); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
		h.stop()
		if got := n.open(); got != 0 {
			t.Errorf("%d connections are open after Run", got)
		}
	})
}

func TestStatusSaysWhatBecameOfEachResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		f := newServer(t, n, "a")
		f.set(typeA, "acked", "v1", "acked=1")
		f.set(typeA, "kept", "v1", "kept=1")
		f.set(typeA, "nacked", "v1", "nacked=bad")
		h := startClient(t, config(n, "a"))
		for _, name := range []string{"nacked", "missing", "kept", "acked"} {
			h.watch(typeA, name)
		}
		synctest.Wait()
		f.remove(typeA, "kept")
		synctest.Wait()
		f.setMute(true)
		h.watch(typeB, "requested")
		synctest.Wait()
		var got []string
		for _, r := range h.Status().Resources {
			got = append(got, strings.Join([]string{r.Name, r.Version, string(r.State), fmt.Sprint(r.Err != nil)}, " "))
		}
		want := []string{
			"acked v1 acked false", "kept v1 does_not_exist true", "missing  does_not_exist true", "nacked  nacked true",
			"requested  requested false",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("resources (-want +got):\n%s", diff)
		}
		f.stop()
		settle(time.Second)
		if got := h.Status().Resources[4].State; got != Timeout {
			t.Errorf("requested is %q without a server, want %q", got, Timeout)
		}
	})
}
