package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A mood is what an instance does with every call before it does its work.
type mood struct {
	delay time.Duration
	code  codes.Code // OK does the work
}

// mine is this process's.
var mine atomic.Pointer[mood]

// obey takes an order of the tour's: "slow 200ms", "fail" at once as an instance that
// is not really there, "break" as one whose code is wrong, or "well".
func obey(order string) error {
	m := mood{}
	word, rest, _ := strings.Cut(order, " ")
	switch word {
	case "well":
	case "fail":
		m.code = codes.Unavailable
	case "break":
		m.code = codes.Internal
	case "slow":
		var err error
		if m.delay, err = time.ParseDuration(rest); err != nil {
			return fmt.Errorf("order %q: %w", order, err)
		}
	default:
		return fmt.Errorf("unknown order %q", order)
	}
	mine.Store(&m)
	return nil
}

// moody does what the instance's mood is, and counts what came in.
func moody(counted *tally) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		start := time.Now()
		answer, err := inMood(ctx, req, handle)
		if counted != nil {
			counted.add(callKey{inbound, os.Getenv("TULLE_INSTANCE"), info.FullMethod, ""}, err == nil, time.Since(start))
		}
		return answer, err
	}
}

func inMood(ctx context.Context, req any, handle grpc.UnaryHandler) (any, error) {
	m := mine.Load()
	if m == nil {
		return handle(ctx, req)
	}
	if m.code != codes.OK {
		return nil, status.Errorf(m.code, "%s fails on purpose", os.Getenv("TULLE_INSTANCE"))
	}
	timer := time.NewTimer(m.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return handle(ctx, req)
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}
