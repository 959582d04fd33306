package call

import (
	"time"

	"google.golang.org/grpc"
)

// Options of one call. An application makes them with the functions of package
// mesh; the interceptors find them among the call's options. A target that is not
// of the mesh passes them over.
type (
	// RetryOption replaces the route's retry for one call.
	RetryOption struct {
		grpc.EmptyCallOption

		Retry Retry
	}
	// HedgeOption replaces the route's hedging for one call.
	HedgeOption struct {
		grpc.EmptyCallOption

		// Delay is when another attempt is made; zero means no hedging.
		Delay time.Duration
	}
	// HashKeyOption sets the key that ring hash goes by.
	HashKeyOption struct {
		grpc.EmptyCallOption

		Key string
	}
)

// A Retry says when one call is tried again. Fields that are zero are the route's.
type Retry struct {
	// Attempts in all; 1 is no retry, more than 5 are 5.
	Attempts uint32
	// PerTryTimeout bounds each attempt but the last.
	PerTryTimeout time.Duration
	// Codes are those that are tried again.
	Codes []uint32
	// Idempotent is whether the call may be made twice.
	Idempotent bool
}

var _, _, _ grpc.CallOption = RetryOption{}, HedgeOption{}, HashKeyOption{}
