package serve

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

func TestLedger(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		start := time.Now()
		r.publish(full("a", "b"))
		second := r.delta("node-2")
		subscribe(second, eds, nil, "a", "b")
		ack(second, second.one())
		time.Sleep(time.Second)
		first := r.sotw("node-1")
		ask(first, lds, nil, "*")
		first.one() // not answered
		silent := r.sotw("node-0")
		silent.none()

		want := []Stream{
			{
				Node: "node-1", Cluster: "test", UserAgent: "kit", Peer: "bufconn",
				Connected: start.Add(time.Second), Resources: 2,
			},
			{
				Node: "node-2", Cluster: "test", UserAgent: "kit", Peer: "bufconn", Delta: true,
				Connected: start, Current: true, Resources: 2,
			},
		}
		if diff := cmp.Diff(want, r.Ledger().Streams); diff != "" {
			r.Error(diff)
		}
		for _, tt := range []struct {
			typeURL, name string
			want          int
		}{
			{eds, "a", 1},
			{eds, "x", 0},
			{lds, "a", 1},
			{"unknown", "a", 0},
		} {
			if got := r.Subscribers(tt.typeURL, tt.name); got != tt.want {
				r.Errorf("%d subscribers of %s %s, want %d", got, tt.typeURL, tt.name, tt.want)
			}
		}
	})
}

func TestUserAgents(t *testing.T) {
	tests := []struct {
		name string
		node *corev3.Node
		want string
	}{
		{"a version as text", &corev3.Node{
			UserAgentName:        "gRPC Go",
			UserAgentVersionType: &corev3.Node_UserAgentVersion{UserAgentVersion: "1.85.0"},
		}, "gRPC Go 1.85.0"},
		{"no version", &corev3.Node{UserAgentName: "tulle"}, "tulle"},
		{"nothing", &corev3.Node{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := agent(tt.node); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestClientStatus(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		start := time.Now()
		r.publish(full("good", "sent").with(lds, "bad", "v1"))
		c := r.delta("node")
		subscribe(c, lds, nil, "good", "bad", "none")
		reject(c, c.one(), `resource "bad": no`)
		subscribe(c, eds, nil, "sent")
		c.one() // not answered
		subscribe(c, eds, nil, "late")
		other := r.sotw("other")
		ask(other, eds, nil)
		synctest.Wait()

		csds := statusv3.NewClientStatusDiscoveryServiceClient(r.dial())
		stream, err := csds.StreamClientStatus(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if err := stream.Send(&statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{exactly("node")}}); err != nil {
			r.Fatal(err)
		}
		got, err := stream.Recv()
		if err != nil {
			r.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			r.Fatal(err)
		}

		resource := func(u, n string, s statusv3.ConfigStatus, cs adminv3.ClientResourceStatus) *statusv3.ClientConfig_GenericXdsConfig {
			return &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: u, Name: n, ConfigStatus: s, ClientStatus: cs}
		}
		bad := resource(lds, "bad", statusv3.ConfigStatus_ERROR, adminv3.ClientResourceStatus_NACKED)
		failed := newEntry("bad", encode("bad", message(lds, "bad", "v1")))
		bad.ErrorState = &adminv3.UpdateFailureState{
			Details: `resource "bad": no`, VersionInfo: failed.version, FailedConfiguration: failed.any(),
		}
		good := resource(lds, "good", statusv3.ConfigStatus_SYNCED, adminv3.ClientResourceStatus_ACKED)
		good.VersionInfo = version(lds, "good", "v1")
		good.XdsConfig = newEntry("good", encode("good", message(lds, "good", "v1"))).any()
		want := &statusv3.ClientStatusResponse{Config: []*statusv3.ClientConfig{{
			Node: &corev3.Node{Id: "node", Cluster: "test", UserAgentName: "kit"},
			GenericXdsConfigs: []*statusv3.ClientConfig_GenericXdsConfig{
				resource(eds, "late", statusv3.ConfigStatus_NOT_SENT, adminv3.ClientResourceStatus_REQUESTED),
				resource(eds, "sent", statusv3.ConfigStatus_STALE, adminv3.ClientResourceStatus_REQUESTED),
				bad,
				good,
				resource(lds, "none", statusv3.ConfigStatus_SYNCED, adminv3.ClientResourceStatus_DOES_NOT_EXIST),
			},
		}}}
		for _, g := range got.GetConfig()[0].GetGenericXdsConfigs() {
			if at := g.GetLastUpdated(); at != nil && !at.AsTime().Equal(start) {
				r.Errorf("%s updated at %v, want %v", g.GetName(), at.AsTime(), start)
			}
		}
		ignore := protocmp.IgnoreFields(&statusv3.ClientConfig_GenericXdsConfig{}, "last_updated")
		attempt := protocmp.IgnoreFields(&adminv3.UpdateFailureState{}, "last_update_attempt")
		if diff := cmp.Diff(want, got, protocmp.Transform(), ignore, attempt); diff != "" {
			r.Error(diff)
		}
		ack(c, nil) // no type: ends the stream, so that the bubble can end
	})
}

func exactly(id string) *matcherv3.NodeMatcher {
	return &matcherv3.NodeMatcher{
		NodeId: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: id}},
	}
}

