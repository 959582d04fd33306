package registry

import (
	"context"
	"errors"
	"io"
	"reflect"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

type registerStream = grpc.BidiStreamingServer[registryv1.RegisterRequest, registryv1.RegisterResponse]

var errStopping = status.Error(codes.Unavailable,
	"registry: xdsserver is stopping: the endpoint is remembered, register again")

// Register implements registryv1.RegistryServiceServer.
func (r *Registry) Register(stream registerStream) error {
	own := ""
	if r.config.Identify != nil {
		var err error
		if own, err = r.config.Identify(stream.Context()); err != nil {
			return err
		}
	}
	done := make(chan struct{})
	defer close(done)
	var goodbye atomic.Bool // the client closed its side, where others are just gone
	requests, err := r.receive(stream, done, &goodbye)
	if err != nil {
		return err
	}
	defer r.streams.Done()

	s := &session{conn: connection(stream.Context()), own: own, over: make(chan struct{})}
	defer r.end(s)
	for {
		select {
		case <-r.stopped:
			return errStopping
		case <-s.over:
			return status.Error(codes.Aborted, "registry: a newer stream of the same instance and addresses has taken over")
		case request, ok := <-requests:
			if !ok {
				if goodbye.Load() {
					r.goodbye(s)
				}
				return nil
			}
			if left, err := r.handle(stream, s, request); left || err != nil {
				return err
			}
		}
	}
}

// receive reads requests until the stream ends, which it does soon after the
// handler has returned. The handler itself cannot: it must also hear of the
// endpoint being taken over and of the server stopping.
//
// It counts the handler in streams, too.
func (r *Registry) receive(stream registerStream, done <-chan struct{}, goodbye *atomic.Bool) (<-chan *registryv1.RegisterRequest, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errStopping
	}
	r.streams.Add(1)
	requests := make(chan *registryv1.RegisterRequest)
	r.streams.Go(func() {
		defer close(requests)
		for {
			request, err := stream.Recv()
			if err != nil {
				if goodbye.Store(errors.Is(err, io.EOF)); !goodbye.Load() {
					r.config.Logger.Debug("registration broken", "error", err)
				}
				return
			}
			select {
			case requests <- request:
			case <-done:
				return
			}
		}
	})
	return requests, nil
}

// handle takes one request; left says that it was the last.
func (r *Registry) handle(stream registerStream, s *session, request *registryv1.RegisterRequest) (left bool, err error) {
	e, err := parse(request)
	if err != nil {
		return false, err
	}
	if err := r.authorize(s.own, e.Service); err != nil {
		r.config.Logger.Warn("endpoint refused", "service", e.Service.String(), "instance", e.Instance, "error", err)
		return false, err
	}
	leaving := e.Health == model.Leaving
	change, err := r.store(s, e, leaving)
	if err != nil {
		if code := status.Code(err); code == codes.AlreadyExists || code == codes.ResourceExhausted {
			r.config.Logger.Warn("endpoint refused", "service", e.Service.String(), "instance", e.Instance, "error", err)
		}
		return false, err
	}
	notify(r.wake)
	if leaving {
		r.settle(stream.Context(), change)
	}
	return leaving, stream.Send(&registryv1.RegisterResponse{Lease: durationpb.New(r.config.Lease), Left: leaving})
}

// authorize refuses a process that registers for another service than its own.
func (r *Registry) authorize(own string, service model.ServiceName) error {
	switch {
	case r.config.Identify == nil:
		return nil
	case own == "" || own == clientService:
		return status.Errorf(codes.PermissionDenied,
			"registry: a process without a service of its own may not register an endpoint of %q: set TULLE_SERVICE, and enrol as that", service)
	case own != service.String():
		return status.Errorf(codes.PermissionDenied,
			"registry: a process of %q may not register an endpoint of %q: it is not its service: set TULLE_SERVICE to what it is, and enrol as that",
			own, service)
	}
	return nil
}

// store brings the request into the table and returns the change that it made.
func (r *Registry) store(s *session, e model.Endpoint, leaving bool) (uint64, error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if leaving {
		e.Health = model.Healthy
	}
	switch {
	case s.entry == nil:
		if err := r.table.open(s, e, now); err != nil {
			return 0, err
		}
	case s.entry.session != s:
		// Taken over a moment ago: the loop is about to hear of it.
		return 0, status.Error(codes.Aborted, "registry: the endpoint was taken over")
	case s.entry.endpoint.Service != e.Service || s.entry.endpoint.Instance != e.Instance:
		return 0, status.Error(codes.InvalidArgument,
			"registry: service, namespace and instance: may not change within a stream: open another for another endpoint")
	default:
		if err := r.table.update(s, e, now); err != nil {
			return 0, err
		}
	}
	if leaving {
		r.table.leave(s, now)
	}
	return r.table.change, nil
}

// settle waits, at most settleWithin, until every client has been told of the
// change.
func (r *Registry) settle(ctx context.Context, change uint64) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	generation, err := r.outputOf(ctx, change)
	if err == nil && r.config.Settled != nil {
		err = r.config.Settled(ctx, generation)
	}
	if err != nil {
		r.config.Logger.Debug("endpoint leaves before all clients know", "error", err)
	}
}

// outputOf waits for an output that holds the change and returns its generation.
func (r *Registry) outputOf(ctx context.Context, change uint64) (uint64, error) {
	for {
		r.mu.Lock()
		emitted, news := r.emitted, r.news
		r.mu.Unlock()
		if emitted.generation > 0 && emitted.change >= change {
			return emitted.generation, nil
		}
		select {
		case <-news:
		case <-r.stopped:
			return 0, errStopping
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// goodbye takes out the endpoint of a client that closed its side of the stream:
// it stops, and waits for nobody. A lease is for those who said nothing.
func (r *Registry) goodbye(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.entry != nil && s.entry.session == s && !s.entry.leaving {
		r.table.leave(s, time.Now())
	}
}

func (r *Registry) end(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.end(s, time.Now())
	notify(r.wake)
}

// connection tells connections apart: their peer's address is one value for each,
// also on a unix socket, where its text is the same for all.
func connection(ctx context.Context) any {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return nil
	}
	if !reflect.TypeOf(p.Addr).Comparable() {
		return p.Addr.String()
	}
	return p.Addr
}
