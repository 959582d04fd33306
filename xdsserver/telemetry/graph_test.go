package telemetry

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// untimed leaves out what is tested elsewhere, and rates, which follow from counts.
var untimed = protocmp.IgnoreFields(&adminv1.Golden{}, "rps", "p50_ms", "p95_ms", "p99_ms")

func edgeOf(g *adminv1.GetGraphResponse, source, destination string) *adminv1.EdgeStat {
	for _, e := range g.GetEdges() {
		if e.GetSource() == source && e.GetDestination() == destination {
			return e
		}
	}
	return nil
}

func nodeOf(g *adminv1.GetGraphResponse, service string) *adminv1.ServiceStat {
	for _, n := range g.GetServices() {
		if n.GetService() == service {
			return n
		}
	}
	return nil
}

func timed(calls, failures uint64) *adminv1.Golden {
	return &adminv1.Golden{Calls: calls, Failures: failures, Timed: true}
}

func attempt(p *process, to, code, cluster, local, security string) {
	p.of("tulle.client.attempt.duration", "tulle.destination", to, "tulle.route", "r", "grpc.method", "/v/Vote", "grpc.status", code,
		"tulle.cluster", cluster, "tulle.local", local, "tulle.security", security).add(time.Millisecond)
}

func TestEdgesAreWhatCallersSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		web, voting := newProcess("web", "w"), newProcess("voting", "v")
		for _, code := range []string{"OK", "OK", "OK", "NOT_FOUND", "DEADLINE_EXCEEDED"} {
			web.of("tulle.client.call.duration", "tulle.destination", "voting", "tulle.route", "r", "grpc.method", "/v/Vote", "grpc.status", code).add(time.Millisecond)
		}
		attempt(web, "voting", "OK", "voting/v1", "true", "mtls")
		attempt(web, "voting", "OK", "voting/v1", "true", "mtls")
		attempt(web, "voting", "UNAVAILABLE", "voting/v2", "false", "unknown")
		attempt(web, "voting", "OK", "voting/v2", "true", "mtls")
		attempt(web, "voting", "NOT_FOUND", "voting/v2", "false", "mtls")
		attempt(web, "voting", "DEADLINE_EXCEEDED", "voting/v2", "false", "mtls")
		for name, n := range map[string]float64{"retries": 1, "hedges": 2, "denied": 3} {
			web.of("tulle.client."+name, "tulle.destination", "voting").count(n)
		}
		web.of("tulle.client.refused", "tulle.destination", "voting", "tulle.reason", "no endpoint").count(4)
		for range 5 {
			voting.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
		}
		voting.of("tulle.server.call.duration", "tulle.source", "", "grpc.method", "/v/Vote", "grpc.status", "OK", "tulle.security", "plaintext").add(time.Second)
		voting.serve(idOf(""), "/v/Vote", "INTERNAL", time.Millisecond) // a job, which does not report
		voting.of("tulle.connections", "tulle.side", "server").set(7)
		send(t, s, "web", web.message())
		send(t, s, "voting", voting.message())

		g := s.Graph(0, time.Now())
		want := &adminv1.GetGraphResponse{
			At: timestamppb.Now(), Window: g.GetWindow(),
			Services: []*adminv1.ServiceStat{
				{Service: Client, Outbound: nil},
				{
					Service: "voting", Meshed: 1, Zones: []string{"eu/eu-1"}, Connections: 7, Inbound: timed(7, 1),
					Versions: []*adminv1.VersionStat{{Version: "v1", Golden: timed(2, 0)}, {Version: "v2", Golden: timed(4, 2)}},
				},
				{Service: "web", Meshed: 1, Zones: []string{"eu/eu-1"}, Outbound: timed(5, 1)},
			},
			Edges: []*adminv1.EdgeStat{
				{Destination: "voting", Calls: timed(1, 0), Attempts: timed(1, 0), Security: "plaintext"},
				{
					Source: Client, Destination: "voting", Calls: timed(1, 1), Attempts: timed(1, 1), Security: "mtls",
					ClientId: idOf(""), ServerId: idOf("voting"),
				},
				{
					Source: "web", Destination: "voting", Calls: timed(5, 1), Attempts: timed(6, 2), Security: "mtls",
					ClientId: idOf("web"), ServerId: idOf("voting"), Local: 0.5, Retries: 1, Hedges: 2, Denied: 3, Refused: 4,
					Versions: []*adminv1.VersionStat{{Version: "v1", Golden: timed(2, 0)}, {Version: "v2", Golden: timed(4, 2)}},
				},
			},
		}
		if diff := cmp.Diff(want, g, protocmp.Transform(), untimed); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if w := g.GetWindow().AsDuration(); w != time.Minute {
			t.Errorf("the window is %v", w)
		}
		routes := s.Service("voting", 0, time.Now()).GetRoutes()
		wantRoutes := []*adminv1.RouteStat{{
			Route: "r", Calls: timed(5, 1), Timeouts: 0.2, Retries: 0.2,
			Backends: []*adminv1.BackendStat{
				{Cluster: "voting/v1", Version: "v1", Attempts: timed(2, 0)},
				{Cluster: "voting/v2", Version: "v2", Attempts: timed(4, 2), Timeouts: 0.25},
			},
		}}
		if diff := cmp.Diff(wantRoutes, routes, protocmp.Transform(), untimed); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	})
}

func TestOnePlaintextAttemptIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		web := newProcess("web", "w")
		attempt(web, "voting", "OK", "voting", "true", "mtls")
		attempt(web, "voting", "OK", "voting", "true", "plaintext")
		attempt(web, "db", "UNAVAILABLE", "db", "true", "unknown")
		send(t, s, "web", web.message())
		g := s.Graph(0, time.Now())
		if e := edgeOf(g, "web", "voting"); e.GetSecurity() != "plaintext" || e.GetServerId() != "" {
			t.Errorf("got %v", e)
		}
		if e := edgeOf(g, "web", "db"); e.GetSecurity() != "unknown" {
			t.Errorf("got %v", e)
		}
		if n := nodeOf(g, "voting"); n.GetInbound().GetCalls() != 2 {
			t.Errorf("where servers say nothing, callers do: %v", n)
		}
	})
}

func TestStockClientsAreKnownByTheirLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		load := func(service string) {
			s.Load(&Load{Service: service, ID: idOf(service), Region: "eu", Zone: "eu-1", Clusters: []*endpointv3.ClusterStats{
				{ClusterName: "voting/v2", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
					{Locality: &corev3.Locality{Region: "eu", Zone: "eu-1"}, TotalSuccessfulRequests: 6, TotalErrorRequests: 2},
					{Locality: &corev3.Locality{Region: "eu", Zone: "eu-2"}, TotalSuccessfulRequests: 2},
					{Locality: &corev3.Locality{Region: "eu", Zone: "eu-3"}, TotalSuccessfulRequests: math.MaxUint64},
				}},
				{ClusterName: "a\x1b[2J", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{TotalErrorRequests: 1}}},
			}}, time.Now())
		}
		load("")
		load("web")
		time.Sleep(time.Millisecond)
		web := newProcess("web", "w")
		web.call("voting", "/v/Vote", "OK", time.Millisecond)
		send(t, s, "web", web.message())
		g := s.Graph(0, time.Now())
		counted := &adminv1.Golden{Calls: 10, Failures: 2}
		want := &adminv1.EdgeStat{
			Source: Client, Destination: "voting", Calls: counted, Attempts: counted, Security: "unknown", Local: 0.8, Stock: true,
			ClientId: idOf(""), Versions: []*adminv1.VersionStat{{Version: "v2", Golden: counted}},
		}
		if diff := cmp.Diff(want, edgeOf(g, Client, "voting"), protocmp.Transform(), untimed); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		// Of one that reports in both ways, the better counts.
		if e := edgeOf(g, "web", "voting"); e.GetCalls().GetCalls() != 1 || e.GetStock() {
			t.Errorf("got %v", e)
		}
		if n := nodeOf(g, "voting"); n.GetInbound().GetCalls() != 11 {
			t.Errorf("got %v, want eleven calls", n)
		}
		if len(g.GetEdges()) != 2 {
			t.Errorf("got %v", g.GetEdges())
		}
	})
}

func TestWhatProcessesAreIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		web, voting := newProcess("web", "w"), newProcess("voting", "v")
		state := func(name string, v float64, kv ...string) {
			web.of("tulle.client.endpoint."+name, append([]string{
				"tulle.destination", "voting", "tulle.cluster", "voting", "tulle.endpoint", "10.0.0.1:80", "tulle.local", "true",
			}, kv...)...).set(v)
		}
		state("latency", 0.25, "tulle.guess", "true")
		state("open", 3)
		state("breaker", breakerOpen)
		state("ejected", 1)
		state("in_use", 1)
		expiry := time.Now().Add(time.Hour).Truncate(time.Second)
		voting.of("tulle.identity.expiry").set(float64(expiry.Unix()))
		voting.of("tulle.control.stale").set(60)
		voting.of("tulle.server.panics").count(2)
		voting.of("tulle.server.access", "tulle.source", web.instance, "grpc.method", "/v/Vote", "tulle.verdict", "denied").count(3)
		voting.of("tulle.connections", "tulle.side", "server").set(5)
		voting.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
		send(t, s, "web", web.message())
		send(t, s, "voting", voting.message())

		got := s.Service("voting", time.Hour, time.Now())
		wantEndpoints := []*adminv1.EndpointStat{{
			Source: "web", SourceInstance: "w", Cluster: "voting", Address: "10.0.0.1:80", LatencyMs: 250, Guess: true, Open: 3,
			Breaker: "open", Ejected: true, Local: true, InUse: true,
		}}
		if diff := cmp.Diff(wantEndpoints, got.GetEndpoints(), protocmp.Transform()); diff != "" {
			t.Errorf("endpoints (-want +got):\n%s", diff)
		}
		wantInstances := []*adminv1.InstanceStat{{
			Instance: "v", Version: "v1", Zone: "eu/eu-1", Library: "0.1.0", Inbound: timed(1, 0), Reported: timestamppb.Now(),
			CertificateExpires: timestamppb.New(expiry), Configured: timestamppb.New(time.Now().Add(-time.Minute)), Connections: 5, Denied: 3, Panics: 2,
		}}
		if diff := cmp.Diff(wantInstances, got.GetInstances(), protocmp.Transform(), untimed); diff != "" {
			t.Errorf("instances (-want +got):\n%s", diff)
		}
		if st := got.GetService(); st.GetBreakersOpen() != 1 || st.GetEjected() != 1 {
			t.Errorf("got %v", st)
		}
		// A latency that is no guess any more is another series of the same endpoint.
		state("latency", 0.002, "tulle.guess", "false")
		delete(web.series, web.order[0])
		web.order = web.order[1:]
		send(t, s, "web", web.message())
		if e := s.Service("voting", 0, time.Now()).GetEndpoints(); len(e) != 1 || e[0].GetGuess() || e[0].GetLatencyMs() != 2 {
			t.Errorf("got %v", e)
		}
		// Who does not report is gone for who asks how things are.
		time.Sleep(away + time.Second)
		if got := s.Service("voting", 0, time.Now()); len(got.GetEndpoints()) != 0 || got.GetService().GetMeshed() != 0 {
			t.Errorf("%v, %v", got.GetEndpoints(), got.GetService())
		}
	})
}

func TestRatesAreOverTheTimeThatWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		p := newProcess("voting", "v")
		for range 200 {
			for range 50 {
				p.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
			}
			time.Sleep(slotTime)
			send(t, s, "voting", p.message())
		}
		for _, window := range []time.Duration{15 * time.Second, time.Minute, 10 * time.Minute, time.Hour} {
			for range 5 {
				time.Sleep(time.Second / 2)
				got := s.Service("voting", window, time.Now())
				if rps := got.GetService().GetInbound().GetRps(); math.Abs(rps-10) > 0.2 && time.Since(s.since) > window {
					t.Errorf("%v: %v calls per second, want 10", window, rps)
				}
				if n := len(got.GetPoints()); n > maxSteps || n < 3 {
					t.Errorf("%v: %d points", window, n)
				}
			}
		}
	})
}

// A process that was not heard for long does not seem to have done everything at once.
func TestAReportAfterASilenceIsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, "")
		time.Sleep(time.Millisecond)
		p := newProcess("voting", "v")
		p.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
		send(t, s, "voting", p.message())
		time.Sleep(5 * time.Minute)
		for range 600 {
			p.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
		}
		send(t, s, "voting", p.message())
		got := s.Service("voting", 10*time.Minute, time.Now())
		var most, all uint64
		for _, point := range got.GetPoints() {
			most = max(most, point.GetGolden().GetCalls())
			all += point.GetGolden().GetCalls()
		}
		if most != 10 || all != 601 {
			t.Errorf("%d calls, of which %d at once; want 601 and 10", all, most)
		}
	})
}

func TestAClockThatIsSetIsNoEnd(t *testing.T) {
	s := New(Config{Identify: identify, Logger: quiet})
	begun := time.Now()
	p := newProcess("voting", "v")
	for i, at := range []time.Duration{0, time.Minute, 2 * Window, -time.Hour, 0, -time.Second} {
		p.serve(idOf("web"), "/v/Vote", "OK", time.Millisecond)
		var r report
		if err := r.read(p.message()); err != nil {
			t.Fatal(err)
		}
		now := begun.Add(at)
		s.take("voting", idOf("voting"), "", &r, now)
		s.mu.Lock()
		s.window.sweep()
		s.mu.Unlock()
		if g := s.Service("voting", time.Minute, now).GetService().GetInbound(); i > 0 && i < 4 && g.GetCalls() > 2 || i == 5 && g.GetCalls() == 0 {
			t.Errorf("%d: %v", i, g)
		}
	}
}