func TestClientStatusRequests(t *testing.T) {
	id := func(m *matcherv3.StringMatcher) []*matcherv3.NodeMatcher {
		return []*matcherv3.NodeMatcher{{NodeId: m}}
	}
	tests := []struct {
		name     string
		matchers []*matcherv3.NodeMatcher
		want     int
		code     codes.Code
	}{
		{"none takes all", nil, 2, codes.OK},
		{"one of several is enough", []*matcherv3.NodeMatcher{exactly("x"), exactly("web/1")}, 1, codes.OK},
		{"by prefix", id(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "web/"}}), 2, codes.OK},
		{"by suffix", id(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "2"}}), 1, codes.OK},
		{"by a part", id(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: "eb"}}), 2, codes.OK},
		{"whatever the case", id(&matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "WEB/1"}, IgnoreCase: true,
		}), 1, codes.OK},
		{"by nothing", id(nil), 0, codes.InvalidArgument},
		{"by metadata", []*matcherv3.NodeMatcher{{
			NodeId:        exactly("web/1").GetNodeId(),
			NodeMetadatas: []*matcherv3.StructMatcher{{Path: nil, Value: &matcherv3.ValueMatcher{}}},
		}}, 0, codes.InvalidArgument},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				for i := range 2 {
					ask(r.sotw(fmt.Sprint("web/", i+1)), eds, nil, "a")
				}
				synctest.Wait()
				resp, err := csdsService{r.Server}.FetchClientStatus(r.Context(), &statusv3.ClientStatusRequest{NodeMatchers: tt.matchers})
				if status.Code(err) != tt.code || len(resp.GetConfig()) != tt.want {
					r.Errorf("got %d clients and %v, want %d and %v", len(resp.GetConfig()), err, tt.want, tt.code)
				}
			})
		})
	}
}

func TestADumpIsBounded(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		w := world{eds: {}}
		for i := range 40 {
			w[eds][fmt.Sprint(i)] = string(make([]byte, 50<<10))
		}
		r.publish(w)
		for i := range 2 {
			c := r.delta(fmt.Sprint("web/", i))
			for j := range 40 {
				subscribe(c, eds, nil, fmt.Sprint(j))
			}
			for {
				in := c.pending()
				if len(in) == 0 {
					break
				}
				for _, resp := range in {
					ack(c, resp)
				}
			}
		}
		fetch := func(req *statusv3.ClientStatusRequest) error {
			_, err := csdsService{r.Server}.FetchClientStatus(r.Context(), req)
			return err
		}
		if err := fetch(&statusv3.ClientStatusRequest{NodeMatchers: []*matcherv3.NodeMatcher{exactly("web/1")}}); err != nil {
			r.Errorf("2 MB of one client: %v", err)
		}
		if err := fetch(&statusv3.ClientStatusRequest{}); status.Code(err) != codes.ResourceExhausted {
			r.Errorf("4 MB of two clients: %v, want RESOURCE_EXHAUSTED", err)
		}
		if err := fetch(&statusv3.ClientStatusRequest{ExcludeResourceContents: true}); err != nil {
			r.Errorf("two clients without contents: %v", err)
		}
	})
}

