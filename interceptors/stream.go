package interceptors

import (
	"context"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/call"
)

var _ grpc.StreamClientInterceptor = (*Client)(nil).Stream

// Stream is a grpc.StreamClientInterceptor. It decides once, when the stream is
// opened: a later configuration does not move an open stream. A route's timeout
// bounds the stream's whole life (gRFC A31, max_stream_duration).
func (c *Client) Stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s := &stream{rpc: call.Call{Context: ctx, WaitForReady: waitsForReady(opts)}}
	config, err := c.configs.Config(&s.rpc, cc)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return streamer(ctx, desc, cc, method, opts...)
	}
	s.service = config.Service
	timeout, failure := c.admit(&s.rpc, config, method)
	if failure != nil {
		if failure.Code == codes.OK {
			return &ended{ctx: ctx, desc: desc, failure: failure}, nil
		}
		return nil, failure
	}
	limit, bounded, cancel := start(ctx, config, timeout)
	s.limit = limit
	if cancel != nil {
		s.rpc.Context = bounded
		// OnFinish is called however the stream ends, also where the application
		// neither reads to the end nor cancels but closes the connection. The
		// caller's slice may have room for one more, which is not ours.
		opts = append(slices.Clip(opts), grpc.OnFinish(func(error) { cancel() }))
	}
	s.ClientStream, err = streamer(&s.rpc, desc, cc, method, opts...)
	if err != nil {
		if cancel != nil {
			cancel() // an interceptor below may have failed without a stream to finish
		}
		return nil, s.explain(err)
	}
	return s, nil
}

// A stream is a client stream with the call it runs in. Both are one
// allocation: the call is needed anyway, so that wrapping the stream, for the
// picks that grpc makes when it tries the stream again, costs nothing more.
type stream struct {
	grpc.ClientStream

	service string
	limit   limit
	rpc     call.Call
}

func (s *stream) explain(err error) error { return explain(&s.rpc, s.service, s.limit, err) }

// SendMsg may fail with the mesh's reason: grpc sends again, on another pick,
// what a refused stream did not take.
func (s *stream) SendMsg(m any) error { return s.explain(s.ClientStream.SendMsg(m)) }

// RecvMsg may fail with the mesh's reason, as SendMsg.
func (s *stream) RecvMsg(m any) error { return s.explain(s.ClientStream.RecvMsg(m)) }

// An ended stream is one that a fault ended with status OK before anything was
// sent: no header, no message, no trailer.
type ended struct {
	ctx     context.Context //nolint:containedctx // a stream's own, as grpc.ClientStream returns it
	desc    *grpc.StreamDesc
	failure *call.Error
}

var _ grpc.ClientStream = (*ended)(nil)

func (*ended) Header() (metadata.MD, error) { return nil, nil }
func (*ended) Trailer() metadata.MD         { return nil }
func (*ended) CloseSend() error             { return nil }
func (e *ended) Context() context.Context   { return e.ctx }

func (e *ended) SendMsg(any) error {
	if e.desc.ClientStreams {
		return io.EOF
	}
	return nil // as grpc does: RecvMsg says how the stream ended
}

func (e *ended) RecvMsg(any) error {
	if e.desc.ServerStreams {
		return io.EOF
	}
	return cardinality(e.failure)
}
