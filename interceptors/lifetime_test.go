package interceptors_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// However a stream ends of which nobody receives any more, what waits for its end is
// told, and nothing is left behind.
func TestAStreamThatNobodyReceivesIsReleased(t *testing.T) {
	for name, end := range map[string]func(context.CancelFunc, *grpc.ClientConn){
		"cancelled":                func(cancel context.CancelFunc, _ *grpc.ClientConn) { cancel() },
		"its connection is closed": func(_ context.CancelFunc, conn *grpc.ClientConn) { conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, _ := dialBackend(t, voting(traffic(retried(3), tripping, func(t *resource.Traffic) { t.IdleTimeout = time.Hour })), parrot)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				told := make(chan error, 10)
				_, err := conn.NewStream(ctx, bidi, method, grpc.OnFinish(func(err error) { told <- err }))
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				end(cancel, conn)
				synctest.Wait()
				if len(told) != 1 || status.Code(<-told) != codes.Canceled {
					t.Errorf("the application is told %d times", len(told))
				}
			})
		})
	}
}

func TestAnIdleStreamIsEnded(t *testing.T) {
	quiet := func(s grpc.ServerStream) error { // takes what comes, and says nothing
		for s.RecvMsg(new(wrapperspb.StringValue)) == nil {
		}
		return nil
	}
	for _, change := range [][]func(*resource.Traffic){nil, with(retried(3))} {
		for _, tt := range []struct {
			name    string
			handler func(grpc.ServerStream) error
			sends   time.Duration // between messages, of three
			want    time.Duration
		}{
			{"when nothing passes", quiet, 0, 10 * time.Second},
			{"that long after the last message sent", quiet, 9 * time.Second, 37 * time.Second},
			{"or received", func(s grpc.ServerStream) error {
				for range 3 {
					time.Sleep(7 * time.Second)
					if err := s.SendMsg(wrapperspb.String("tick")); err != nil {
						return err
					}
				}
				return quiet(s)
			}, 0, 31 * time.Second},
		} {
			t.Run(fmt.Sprint(tt.name, len(change)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conn, _ := dialBackend(t, voting(traffic(append(change, func(t *resource.Traffic) { t.IdleTimeout = 10 * time.Second })...)), tt.handler)
					start := time.Now()
					s := newStream(t, conn, bidi)
					var sending sync.WaitGroup
					if tt.sends > 0 {
						sending.Go(func() {
							for range 3 {
								time.Sleep(tt.sends)
								send(t, s, "tick")
							}
						})
					}
					_, err := rest(s)
					sending.Wait()
					if took := time.Since(start); took != tt.want {
						t.Errorf("ended after %v, want %v", took, tt.want)
					}
					if e := call.AsError(err); e == nil || e.Reason != call.StreamIdle || e.Code != codes.DeadlineExceeded {
						t.Errorf("got %v", err)
					}
				})
			})
		}
	}
}

// Without a method that may be called twice a stream is tried again while it cannot be
// opened, and not once it is.
func TestAStreamThatCannotBeOpenedIsTriedAgain(t *testing.T) {
	type step = func(context.Context, *call.Call) error
	for _, tt := range []struct {
		name   string
		change []func(*resource.Traffic)
		steps  []step
		want   int // attempts
		code   codes.Code
		spent  bool
	}{
		{"once by default", nil, []step{lost, answers}, 2, codes.OK, false},
		{"and no more", nil, []step{lost}, 2, codes.Unavailable, true},
		{"as often as its route says", with(retried(4)), []step{refuses(call.NoEndpoint), lost, lost, answers}, 4, codes.OK, false},
		{"not where something below ours was told by the service", nil, []step{fails(codes.Unavailable), answers}, 1, codes.Unavailable, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := steps(tt.steps...)
				in := &call.Incoming{Context: t.Context()}
				told := 0
				streamer := func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, _ string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
					err := s.step(ctx)
					if err == nil {
						return &fakeStream{}, nil
					}
					for _, o := range opts { // as grpc does where it cannot open a stream
						if o, ok := o.(grpc.OnFinishCallOption); ok {
							o.OnFinish(err)
						}
					}
					return nil, err
				}
				c := voting(timeout(time.Minute), traffic(tt.change...))
				_, err := interceptors.NewClient(interceptors.ClientConfig{Configs: c}).Stream(in, bidi, nil, method, streamer, grpc.OnFinish(func(error) { told++ }))
				if len(s.made) != tt.want || status.Code(err) != tt.code || in.Spent() != tt.spent {
					t.Errorf("%d attempts, %v, spent: %v", len(s.made), err, in.Spent())
				}
				if (told == 1) != (err != nil) {
					t.Errorf("the application is told %d times of a stream that came to %v", told, err)
				}
			})
		})
	}
}

// The breaker of the service hears of a stream when it is answered, and not only when
// it ends.
func TestAStreamTellsTheBreakerWhenItIsAnswered(t *testing.T) {
	for _, change := range [][]func(*resource.Traffic){with(tripping), with(retried(2), tripping)} {
		synctest.Test(t, func(t *testing.T) {
			conn, b := dialBackend(t, voting(traffic(change...)),
				after(0, codes.Internal), after(0, codes.Internal), after(0, codes.Internal), parrot)
			for range 3 {
				if _, err := rest(newStream(t, conn, bidi)); status.Code(err) != codes.Internal {
					t.Fatalf("got %v", err)
				}
			}
			if _, err := conn.NewStream(t.Context(), bidi, method); call.AsError(err) == nil || call.AsError(err).Reason != call.BreakerOpen {
				t.Fatalf("got %v", err)
			}
			time.Sleep(time.Minute)
			probe := newStream(t, conn, bidi)
			if _, err := conn.NewStream(t.Context(), bidi, method); call.AsError(err) == nil {
				t.Fatalf("beside the probe: %v", err)
			}
			send(t, probe, "a")
			if err := probe.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				t.Fatal(err)
			}
			newStream(t, conn, bidi)
			synctest.Wait()
			if b.made() != 5 {
				t.Errorf("%d streams, want 5", b.made())
			}
		})
	}
}
