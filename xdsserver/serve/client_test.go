package serve

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

const domain = "spiffe://tulle.local/ns/default/svc/"

// as makes every client one of the service, with a certificate for so long.
func as(service string, life time.Duration) func(*Config) {
	return func(c *Config) {
		c.Identify = func(ctx context.Context) (Client, error) {
			if p, ok := peer.FromContext(ctx); !ok || p == nil {
				return Client{}, status.Error(codes.Internal, "no peer")
			}
			client := Client{Service: service, ID: domain + service}
			if life > 0 {
				client.NotAfter = time.Now().Add(life)
			}
			return client, nil
		}
	}
}

// policies is a world in which two services have policies of their own.
func policies() world {
	w := full("a")
	for _, service := range []string{"voting", "web"} {
		w = w.with(rds, resource.ServerListener(service), "1").with(lds, resource.ServerListener(service), "1").
			with(lds, resource.ServerListener(service)+"/127.0.0.1:80", "1")
	}
	return w
}

func TestClientIsShownItsOwnPolicyAndNoOther(t *testing.T) {
	own, stock, foreign := resource.ServerListener("web"), resource.ServerListener("web")+"/127.0.0.1:80", resource.ServerListener("voting")
	bubble(t, as("web", 0), func(r *rig) {
		r.publish(policies())
		c := r.delta("voting/pretender")
		subscribe(c, lds, nil, own, stock, "a")
		if got := changes(c.one()); len(got) != 3 {
			t.Errorf("got %v, want what is web's and what is everybody's", got)
		}
		// Also names that do not exist are somebody's.
		for _, name := range []string{foreign, foreign + "/127.0.0.1:80", resource.ServerListener("nobody")} {
			for form, err := range map[string]error{
				"delta": func() error {
					c := r.delta("voting/pretender")
					subscribe(c, rds, nil, "a", name)
					return c.ended()
				}(),
				"state of the world": func() error {
					c := r.sotw("voting/pretender")
					ask(c, lds, nil, "a", name)
					return c.ended()
				}(),
			} {
				if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), domain+"web may not ask for") ||
					!strings.Contains(err.Error(), "it belongs to") {
					t.Errorf("%s, %s: %v, want PERMISSION_DENIED", name, form, err)
				}
			}
		}
		// It happened eight times in an instant: an operator hears of it once.
		if r.warnings() != 1 || !bytes.Contains(r.logged.Bytes(), []byte("owner=voting")) {
			t.Errorf("logged:\n%s", r.logged)
		}
		if n := r.Subscribers(lds, foreign); n != 0 {
			t.Errorf("%d clients subscribe to what is another's", n)
		}
	})
}

func TestWildcardHoldsNobodyElsesPolicy(t *testing.T) {
	foreign := resource.ServerListener("voting")
	bubble(t, as("web", 0), func(r *rig) {
		r.publish(policies())
		sotw, delta := r.sotw("a"), r.delta("b")
		ask(sotw, lds, nil)
		subscribe(delta, lds, nil, "*")
		first, second := sotw.one(), delta.one()
		for form, got := range map[string]map[string]string{"state of the world": contents(first), "delta": changes(second)} {
			if len(got) != 3 || got[foreign] != "" || got[resource.ServerListener("web")] == "" {
				t.Errorf("%s: got %v, want three that are not voting's", form, got)
			}
		}
		ask(sotw, lds, first)
		ack(delta, second)
		// A change of another's policy wakes them, and tells them nothing.
		r.publish(policies().with(lds, foreign, "2"))
		sotw.none()
		delta.none()
		r.publish(policies().with(lds, foreign, "2").with(lds, resource.ServerListener("web"), "2"))
		if got := contents(sotw.one()); got[resource.ServerListener("web")] != "2" || got[foreign] != "" {
			t.Errorf("state of the world: got %v", got)
		}
		if got := changes(delta.one()); len(got) != 1 || got[resource.ServerListener("web")] != "2" {
			t.Errorf("delta: got %v", got)
		}
		if own, other := r.Subscribers(lds, resource.ServerListener("web")), r.Subscribers(lds, foreign); own != 2 || other != 0 {
			t.Errorf("%d clients subscribe to web's and %d to voting's, want 2 and 0", own, other)
		}
	})
}

