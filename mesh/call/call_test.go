package call_test

import (
	"context"
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
