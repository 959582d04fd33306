// Package fault delays and aborts a share of calls on purpose, so that people
// find out what their services do when others are slow or fail (gRFC A33).
//
//	var faults fault.Injector // one per process
//	if failure := faults.Inject(ctx, "voting", config.Fault(route, cluster)); failure != nil {
//		return failure
//	}
//
// Delay and abort are diced for apart: 20 % delayed and 5 % aborted touch 24 %
// of the calls. An aborted call that is also delayed is aborted after the delay.
// Nothing is sent for it. The x-envoy-fault-* headers are read only where the
// policy lets callers ask for faults, and within the policy's shares.
//
// The package does not choose the policy, see Config.Fault of mesh/resource, and
// limits no response rate, which gRFC A33 leaves out.
package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// An Injector carries out fault policies and counts the faults in progress,
// which a policy may limit per process. Its zero value is ready. It is safe for
// concurrent use.
type Injector struct {
	active atomic.Int64
}

// Inject carries out policy, nil for none, on one call to service: it waits out
// the delay, and returns what the call ends with, nil if it may go on.
//
// A failure with code OK means that the call ends as though the server had sent
// status OK and no message: a stream of messages ends, an RPC that waits for one
// reply fails (gRFC A33).
//
// A call that would exceed policy's MaxActive goes on untouched. A delay is
// active until it is over, an abort until it is returned.
func (i *Injector) Inject(ctx context.Context, service string, policy *resource.Fault) *call.Error {
	if policy == nil {
		return nil
	}
	delay := delayOf(ctx, policy)
	code, abort := abortOf(ctx, policy)
	if delay == 0 && !abort {
		return nil
	}
	if !i.start(policy.MaxActive) {
		return nil
	}
	defer i.active.Add(-1)
	if delay > 0 {
		if failure := wait(ctx, service, delay); failure != nil {
			return failure
		}
	}
	if !abort {
		return nil
	}
	return injected(service, code, fmt.Sprintf("a fault rule of %q ended the call with %v on purpose", service, code))
}

// Active returns the number of faults in progress.
func (i *Injector) Active() int64 { return i.active.Load() }

// start reserves a place among the active faults. It reserves first and gives
// back on refusal, so that concurrent calls never overshoot.
func (i *Injector) start(maxActive uint32) bool {
	if n := i.active.Add(1); maxActive > 0 && n > int64(maxActive) {
		i.active.Add(-1)
		return false
	}
	return true
}

// wait sleeps through the delay. The call's deadline is not stopped by it: only
// the route's timeout, which is not set yet, is counted from its end.
func wait(ctx context.Context, service string, delay time.Duration) *call.Error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
	}
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return injected(service, codes.DeadlineExceeded, fmt.Sprintf("deadline exceeded in a delay of %v that a fault rule of %q injects", delay, service))
	}
	failure := injected(service, status.FromContextError(err).Code(), fmt.Sprintf("canceled in a delay of %v that a fault rule of %q injects", delay, service))
	failure.Cause = err
	return failure
}

func injected(service string, code codes.Code, detail string) *call.Error {
	return &call.Error{
		Service: service,
		Reason:  call.FaultInjected,
		Code:    code,
		Detail:  detail,
		Try:     "xdsserver routes " + service,
	}
}

// hit throws the dice for a share of calls. Each fault has a throw of its own
// (gRFC A33, "Evaluate Possibility Fraction").
func hit(perMillion uint32) bool {
	return perMillion > 0 && (perMillion >= million || rand.Uint32N(million) < perMillion)
}

const million = 1_000_000
