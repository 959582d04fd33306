// Package resolver makes mesh:///voting a target of grpc.NewClient.
//
// It puts together what the control plane sends in parts: the Listener of the
// service leads to a RouteConfiguration, that to Clusters, each to its
// Endpoints. The parts become one immutable resource.Config, and a new one is
// published only when all of it is there, so that no route ever leads to a
// cluster that is not yet usable (gRFC A74). Until then the old one stays, and
// its endpoints go on changing.
//
//	builder := resolver.NewBuilder(resolver.Config{Client: client}) // an *xdsclient.Client
//	group.Go(func() error { return builder.Run(ctx) })
//	conn, err := grpc.NewClient("mesh:///voting", grpc.WithResolvers(builder), creds)
//
// One [Builder] serves all connections of a mesh: connections to one service
// share its configuration, and all services share the goroutine of
// [Builder.Run]. Nothing is registered globally.
//
// A connection is given its endpoints, the Config in the attributes, and a
// service config that names the mesh's balancer; then interceptors see the same
// Config through [Builder.Config]. In that order: a call is never routed by a
// configuration that the picker does not know yet. Each address says in its
// attributes which identities its cluster expects there (resource.PeerIDsFrom),
// so that the handshake knows whom to let in.
//
// The other direction is an [Inbound]: what the servers of one service enforce.
//
// The package does not speak xDS (mesh/xdsclient), decode or match
// (mesh/resource), nor choose endpoints (balancer). Targets are host names of
// nobody: no DNS is asked, and a proxy in the environment is not for mesh
// traffic: pass grpc.WithNoProxy. For control planes other than ours see
// resolver/stock.
package resolver
