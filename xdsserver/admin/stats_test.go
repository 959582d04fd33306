package admin

import (
	"context"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// counting is a server of the mesh canary, in which web, a stock client, called voting.
func counting(t *testing.T) *Server {
	t.Helper()
	reports := telemetry.New(telemetry.Config{Identify: func(context.Context) (string, string, error) { return "", "", nil }})
	reports.Load(&telemetry.Load{Service: "web", Clusters: []*endpointv3.ClusterStats{{
		ClusterName:           "voting/v2",
		UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{TotalSuccessfulRequests: 30, TotalErrorRequests: 10}},
	}}}, time.Now())
	publication := publish(t, canary+"---\n{apiVersion: tulle/v1, kind: Service, metadata: {name: idle, namespace: shop}}\n")
	return New(Config{Callers: reports, Published: func() *Publication { return publication }})
}

func TestGraphHasEveryServiceAndWhereItIs(t *testing.T) {
	graph, err := counting(t).GetGraph(t.Context(), &adminv1.GetGraphRequest{})
	if err != nil {
		t.Fatal(err)
	}
	calls := &adminv1.Golden{Calls: 40, Failures: 10}
	want := []*adminv1.ServiceStat{
		{Service: "idle.shop"},
		{
			Service: "voting", Instances: 3, Healthy: 3, Zones: []string{"north", "south"}, Inbound: calls,
			Versions: []*adminv1.VersionStat{{Version: "v1", Instances: 2, Healthy: 2}, {Version: "v2", Instances: 1, Healthy: 1, Golden: calls}},
		},
		{Service: "web", Outbound: calls},
	}
	if diff := cmp.Diff(want, graph.GetServices(), protocmp.Transform(), protocmp.IgnoreFields(&adminv1.Golden{}, "rps")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatisticsAreRefusedWithAReason(t *testing.T) {
	s := counting(t)
	deaf := New(Config{Published: s.config.Published})
	graph := func(s *Server, window time.Duration) error {
		_, err := s.GetGraph(t.Context(), &adminv1.GetGraphRequest{Window: durationpb.New(window)})
		return err
	}
	service := func(s *Server, name string) error {
		_, err := s.GetServiceStats(t.Context(), &adminv1.GetServiceStatsRequest{Service: name})
		return err
	}
	for _, test := range []struct {
		name string
		err  error
		code connect.Code
		want string
	}{
		{"a window that is too short", graph(s, time.Second), connect.CodeInvalidArgument, "want one from 15s to 1h0m0s"},
		{"a window that is too long", graph(s, 2*time.Hour), connect.CodeInvalidArgument, "want one from 15s to 1h0m0s"},
		{"nobody takes reports", graph(deaf, time.Minute), connect.CodeUnavailable, "takes no reports"},
		{"nobody takes reports of a service", service(deaf, "voting"), connect.CodeUnavailable, "takes no reports"},
		{"what is no name", service(s, "A B"), connect.CodeInvalidArgument, ""},
		{"a service that is misspelt", service(s, "votign"), connect.CodeNotFound, `no service is named "votign"; did you mean "voting"?`},
		{"one that is like no other", service(s, "unheard-of"), connect.CodeNotFound, "'xdsserver endpoints' lists all"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if connect.CodeOf(test.err) != test.code || !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", test.err, test.code, test.want)
			}
		})
	}
}

func TestInstancesAreKnownByReportRegistrationAndStream(t *testing.T) {
	now := time.Now()
	expires, connected := now.Add(time.Hour), now.Add(-time.Minute)
	reported := func(ago time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-ago)) }
	answer := &adminv1.GetServiceStatsResponse{
		Instances: []*adminv1.InstanceStat{
			{Instance: "serves", Reported: reported(time.Second), Library: "0.1.0"},
			{Instance: "calls", Reported: reported(time.Second)},
			{Instance: "gone", Reported: reported(2 * time.Minute)},
		},
		Endpoints: []*adminv1.EndpointStat{{Address: "10.0.0.1:1"}, {Address: "10.0.0.9:1"}},
	}
	settle(answer, voting, []model.Endpoint{
		{Instance: "serves", Version: "v1", Region: "eu", Zone: "north", Addresses: []string{"10.0.0.1:1"}, Health: model.Healthy},
		{Instance: "silent", Version: "v2", Zone: "south", Addresses: []string{"10.0.0.2:1"}, Health: model.Leaving},
	}, serve.Ledger{
		Streams: []serve.Stream{
			{Node: "voting/serves", Cluster: "voting", Connected: connected, Current: true, Client: serve.Client{NotAfter: expires}},
			{Node: "voting/calls", Cluster: "voting", Connected: connected},
			{Node: "web/serves", Cluster: "web", Connected: now},
		},
		Rejections: []serve.Rejection{{Node: "voting/calls", Reason: "what is that"}},
	}, now)
	want := &adminv1.GetServiceStatsResponse{
		Instances: []*adminv1.InstanceStat{
			{Instance: "calls", State: "client", Reported: reported(time.Second), Configured: timestamppb.New(connected), Rejection: "what is that"},
			{
				Instance: "serves", State: "healthy", Version: "v1", Zone: "eu/north", Addresses: []string{"10.0.0.1:1"}, Library: "0.1.0",
				Reported: reported(time.Second), Configured: timestamppb.New(connected), Current: true, CertificateExpires: timestamppb.New(expires),
			},
			{Instance: "silent", State: "leaving", Version: "v2", Zone: "south", Addresses: []string{"10.0.0.2:1"}},
		},
		Endpoints: []*adminv1.EndpointStat{{Address: "10.0.0.1:1", Instance: "serves"}, {Address: "10.0.0.9:1"}},
	}
	if diff := cmp.Diff(want, answer, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
