package balancer_test

import (
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const serviceConfig = `{"loadBalancingConfig":[{"` + balancer.Name + `":{}}]}`

// ours is a connection balanced by this package.
type ours struct {
	t        *testing.T
	resolver *manual.Resolver
	conn     *grpc.ClientConn
	shared   *balancer.Shared
}

func newOurs(t *testing.T, w *world, shared *balancer.Shared) *ours {
	t.Helper()
	o := &ours{t: t, resolver: manual.NewBuilderWithScheme("mesh"), shared: shared}
	conn, err := grpc.NewClient("mesh:///"+service,
		grpc.WithResolvers(o.resolver),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.dial),
		grpc.WithDefaultServiceConfig(serviceConfig),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	o.conn = conn
	return o
}

const service = "voting"

// update gives the connection a service of one cluster.
func (o *ours) update(s spec) { o.set(configOf(o.t, map[string]spec{service: s})) }

func (o *ours) connection() *grpc.ClientConn { return o.conn }

func (o *ours) set(config *resource.Config) {
	o.t.Helper()
	state := stateOf(config, o.shared)
	o.resolver.UpdateState(state)
	o.conn.Connect()
}

// configOf assembles what the resolver would from the resources of clusters; all
// calls go to the one called as the service.
func configOf(t testing.TB, clusters map[string]spec) *resource.Config {
	t.Helper()
	config := &resource.Config{
		Service:     service,
		VirtualHost: decode(t, resource.DecodeRouteConfiguration, routes()).VirtualHost(service),
		Clusters:    make(map[string]*resource.ClusterConfig),
	}
	for name, s := range clusters {
		config.Clusters[name] = &resource.ClusterConfig{
			Cluster:   decode(t, resource.DecodeCluster, s.cluster(name)),
			Endpoints: decode(t, resource.DecodeEndpoints, s.endpoints(name)),
		}
	}
	return config
}

func decode[T any](t testing.TB, decode func([]byte) (T, error), m proto.Message) T {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	v, err := decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// stateOf is what the resolver gives grpc-go for a config.
func stateOf(config *resource.Config, shared *balancer.Shared) resolver.State {
	state := resolver.State{Attributes: resource.WithConfig(nil, config)}
	if shared != nil {
		state.Attributes = balancer.WithShared(state.Attributes, shared)
	}
	seen := make(map[string]bool)
	for _, c := range config.Clusters {
		if c.Endpoints == nil {
			continue
		}
		for _, l := range c.Endpoints.Localities {
			for _, e := range l.Endpoints {
				if !seen[e.Addresses[0]] {
					seen[e.Addresses[0]] = true
					state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: addresses(e)})
				}
			}
		}
	}
	return state
}

func addresses(e resource.Endpoint) []resolver.Address {
	all := make([]resolver.Address, len(e.Addresses))
	for i, a := range e.Addresses {
		all[i] = resolver.Address{Addr: a}
	}
	return all
}
