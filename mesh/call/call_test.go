package call_test

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tulle-mesh/tulle/mesh/call"
)

type otherKey struct{}

func TestFromContext(t *testing.T) {
	plain := context.WithValue(t.Context(), otherKey{}, "kept")
	outer := &call.Call{Context: plain, Cluster: "outer"}
	inner := &call.Call{Context: outer, Cluster: "inner"}

	for _, tt := range []struct {
		name string
		ctx  context.Context
		want *call.Call
	}{
		{"a context without a call has none", plain, nil},
		{"a call is found in itself", outer, outer},
		{"a call is found under other values", context.WithValue(outer, otherKey{}, 1), outer},
		{"the innermost call is found", inner, inner},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := call.FromContext(tt.ctx); got != tt.want {
				t.Errorf("FromContext = %p, want %p", got, tt.want)
			}
		})
	}

	if got := inner.Value(otherKey{}); got != "kept" {
		t.Errorf("a value beneath the call = %v, want kept", got)
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	deadline := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	rpc := &call.Call{Context: ctx}

	if got, ok := rpc.Deadline(); !ok || !got.Equal(deadline) {
		t.Errorf("Deadline = %v, %v, want %v", got, ok, deadline)
	}
	child, release := context.WithCancel(rpc)
	defer release()
	cancel()
	<-child.Done()
	if child.Err() == nil {
		t.Error("a child of the call outlived the call's context")
	}
}

// A Call must be to the context package what its context is: a parent it knows.
// Of others, WithCancel asks for a goroutine each, and grpc-go calls it per RPC.
func TestACallIsCheapToDeriveFrom(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	<-warm(ctx)

	count := func(ctx context.Context) float64 {
		return testing.AllocsPerRun(100, func() {
			_, release := context.WithCancel(ctx)
			release()
		})
	}
	plain := count(ctx)
	if got := count(&call.Call{Context: ctx}); got > plain {
		t.Errorf("deriving from a call costs %v allocations, from its context %v", got, plain)
	}
}

// warm makes ctx allocate its Done channel and map of children.
func warm(ctx context.Context) <-chan struct{} {
	child, release := context.WithCancel(ctx)
	release()
	return child.Done()
}

// A hedge begins while the first attempt may be picking; the race detector watches.
func TestForkKnowsWhatWasTriedWhileItGoesOn(t *testing.T) {
	rpc := &call.Call{Context: t.Context(), Cluster: "voting/v2", Hash: 7, Hashed: true, Stream: true}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 10 { // more than a Call remembers
			rpc.Failure = nil
			rpc.Try(strconv.Itoa(i))
			rpc.Outcome.Sent = false
		}
	})
	for range 100 {
		fork := rpc.Fork(context.WithValue(rpc.Context, otherKey{}, "fork"))
		fork.Begin(1)
		if last := fork.Endpoint(); last != "" && !fork.HasTried("0") {
			t.Errorf("a fork knows %s, and not what was tried first", last)
		}
		fork.Try("fork")
		if fork.Endpoint() != "fork" || fork.Cluster != "voting/v2" || !fork.Hashed || !fork.Stream || fork.Value(otherKey{}) != "fork" {
			t.Errorf("a fork is %+v", fork)
		}
	}
	wg.Wait()
	if rpc.Endpoint() != "9" || rpc.HasTried("fork") {
		t.Errorf("the call's endpoint is %s, want the last", rpc.Endpoint())
	}
}

func TestWhatIsTakenBackWasNotTried(t *testing.T) {
	var rpc call.Call
	rpc.Untry() // nothing to take back
	for i := range 7 {
		address := strconv.Itoa(i)
		rpc.Try(address)
		rpc.Untry()
		if rpc.HasTried(address) {
			t.Errorf("%s counts as tried", address)
		}
		rpc.Try(address)
		if !rpc.HasTried(address) || rpc.Endpoint() != address {
			t.Errorf("%s does not count as tried", address)
		}
	}
}

func BenchmarkFromContext(b *testing.B) {
	var ctx context.Context = &call.Call{Context: b.Context()}
	for range 4 { // what grpc-go and a tracer put around it
		ctx = context.WithValue(ctx, otherKey{}, 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if call.FromContext(ctx) == nil {
			b.Fatal("no call")
		}
	}
}
