package serve

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statusv3 "github.com/envoyproxy/go-control-plane/envoy/service/status/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// maxDump bounds a dump, in bytes of resources: clients take 4 MiB unless told
// otherwise, and the dump of a whole mesh would be hundreds.
const maxDump = 3 << 20

// csdsService keeps the methods of the protocol off Server.
type csdsService struct{ s *Server }

var _ statusv3.ClientStatusDiscoveryServiceServer = csdsService{}

// StreamClientStatus answers each request with a dump.
func (c csdsService) StreamClientStatus(g statusv3.ClientStatusDiscoveryService_StreamClientStatusServer) error {
	for {
		req, err := g.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		resp, err := c.FetchClientStatus(g.Context(), req)
		if err != nil {
			return err
		}
		if err := g.Send(resp); err != nil {
			return err
		}
	}
}

// FetchClientStatus says what each stream was sent, has accepted and refused: each
// of the caller's own identity, where there are identities.
func (c csdsService) FetchClientStatus(ctx context.Context, req *statusv3.ClientStatusRequest) (*statusv3.ClientStatusResponse, error) {
	for _, m := range req.GetNodeMatchers() {
		if err := checkMatcher(m); err != nil {
			return nil, err
		}
	}
	caller, err := c.s.identify(ctx, "csds")
	if err != nil {
		return nil, err
	}
	resp := new(statusv3.ClientStatusResponse)
	size := 0
	for _, st := range c.s.opened() {
		if st.client.ID != caller.ID {
			continue
		}
		config := st.dump(func(id string) bool { return matchesAny(req.GetNodeMatchers(), id) },
			!req.GetExcludeResourceContents(), maxDump-size)
		if config == nil {
			continue
		}
		if size += proto.Size(config); size > maxDump {
			return nil, status.Errorf(codes.ResourceExhausted, "csds: the dump is larger than %d bytes; "+
				"name fewer nodes in node_matchers, or set exclude_resource_contents", maxDump)
		}
		resp.Config = append(resp.Config, config)
	}
	slices.SortStableFunc(resp.GetConfig(), func(a, b *statusv3.ClientConfig) int {
		return strings.Compare(a.GetNode().GetId(), b.GetNode().GetId())
	})
	return resp, nil
}

// checkMatcher refuses what is not evaluated, so that nobody believes it was.
func checkMatcher(m *matcherv3.NodeMatcher) error {
	if len(m.GetNodeMetadatas()) > 0 {
		return status.Error(codes.InvalidArgument, "csds: node_metadatas are not matched; match node_id")
	}
	switch m.GetNodeId().GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact, *matcherv3.StringMatcher_Prefix,
		*matcherv3.StringMatcher_Suffix, *matcherv3.StringMatcher_Contains:
		return nil
	}
	return status.Error(codes.InvalidArgument, "csds: node_id is matched by exact, prefix, suffix or contains only")
}

// matchesAny reports whether one of the matchers takes a node's id; none takes
// all.
func matchesAny(matchers []*matcherv3.NodeMatcher, id string) bool {
	if len(matchers) == 0 {
		return true
	}
	for _, m := range matchers {
		if matches(m.GetNodeId(), id) {
			return true
		}
	}
	return false
}

// dump describes a stream; nil when it is not wanted. It stops soon after limit
// bytes of resources.
func (st *stream) dump(wanted func(id string) bool, contents bool, limit int) *statusv3.ClientConfig {
	st.server.mu.RLock()
	defer st.server.mu.RUnlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.node.known || st.ended || !wanted(st.node.id) {
		return nil
	}
	config := &statusv3.ClientConfig{
		Node: &corev3.Node{Id: st.node.id, Cluster: st.node.cluster, UserAgentName: st.node.agent},
	}
	size := 0
	for k := range st.subs {
		sn := &st.subs[k]
		for i := range sn.names {
			g := sn.names[i].dump(kind(k), contents)
			config.GenericXdsConfigs = append(config.GenericXdsConfigs, g)
			if size += len(g.GetXdsConfig().GetValue()); size > limit {
				return config
			}
		}
	}
	return config
}

// dump describes one name.
func (sub *subscribed) dump(k kind, contents bool) *statusv3.ClientConfig_GenericXdsConfig {
	g := &statusv3.ClientConfig_GenericXdsConfig{TypeUrl: k.url(), Name: sub.topic.name}
	if sub.at != 0 {
		g.LastUpdated = timestamppb.New(time.Unix(0, sub.at))
	}
	if e := sub.acked; e != nil {
		g.VersionInfo = e.version
		if contents {
			g.XdsConfig = e.any()
		}
	}
	current := sub.topic.current
	switch {
	case current != nil && sub.refused(current):
		g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_ERROR, adminv3.ClientResourceStatus_NACKED
		g.ErrorState = &adminv3.UpdateFailureState{
			LastUpdateAttempt: timestamppb.New(sub.nack.At),
			Details:           sub.nack.Reason,
			VersionInfo:       sub.nack.Version,
		}
		if contents {
			g.ErrorState.FailedConfiguration = sub.nack.entry.any()
		}
	case !sub.told:
		g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_NOT_SENT, adminv3.ClientResourceStatus_REQUESTED
	case sub.sent == nil:
		g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_SYNCED, adminv3.ClientResourceStatus_DOES_NOT_EXIST
	case sub.acked != sub.sent:
		g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_STALE, adminv3.ClientResourceStatus_REQUESTED
	default:
		g.ConfigStatus, g.ClientStatus = statusv3.ConfigStatus_SYNCED, adminv3.ClientResourceStatus_ACKED
	}
	return g
}

// any returns the resource as the message it is.
func (e *entry) any() *anypb.Any {
	a := new(anypb.Any)
	if proto.Unmarshal(e.raw, a) != nil {
		return nil // ours to have encoded; a dump without it is still a dump
	}
	return a
}
