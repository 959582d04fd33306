package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

// A room is the API over a server that serves what a test publishes.
type room struct {
	*Server

	t   *testing.T
	lis *bufconn.Listener
	now *Publication
}

// newRoom must be called in a bubble.
func newRoom(t *testing.T) *room {
	r := &room{t: t, lis: bufconn.Listen(1 << 20)}
	quiet := slog.New(slog.DiscardHandler)
	s := serve.New(serve.Config{Logger: quiet, Identify: func(context.Context) (serve.Client, error) {
		return serve.Client{Service: "web", ID: "spiffe://tulle.local/ns/default/svc/web"}, nil
	}})
	g := grpc.NewServer(s.ServerOptions()...)
	s.Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(r.lis) }()
	t.Cleanup(func() {
		_ = s.Close()
		g.Stop()
		<-done
	})
	r.Server = New(Config{Server: s, Published: func() *Publication { return r.now }, Logger: quiet})
	return r
}

func (r *room) publish(yaml string) {
	r.t.Helper()
	synctest.Wait()
	next := publish(r.t, yaml)
	if r.now != nil {
		next.Snapshot.Revision = r.now.Snapshot.Revision + 1
	}
	r.now = next
	r.config.Server.Publish(next.Snapshot)
	synctest.Wait()
}

func (r *room) explain(req *adminv1.ExplainCallRequest) *adminv1.ExplainCallResponse {
	r.t.Helper()
	synctest.Wait()
	got, err := r.ExplainCall(r.t.Context(), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// A member is a client that asks for all that leads to voting, and answers as it is told.
type member struct {
	// answer is what it refuses a response of a type for; empty accepts it.
	answer func(typeURL string) string
	silent bool
	// had are the versions that it comes back with.
	had map[string]string
}

// join connects a member, whose node id is given.
func (r *room) join(node string, p *member) {
	r.t.Helper()
	conn, err := grpc.NewClient("passthrough:///room", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.lis.DialContext(ctx) }))
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	first := &corev3.Node{Id: node, Cluster: "web", UserAgentName: "peer", Locality: &corev3.Locality{Zone: "south"}}
	for typeURL, names := range map[string][]string{
		resource.ListenerType:  {"voting"},
		resource.RouteType:     {"voting"},
		resource.ClusterType:   {"voting/v1", "voting/v2"},
		resource.EndpointsType: {"voting/v1", "voting/v2"},
	} {
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: first, TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: p.had,
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			got, err := stream.Recv()
			if err != nil {
				return
			}
			if p.silent {
				continue
			}
			req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: got.GetTypeUrl(), ResponseNonce: got.GetNonce()}
			if p.answer != nil {
				if why := p.answer(got.GetTypeUrl()); why != "" {
					req.ErrorDetail = &status.Status{Code: 3, Message: why}
				}
			}
			if err := stream.Send(req); err != nil {
				return
			}
		}
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
		_ = conn.Close()
	})
	synctest.Wait()
}

// halved is the mesh of canary with another split.
var halved = strings.ReplaceAll(canary, "weight: 9", "weight: 1")

