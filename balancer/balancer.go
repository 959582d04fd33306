// Package balancer is the load balancing policy "tulle": it sends each call to
// an endpoint of the cluster its route chose.
//
// One policy instance serves one grpc.ClientConn. It exists because grpc-go's
// own xDS policies form a tree in which an endpoint has a connection per
// cluster, and a pick passes four nested pickers and allocates; here all clusters
// of a service share their connections and a pick costs no allocation and no
// lock. What a call meets is that tree's order and meaning, and a test holds the
// two against each other:
//
//	cluster -> drops -> limit of open calls -> priority -> locality -> pool
//
// A [Pool] has what that tree lacks. It keeps calls away from endpoints that fail, but
// never from too many of them; it remembers where a call was tried before, how many
// calls are open to each endpoint, and which are in the client's zone; and it asks a
// [Chooser], peak EWMA where nothing is said, for one of those that are left. What it
// has to do over time the next pick does, so that it needs no timer and no goroutine.
//
// Importing the package registers the policy. A resolver selects it by the
// service config {"loadBalancingConfig":[{"tulle":{}}]} and hands it, in one
// resolver.State, the endpoints of all clusters and the configuration they
// belong to:
//
//	attrs := resource.WithConfig(nil, config)
//	attrs = balancer.WithShared(attrs, shared) // one Shared per mesh
//	attrs = balancer.WithZone(attrs, region, zone)
//	attrs = balancer.WithLogger(attrs, logger)
//	cc.UpdateState(resolver.State{Endpoints: endpoints, Attributes: attrs, ServiceConfig: sc})
//
// Connections are grpc-go's: endpointsharding keeps a pick_first per endpoint,
// which dials, backs off and reconnects. The package resolves no names, matches
// a route only for calls that no interceptor routed, and retries nothing.
package balancer

import (
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/credentials"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// Name is the policy's name in a service config.
const Name = "tulle"

func init() { balancer.Register(builder{}) }

// A builder takes no configuration: all there is to say comes with the
// endpoints, in one value, so that the two cannot disagree.
type builder struct{}

var _ balancer.Builder = builder{}

// Name implements grpc-go's balancer.Builder.
func (builder) Name() string { return Name }

// Build implements grpc-go's balancer.Builder.
func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	r := newRoot(cc, opts.Target.Endpoint())
	r.security = securityOf(opts.DialCreds)
	r.child = endpointsharding.NewBalancer(r, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return r
}

// A MutualTLS are credentials that say whether both sides prove who they are in their
// handshakes. It is how calls learn of their connections; see [call.Pick].
type MutualTLS interface{ MutualTLS() bool }

// securityOf is how connections that are made with creds are secured. An application
// may have brought its own: of TLS it cannot be seen whether the client proved anything.
func securityOf(creds credentials.TransportCredentials) call.Security {
	if creds == nil {
		return call.UnknownSecurity
	}
	if m, ok := creds.(MutualTLS); ok && m.MutualTLS() {
		return call.MutualTLS
	}
	if creds.Info().SecurityProtocol == "insecure" {
		return call.Plaintext
	}
	return call.UnknownSecurity
}
