package xdsclient

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// adsMethod is the incremental one of the aggregated discovery service.
const adsMethod = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// An adsStream is a stream of it.
type adsStream = grpc.BidiStreamingClient[xdsv3.DeltaDiscoveryRequest, xdsv3.DeltaDiscoveryResponse]

func openStream(ctx context.Context, conn *grpc.ClientConn) (adsStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, adsMethod,
		grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage), grpc.ForceCodecV2(codec{}))
	if err != nil {
		return nil, err
	}
	return &grpc.GenericClientStream[xdsv3.DeltaDiscoveryRequest, xdsv3.DeltaDiscoveryResponse]{ClientStream: stream}, nil
}

// codec writes and reads the messages of [xdsv3], which are protobuf on the wire.
type codec struct{}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*xdsv3.DeltaDiscoveryRequest)
	if !ok {
		return nil, fmt.Errorf("cannot send a %T", v)
	}
	b, err := m.Append(nil)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*xdsv3.DeltaDiscoveryResponse)
	if !ok {
		return fmt.Errorf("cannot receive a %T", v)
	}
	return m.Unmarshal(data.Materialize())
}
