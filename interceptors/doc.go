// Package interceptors holds what the mesh decides per call, and the one client
// and the one server interceptor that carry it out.
//
// Each concern is a package of its own below this one: plain functions over an
// immutable policy from mesh/resource. They are called in order by one
// interceptor, because a chain of small ones costs an allocation or two each on
// every call.
//
//	client := interceptors.NewClient(builder) // a *resolver.Builder
//	conn, err := grpc.NewClient("mesh:///voting",
//		grpc.WithResolvers(builder),
//		grpc.WithUnaryInterceptor(client.Unary),
//		grpc.WithStreamInterceptor(client.Stream),
//		creds)
//
// The order of a client's call, from the application outwards:
//
//  1. configuration: the service's resource.Config, waited for when there is none yet
//  2. interceptors/route: route, cluster by weight
//  3. interceptors/fault: delay, then abort (gRFC A33)
//  4. interceptors/route: deadline of the route; its clock starts here (gRFC A31)
//  5. grpc: pick, by the cluster left in the context as a call.Call; send
//  6. on the way back: the mesh's own reason for a failure, in place of grpc's words
//
// Retries and hedging belong between 4 and 5, so that the route's deadline spans
// all attempts and a fault is injected once; mirroring beside them; metrics,
// spans and tap around everything, so that they see what the application sees.
//
// The order of a server's call, before its handler:
//
//  1. policy: the service's resource.Inbound, waited for when there is none yet
//  2. interceptors/access: who calls, by the connection's handshake; may it call this
//
// An open stream is decided on again whenever the policy changes; [Server.Run].
//
//	server := interceptors.NewServer(interceptors.ServerConfig{Service: "voting", Policies: inbound})
//	group.Go(func() error { return server.Run(ctx) })
//	srv := grpc.NewServer(creds,
//		grpc.ChainUnaryInterceptor(server.Unary),
//		grpc.ChainStreamInterceptor(server.Stream),
//		grpc.UnknownServiceHandler(interceptors.Unknown))
//
// The package does not balance, connect or read xDS, and adds no header to a
// call. Targets of other schemes pass through untouched.
package interceptors
