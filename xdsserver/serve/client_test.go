package serve

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
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

func TestStatusIsOfOnesOwnIdentity(t *testing.T) {
	bubble(t, func(c *Config) {
		c.Identify = func(ctx context.Context) (Client, error) {
			who := metadata.ValueFromIncomingContext(ctx, "who")
			return Client{Service: who[0], ID: domain + who[0]}, nil
		}
	}, func(r *rig) {
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
