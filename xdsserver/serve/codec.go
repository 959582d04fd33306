package serve

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec passes ADS messages through in their encoded form and leaves all others
// to protobuf's codec, since services of other packages are on the same server.
type codec struct{}

var _ encoding.CodecV2 = codec{}

// inner is protobuf's codec, which registers itself when it is imported.
var inner = encoding.GetCodecV2(proto.Name)

// Marshal implements [encoding.CodecV2]. The buffers of a response belong to
// everybody: references are not counted, and nobody writes to them.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if r, ok := v.(*response); ok {
		return r.parts, nil
	}
	return inner.Marshal(v)
}

// Unmarshal implements [encoding.CodecV2].
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*encoded)
	if !ok {
		return inner.Unmarshal(data, v)
	}
	r.free()
	// Refusing here would reach the client as INTERNAL; the stream refuses by
	// the size.
	r.size = data.Len()
	if r.size <= maxRequest {
		r.buffer = data.MaterializeToBuffer(mem.DefaultBufferPool())
	}
	return nil
}

// Name implements [encoding.CodecV2].
func (codec) Name() string { return proto.Name }
