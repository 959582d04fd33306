// Package interceptors holds what the mesh decides per call, and the one client
// and the one server interceptor that carry it out.
//
// Each concern is a package of its own below this one: plain functions over an
// immutable policy from mesh/resource. They are called in order by one
// interceptor, because a chain of small ones costs an allocation or two each on
// every call.
//
//	client := interceptors.NewClient(interceptors.ClientConfig{Configs: builder}) // a *resolver.Builder
//	defer client.Close()
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
//  3. interceptors/rate: the rate that this process may make, by route
//  4. interceptors/trip: the breaker of the service as a whole
//  5. interceptors/fault: delay, then abort (gRFC A33)
//  6. interceptors/deadline: the route's timeout, whose clock starts here (gRFC A31),
//     and the served call's deadline less the hop cost
//  7. interceptors/header: headers set, added, removed; then the key of ring hash
//  8. interceptors/mirror: a copy of the call, beside it
//  9. interceptors/retry, interceptors/hedge: the attempts, within one budget (gRFC A6)
//  10. grpc, for each of them: pick, by what the context holds as a call.Call; send
//  11. on the way back: the mesh's own reason for a failure, in place of grpc's words
//
// The order is what each means. A refusal comes before a cost: a call beyond the rate
// asks no breaker. The breaker comes before the fault, so that faults do not open it,
// and counts calls, not attempts: what a retry mended did not fail. A fault is injected
// once, and its delay takes nothing of the route's time, which spans all attempts. The
// copy for a mirror is one, however often the call is tried.
//
// Around all of it is what sees calls: mesh/telemetry, interceptors/trace,
// interceptors/accesslog and mesh/tap. They are told of each call once, as the
// application sees it, whatever ended it, and of each attempt for which an endpoint was
// picked; copies for mirrors are only counted. A call costs no allocation more for it,
// and two looks at the clock, those of the server one.
//
// Streams do the same, but for mirrors and hedges; interceptors/idle ends those on
// which nothing passes.
//
// The order of a server's call, before its handler:
//
//  1. policy: the service's resource.Inbound, waited for when there is none yet
//  2. interceptors/shed: a place among the calls that run, by how much the call matters
//  3. interceptors/access: who calls, by the connection's handshake; may it call this
//  4. interceptors/limit: does the server take so many a second
//  5. interceptors/fault: delay, then abort
//  6. interceptors/recovery: the handler, whose panic ends the call and not the process
//
// All but the last comes before the request is read. The place comes first, so that to
// refuse what is too much costs next to nothing, and is held until the handler is done.
// Streams take none. The handler's context is a call.Incoming, by which retries further
// down are known further up.
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
// The package does not balance, connect or read xDS, and adds no header to a first
// attempt. Targets of other schemes pass through untouched.
package interceptors
