package telemetry

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// A fork is a conn that leads to one of two collectors.
type fork struct {
	grpc.ClientConnInterface

	collectors [2]collector
	to         atomic.Int32
}

func (f *fork) Server() string { return []string{"a", "b"}[f.to.Load()] }

func (f *fork) Invoke(ctx context.Context, method string, request, answer any, opts ...grpc.CallOption) error {
	return f.collectors[f.to.Load()].Invoke(ctx, method, request, answer, opts...)
}

func TestAnotherServerIsToldAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, f := New(Config{Service: "web.shop", Instance: "a1"}), &fork{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- in.Run(ctx, f) }()
		in.ClientCall(ClientKey{Service: "voting", Method: "/v/Vote"}).Record(codes.OK, time.Millisecond)
		time.Sleep(4 * pushEvery) // all is told, and is not due again
		if points, _ := f.collectors[0].latest(); points != 0 {
			t.Fatalf("%d points are told again without a change", points)
		}
		f.to.Store(1)
		for reports := 0; reports == 0; reports, _ = f.collectors[1].heard() {
			time.Sleep(time.Second)
		}
		if points, _ := f.collectors[1].latest(); points != 1 {
			t.Errorf("the first report to the other server has %d points, want all: 1", points)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
