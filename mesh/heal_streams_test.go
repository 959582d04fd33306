package mesh_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

const watchMethod = "/tulle.test.Watch/Watch"

// A watcher serves streams that say one word and then nothing for as long as they may.
type watcher struct{ open atomic.Int64 }

func (w *watcher) register(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "tulle.test.Watch",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Watch",
			ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				w.open.Add(1)
				defer w.open.Add(-1)
				if err := stream.SendMsg(wrapperspb.String("hello")); err != nil {
					return err
				}
				<-stream.Context().Done()
				return stream.Context().Err()
			},
		}},
	}, struct{}{})
}

// follow opens a stream, again whenever it ends, until ctx does; it counts the ends.
func follow(ctx context.Context, conn *grpc.ClientConn, ended *atomic.Int64, other *atomic.Pointer[error]) {
	for {
		err := followOnce(ctx, conn)
		if ctx.Err() != nil {
			return
		}
		ended.Add(1)
		if failure, ok := errors.AsType[*mesh.Error](err); !ok || failure.Reason != mesh.StreamAge {
			other.Store(&err)
		}
	}
}

func followOnce(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, watchMethod)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(wrapperspb.String("")); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != nil {
			return err
		}
	}
}

// Streams that were opened when there was one instance stay with it, until they are old
// and there is room elsewhere.
func TestOldStreamsMoveToNewInstances(t *testing.T) {
	const streams, instances = 30, 3
	for _, tt := range []struct {
		name, spec string
		moves      bool
	}{
		{"with a greatest age", "  loadBalancing: {maxStreamAge: 60s}\n", true},
		{"without they stay", "  timeout: 0s\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := meshtest.New(t)
				m.Apply(service("feed", tt.spec))
				watchers := make([]watcher, instances)
				m.Serve("feed", watchers[0].register)
				conn := m.Client("mesh:///feed")
				ctx, cancel := context.WithCancel(t.Context())
				var (
					wait  sync.WaitGroup
					ended atomic.Int64
					other atomic.Pointer[error]
				)
				for range streams {
					wait.Go(func() { follow(ctx, conn, &ended, &other) })
				}
				time.Sleep(time.Second)
				for i := 1; i < instances; i++ {
					m.Serve("feed", watchers[i].register)
				}
				time.Sleep(10 * time.Minute)
				moved, most := ended.Load(), int64(0)
				for i := range watchers {
					most = max(most, watchers[i].open.Load())
				}
				time.Sleep(30 * time.Minute)
				more := ended.Load() - moved
				t.Logf("of %d streams %d were opened anew, %d more in the half hour after; one instance has at most %d", streams, moved, more, most)
				cancel()
				wait.Wait()
				if err := other.Load(); err != nil {
					t.Errorf("a stream ended otherwise: %v", *err)
				}
				if tt.moves != (most <= streams/instances+3) || tt.moves != (moved > 0) {
					t.Errorf("one of %d instances has %d of %d streams, and %d were opened anew", instances, most, streams, moved)
				}
				if moved > 2*streams || more > streams/10 {
					t.Errorf("%d streams were opened anew and %d more later: they are moved for nothing", moved, more)
				}
			})
		})
	}
}