func TestLoadReports(t *testing.T) {
	tests := []struct {
		name     string
		features []string
		want     *loadstatsv3.LoadStatsResponse
	}{
		{
			"a client that can is asked for all clusters",
			[]string{sendAllClusters},
			&loadstatsv3.LoadStatsResponse{SendAllClusters: true, LoadReportingInterval: durationpb.New(10 * time.Second)},
		},
		{
			"another is told their names",
			nil,
			&loadstatsv3.LoadStatsResponse{Clusters: []string{"a", "b"}, LoadReportingInterval: durationpb.New(10 * time.Second)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, nil, func(r *rig) {
				r.publish(full("b", "a"))
				stream, err := loadstatsv3.NewLoadReportingServiceClient(r.dial()).StreamLoadStats(r.Context())
				if err != nil {
					r.Fatal(err)
				}
				send := func(req *loadstatsv3.LoadStatsRequest) {
					t.Helper()
					if err := stream.Send(req); err != nil {
						r.Fatal(err)
					}
				}
				send(&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "web/1", ClientFeatures: tt.features}})
				got, err := stream.Recv()
				if err != nil {
					r.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
					r.Error(diff)
				}
				for issued := range uint64(3) {
					send(&loadstatsv3.LoadStatsRequest{ClusterStats: []*endpointv3.ClusterStats{{
						ClusterName: "a", TotalDroppedRequests: issued,
					}}})
				}
				synctest.Wait()
				want := []Load{{
					Node: "web/1", At: time.Now(),
					Clusters: []*endpointv3.ClusterStats{{ClusterName: "a", TotalDroppedRequests: 2}},
				}}
				if diff := cmp.Diff(want, r.Loads(), protocmp.Transform()); diff != "" {
					r.Error(diff)
				}
				if err := stream.CloseSend(); err != nil {
					r.Fatal(err)
				}
			})
		})
	}
}

func TestLoadReportsAreBounded(t *testing.T) {
	var l loads
	for i := range maxLoads + 10 {
		l.put(Load{Node: fmt.Sprint(i), At: time.Unix(int64(i), 0)})
	}
	list := l.list()
	if len(list) != maxLoads {
		t.Errorf("%d nodes, want the limit, %d", len(list), maxLoads)
	}
	for _, load := range list {
		if load.At.Unix() < 10 {
			t.Errorf("node %s is still there, the oldest should go first", load.Node)
		}
	}
	bubble(t, nil, func(r *rig) {
		stream, err := loadstatsv3.NewLoadReportingServiceClient(r.dial()).StreamLoadStats(context.Background())
		if err != nil {
			r.Fatal(err)
		}
		large := make(map[string]*structpb.Value)
		for i := range 2000 {
			large[fmt.Sprint(i)] = structpb.NewNumberValue(1)
		}
		req := &loadstatsv3.LoadStatsRequest{
			Node:         &corev3.Node{Id: "web/1", Metadata: &structpb.Struct{Fields: large}},
			ClusterStats: []*endpointv3.ClusterStats{{ClusterName: "a"}},
		}
		if err := stream.Send(req); err != nil {
			r.Fatal(err)
		}
		synctest.Wait()
		if got := r.Loads(); len(got) != 1 || got[0].Clusters != nil {
			r.Errorf("got %+v, want a report without its figures", got)
		}
		if err := stream.CloseSend(); err != nil {
			r.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			r.Error(err)
		}
	})
}

func TestNobodyHidesWhatOthersReport(t *testing.T) {
	var l loads
	var rs rejections
	old := time.Unix(1, 0)
	l.put(Load{Node: "web/1", ID: domain + "web", At: old})
	rs.add(&refusal{Rejection: Rejection{Node: "web/1", ID: domain + "web", Name: "a", At: old}})
	for i := range maxLoads + 10 {
		// Also as the node of another.
		node, at := fmt.Sprint(i), time.Unix(int64(i)+2, 0)
		if i == 0 {
			node = "web/1"
		}
		l.put(Load{Node: node, ID: domain + "voting", At: at})
		rs.add(&refusal{Rejection: Rejection{Node: node, ID: domain + "voting", Name: "a", At: at}})
	}
	if list := l.list(); len(list) != maxLoads || !slices.ContainsFunc(list, func(l Load) bool { return l.At.Equal(old) }) {
		t.Errorf("%d loads, want %d and web's among them", len(list), maxLoads)
	}
	if list := rs.list(); len(list) != maxRejections || !slices.ContainsFunc(list, func(r Rejection) bool { return r.At.Equal(old) }) {
		t.Errorf("%d rejections, want %d and web's among them", len(list), maxRejections)
	}
}

func TestALoadReportNamesItsNode(t *testing.T) {
	bubble(t, nil, func(r *rig) {
		stream, err := loadstatsv3.NewLoadReportingServiceClient(r.dial()).StreamLoadStats(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if err := stream.Send(&loadstatsv3.LoadStatsRequest{}); err != nil {
			r.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
			r.Errorf("ended with %v, want INVALID_ARGUMENT", err)
		}
	})
}