func TestACallIsExplainedByWhatItsProcessHolds(t *testing.T) {
	const method = "vote.v1.Votes/Cast"
	routes := func(got *adminv1.ExplainCallResponse) *adminv1.HeldResource { return got.GetResources()[1] }
	tests := []struct {
		name string
		run  func(r *room, p *member)
		// What is said of the RouteConfiguration, and the share of voting/v1.
		state, note string
		percent     float64
	}{
		{"the published version, which it accepted", func(*room, *member) {}, "current", "", 90},
		{"the version before, while it does not answer", func(r *room, p *member) {
			p.silent = true
			r.publish(halved)
		}, "behind", "NEW is published, and the process has not acknowledged it", 90},
		{"the version before, when it refuses the new one", func(r *room, p *member) {
			p.answer = func(typeURL string) string {
				if typeURL == resource.RouteType {
					return "no"
				}
				return ""
			}
			r.publish(halved)
		}, "refused", "the process refuses NEW: no", 90},
		{"the new version, when it accepted that", func(r *room, _ *member) { r.publish(halved) }, "current", "", 50},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, p := newRoom(t), &member{}
				r.publish(canary)
				r.join("web/1", p)
				tt.run(r, p)
				time.Sleep(time.Minute / 2)
				got := r.explain(&adminv1.ExplainCallRequest{Service: "voting", Method: method, Instance: "web/1"})
				row, current := routes(got), r.now.Snapshot.Resource(resource.RouteType, "voting").Version
				note := strings.ReplaceAll(tt.note, "NEW", current)
				if row.GetState() != tt.state || row.GetNote() != note || row.GetAssumed() || row.GetPublished() != current {
					t.Errorf("it is said to be %v, want %s: %s", row, tt.state, note)
				}
				if (row.GetVersion() == current) != (tt.state == "current") {
					t.Errorf("it holds %s and %s is published, and is %s", row.GetVersion(), current, tt.state)
				}
				if ago := time.Since(row.GetAt().AsTime()); ago != time.Minute/2 {
					t.Errorf("the last word is %v ago", ago)
				}
				if share := got.GetBackends()[0].GetBackend().GetPercent(); share != tt.percent {
					t.Errorf("voting/v1 takes %v %%, want %v", share, tt.percent)
				}
				want := &adminv1.ExplainedCaller{
					Service: "web", Id: "spiffe://tulle.local/ns/default/svc/web", Instance: "web/1", UserAgent: "peer", Zone: "south",
					Connected: got.GetCaller().GetConnected(),
				}
				if diff := cmp.Diff(want, got.GetCaller(), protocmp.Transform()); diff != "" {
					t.Errorf("caller (-want +got):\n%s", diff)
				}
				if access := got.GetBackends()[0].GetAccess(); !access.GetAllowed() {
					t.Errorf("its own identity is not asked for: %v", access)
				}
			})
		})
	}
}

func TestAProcessThatHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		r.publish(canary)
		r.join("web/silent", &member{silent: true})
		r.join("web/refuses", &member{answer: func(string) string { return "no" }})
		ask := func(instance string) *adminv1.ExplainCallResponse {
			return r.explain(&adminv1.ExplainCallRequest{Service: "voting", Method: "vote.v1.Votes/Cast", Instance: instance})
		}
		// What is sent and not answered is taken for what it will be.
		got := ask("silent")
		if row := got.GetResources()[0]; row.GetState() != "behind" || !row.GetAssumed() || row.GetVersion() != "" || got.GetFails() {
			t.Errorf("who does not answer: %v, fails %v", row, got.GetFails())
		}
		// Nor does the server have what one had before it came back.
		r.join("web/back", &member{silent: true, had: map[string]string{"voting": "old"}})
		const before = "it has a version of before it reconnected, which this server does not have"
		got = ask("back")
		if row := got.GetResources()[0]; !row.GetAssumed() || !strings.HasSuffix(row.GetNote(), before) || got.GetFails() {
			t.Errorf("who came back: %v, fails %v", row, got.GetFails())
		}
		got = ask("refuses")
		version := r.now.Snapshot.Resource(resource.ListenerType, "voting").Version
		want := []*adminv1.CallFailure{{Percent: 100, Reason: "Listener voting: the process refuses " + version + ": no; it has no other"}}
		if diff := cmp.Diff(want, got.GetFailures(), protocmp.Transform()); diff != "" || !got.GetFails() {
			t.Errorf("who refuses all (-want +got):\n%s", diff)
		}
		if row := got.GetResources()[0]; row.GetState() != "refused" || row.GetAssumed() {
			t.Errorf("who refuses all: %v", row)
		}
		// One that has not dialled the service has to ask first.
		r.publish(canary + "---\n{apiVersion: tulle/v1, kind: Service, metadata: {name: emoji}}\n")
		got = r.explain(&adminv1.ExplainCallRequest{Service: "emoji", Method: "a.B/C", Instance: "web/silent"})
		if row := got.GetResources()[0]; row.GetState() != "not asked" || !row.GetAssumed() {
			t.Errorf("who did not ask: %v", row)
		}
		_, err := r.ExplainCall(t.Context(), &adminv1.ExplainCallRequest{Service: "voting", Method: "a.B/C", Instance: "nobody"})
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("of nobody: %v", err)
		}
	})
}

func TestWithoutAProcessThoseThatHoldItAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t)
		r.publish(canary)
		ask := func(from string) *adminv1.Holders {
			return r.explain(&adminv1.ExplainCallRequest{Service: "voting", Method: "vote.v1.Votes/Cast", From: from}).GetHolders()
		}
		if diff := cmp.Diff(&adminv1.Holders{}, ask(""), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
		r.join("web/1", &member{})
		r.join("web/2", &member{silent: true})
		r.join("web/3", &member{answer: func(string) string { return "no" }})
		for from, want := range map[string]*adminv1.Holders{
			"": {Instances: 3, Current: 1, Refused: 1},
			"spiffe://tulle.local/ns/default/svc/web":   {Instances: 3, Current: 1, Refused: 1},
			"spiffe://tulle.local/ns/default/svc/emoji": {},
		} {
			if diff := cmp.Diff(want, ask(from), protocmp.Transform()); diff != "" {
				t.Errorf("of %q (-want +got):\n%s", from, diff)
			}
		}
	})
}

func TestRoutesAreListedWithEveryValue(t *testing.T) {
	p := publish(t, canary)
	s := New(Config{Published: func() *Publication { return p }})
	got, err := s.ListRoutes(t.Context(), &adminv1.ListRoutesRequest{Service: "voting.default"})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetService() != "voting" || got.GetVersion() != p.Snapshot.Resource(resource.RouteType, "voting").Version {
		t.Errorf("%s, version %s", got.GetService(), got.GetVersion())
	}
	var lines []string
	for _, r := range got.GetRoutes() {
		lines = append(lines, fmt.Sprintf("%s %s %v %v %d %s %s", r.GetName(), r.GetMethod(), r.GetHeaders(), r.GetTimeout().AsDuration(),
			len(r.GetBackends()), r.GetObject(), r.GetOrigin()))
	}
	want := []string{
		"canary/reset /vote.v1.Votes/Reset [] 2s 1 GRPCRoute/canary mesh.yaml:12",
		"canary/cast /vote.v1.Votes/Cast [x-canary=1] 500ms 1 GRPCRoute/canary mesh.yaml:12",
		"canary/rest /vote.v1.Votes/* [] 2s 2 GRPCRoute/canary mesh.yaml:12",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	retry := &policyv1.Retry{
		Codes: []uint32{14}, Attempts: 2, BackoffBase: durationpb.New(25 * time.Millisecond), BackoffMax: durationpb.New(250 * time.Millisecond), BufferBytes: 256 << 10,
	}
	if diff := cmp.Diff(retry, got.GetRoutes()[0].GetTraffic().GetRetry(), protocmp.Transform()); diff != "" {
		t.Errorf("retry (-want +got):\n%s", diff)
	}
	if b := got.GetRoutes()[0].GetBackends()[0]; b.GetMaxRequests() != 1024 || b.GetBalancing().GetPolicy() == 0 {
		t.Errorf("backend %v", b)
	}
	_, err = s.ListRoutes(t.Context(), &adminv1.ListRoutesRequest{Service: "nobody"})
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("of nobody: %v", err)
	}
	delete(p.Snapshot.Types[resource.ListenerType], "voting")
	_, err = s.ListRoutes(t.Context(), &adminv1.ListRoutesRequest{Service: "voting"})
	if connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("while it is not served: %v", err)
	}
}

func TestWhoWroteARoute(t *testing.T) {
	shop := model.ServiceName{Namespace: "shop", Name: "voting"}
	set := &model.Set{
		Services: map[model.ServiceName]*model.Service{voting: {Name: voting, From: "mesh.yaml:1"}},
		Routes: []*model.Route{
			{Namespace: "default", Name: "canary", From: "mesh.yaml:2", Parents: []model.ServiceName{voting}},
			{Namespace: "default", Name: "web.shop", From: "mesh.yaml:3", Parents: []model.ServiceName{shop}},
			{Namespace: "shop", Name: "web", From: "mesh.yaml:4", Parents: []model.ServiceName{voting}},
		},
	}
	a := authorsOf(set, voting)
	for route, want := range map[string]string{
		"":            "Service/voting mesh.yaml:1",
		"canary":      "GRPCRoute/canary mesh.yaml:2",
		"canary/cast": "GRPCRoute/canary mesh.yaml:2",
		"web.shop/a":  "GRPCRoute/web.shop mesh.yaml:4", // of another service is the one that is named so
		"gone":        " ",
	} {
		object, origin := a.of(route)
		if got := object + " " + origin; got != want {
			t.Errorf("%q was written by %q, want %q", route, got, want)
		}
	}
}

