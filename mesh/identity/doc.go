// Package identity is who a process is: it gets the process's X.509-SVID, keeps
// it fresh, and makes the credentials with which the process speaks to others.
//
// Every connection of the mesh is mutual TLS, so nothing works without an
// identity; and an identity lives hours, so that nobody has to revoke it. A
// [Source] holds one, as an immutable value that is replaced as a whole:
//
//	source, err := identity.New(identity.Config{
//		Service: "voting",
//		Servers: []string{"unix:///run/tulle/xds.sock"},
//	})
//	conn, err := grpc.NewClient(server, grpc.WithTransportCredentials(source.ControlCredentials()))
//	group.Go(func() error { return source.Run(ctx, conn) })
//	_, err = source.Wait(ctx) // says why there is none
//
// Run takes the identity that a predecessor left in the state file, or else
// enrols at xdsserver, which attests the process by its join token, by a JWT or,
// over a unix socket, by the kernel's word. From then on it renews over the mutual
// TLS connection that the identity itself made possible. A [Provider] in the
// Config replaces all that: [Files], or package mesh/identity/workload.
//
// The credentials speak TLS 1.3 only, without session tickets, and take the
// identity of the moment at each handshake; an open connection keeps the one it
// was made with. They check who the peer is, not what it may do: that is decided
// per call, by package interceptors. They do not end connections whose certificate
// has expired either: finite ages of connections do.
package identity