// What a client says that it has of another's policy tells it nothing: neither the
// right version nor a wrong one is answered with content.
func TestVersionsOfWhatIsAnothersTellNothing(t *testing.T) {
	foreign := resource.ServerListener("voting")
	for name, has := range map[string]string{"the right version": version(lds, foreign, "1"), "another version": "x"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, as("web", 0), func(r *rig) {
				r.publish(policies())
				c := r.delta("a")
				resume(c, lds, map[string]string{foreign: has}, "*")
				if got := changes(c.one()); got[foreign] != "removed" {
					t.Errorf("got %v, want that %s is not there", got, foreign)
				}
			})
		})
	}
}

func TestTrustComesBeforeWhatNeedsIt(t *testing.T) {
	world := full("a").with(tbs, "tulle.local", "root")
	bubble(t, as("web", 0), func(r *rig) {
		sotw, delta := r.sotw("a"), r.delta("b")
		for _, u := range []string{lds, rds, cds, eds} {
			ask(sotw, u, nil, "a")
			subscribe(delta, u, nil, "a")
		}
		ask(sotw, tbs, nil, "tulle.local")
		subscribe(delta, tbs, nil, "tulle.local")
		r.publish(world)
		first, second := sotw.pending(), delta.pending()
		if len(first) == 0 || first[0].GetTypeUrl() != tbs || contents(first[0])["tulle.local"] != "root" {
			t.Errorf("state of the world: %v come, want the bundle first", order(first))
		}
		if len(second) == 0 || second[0].GetTypeUrl() != tbs || changes(second[0])["tulle.local"] != "root" {
			t.Errorf("delta: %v comes first, want the bundle", second)
		}
	})
}

// A bundle is sent piece by piece: others are not repeated, and what goes missing
// is not taken from stock clients.
func TestBundlesArePieces(t *testing.T) {
	world := full("a").with(tbs, "one", "1").with(tbs, "two", "1")
	bubble(t, as("web", 0), func(r *rig) {
		r.publish(world)
		c := r.sotw("a")
		ask(c, tbs, nil, "one", "two")
		first := c.one()
		ask(c, tbs, first, "one", "two")
		world = world.with(tbs, "two", "2")
		r.publish(world)
		second := c.one()
		if diff := cmp.Diff(map[string]string{"two": "2"}, contents(second)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		ask(c, tbs, second, "one", "two")
		r.publish(world.with(tbs, "one", ""))
		c.none()
	})
}

func TestNodeIsShownAndDecidesNothing(t *testing.T) {
	bubble(t, as("web", 0), func(r *rig) {
		r.publish(policies())
		c := r.delta("voting/1")
		subscribe(c, lds, nil, "a")
		ack(c, c.one())
		streams := r.Ledger().Streams
		if len(streams) != 1 || streams[0].Node != "voting/1" || streams[0].Cluster != "web" || streams[0].Client.ID != domain+"web" {
			t.Errorf("got %+v, want node voting/1 of the service web", streams)
		}
	})
}

func TestStreamEndsWithItsCertificate(t *testing.T) {
	bubble(t, as("web", time.Hour), func(r *rig) {
		r.publish(policies())
		c := r.delta("web/1")
		subscribe(c, lds, nil, "a")
		ack(c, c.one())
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		c.none()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := c.ended(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired at") {
			t.Errorf("got %v, want UNAUTHENTICATED", err)
		}
	})
}

func TestWhoHasExpiredIsNotLetIn(t *testing.T) {
	bubble(t, func(c *Config) {
		c.Identify = func(context.Context) (Client, error) {
			return Client{Service: "web", ID: domain + "web", NotAfter: time.Now()}, nil
		}
	}, func(r *rig) {
		r.publish(policies())
		conn := r.dial()
		ads := r.delta("web/1")
		subscribe(ads, lds, nil, "a")
		lrs, err := loadstatsv3.NewLoadReportingServiceClient(conn).StreamLoadStats(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, lrsErr := lrs.Recv()
		_, csdsErr := statusv3.NewClientStatusDiscoveryServiceClient(conn).FetchClientStatus(r.Context(), &statusv3.ClientStatusRequest{})
		for protocol, err := range map[string]error{"ads": ads.ended(), "lrs": lrsErr, "csds": csdsErr} {
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), protocol+": the certificate of "+domain+"web expired at") {
				t.Errorf("%s: got %v, want UNAUTHENTICATED", protocol, err)
			}
		}
	})
}

