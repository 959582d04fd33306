package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

var errJudgeGone = errors.New("its stream broke")

// judgeServer feeds one xDS client: with the few resources that keep it
// subscribed to every type, and with candidates.
type judgeServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	own       map[string]*anypb.Any // by type URL
	rounds    chan *round           // taken once the client has subscribed to all types
	receivers sync.WaitGroup
}

// A round is one response to the client and its verdict.
type round struct {
	typeURL   string
	resources []*anypb.Any
	// verdict gets the reason of a NACK, or the empty string for an ACK; it is
	// closed without one when the stream breaks.
	verdict chan string
}

func newJudgeServer() (*judgeServer, error) {
	own, err := ownResources()
	if err != nil {
		return nil, fmt.Errorf("snapshot: judge: %w", err)
	}
	return &judgeServer{own: own, rounds: make(chan *round)}, nil
}

// ask sends candidates and returns why the client refuses the response, or the
// empty string.
func (s *judgeServer) ask(ctx context.Context, typeURL string, candidates []*candidate) (string, error) {
	// Without the judge's own resource, a response of Listeners or Clusters would
	// tell the client that it was deleted.
	r := &round{
		typeURL:   typeURL,
		resources: []*anypb.Any{s.own[typeURL]},
		verdict:   make(chan string, 1),
	}
	for _, c := range candidates {
		r.resources = append(r.resources, anyOf(typeURL, c.value))
	}
	select {
	case s.rounds <- r:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	select {
	case reason, ok := <-r.verdict:
		if !ok {
			return "", errJudgeGone
		}
		return reason, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

type judgeStream = grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]

// StreamAggregatedResources implements the ADS service.
func (s *judgeServer) StreamAggregatedResources(stream judgeStream) error {
	done := make(chan struct{})
	defer close(done)
	requests := s.receive(stream, done)

	var open *round
	var openNonce string
	defer func() {
		if open != nil {
			close(open.verdict)
		}
	}()
	subscribed := make(map[string]bool, len(s.own))
	for sent := 0; ; {
		rounds := s.rounds
		if open != nil || len(subscribed) < len(s.own) {
			rounds = nil
		}
		var response *discoveryv3.DiscoveryResponse
		select {
		case request, ok := <-requests:
			typeURL := request.GetTypeUrl()
			switch {
			case !ok:
				return nil
			case open != nil && request.GetResponseNonce() == openNonce:
				// The first request with the nonce is its ACK or NACK.
				if detail := request.GetErrorDetail(); detail != nil {
					open.verdict <- cmp.Or(detail.GetMessage(), "refused without a reason")
				} else {
					open.verdict <- ""
				}
				open = nil
				continue
			case s.own[typeURL] == nil || subscribed[typeURL]:
				continue
			}
			subscribed[typeURL] = true
			response = &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, Resources: []*anypb.Any{s.own[typeURL]}}
		case open = <-rounds:
			response = &discoveryv3.DiscoveryResponse{TypeUrl: open.typeURL, Resources: open.resources}
		}
		sent++
		response.Nonce = strconv.Itoa(sent)
		response.VersionInfo = response.GetNonce()
		if open != nil {
			openNonce = response.GetNonce()
		}
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

// receive reads requests until the stream ends, which it does when its handler
// has returned.
func (s *judgeServer) receive(stream judgeStream, done <-chan struct{}) <-chan *discoveryv3.DiscoveryRequest {
	requests := make(chan *discoveryv3.DiscoveryRequest)
	s.receivers.Go(func() {
		defer close(requests)
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- request:
			case <-done:
				return
			}
		}
	})
	return requests
}

// ownResources lead the client from its Listener to endpoints, of which there are
// none: it never dials.
func ownResources() (map[string]*anypb.Any, error) {
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}}
	router, err := pack(&routerv3.Router{})
	if err != nil {
		return nil, err
	}
	manager, err := pack(&hcmv3.HttpConnectionManager{
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{
			Rds: &hcmv3.Rds{ConfigSource: ads, RouteConfigName: judgeName},
		},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	})
	if err != nil {
		return nil, err
	}
	own := make(map[string]*anypb.Any, kinds)
	for _, m := range []proto.Message{
		&listenerv3.Listener{
			Name:        judgeName,
			ApiListener: &listenerv3.ApiListener{ApiListener: manager},
		},
		&routev3.RouteConfiguration{
			Name: judgeName,
			VirtualHosts: []*routev3.VirtualHost{{
				Domains: []string{"*"},
				Routes: []*routev3.Route{{
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: judgeName},
					}},
				}},
			}},
		},
		&clusterv3.Cluster{
			Name:                 judgeName,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads},
		},
		&endpointv3.ClusterLoadAssignment{ClusterName: judgeName},
	} {
		packed, err := pack(m)
		if err != nil {
			return nil, err
		}
		own[packed.GetTypeUrl()] = packed
	}
	return own, nil
}

func pack(m proto.Message) (*anypb.Any, error) {
	a := new(anypb.Any)
	return a, anypb.MarshalFrom(a, m, deterministic)
}
