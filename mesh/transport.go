package mesh

import (
	"runtime"

	"google.golang.org/grpc"
)

const (
	// streamWindow is how much of one call's messages may be under way that its receiver
	// has not read, as much as grpc-java begins with: 20 MB/s to a peer 50 ms away. That
	// it is fixed turns off grpc's bandwidth probe, a ping and its answer nearly as often
	// as there is a call; and it bounds what a peer can have a process keep of one call,
	// which the probe raises to 16 MiB.
	streamWindow = 1 << 20
	// connectionWindow is that of all calls of a connection together.
	connectionWindow = 16 << 20
	// readBuffer is held by each connection all the time. A read from TLS is a record at
	// most, and grpc's own 32 KiB are two.
	readBuffer = 16 << 10
	// streamWorkers is how many goroutines wait for calls, for each processor. A goroutine
	// that is made for a call begins with a small stack, which is copied as it grows: in
	// workers that were there before, an eighth of what a server needs for a small call is
	// saved. Calls beyond them get goroutines of their own.
	streamWorkers = 16
)

// clientTransport is how clients carry calls: all that makes the mesh's transport other
// than grpc's (docs/RATIONALE.md, "Why are flow control windows fixed?").
func clientTransport() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(readBuffer),
	}
}

// serverTransport is how servers do.
func serverTransport() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(readBuffer),
		grpc.NumStreamWorkers(uint32(streamWorkers * runtime.GOMAXPROCS(0))),
	}
}
