package mesh

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"

	"github.com/tulle-mesh/tulle/interceptors"
)

// connectionAge is how old a connection to one of our servers becomes, give or
// take the tenth that grpc adds: certificates are checked in handshakes.
const connectionAge = 30 * time.Minute

// serverDialOptions are for connections to xdsserver.
func (m *Mesh) serverDialOptions() []grpc.DialOption {
	opts := append(clientTransport(),
		grpc.WithTransportCredentials(m.source.ControlCredentials()),
		grpc.WithUserAgent("tulle/"+Version),
		// A write is a TLS record, and xdsserver holds memory for the largest of each
		// connection for as long as that lasts.
		grpc.WithWriteBufferSize(4<<10),
	)
	if m.config.DialContext != nil {
		opts = append(opts, grpc.WithContextDialer(m.config.DialContext))
	}
	return opts
}

// DialOptions returns what makes a client created by grpc.NewClient, with a
// target of scheme mesh, a member of the mesh. The options may be used for any
// number of clients. One call's messages have a flow control window of 1 MiB, which does
// not grow: for bulk to far away, grpc.WithStaticStreamWindowSize may follow these, at
// the side that receives.
func (m *Mesh) DialOptions() []grpc.DialOption {
	dial := m.config.DialContext
	if dial == nil {
		dial = dialEndpoint
	}
	return append(clientTransport(),
		grpc.WithTransportCredentials(counted{TransportCredentials: m.source.ClientCredentials(), open: &m.dialed}),
		grpc.WithContextDialer(dial),
		grpc.WithResolvers(m.builder),
		grpc.WithChainUnaryInterceptor(m.client.Unary),
		grpc.WithChainStreamInterceptor(m.client.Stream),
		// An idle channel would let go of its configuration, and could not get
		// it back while xdsserver is away.
		grpc.WithIdleTimeout(0),
		// Linkerd's proxy starts at 100 ms too; grpc's own second is long for
		// a process that was restarted in place, and two minutes are for ever.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
	)
}

// ServerOptions returns what makes a server created by grpc.NewServer one of the
// mesh: it proves the process's identity and asks for that of its callers, takes
// the calls that the access policy of the process's service allows and as many as its
// limits let through, survives handlers that panic, and has limits and keepalive that
// hold against a careless or hostile peer.
//
// It does not register endpoints; see [Mesh.Register], or use [Mesh.NewServer],
// which also decides on calls of services whose description, written by hand, does
// not call the interceptor it is given.
func (m *Mesh) ServerOptions() []grpc.ServerOption {
	return append(m.serverOptions(), grpc.ChainUnaryInterceptor(m.inbound().server.Unary))
}

// serverOptions are those of a server whose services are guarded.
func (m *Mesh) serverOptions() []grpc.ServerOption {
	in := m.inbound()
	return append(serverTransport(),
		grpc.Creds(counted{TransportCredentials: m.source.ServerCredentials(in.permissiveUntil), open: &m.accepted}),
		grpc.ChainStreamInterceptor(in.server.Stream),
		grpc.UnknownServiceHandler(interceptors.Unknown),
		grpc.MaxConcurrentStreams(1000),
		grpc.MaxHeaderListSize(64<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute,
			// Streams that are open go on, to the end of the certificate that
			// they were opened with.
			MaxConnectionAge: connectionAge,
			Time:             30 * time.Second,
			Timeout:          10 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
	)
}