func TestEveryPolicyIsWrittenOutWithItsOwnValues(t *testing.T) {
	for policy, has := range map[resource.Policy]func(*policyv1.Balancing) bool{
		resource.PeakEWMA:           func(b *policyv1.Balancing) bool { return b.GetPeakEwma().GetDecay().AsDuration() == 10*time.Second },
		resource.RoundRobin:         func(b *policyv1.Balancing) bool { return b.GetPolicy() == policyv1.Balancing_POLICY_ROUND_ROBIN },
		resource.LeastRequest:       func(b *policyv1.Balancing) bool { return b.GetChoices() == 2 },
		resource.RingHash:           func(b *policyv1.Balancing) bool { return b.GetRingHash().GetMinRingSize() == 1024 },
		resource.WeightedRoundRobin: func(b *policyv1.Balancing) bool { return b.GetWeightedRoundRobin().GetErrorUtilizationPenalty() == 1 },
	} {
		given := resource.DefaultBalancing()
		given.Policy = policy
		got := balancing(&given)
		if !has(got) || (got.GetPeakEwma() != nil) != (policy == resource.PeakEWMA) || got.GetBreaker().GetConsecutiveFailures() != 7 ||
			got.GetZone().GetHigh() != 2 || got.GetSlowStart() != nil || got.GetOutlierDetection() != nil {
			t.Errorf("%s is written as %v", policy, got)
		}
	}
	all := traffic(&resource.Traffic{
		Retry: &resource.Retry{Attempts: 1}, Budget: resource.DefaultRetryBudget(), Breaker: resource.DefaultBreaker(),
		Hedge: &resource.Hedge{Quantile: .95, Attempts: 2}, Mirrors: []resource.Mirror{{Cluster: "emoji", PerMillion: 10, Timeout: time.Second}},
		RateLimit: &resource.Rate{PerSecond: 10, Burst: 3}, IdleTimeout: time.Minute, HopCost: time.Millisecond,
	})
	want := &policyv1.Traffic{
		RetryBudget: &policyv1.RetryBudget{Percent: proto.Float64(20), MinPerSecond: proto.Float64(10), Window: durationpb.New(10 * time.Second)},
		Hedge:       &policyv1.Hedge{Quantile: .95, Attempts: 2},
		Mirrors:     []*policyv1.Mirror{{Cluster: "emoji", PerMillion: 10, Timeout: durationpb.New(time.Second)}},
		RateLimit:   &policyv1.Rate{PerSecond: 10, Burst: 3},
		Breaker: &policyv1.Breaker{
			ConsecutiveFailures: 7, MinPenalty: durationpb.New(time.Second), MaxPenalty: durationpb.New(time.Minute), Jitter: new(.5),
			Window: durationpb.New(10 * time.Second), MinRequests: 5, Codes: []uint32{2, 4, 13, 14, 15},
		},
		IdleTimeout: durationpb.New(time.Minute), HopCost: durationpb.New(time.Millisecond),
	}
	if diff := cmp.Diff(want, all, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out := outliers(&resource.OutlierDetection{
		Interval: time.Second, SuccessRate: &resource.OutlierSuccessRate{StdevFactor: 1900}, FailurePercentage: &resource.OutlierFailurePercentage{Threshold: 85},
	})
	if out.GetInterval().AsDuration() != time.Second || out.GetSuccessRate().GetStdevFactor() != 1900 || out.GetFailurePercentage().GetThreshold() != 85 {
		t.Errorf("outlier detection is written as %v", out)
	}
}
