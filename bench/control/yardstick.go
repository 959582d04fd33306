package control

import (
	"context"
	"maps"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
)

// all is the world's resources of a kind by name.
func (w world) all(k kind) map[string]types.Resource {
	all := make(map[string]types.Resource, w.services)
	for i := range w.services {
		all[serviceName(i)] = w.resource(k, i, 0)
	}
	return all
}

func registerCache(g *grpc.Server, cache cachev3.Cache) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, serverv3.NewServer(context.Background(), cache, nil))
}

// A linearEngine is go-control-plane's fastest for this load: a LinearCache for each type
// behind one MuxCache.
type linearEngine struct {
	world  world
	linear [kinds]*cachev3.LinearCache
}

func newLinearCache(w world) *linearEngine {
	e := &linearEngine{world: w}
	for k, url := range ordinary.Types {
		e.linear[k] = cachev3.NewLinearCache(url, cachev3.WithInitialResources(w.all(kind(k))))
	}
	return e
}

func (e *linearEngine) register(g *grpc.Server) {
	mux := &cachev3.MuxCache{
		Classify:      func(r *cachev3.Request) string { return r.GetTypeUrl() },
		ClassifyDelta: func(r *cachev3.DeltaRequest) string { return r.GetTypeUrl() },
		Caches:        make(map[string]cachev3.Cache),
	}
	for k, url := range ordinary.Types {
		mux.Caches[url] = e.linear[k]
	}
	registerCache(g, mux)
}

func (e *linearEngine) set(k kind, service, number int) error {
	return e.linear[k].UpdateResource(serviceName(service), e.world.resource(k, service, number))
}

// A snapshotEngine is go-control-plane's SnapshotCache in its cheapest form: one snapshot
// for all nodes, and a version for each type, so that a change resends one type alone.
type snapshotEngine struct {
	world   world
	cache   cachev3.SnapshotCache
	current cachev3.Snapshot
	version int
}

// everybody is the one node of a snapshotEngine.
type everybody struct{}

var _ cachev3.NodeHash = everybody{}

// ID implements [cachev3.NodeHash].
func (everybody) ID(*corev3.Node) string { return "everybody" }

// inSnapshot is where a Snapshot keeps a kind.
var inSnapshot = [kinds]types.ResponseType{
	listeners: types.Listener, routes: types.Route, clusters: types.Cluster, endpoints: types.Endpoint,
}

func newSnapshotCache(w world) (*snapshotEngine, error) {
	// Its ADS mode answers only who asks for everything in the snapshot.
	e := &snapshotEngine{world: w, cache: cachev3.NewSnapshotCache(false, everybody{}, nil)}
	for k := range kinds {
		items := make(map[string]types.ResourceWithTTL, w.services)
		for name, r := range w.all(k) {
			items[name] = types.ResourceWithTTL{Resource: r}
		}
		e.current.Resources[inSnapshot[k]] = cachev3.Resources{Version: "0", Items: items}
	}
	return e, e.publish()
}

func (e *snapshotEngine) publish() error {
	next := cachev3.Snapshot{Resources: e.current.Resources}
	return e.cache.SetSnapshot(context.Background(), everybody{}.ID(nil), &next)
}

func (e *snapshotEngine) register(g *grpc.Server) { registerCache(g, e.cache) }

func (e *snapshotEngine) set(k kind, service, number int) error {
	e.version++
	r := &e.current.Resources[inSnapshot[k]]
	items := maps.Clone(r.Items)
	items[serviceName(service)] = types.ResourceWithTTL{Resource: e.world.resource(k, service, number)}
	*r = cachev3.Resources{Version: strconv.Itoa(e.version), Items: items}
	return e.publish()
}
