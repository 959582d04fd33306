package balancer_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// breaking is many(n) with a breaker that opens at the first failure.
func breaking(n int) *resource.Config {
	config := many(n)
	config.Clusters[service].Cluster.Balancing = resource.DefaultBalancing()
	b := resource.DefaultBreaker()
	b.ConsecutiveFailures = 1
	config.Clusters[service].Cluster.Balancing.Breaker = b
	return config
}

func TestStatusIsThatOfAllConnections(t *testing.T) {
	shared := tulle.NewShared()
	if got := shared.Status(); len(got) != 0 {
		t.Errorf("before there is a connection there is %v", got)
	}
	first, second := newFake(t), newFake(t)
	first.update(t, stateOf(breaking(2), shared))
	second.update(t, stateOf(breaking(2), shared))

	rpc := &call.Call{Context: t.Context(), Cluster: service}
	open, err := first.state.Picker.Pick(balancer.PickInfo{Ctx: rpc})
	if err != nil {
		t.Fatal(err)
	}
	at := rpc.Endpoint()
	other := &call.Call{Context: t.Context(), Cluster: service}
	failed, err := second.state.Picker.Pick(balancer.PickInfo{Ctx: other})
	if err != nil {
		t.Fatal(err)
	}
	failed.Done(balancer.DoneInfo{Err: status.Error(codes.Unavailable, "down"), BytesSent: true, BytesReceived: true})

	got := shared.Status()
	if len(got) != 1 || got[0].Service != service || got[0].Cluster != service || got[0].State != connectivity.Ready || len(got[0].Endpoints) != 2 {
		t.Fatalf("two connections to one cluster are %+v", got)
	}
	for _, e := range got[0].Endpoints {
		if want := map[bool]int{true: 1}[e.Address == at]; e.Open != want {
			t.Errorf("%d calls are open to %s, want %d", e.Open, e.Address, want)
		}
		if want := map[bool]breaker.State{true: breaker.Open}[e.Address == other.Endpoint()]; e.Breaker != want {
			t.Errorf("the breaker of %s is %v, want %v", e.Address, e.Breaker, want)
		}
	}
	want := []tulle.Counts{{Service: service, Cluster: service, Openings: 1}}
	if diff := cmp.Diff(want, shared.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}

	open.Done(balancer.DoneInfo{BytesSent: true})
	first.policy.Close()
	if got := shared.Status(); len(got) != 1 {
		t.Errorf("with one connection closed there is %+v", got)
	}
	second.policy.Close()
	if got := shared.Status(); len(got) != 0 {
		t.Errorf("with all connections closed there is %+v", got)
	}
	if diff := cmp.Diff(want, shared.Counts(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("counts outlive connections (-want +got):\n%s", diff)
	}
}

func TestAConnectionThatChangesItsMeshIsSeenThere(t *testing.T) {
	one, two := tulle.NewShared(), tulle.NewShared()
	f := newFake(t)
	f.update(t, stateOf(many(1), one))
	f.update(t, stateOf(many(1), two))
	if len(one.Status()) != 0 || len(two.Status()) != 1 {
		t.Errorf("it is seen in %v and %v", one.Status(), two.Status())
	}
}

// A mutual is credentials of the mesh, as far as it concerns a balancer.
type mutual struct {
	credentials.TransportCredentials
}

func (mutual) MutualTLS() bool { return true }

func TestAPickSaysHowTheConnectionIsSecured(t *testing.T) {
	for _, tt := range []struct {
		name  string
		creds credentials.TransportCredentials
		want  call.Security
	}{
		{"the mesh's credentials", mutual{insecure.NewCredentials()}, call.MutualTLS},
		{"none", insecure.NewCredentials(), call.Plaintext},
		{"an application's own TLS", credentials.NewTLS(nil), call.UnknownSecurity},
		{"a bundle, which says nothing", nil, call.UnknownSecurity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeWith(t, balancer.BuildOptions{DialCreds: tt.creds})
			f.update(t, stateOf(many(1), nil))
			rpc := &call.Call{Context: t.Context(), Cluster: service}
			result, err := f.state.Picker.Pick(balancer.PickInfo{Ctx: rpc})
			if err != nil {
				t.Fatal(err)
			}
			result.Done(balancer.DoneInfo{})
			if got, want := rpc.Picked, (call.Pick{Chosen: true, Security: tt.want}); got != want {
				t.Errorf("picked %+v, want %+v", got, want)
			}
			if rpc.Why != "" {
				t.Errorf("nobody asked, and it was because of %q", rpc.Why)
			}
			rpc.Begin(1)
			if rpc.Picked != (call.Pick{}) {
				t.Errorf("another attempt begins with %+v", rpc.Picked)
			}
		})
	}
}
