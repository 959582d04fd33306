package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
)

// What is registered in Consul by Consul's own API reaches a stream that is open.
func TestConsulReachesAnOpenStream(t *testing.T) {
	t.Parallel() // it waits more than it works
	agent := consultest.Start(t)
	client := agent.Client(t)
	s := startServer(t, "--consul", agent.Address())
	register(t, client, "orders-0", "10.1.0.1")

	healthy := s.follow(t, "orders")
	healthy.until(func(n int) bool { return n == 1 })
	const rounds = 30
	took := map[string][]time.Duration{}
	measure := func(what string, want int, do func()) {
		began := time.Now()
		do()
		healthy.until(func(n int) bool { return n == want })
		took[what] = append(took[what], time.Since(began))
		// Consul's own limits and ours are for storms: this is no storm.
		pass(t, 400*time.Millisecond)
	}
	// Three is enough for one to leave at once: what would empty a service is held.
	register(t, client, "orders-1", "10.1.0.2")
	register(t, client, "orders-2", "10.1.0.3")
	healthy.until(func(n int) bool { return n == 3 })
	pass(t, 2*time.Second)
	for i := range rounds / 3 {
		id := fmt.Sprintf("orders-extra-%d", i)
		measure("register", 4, func() { register(t, client, id, "10.1.1.1") })
		measure("health", 3, func() {
			if err := client.Agent().UpdateTTL("service:"+id, "", api.HealthCritical); err != nil {
				t.Fatal(err)
			}
		})
		if err := client.Agent().UpdateTTL("service:"+id, "", api.HealthPassing); err != nil {
			t.Fatal(err)
		}
		healthy.until(func(n int) bool { return n == 4 })
		pass(t, 400*time.Millisecond)
		measure("deregister", 3, func() {
			if err := client.Agent().ServiceDeregister(id); err != nil {
				t.Fatal(err)
			}
		})
	}
	for what, all := range took {
		slices.Sort(all)
		median := all[len(all)/2]
		t.Logf("%s: median %v, max %v of %d", what, median, all[len(all)-1], len(all))
		if median > 200*time.Millisecond {
			t.Errorf("%s reached the stream after %v at the median, want 200 ms", what, median)
		}
	}
}

// register registers an instance as any program does, with a TTL check that passes.
func register(t *testing.T, client *api.Client, id, ip string) {
	t.Helper()
	err := client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: "orders", Address: ip, Port: 8080, Meta: map[string]string{"version": "v1"},
		Check: &api.AgentServiceCheck{TTL: "10m", Status: api.HealthPassing},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A follower counts the healthy endpoints that a stream is told of.
type follower struct {
	t      *testing.T
	counts chan int
	last   int
}

// follow opens a stream for one service's endpoints.
func (s *server) follow(t *testing.T, service string) *follower {
	t.Helper()
	stream := s.adsFor(t, "follower", 5*time.Minute)
	f := &follower{t: t, counts: make(chan int, 1000), last: -1}
	done := make(chan struct{})
	stream.ask(&discoveryv3.DiscoveryRequest{TypeUrl: resource.EndpointsType, ResourceNames: []string{service}})
	go func() {
		defer close(done)
		for {
			answer, err := stream.Recv()
			if err != nil {
				close(f.counts)
				return
			}
			for _, r := range answer.GetResources() {
				var a endpointv3.ClusterLoadAssignment
				if err := r.UnmarshalTo(&a); err != nil {
					t.Error(err)
				}
				f.counts <- healthyOf(&a)
			}
			stream.ask(&discoveryv3.DiscoveryRequest{
				TypeUrl: resource.EndpointsType, ResourceNames: []string{service}, VersionInfo: answer.GetVersionInfo(), ResponseNonce: answer.GetNonce(),
			})
		}
	}()
	t.Cleanup(func() { <-done }) // the stream ends with the test's context, before
	return f
}

func healthyOf(a *endpointv3.ClusterLoadAssignment) int {
	n := 0
	for _, l := range a.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			if e.GetHealthStatus() == corev3.HealthStatus_HEALTHY {
				n++
			}
		}
	}
	return n
}

// until waits for a count, which may be there already.
func (f *follower) until(so func(n int) bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	for !so(f.last) {
		select {
		case n, ok := <-f.counts:
			if !ok {
				f.t.Fatalf("the stream ended; last it told of %d endpoints", f.last)
			}
			f.last = n
		case <-ctx.Done():
			f.t.Fatalf("not so after 20 s; last the stream told of %d endpoints", f.last)
		}
	}
}
