package service

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/bench/benchv1"
)

type echo struct {
	benchv1.UnimplementedEchoServiceServer
}

func (echo) Unary(_ context.Context, r *benchv1.UnaryRequest) (*benchv1.UnaryResponse, error) {
	return &benchv1.UnaryResponse{Body: r.GetBody()}, nil
}

func (echo) ServerStream(r *benchv1.ServerStreamRequest, s grpc.ServerStreamingServer[benchv1.ServerStreamResponse]) error {
	const maxMessages, maxBytes = 10_000, 1 << 20
	if r.GetMessages() > maxMessages || r.GetBytes() > maxBytes {
		return status.Errorf(codes.InvalidArgument, "%d messages of %d bytes are too many", r.GetMessages(), r.GetBytes())
	}
	answer := &benchv1.ServerStreamResponse{Body: make([]byte, r.GetBytes())}
	for range r.GetMessages() {
		if err := s.Send(answer); err != nil {
			return err
		}
	}
	return nil
}

func (echo) BidiStream(s grpc.BidiStreamingServer[benchv1.BidiStreamRequest, benchv1.BidiStreamResponse]) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&benchv1.BidiStreamResponse{Body: r.GetBody()}); err != nil {
			return err
		}
	}
}
