package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

var edsFromADS = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
	ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
}}

func goodCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     edsFromADS,
	}
}

func badCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}}
}

func goodListener(t *testing.T, name string) *listenerv3.Listener {
	t.Helper()
	var l listenerv3.Listener
	own, err := ownResources()
	if err != nil {
		t.Fatal(err)
	}
	if err := own[resource.ListenerType].UnmarshalTo(&l); err != nil {
		t.Fatal(err)
	}
	l.Name = name
	return &l
}

func routeTo(name, cluster string, match *routev3.RouteMatch) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name,
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    name,
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Match: match,
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
				}},
			}},
		}},
	}
}

var everyCall = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}}

var badRegex = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{
	SafeRegex: &matcherv3.RegexMatcher{Regex: "(("},
}}

func candidateOf(t *testing.T, name string, m proto.Message) *candidate {
	t.Helper()
	value, err := marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &candidate{name: name, value: value}
}

func startJudge(t *testing.T) *judge {
	t.Helper()
	j, err := newJudge()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.close)
	return j
}

func TestJudgeSaysWhatGrpcGoRefusesAndWhy(t *testing.T) {
	j := startJudge(t)
	for _, c := range []struct {
		name, typeURL string
		message       proto.Message
		want          string // in the refusal; empty takes it
	}{
		{"good cluster", resource.ClusterType, goodCluster("voting"), ""},
		{"static cluster", resource.ClusterType, badCluster("voting"), "unsupported cluster type"},
		{"cluster with a policy it has not", resource.ClusterType, func() proto.Message {
			c := goodCluster("voting")
			c.LbPolicy = clusterv3.Cluster_MAGLEV
			return c
		}(), "unexpected lbPolicy"},
		{"good listener", resource.ListenerType, goodListener(t, "voting"), ""},
		{"listener with nothing in it", resource.ListenerType, &listenerv3.Listener{Name: "voting"}, "no address field"},
		{"good route", resource.RouteType, routeTo("voting", "voting", everyCall), ""},
		{"route with a bad expression", resource.RouteType, routeTo("voting", "voting", badRegex), "(("},
		{"good cluster after bad ones", resource.ClusterType, goodCluster("voting"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := candidateOf(t, "voting", c.message)
			if err := j.try(t.Context(), c.typeURL, []*candidate{got}); err != nil {
				t.Fatal(err)
			}
			if !got.judged || (got.refusal == "") != (c.want == "") || !strings.Contains(got.refusal, c.want) {
				t.Errorf("got %q, want it to say %q", got.refusal, c.want)
			}
			if strings.Contains(got.refusal, "error parsing") {
				t.Errorf("the reason is not plain: %q", got.refusal)
			}
		})
	}
}

func TestJudgeRefusesBytesThatAreNoResource(t *testing.T) {
	j := startJudge(t)
	c := &candidate{name: "voting", value: []byte("\xff\xff garbage")}
	if err := j.try(t.Context(), resource.ClusterType, []*candidate{c}); err != nil {
		t.Fatal(err)
	}
	if c.refusal == "" {
		t.Error("taken")
	}
}

func TestJudgeFindsTheBadOnesAmongMany(t *testing.T) {
	j := startJudge(t)
	bad := map[int]bool{0: true, 1: true, 77: true, 249: true, 499: true}
	var all []*candidate
	for i := range 500 {
		name := fmt.Sprint("s", i)
		m := goodCluster(name)
		if bad[i] {
			m = badCluster(name)
		}
		all = append(all, candidateOf(t, name, m))
	}
	if err := j.try(t.Context(), resource.ClusterType, all); err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		if got := c.refusal != ""; got != bad[i] || !c.judged {
			t.Errorf("%s: refused %t, judged %t", c.name, got, c.judged)
		}
	}
}

func TestJudgesDoNotMix(t *testing.T) {
	for range 3 {
		j := startJudge(t)
		c := candidateOf(t, "voting", goodCluster("voting"))
		if err := j.try(t.Context(), resource.ClusterType, []*candidate{c}); err != nil || !c.judged {
			t.Fatal(err)
		}
	}
}

func TestJudgeStopsWithItsContext(t *testing.T) {
	j := startJudge(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := j.try(ctx, resource.ClusterType, []*candidate{candidateOf(t, "voting", goodCluster("voting"))})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestJudgeComesBackWhenItsStreamBreaks(t *testing.T) {
	j := startJudge(t)
	c := candidateOf(t, "voting", goodCluster("voting"))
	if err := j.try(t.Context(), resource.ClusterType, []*candidate{c}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := j.ads.breakStream(ctx); !errors.Is(err, errJudgeGone) {
		t.Fatalf("the round that broke: got %v", err)
	}
	c.judged = false
	if err := j.try(ctx, resource.ClusterType, []*candidate{c}); err != nil || !c.judged {
		t.Errorf("after it: %v", err)
	}
}

// breakStream makes the handler fail: an unencodable response.
func (s *judgeServer) breakStream(ctx context.Context) error {
	_, err := s.ask(ctx, string([]byte{0xff}), []*candidate{{value: nil}})
	return err
}
