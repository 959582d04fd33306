package mesh_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// tally sums up what the instruments of members have of one metric, by the values of
// some of its attributes; "grpc.status" is the code.
func tally(name string, by []string, members ...*mesh.Mesh) map[string]float64 {
	all := map[string]float64{}
	add := func(attributes []telemetry.Attribute, code string, n float64) {
		var words []string
		for _, key := range by {
			word := code
			for _, a := range attributes {
				if a.Key == key {
					word = a.Value
				}
			}
			words = append(words, word)
		}
		all[strings.Join(words, " ")] += n
	}
	for _, m := range members {
		s := m.Telemetry().Snapshot()
		for _, p := range s.Points {
			if p.Name == name {
				add(p.Attributes, telemetry.StatusName(p.Code), float64(p.Count))
			}
		}
		for _, v := range s.Samples {
			if v.Name == name {
				add(v.Attributes, "", v.Value)
			}
		}
	}
	return all
}

func sumOf(all map[string]float64) (sum float64) {
	for _, n := range all {
		sum += n
	}
	return sum
}

// What the load generator and the handlers know is what is counted, on either side:
// under retries, hedges, a service that fails, callers that give up and calls that are
// refused.
func TestCountsAreThoseOfTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Apply(service("voting", "  retry: {attempts: 3, idempotent: true}\n  retryBudget: {percent: 100}\n  hedge: {delay: 30ms}\n"))
		var workers []*worker
		var servers []*mesh.Mesh
		for _, name := range []string{"a", "b", "c"} {
			w := newWorker(name, ways{takes: about(10 * time.Millisecond), fails: .2, code: codes.Unavailable})
			servers = append(servers, m.Serve("voting", w.register).Mesh)
			workers = append(workers, w)
		}
		client := m.Join(mesh.Config{Service: "web", Zone: "r/z"})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		conn, err := client.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()

		const calls = 3000
		var mu sync.Mutex
		book := map[string]float64{}
		took := 0.0
		var wait sync.WaitGroup
		for i := range calls {
			time.Sleep(5 * time.Millisecond)
			wait.Go(func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if i%10 == 0 { // gives up, before or after
					time.AfterFunc(time.Duration(rand.Int64N(int64(20*time.Millisecond))), cancel)
				}
				began := time.Now()
				_, err := do(ctx, conn)
				mu.Lock()
				defer mu.Unlock()
				book[telemetry.StatusName(status.Code(err))]++
				took += time.Since(began).Seconds()
			})
		}
		wait.Wait()
		time.Sleep(time.Second) // losers are over where they were served

		served := 0.0
		for _, w := range workers {
			served += float64(w.served.Load())
		}
		if diff := cmp.Diff(book, tally("tulle.client.call.duration", []string{"grpc.status"}, client)); diff != "" {
			t.Errorf("calls (-ledger +counted):\n%s", diff)
		}
		got := tally("tulle.server.call.duration", []string{"tulle.source"}, servers...)
		if diff := cmp.Diff(map[string]float64{"spiffe://tulle.local/ns/default/svc/web": served}, got); diff != "" {
			t.Errorf("served (-handlers +counted):\n%s", diff)
		}
		if got := tally("tulle.server.access", []string{"tulle.verdict"}, servers...); got["allowed"] != served || sumOf(got) != served {
			t.Errorf("decisions: %v, the handlers had %v calls", got, served)
		}
		// An attempt that its caller gave up at once may not have got there.
		attempts := sumOf(tally("tulle.client.attempt.duration", []string{"tulle.cluster"}, client))
		retries, hedges := sumOf(tally("tulle.client.retries", nil, client)), sumOf(tally("tulle.client.hedges", nil, client))
		if attempts < served || attempts > calls+retries+hedges || retries+hedges < calls/10 {
			t.Errorf("%v attempts, %v were served; %v retries, %v hedges", attempts, served, retries, hedges)
		}
		if diff := cmp.Diff(map[string]float64{"voting false mtls": attempts}, tally("tulle.client.attempt.duration", []string{"tulle.destination", "tulle.local", "tulle.security"}, client)); diff != "" {
			t.Errorf("attempts (-want +counted):\n%s", diff)
		}
		sum := 0.0
		for _, p := range client.Telemetry().Snapshot().Points {
			if p.Name == "tulle.client.call.duration" {
				sum += p.Sum
			}
		}
		if diff := sum - took; diff > 1e-3 || diff < -1e-3 {
			t.Errorf("the calls took %v s, counted are %v", took, sum)
		}
	})
}

func TestThereAreGaugesOfWhatStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		w := newWorker("a", ways{})
		in := m.Serve("voting", w.register)
		client := m.Join(mesh.Config{Service: "web"})
		conn, err := client.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := do(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		gauge := func(of *mesh.Mesh, name string, by ...string) map[string]float64 { return tally("tulle."+name, by, of) }
		for _, tt := range []struct {
			name      string
			got, want map[string]float64
		}{
			{"connections of the client", gauge(client, "connections", "tulle.side"), map[string]float64{"client": 1, "server": 0}},
			{"connections of the server", gauge(in.Mesh, "connections", "tulle.side"), map[string]float64{"client": 0, "server": 1}},
			{"endpoints in use", gauge(client, "client.endpoint.in_use", "tulle.destination", "tulle.cluster", "tulle.endpoint"), map[string]float64{"voting voting " + in.Address: 1}},
			{"breakers", gauge(client, "client.endpoint.breaker", "tulle.endpoint"), map[string]float64{in.Address: 0}},
			{"latencies", gauge(client, "client.endpoint.latency", "tulle.guess"), map[string]float64{"false": 0}},
			{"staleness", gauge(client, "control.stale"), map[string]float64{"": 0}},
			{"refused resources", gauge(client, "control.nacks"), map[string]float64{"": 0}},
			{"the identity", gauge(client, "identity.expiry"), map[string]float64{"": float64(client.Status().Identity.Identity.NotAfter.Unix())}},
		} {
			if diff := cmp.Diff(tt.want, tt.got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
		up := client.Status().Upstreams
		if len(up) != 1 || up[0].Service != "voting" || len(up[0].Endpoints) != 1 || up[0].Endpoints[0].Calls != 1 {
			t.Errorf("upstreams: %+v", up)
		}

		m.StopServer()
		time.Sleep(time.Minute)
		if got := gauge(client, "control.stale")[""]; got < 30 || got > 60 {
			t.Errorf("a minute without a control plane: stale for %v s", got)
		}
		conn.Close()
		synctest.Wait()
		if got := gauge(client, "connections", "tulle.side"); got["client"] != 0 {
			t.Errorf("with all closed there are %v connections", got)
		}
		if got := client.Status().Upstreams; len(got) != 0 {
			t.Errorf("and the upstreams %+v", got)
		}
		m.StartServer()
	})
}

// A process that ends tells what it has not told yet before it lets go of xdsserver.
func TestCloseReportsTheLastCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", named("a"))
		conn := m.Client("mesh:///voting")
		time.Sleep(30 * time.Second)
		for range 7 {
			if _, err := ask(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
		}
		in.Server.GracefulStop()
		began := time.Now()
		if err := in.Mesh.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		got := m.Callers("voting")
		if len(got) != 1 || got[0].Allowed != 7 {
			t.Errorf("callers: %+v, want 7 calls", got)
		}
	})
}

func TestCloseDoesNotWaitForAControlPlaneThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		in := m.Serve("voting", named("a"))
		conn := m.Client("mesh:///voting")
		if _, err := ask(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		m.StopServer()
		time.Sleep(time.Minute)
		began := time.Now()
		in.Server.Stop()
		if err := in.Mesh.Close(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		m.StartServer()
	})
}