func TestLoadIsOfWhoReportsIt(t *testing.T) {
	bubble(t, as("web", time.Minute), func(r *rig) {
		lrs, err := loadstatsv3.NewLoadReportingServiceClient(r.dial()).StreamLoadStats(r.Context())
		if err != nil {
			t.Fatal(err)
		}
		send := func(req *loadstatsv3.LoadStatsRequest) {
			if err := lrs.Send(req); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		send(&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "voting/1"}})
		if got := r.Loads(); len(got) != 1 || got[0].Node != "voting/1" || got[0].ID != domain+"web" {
			t.Errorf("got %+v, want one of web", got)
		}
		time.Sleep(time.Minute)
		send(&loadstatsv3.LoadStatsRequest{})
		if _, err := lrs.Recv(); err != nil {
			t.Fatal(err) // what to report, from before
		}
		if _, err := lrs.Recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v, want UNAUTHENTICATED", err)
		}
	})
}

// A client may well call itself by the name of another: what it refuses is told of
// it, and does not take the place of what the other refuses.
func TestRejectionIsOfWhoRejects(t *testing.T) {
	bubble(t, byHeader, func(r *rig) {
		r.publish(full("a"))
		for _, who := range []string{"web", "voting"} {
			ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(r.Context(), "who", who))
			stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial()).DeltaAggregatedResources(ctx)
			c := newClient(r.T, stream, err, cancel, "web/1")
			subscribe(c, cds, nil, "a")
			reject(c, c.one(), "no")
			synctest.Wait()
		}
		got := map[string]bool{}
		for _, rejection := range r.Ledger().Rejections {
			got[rejection.ID] = rejection.Node == "web/1" && rejection.Name == "a"
		}
		if diff := cmp.Diff(map[string]bool{domain + "web": true, domain + "voting": true}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// byHeader believes what a call says of itself.
func byHeader(c *Config) {
	c.Identify = func(ctx context.Context) (Client, error) {
		who := metadata.ValueFromIncomingContext(ctx, "who")
		return Client{Service: who[0], ID: domain + who[0]}, nil
	}
}

func TestStatusIsOfOnesOwnIdentity(t *testing.T) {
	bubble(t, byHeader, func(r *rig) {
		r.publish(policies())
		conn := r.dial()
		ctx := metadata.AppendToOutgoingContext(r.Context(), "who", "voting")
		ctx, cancel := context.WithCancel(ctx)
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		c := newClient(r.T, stream, err, cancel, "voting/1")
		subscribe(c, lds, nil, "a")
		synctest.Wait()
		for who, want := range map[string]int{"voting": 1, "web": 0} {
			answer, err := statusv3.NewClientStatusDiscoveryServiceClient(conn).
				FetchClientStatus(metadata.AppendToOutgoingContext(r.Context(), "who", who), &statusv3.ClientStatusRequest{})
			if err != nil || len(answer.GetConfig()) != want {
				t.Errorf("%s sees %d clients, %v, want %d", who, len(answer.GetConfig()), err, want)
			}
		}
	})
}
