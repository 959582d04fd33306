package interceptors

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/call"
)

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
