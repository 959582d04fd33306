package mesh_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	_ "google.golang.org/grpc/balancer/leastrequest" // the policy is compared with ours
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// five are the backends of one balancer's part of the scenario.
type five struct {
	workers [5]*worker
	conn    *grpc.ClientConn
}

// usual is how long a call takes while all is well.
const usual = 10 * time.Millisecond

func newFive() *five {
	f := &five{}
	for i := range f.workers {
		f.workers[i] = newWorker(fmt.Sprintf("backend-%d", i), ways{takes: around(usual)})
	}
	return f
}

// ofMesh are in the mesh, as it is where nothing is configured.
func (f *five) ofMesh(m *meshtest.Mesh) *five {
	for _, w := range f.workers {
		m.Serve("voting", w.register)
	}
	f.conn = m.Client("mesh:///voting")
	return f
}

// ofGRPC are called by plain grpc-go with one of its policies.
func (f *five) ofGRPC(t *testing.T, network *meshtest.Network, policy string) *five {
	t.Helper()
	var endpoints []resolver.Endpoint
	for _, w := range f.workers {
		lis, err := network.Listen("")
		if err != nil {
			t.Fatal(err)
		}
		srv := grpc.NewServer()
		w.register(srv)
		done := make(chan struct{})
		go func() { defer close(done); _ = srv.Serve(lis) }()
		t.Cleanup(func() { srv.Stop(); <-done })
		endpoints = append(endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: lis.Addr().String()}}})
	}
	list := manual.NewBuilderWithScheme("list")
	list.InitialState(resolver.State{Endpoints: endpoints})
	conn, err := grpc.NewClient("list:///voting", grpc.WithResolvers(list),
		grpc.WithContextDialer(network.Dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(fmt.Sprintf(`{"loadBalancingConfig":[{%q:{}}]}`, policy)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f.conn = conn
	return f
}

// slowly is what the scenario measures of one balancer.
type slowly struct {
	healthy, ill time.Duration // p99
	share        float64       // of the calls that the slow backend answered
	back         float64       // the same from 5 s after it recovered, for 5 s
	failed       int
}

func (f *five) measure(t *testing.T) slowly {
	t.Helper()
	const perSecond = 300
	var got slowly
	work(t, f.conn, perSecond, 5*time.Second) // connects, and learns
	before := work(t, f.conn, perSecond, 10*time.Second)
	got.healthy = before.at(.99)

	f.workers[2].become(ways{takes: func() time.Duration { return 200*time.Millisecond + around(usual)() }})
	during := work(t, f.conn, perSecond, 20*time.Second)
	got.ill, got.share = during.at(.99), during.share("backend-2")

	f.workers[2].become(ways{takes: around(usual)})
	recovering := work(t, f.conn, perSecond, 5*time.Second)
	after := work(t, f.conn, perSecond, 5*time.Second)
	got.back = after.share("backend-2")
	for _, r := range []results{before, during, recovering, after} {
		n, err := r.failed()
		if got.failed += n; err != nil {
			t.Logf("a call failed: %v", err)
		}
	}
	return got
}

// Linkerd's scenario: five backends, of which one is 200 ms slower. A balancer that
// sends it its share makes one call in five slow.
func TestSlowBackendIsAvoidedAndComesBack(t *testing.T) {
	got := map[string]slowly{}
	synctest.Test(t, func(t *testing.T) { got["tulle"] = newFive().ofMesh(meshtest.New(t)).measure(t) })
	for _, policy := range []string{"round_robin", "least_request_experimental"} {
		synctest.Test(t, func(t *testing.T) { got[policy] = newFive().ofGRPC(t, meshtest.NewNetwork(), policy).measure(t) })
	}
	for _, who := range []string{"tulle", "round_robin", "least_request_experimental"} {
		g := got[who]
		t.Logf("%-27s p99 %v, with the slow one %v (%.2f times); share of the slow one %.2f %%, back at %.1f %% 5 s after it recovered",
			who, g.healthy, g.ill, float64(g.ill)/float64(g.healthy), 100*g.share, 100*g.back)
	}
	ours := got["tulle"]
	if ours.failed != 0 {
		t.Errorf("%d calls failed", ours.failed)
	}
	if ratio := float64(ours.ill) / float64(ours.healthy); ratio > 1.3 {
		t.Errorf("p99 with the slow one is %.2f times the healthy one, want at most 1.3", ratio)
	}
	if ours.share >= .02 {
		t.Errorf("the slow one got %.2f %% of the calls, want under 2 %%", 100*ours.share)
	}
	if ours.back < .1 {
		t.Errorf("5 s after it recovered the slow one gets %.1f %% of the calls, want at least half of its 20 %%", 100*ours.back)
	}
	if theirs := got["round_robin"]; theirs.share < .15 || theirs.ill < 190*time.Millisecond {
		t.Errorf("round_robin gave the slow one %.1f %% and had a p99 of %v: the scenario shows nothing", 100*theirs.share, theirs.ill)
	}
}

// An endpoint that fails every call at once is the fastest there is.
func TestFastFailuresAttractNoCalls(t *testing.T) {
	const perSecond, calls = 1000, 10_000
	for _, tt := range []struct {
		name string
		spec string
		// most is how many of the calls may fail, least how many must.
		least, most int
	}{
		{"by default", ``, 0, calls / 100},
		{"by the penalty alone", `breaker: {off: true}`, 0, calls / 100},
		{"by the breaker alone", `loadBalancing: {failurePenalty: 0s}`, 0, calls / 100},
		{"by neither they do", "breaker: {off: true}\n  loadBalancing: {failurePenalty: 0s}", calls / 3, calls},
		{"with retries none is lost", `retry: {on: [unavailable], attempts: 3, idempotent: true}`, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.New(t)
				if tt.spec != "" {
					m.Apply("apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec:\n  " + tt.spec + "\n")
				}
				for _, name := range []string{"a", "b", "c"} {
					w := newWorker(name, ways{takes: about(5 * time.Millisecond)})
					if name == "c" {
						w.become(ways{fails: 1, code: codes.Unavailable})
					}
					m.Serve("voting", w.register)
				}
				conn := m.Client("mesh:///voting")
				got := work(t, conn, perSecond, calls/perSecond*time.Second)
				failed, err := got.failed()
				t.Logf("%d of %d calls failed", failed, len(got))
				if failed < tt.least || failed > tt.most {
					t.Errorf("%d of %d calls failed, want %d to %d: %v", failed, calls, tt.least, tt.most, err)
				}
			})
		})
	}
}
