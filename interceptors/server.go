package interceptors

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/interceptors/access"
	"github.com/tulle-mesh/tulle/interceptors/accesslog"
	"github.com/tulle-mesh/tulle/interceptors/fault"
	"github.com/tulle-mesh/tulle/interceptors/recovery"
	"github.com/tulle-mesh/tulle/interceptors/trace"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/tap"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

// policyWithin bounds how long a call waits for the server's first policy.
const policyWithin = 5 * time.Second

// Policies gives what the servers of one service enforce. It is implemented by
// *resolver.Inbound.
type Policies interface {
	// Current returns what is enforced now, nil before the first. It costs a call
	// nothing.
	Current() *resource.Inbound
	// Changed returns a channel that is closed when Current may return another
	// value than before the call.
	Changed() <-chan struct{}
	// Wait returns nil once there is a Current; its error says what is waited for.
	Wait(ctx context.Context) error
}

// A ServerConfig is what a [Server] is made of. Service and Policies are needed.
type ServerConfig struct {
	// Service is the process's own, for errors and logs.
	Service string
	// Policies are what is enforced.
	Policies Policies
	// Logger is told of denied calls, at most once a second for each caller and
	// method, and of panics, once a minute for each line of code. Nil means
	// slog.Default().
	Logger *slog.Logger

	// Telemetry counts calls, Tracer makes spans of them and takes traces in, Log has a
	// line for a call, where it is on, and Taps are those who watch. Each may be nil, and
	// then is not told of calls.
	Telemetry *telemetry.Instruments
	Tracer    *trace.Tracer
	Log       *accesslog.Log
	Taps      *tap.Taps
}

// A Server is the server side of the mesh's interceptors: it takes no call that
// the service's access policy does not allow or that is too much for the server, and
// ends those whose handlers panic. One is enough for a process. It is safe for
// concurrent use. Streams that are open are decided on anew while [Server.Run] runs.
type Server struct {
	service   string
	policies  Policies
	telemetry *telemetry.Instruments
	tracer    *trace.Tracer
	lines     *accesslog.Log
	taps      *tap.Taps

	ledger   access.Ledger
	log      *access.Log
	streams  streams
	recovery *recovery.Recovery
	faults   fault.Injector
	counts   counts

	enforced  atomic.Pointer[enforced]
	compiling sync.Mutex // held while enforced is made anew
}

// NewServer returns a Server. The caller runs it; see [Server.Run].
func NewServer(c ServerConfig) *Server {
	logger := c.Logger
	if logger == nil {
		logger = slog.Default()
	}
	s := &Server{
		service:   c.Service,
		policies:  c.Policies,
		telemetry: c.Telemetry,
		tracer:    c.Tracer,
		lines:     c.Log,
		taps:      c.Taps,
		log:       access.NewLog(c.Service, logger),
		streams:   newStreams(),
		recovery:  recovery.New(c.Service, logger),
	}
	if c.Telemetry != nil {
		c.Telemetry.Observe(s.samples)
	}
	return s
}

// Ledger counts the calls by caller, method and what was decided.
func (s *Server) Ledger() *access.Ledger { return &s.ledger }

// Guard returns a description of the same service whose unary methods ask s before
// they read the request. It stands in for [Server.Unary], to which it is left to
// whoever wrote the description whether it is called.
func (s *Server) Guard(desc *grpc.ServiceDesc) *grpc.ServiceDesc {
	guarded := *desc
	guarded.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		method := "/" + desc.ServiceName + "/" + m.MethodName
		guarded.Methods[i] = grpc.MethodDesc{
			MethodName: m.MethodName,
			Handler: func(srv any, ctx context.Context, decode func(any) error, next grpc.UnaryServerInterceptor) (answer any, err error) {
				grow(false)
				v := visit{server: s, method: method}
				if err := v.begin(ctx); err != nil {
					return nil, err
				}
				defer v.end(&answer, &err)
				if v.watch != nil {
					decode = watched(v.watch, decode)
				}
				answer, err = m.Handler(srv, v.incoming, decode, next)
				v.handled = true
				return answer, err
			},
		}
	}
	return &guarded
}

var (
	_ grpc.UnaryServerInterceptor  = (*Server)(nil).Unary
	_ grpc.StreamServerInterceptor = (*Server)(nil).Stream
	_ grpc.StreamHandler           = Unknown
)

// Unary is a grpc.UnaryServerInterceptor. A call that is not taken ends as a
// *[call.Error]. One that is costs one allocation: the [call.Incoming] that its
// handler's context is.
func (s *Server) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	v := visit{server: s, method: info.FullMethod}
	if err := v.begin(ctx); err != nil {
		return nil, err
	}
	defer v.end(&answer, &err)
	if v.watch != nil {
		v.watch.Request(req)
	}
	answer, err = handler(v.incoming, req)
	v.handled = true
	return answer, err
}

// policy returns what is enforced, waited for when there is none yet.
func (s *Server) policy(ctx context.Context) (*enforced, error) {
	if in := s.policies.Current(); in != nil {
		return s.enforce(in), nil
	}
	ctx, cancel := context.WithTimeout(ctx, policyWithin)
	defer cancel()
	if err := s.policies.Wait(ctx); err != nil {
		return nil, access.NoPolicy(s.service, err)
	}
	return s.enforce(s.policies.Current()), nil
}

// decide returns why a call may not be made, nil when it may. It is counted as one
// of the method counted.
func (s *Server) decide(ctx context.Context, in *resource.Inbound, c *access.Caller, method, counted string, now time.Time) *call.Error {
	verdict := access.Decide(ctx, in, c, method, now)
	s.ledger.Count(c, counted, &verdict)
	if verdict.Allowed && !verdict.WouldDeny {
		return nil
	}
	return s.refuse(c, method, verdict, now)
}

// refuse is apart from decide, for what it lets escape.
func (s *Server) refuse(c *access.Caller, method string, verdict access.Verdict, now time.Time) *call.Error {
	caller := *c
	s.log.Tell(&caller, method, &verdict, now)
	if verdict.Allowed {
		return nil
	}
	return access.Denied(s.service, &caller, method, &verdict)
}

// Unknown is a grpc.StreamHandler, for grpc.UnknownServiceHandler, of methods that
// a server has not. grpc answers them to anybody where there is none; with it they
// pass [Server.Stream].
func Unknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream) // known to every server's stream
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}
