// Package trip stops calls to a service that fails as a whole, whichever of its
// endpoints they reach.
//
//	var trips trip.Breakers // one per process
//	ticket, failure := trips.Admit("voting", traffic.Breaker)
//	if failure != nil {
//		return failure
//	}
//	err := invoker(rpc, ...)
//	ticket.Done(ctx, err)
//
// What a breaker is, and when it opens, is said in package mesh/breaker; those of
// single endpoints are the balancer's. This one counts calls, not their attempts: what
// a retry mended did not fail. It waits for nothing, and starts no goroutine.
package trip

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// maxServices bounds the services that have breakers. Calls to others pass.
	maxServices = 1000
	// maxPolicies bounds the breakers of one service; the oldest goes first.
	maxPolicies = 4
)

// Breakers are the breakers of the services that a process calls. The zero value is
// ready. They are safe for concurrent use.
type Breakers struct {
	// OnChange is called when the breaker of a service opens, or closes again, in the
	// goroutine of the call that made it; may be nil. It is set before the first call.
	OnChange func(service string, from, to breaker.State)

	known atomic.Pointer[map[string][]*held] // the map and its slices are immutable

	mu sync.Mutex // guards changes of known
}

// held is a breaker with the policy that it was made for.
type held struct {
	policy  resource.Breaker
	breaker *breaker.Breaker
}

// A Ticket is a call that was admitted. The zero Ticket is one that no breaker watches.
type Ticket struct {
	breaker *breaker.Breaker
	probe   bool
}

// Admit lets a call to service pass, or returns UNAVAILABLE. Nil policy lets all pass.
// It allocates where it refuses, and for the first call of a service.
//
// The breaker of a service lives on as long as its policy says the same, across
// changes of the configuration. Where routes have different policies, each policy has
// a breaker, which the calls of its routes share.
func (b *Breakers) Admit(service string, policy *resource.Breaker) (Ticket, *call.Error) {
	if policy == nil {
		return Ticket{}, nil
	}
	br := b.of(service, policy)
	if br == nil || br.State() == breaker.Closed {
		return Ticket{breaker: br}, nil
	}
	now := breaker.Now()
	switch admission := br.Admit(now); admission {
	case breaker.Refused:
		return Ticket{}, refused(service, br, now)
	default:
		return Ticket{breaker: br, probe: admission == breaker.Probe}, nil
	}
}

// Done tells how a call ended. err is what the application gets; ctx is the context in
// which the application made the call, and has no deadline but the application's own.
// It is called once for each ticket, however the call ends: the breaker may wait for
// it to close.
func (t Ticket) Done(ctx context.Context, err error) {
	if t.breaker == nil {
		return
	}
	code := status.Code(err)
	t.breaker.Done(breaker.Now(), t.probe, uint32(code), counts(ctx, code, err))
}

// counts reports whether the end of a call says anything of the service.
func counts(ctx context.Context, code codes.Code, err error) bool {
	if code == codes.OK {
		return true
	}
	if code == codes.Canceled {
		return false
	}
	if failure := call.AsError(err); failure != nil {
		// Of the mesh's own failures these two say that the service had the call,
		// and did not answer.
		return failure.Reason == call.PerTryTimeout || failure.Reason == call.RouteTimeout
	}
	// A service can do nothing about an application that gives it too little time.
	return code != codes.DeadlineExceeded || !errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// refused is the failure of a call to a service whose breaker is open.
func refused(service string, br *breaker.Breaker, now int64) *call.Error {
	detail := fmt.Sprintf("%q fails: its breaker waits for the one call that it let through", service)
	if in := br.RetryIn(now); in > 0 {
		detail = fmt.Sprintf("%q fails: its breaker is open for another %v, until %s",
			service, in.Round(time.Millisecond), time.Now().Add(in).Format("15:04:05.000"))
	}
	return &call.Error{
		Service: service,
		Reason:  call.BreakerOpen,
		Code:    codes.Unavailable,
		Detail:  detail,
		Try:     "xdsserver endpoints " + service,
	}
}

// of returns the breaker of a service with a policy, nil where there are too many
// services.
func (b *Breakers) of(service string, policy *resource.Breaker) *breaker.Breaker {
	if known := b.known.Load(); known != nil {
		if h := find((*known)[service], policy); h != nil {
			return h.breaker
		}
	}
	return b.add(service, policy)
}

func find(all []*held, policy *resource.Breaker) *held {
	for _, h := range all {
		if h.policy == *policy {
			return h
		}
	}
	return nil
}

func (b *Breakers) add(service string, policy *resource.Breaker) *breaker.Breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := map[string][]*held{}
	if known := b.known.Load(); known != nil {
		if h := find((*known)[service], policy); h != nil {
			return h.breaker // another call was quicker
		}
		if len((*known)[service]) == 0 && len(*known) >= maxServices {
			return nil
		}
		next = maps.Clone(*known)
	}
	all := next[service]
	if len(all) == maxPolicies {
		all = all[1:]
	}
	h := &held{policy: *policy, breaker: breaker.New(policy, b.changed(service))}
	next[service] = append(slices.Clip(all), h)
	b.known.Store(&next)
	return h.breaker
}

func (b *Breakers) changed(service string) func(from, to breaker.State) {
	if b.OnChange == nil {
		return nil
	}
	return func(from, to breaker.State) { b.OnChange(service, from, to) }
}
