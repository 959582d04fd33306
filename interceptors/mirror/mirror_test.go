package mirror_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors/mirror"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	method = "/voting.v1.Voting/Vote"
	all    = 1_000_000
)

// config knows the clusters that mirrors lead to.
var config = &resource.Config{Service: "voting", Clusters: map[string]*resource.ClusterConfig{"voting/v2": {}, "voting/v3": {}}}

// to is a mirror of all calls.
func to(cluster string) resource.Mirror {
	return resource.Mirror{Cluster: cluster, PerMillion: all, Timeout: time.Second}
}

// A world is a cluster that copies are sent to, and what it saw of them.
type world struct {
	answer func(ctx context.Context) error

	mu     sync.Mutex
	copies []seen
}

type seen struct {
	rpc     *call.Call
	request int64
	md      metadata.MD
	left    time.Duration // of the deadline
	options []grpc.CallOption
}

func (w *world) invoke(ctx context.Context, _ string, req, reply any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
	deadline, _ := ctx.Deadline()
	s := seen{rpc: call.FromContext(ctx), request: req.(*wrapperspb.Int64Value).Value, left: time.Until(deadline), options: opts}
	s.md, _ = metadata.FromOutgoingContext(ctx)
	reply.(*wrapperspb.StringValue).Value = "a copy's"
	w.mu.Lock()
	w.copies = append(w.copies, s)
	w.mu.Unlock()
	if w.answer == nil {
		return nil
	}
	return w.answer(ctx)
}

func (w *world) unary(options ...grpc.CallOption) mirror.Unary {
	return mirror.Unary{Method: method, Request: wrapperspb.Int64(7), Reply: wrapperspb.String("the call's"), Invoker: w.invoke, Options: options}
}

func untilItEnds(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestACopyIsACallOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mirrors mirror.Mirrors
		defer mirrors.Close()
		w := &world{answer: func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil }}
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "k", "v"), time.Minute)
		rpc := &call.Call{
			Context: ctx, Cluster: "voting/v1", WaitForReady: true, Service: "voting", Method: method,
			Hash: 5, Hashed: true, Attempt: 3, Failure: &call.Error{},
		}
		rpc.Try("10.0.0.1:80")
		own := *rpc
		var header, trailer metadata.MD
		var from peer.Peer
		unary := w.unary(grpc.WaitForReady(true), grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from),
			grpc.OnFinish(func(error) { t.Error("the application hears of a copy") }), grpc.StaticMethod())
		mirrors.Send(rpc, config, []resource.Mirror{to("voting/v2"), to("voting/v3")}, unary)

		// What the application does next does not reach the copies.
		unary.Request.(*wrapperspb.Int64Value).Value = 8
		cancel()
		if *rpc != own {
			t.Errorf("the call is %+v, was %+v", rpc, own)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()

		if got := unary.Reply.(*wrapperspb.StringValue).Value; got != "the call's" {
			t.Errorf("the call's reply is %s", got)
		}
		clusters := map[string]bool{}
		for _, c := range w.copies {
			clusters[c.rpc.Cluster] = true
			if c.request != 7 || len(c.md["k"]) != 1 || len(c.md) != 1 || c.left != time.Second {
				t.Errorf("a copy has request %d, metadata %v and %v left", c.request, c.md, c.left)
			}
			if len(c.options) != 3 || c.options[0] != grpc.WaitForReady(true) || c.options[1] != grpc.StaticMethod() || c.options[2] != grpc.WaitForReady(false) {
				t.Errorf("a copy has options %v", c.options)
			}
			r := c.rpc
			if r.Service != "voting" || r.Method != method || !r.Hashed || r.Hash != 5 || !r.Copy || r.WaitForReady || r.Attempt != 0 || r.Endpoint() != "" || r.Failure != nil {
				t.Errorf("a copy has call %+v", r)
			}
		}
		if len(w.copies) != 2 || len(clusters) != 2 {
			t.Errorf("copies went to %v", clusters)
		}
		if got, want := mirrors.Counts(), (mirror.Counts{Sent: 2}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestTheCallerNeitherWaitsNorHears(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(context.Context) error
		took   time.Duration
		failed uint64
	}{
		{"of a copy that is answered", func(context.Context) error { time.Sleep(time.Millisecond); return nil }, time.Millisecond, 0},
		{"of a copy that fails", func(context.Context) error { return errors.New("broken") }, 0, 1},
		{"of a copy that takes too long", untilItEnds, time.Second, 1},
		{"of a copy in which an interceptor panics", func(context.Context) error { panic("broken") }, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mirrors mirror.Mirrors
				w := &world{answer: tt.answer}
				begun := time.Now()
				mirrors.Send(&call.Call{Context: t.Context()}, config, []resource.Mirror{to("voting/v2")}, w.unary())
				if time.Since(begun) > 0 {
					t.Error("the caller waited")
				}
				for mirrors.Counts().Failed < tt.failed || time.Since(begun) < tt.took {
					time.Sleep(time.Millisecond)
				}
				if err := mirrors.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(begun); took > tt.took+time.Millisecond {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if got, want := mirrors.Counts(), (mirror.Counts{Sent: 1, Failed: tt.failed}); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			})
		})
	}
}

