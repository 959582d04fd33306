package mesh_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const workMethod = "/tulle.test.Work/Do"

// A worker is one instance of a service, whose ways can be changed while it works.
type worker struct {
	name   string
	served atomic.Int64 // calls that reached it
	ways   atomic.Pointer[ways]
}

// Ways are what a worker does with a call.
type ways struct {
	// takes is how long a call takes; nil takes no time.
	takes func() time.Duration
	// slots bound how many calls are worked on at once; the others wait. Nil does not.
	slots chan struct{}
	// fails is the share of calls that fail, with the code, before they take time.
	fails float64
	code  codes.Code
	// next does part of the work; nil does not.
	next func(ctx context.Context) error
}

func newWorker(name string, w ways) *worker {
	worker := &worker{name: name}
	worker.ways.Store(&w)
	return worker
}

func (w *worker) become(to ways) { w.ways.Store(&to) }

func (w *worker) register(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "tulle.test.Work",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Do",
			Handler: func(_ any, ctx context.Context, decode func(any) error, next grpc.UnaryServerInterceptor) (any, error) {
				in := new(wrapperspb.StringValue)
				if err := decode(in); err != nil {
					return nil, err
				}
				handler := func(ctx context.Context, _ any) (any, error) { return w.do(ctx) }
				if next == nil {
					return handler(ctx, in)
				}
				return next(ctx, in, &grpc.UnaryServerInfo{FullMethod: workMethod}, handler)
			},
		}},
	}, struct{}{})
}

func (w *worker) do(ctx context.Context) (any, error) {
	w.served.Add(1)
	ways := w.ways.Load()
	if ways.fails > 0 && rand.Float64() < ways.fails {
		return nil, status.Error(ways.code, w.name+" fails on purpose")
	}
	if ways.slots != nil {
		select {
		case ways.slots <- struct{}{}:
			defer func() { <-ways.slots }()
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if ways.takes != nil {
		timer := time.NewTimer(ways.takes())
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if ways.next != nil {
		if err := ways.next(ctx); err != nil {
			return nil, err
		}
	}
	return wrapperspb.String(w.name), nil
}

// about returns a time that is distributed exponentially around d.
func about(d time.Duration) func() time.Duration {
	return func() time.Duration { return time.Duration(float64(d) * rand.ExpFloat64()) }
}

// around returns a time as of work in four steps of d/4 each: the slowest hundredth
// takes two and a half times as long as the mean.
func around(d time.Duration) func() time.Duration {
	step := about(d / 4)
	return func() time.Duration { return step() + step() + step() + step() }
}

// A result is what became of one call.
type result struct {
	took time.Duration
	who  string
	err  error
}

type results []result

// work makes calls for as long as d, perSecond of them at even intervals whatever
// becomes of the ones before, and waits for all.
func work(t *testing.T, conn grpc.ClientConnInterface, perSecond int, d time.Duration, opts ...grpc.CallOption) results {
	t.Helper()
	n := int(d.Seconds() * float64(perSecond))
	all := make(results, n)
	var wait sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		wait.Go(func() {
			began := time.Now()
			who, err := do(t.Context(), conn, opts...)
			all[i] = result{took: time.Since(began), who: who, err: err}
		})
	}
	wait.Wait()
	return all
}

func do(ctx context.Context, conn grpc.ClientConnInterface, opts ...grpc.CallOption) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, workMethod, wrapperspb.String(""), answer, opts...)
	return answer.GetValue(), err
}

// at returns the p-quantile of how long the calls took.
func (r results) at(p float64) time.Duration {
	took := make([]time.Duration, len(r))
	for i := range r {
		took[i] = r[i].took
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(math.Ceil(p*float64(len(took))))-1)]
}

// good returns the calls that succeeded.
func (r results) good() results {
	return slices.DeleteFunc(slices.Clone(r), func(one result) bool { return one.err != nil })
}

// share returns the share of the calls that were answered by who.
func (r results) share(who string) float64 {
	n := 0
	for i := range r {
		if r[i].who == who {
			n++
		}
	}
	return float64(n) / float64(len(r))
}

// failed returns how many calls failed, and one of the errors.
func (r results) failed() (n int, example error) {
	for i := range r {
		if r[i].err != nil {
			n++
			example = r[i].err
		}
	}
	return n, example
}
