package serve

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	// loadInterval is how often clients report load. It must not be zero:
	// grpc-go panics on that.
	loadInterval = 10 * time.Second
	// maxLoads bounds the nodes whose last report is kept, maxLoadSize the
	// report, in bytes.
	maxLoads    = 1000
	maxLoadSize = 16 << 10
	// sendAllClusters is the feature of clients that can report every cluster
	// without being told their names.
	sendAllClusters = "envoy.lrs.supports_send_all_clusters"
)

// A Load is the last load report of a node.
type Load struct {
	Node string
	// ID is the reporter's SPIFFE id; empty where nobody identifies himself. What
	// one identity reports does not replace what another does of the same node.
	ID string
	// Service is the reporter's, "name" or "name.namespace"; empty for none.
	Service string
	// Region and Zone are where the node says it is; empty where it does not.
	Region, Zone string
	At           time.Time
	// Clusters are the client's figures since its report before. They must not
	// be changed. Nil when the report was too large to keep.
	Clusters []*endpointv3.ClusterStats
}

// Loads returns the last report of each node, in order of node; of the 1,000
// nodes that reported last.
func (s *Server) Loads() []Load { return s.loads.list() }

// A reporter is a node of one identity.
type reporter struct{ node, id string }

func (l Load) reporter() reporter { return reporter{l.Node, l.ID} }

// loads remembers the last report of each node.
type loads struct {
	mu     sync.Mutex
	byNode map[reporter]Load
	open   int // LRS streams
}

func (l *loads) list() []Load {
	l.mu.Lock()
	list := make([]Load, 0, len(l.byNode))
	for _, load := range l.byNode {
		list = append(list, load)
	}
	l.mu.Unlock()
	slices.SortFunc(list, func(a, b Load) int { return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.ID, b.ID)) })
	return list
}

func (l *loads) put(load Load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byNode == nil {
		l.byNode = make(map[reporter]Load)
	}
	if _, known := l.byNode[load.reporter()]; !known && len(l.byNode) >= maxLoads {
		delete(l.byNode, l.oldest(load.ID).reporter())
	}
	l.byNode[load.reporter()] = load
}

// oldest is the load that has to go for another one of an identity: of its own, if
// it has any, so that nobody displaces others by making up nodes.
func (l *loads) oldest(id string) (oldest Load) {
	for _, o := range l.byNode {
		own, had := o.ID == id, oldest.ID == id
		if oldest.Node == "" || own && !had || own == had && o.At.Before(oldest.At) {
			oldest = o
		}
	}
	return oldest
}

// enter admits a stream.
func (l *loads) enter(limit int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= limit {
		return status.Errorf(codes.ResourceExhausted, "lrs: %d streams are open, which is the limit", l.open)
	}
	l.open++
	return nil
}

func (l *loads) exit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// lrsService keeps the methods of the protocol off Server.
type lrsService struct{ s *Server }

var _ loadstatsv3.LoadReportingServiceServer = lrsService{}

// StreamLoadStats asks for all clusters and keeps what comes.
func (l lrsService) StreamLoadStats(g loadstatsv3.LoadReportingService_StreamLoadStatsServer) error {
	if err := l.s.loads.enter(l.s.config.MaxStreams); err != nil {
		return err
	}
	defer l.s.loads.exit()

	client, err := l.s.identify(g.Context(), "lrs")
	if err != nil {
		return err
	}
	var node string
	var where *corev3.Locality
	for {
		req, err := g.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case node == "" && req.GetNode().GetId() == "":
			return status.Error(codes.InvalidArgument,
				"lrs: the first request names no node; set node.id in the client's bootstrap")
		case node == "":
			node, where = clip(req.GetNode().GetId()), req.GetNode().GetLocality()
			if err := g.Send(l.answer(req.GetNode().GetClientFeatures())); err != nil {
				return err
			}
		}
		load := Load{
			Node: node, ID: client.ID, Service: client.Service,
			Region: clip(where.GetRegion()), Zone: clip(where.GetZone()), At: time.Now(),
		}
		if err := client.check("lrs", load.At); err != nil {
			return err // a client reports every loadInterval, so that no timer is needed
		}
		if proto.Size(req) <= maxLoadSize {
			load.Clusters = req.GetClusterStats()
		}
		l.s.loads.put(load)
		if l.s.config.Loaded != nil {
			l.s.config.Loaded(load)
		}
	}
}

// answer says what to report: everything, or all names there are for clients
// that must be told names.
func (l lrsService) answer(features []string) *loadstatsv3.LoadStatsResponse {
	r := &loadstatsv3.LoadStatsResponse{LoadReportingInterval: durationpb.New(loadInterval)}
	if slices.Contains(features, sendAllClusters) {
		r.SendAllClusters = true
		return r
	}
	if snap := l.s.current(); snap != nil {
		r.Clusters = slices.Sorted(maps.Keys(snap.Types[clusters.url()]))
	}
	return r
}