func TestWhatCannotBeCopiedIsSkipped(t *testing.T) {
	text := "not protobuf"
	for _, tt := range []struct {
		name           string
		cluster        string
		request, reply any
	}{
		{"a cluster that is not there, where calls would go instead", "voting/v4", wrapperspb.Int64(7), wrapperspb.String("")},
		{"a request that is not protobuf", "voting/v2", &text, wrapperspb.String("")},
		{"a reply that is not protobuf", "voting/v2", wrapperspb.Int64(7), &text},
		{"a message that panics", "voting/v2", broken{}, wrapperspb.String("")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mirrors mirror.Mirrors
			defer mirrors.Close()
			w := &world{}
			unary := w.unary()
			unary.Request, unary.Reply = tt.request, tt.reply
			mirrors.Send(&call.Call{Context: t.Context()}, config, []resource.Mirror{to(tt.cluster)}, unary)
			if got, want := mirrors.Counts(), (mirror.Counts{Skipped: 1}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// broken is a message whose only method panics.
type broken struct{}

func (broken) ProtoReflect() protoreflect.Message { panic("broken") }

func TestCopiesThatAreOpenAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mirrors mirror.Mirrors
		defer mirrors.Close()
		w := &world{answer: untilItEnds}
		send := func() {
			mirrors.Send(&call.Call{Context: t.Context()}, config, []resource.Mirror{to("voting/v2")}, w.unary())
		}
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for range 100 {
					send()
				}
			})
		}
		callers.Wait()
		synctest.Wait()
		if got, want := mirrors.Counts(), (mirror.Counts{Sent: mirror.MaxOpen, Dropped: 400 - mirror.MaxOpen}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		send()
		synctest.Wait()
		if got, want := mirrors.Counts(), (mirror.Counts{Sent: mirror.MaxOpen + 1, Dropped: 300, Failed: mirror.MaxOpen}); got != want {
			t.Errorf("after a second: got %+v, want %+v", got, want)
		}
	})
}

func TestCloseCancelsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mirrors mirror.Mirrors
		w := &world{answer: func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Millisecond) // it hears late
			return ctx.Err()
		}}
		send := func() {
			m := to("voting/v2")
			m.Timeout = time.Hour
			mirrors.Send(&call.Call{Context: t.Context()}, config, []resource.Mirror{m}, w.unary())
		}
		send()
		synctest.Wait()
		begun := time.Now()
		mirrors.Close()
		if took := time.Since(begun); took != time.Millisecond {
			t.Errorf("Close took %v", took)
		}
		send()
		mirrors.Close()
		if got, want := mirrors.Counts(), (mirror.Counts{Sent: 1, Failed: 1}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestTheShareFallsWithinFiveStandardDeviations(t *testing.T) {
	const calls = 20_000
	for _, tt := range []struct {
		name       string
		perMillion uint32
	}{
		{"none", 0},
		{"one in a thousand", 1_000},
		{"a third", 333_333},
		{"all", all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mirrors mirror.Mirrors
			defer mirrors.Close()
			m := resource.Mirror{Cluster: "not there", PerMillion: tt.perMillion}
			unary := (&world{}).unary()
			for range calls {
				mirrors.Send(&call.Call{}, config, []resource.Mirror{m}, unary)
			}
			share := float64(tt.perMillion) / all
			got, want := float64(mirrors.Counts().Skipped), calls*share
			if off := 5 * math.Sqrt(want*(1-share)); math.Abs(got-want) > off {
				t.Errorf("the dice chose %v of %d calls, want %v within %.0f", got, calls, want, off)
			}
		})
	}
}

func BenchmarkSend(b *testing.B) {
	var mirrors mirror.Mirrors
	defer mirrors.Close()
	unary := (&world{}).unary()
	rpc := &call.Call{Context: b.Context()}
	b.Run("no mirrors", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mirrors.Send(rpc, config, nil, unary)
		}
	})
	b.Run("not this call", func(b *testing.B) {
		few := []resource.Mirror{{Cluster: "voting/v2", Timeout: time.Second}}
		b.ReportAllocs()
		for b.Loop() {
			mirrors.Send(rpc, config, few, unary)
		}
	})
}
