package serve

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

const (
	// maxRequest bounds one ADS request. A request of the largest allowed
	// subscription with ordinary names is below it.
	maxRequest = 1 << 20
	// maxMessage bounds any message to this server, grpc's own default. It is
	// above maxRequest so that the refusal of an ADS request can say what to do.
	maxMessage = 4 << 20
	// maxHeaderList bounds the headers of a call, which grpc leaves at 16 MiB.
	maxHeaderList = 64 << 10
	// maxCalls bounds the open calls of one connection: a process needs one ADS
	// stream and a handful of others.
	maxCalls = 100
	// window is the flow control window of streams and of connections. What
	// comes up is small. That it is fixed matters more than its size: it turns
	// off grpc's bandwidth probe, which sends a ping for each acknowledgement
	// (46 instead of 28 µs of CPU for an update of one stream).
	window = 64 << 10
	// readBuffer is held by every TLS connection all the time (by others only
	// while there is something to read); an acknowledgement fits well within it.
	readBuffer = 4 << 10
	// writeBuffer comes from a pool (grpc's default) and is held only while it is
	// written, so a response of many endpoints leaves in one system call.
	writeBuffer = 16 << 10
)

// ServerOptions returns the options a grpc.Server needs to carry this one, for
// all its services: a codec that lets responses share encoded resources (other
// messages are left to protobuf's), keepalive that finds a dead connection
// within 40 seconds, an age for connections (Config.MaxConnectionAge), limits, and
// buffers that fit thousands of quiet connections. Credentials and interceptors are the caller's to add.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      s.config.MaxConnectionAge, // zero is for ever, as here
			MaxConnectionAgeGrace: s.config.MaxConnectionAge / 2,
			Time:                  30 * time.Second,
			Timeout:               10 * time.Second,
		}),
		// Our own clients ping every 30 s; one that pings more often than every
		// 20 s is told to calm down.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             20 * time.Second,
			PermitWithoutStream: true,
		}),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(readBuffer),
		grpc.WriteBufferSize(writeBuffer),
	}
}
