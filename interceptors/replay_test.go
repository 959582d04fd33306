package interceptors_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Each case runs with a goroutine that receives while another sends, and with one that
// sends all and then receives.
func TestAStreamIsSentAgainUntilItIsAnswered(t *testing.T) {
	for _, tt := range []struct {
		name     string
		change   []func(*resource.Traffic)
		handlers []func(grpc.ServerStream) error
		want     []string
		code     codes.Code // OK: the stream ends well
		attempts int
	}{
		{
			"with all that was sent", with(retried(3)),
			[]func(grpc.ServerStream) error{after(0, codes.Unavailable), after(2, codes.Unavailable), parrot},
			[]string{"a", "b", "c"},
			codes.OK, 3,
		},
		{
			"also after the sender is done", with(retried(3)),
			[]func(grpc.ServerStream) error{func(s grpc.ServerStream) error {
				if err := after(3, codes.OK)(s); err != nil {
					return err
				}
				if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF { //nolint:errorlint // grpc returns it bare
					return status.Errorf(codes.Internal, "got %v", err)
				}
				return status.Error(codes.Unavailable, "at the end")
			}, parrot},
			[]string{"a", "b", "c"},
			codes.OK, 2,
		},
		{
			"as often as its route says", with(retried(3)),
			[]func(grpc.ServerStream) error{after(1, codes.Unavailable)},
			nil, codes.Unavailable, 3,
		},
		{
			"not for another code", with(retried(3)),
			[]func(grpc.ServerStream) error{after(1, codes.Aborted), parrot},
			nil, codes.Aborted, 1,
		},
		{
			"not once a message came", with(retried(3)),
			[]func(grpc.ServerStream) error{func(s grpc.ServerStream) error {
				if err := s.SendMsg(wrapperspb.String("early")); err != nil {
					return err
				}
				return status.Error(codes.Unavailable, "late")
			}, parrot},
			[]string{"early"},
			codes.Unavailable, 1,
		},
		{
			"not where it must not be", nil,
			[]func(grpc.ServerStream) error{after(0, codes.Unavailable), parrot},
			nil, codes.Unavailable, 1,
		},
		{
			"not after more than is kept", with(retried(3, func(r *resource.Retry) { r.BufferBytes = 2 * 70 })),
			[]func(grpc.ServerStream) error{after(3, codes.Unavailable), parrot},
			nil, codes.Unavailable, 1,
		},
		{
			"a header that nobody asked for does not count", with(retried(3)),
			[]func(grpc.ServerStream) error{func(s grpc.ServerStream) error {
				if err := s.SendHeader(metadata.Pairs("x", "1")); err != nil {
					return err
				}
				return status.Error(codes.Unavailable, "after the header")
			}, parrot},
			[]string{"a", "b", "c"},
			codes.OK, 2,
		},
	} {
		for _, receives := range []string{"beside", "after"} {
			t.Run(tt.name+"/received "+receives, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					conn, b := dialBackend(t, voting(traffic(tt.change...)), tt.handlers...)
					s := newStream(t, conn, bidi)
					var got []string
					var err error
					var receiving sync.WaitGroup
					if receives == "beside" {
						receiving.Go(func() { got, err = rest(s) })
						synctest.Wait()
					}
					for _, m := range []string{"a", "b", "c"} {
						if err := s.SendMsg(wrapperspb.String(m)); err != nil {
							if err != io.EOF { //nolint:errorlint // grpc returns it bare
								t.Errorf("send %s: %v", m, err)
							}
							break
						}
						synctest.Wait()
					}
					if err := s.CloseSend(); err != nil {
						t.Error(err)
					}
					if receives == "after" {
						receiving.Go(func() { got, err = rest(s) })
					}
					receiving.Wait()
					if diff := cmp.Diff(tt.want, got); diff != "" {
						t.Error(diff)
					}
					if wantEnd := tt.code == codes.OK; (err == io.EOF) != wantEnd || !wantEnd && status.Code(err) != tt.code { //nolint:errorlint // grpc returns it bare
						t.Errorf("ended with %v, want %v", err, tt.code)
					}
					if n := b.made(); n != tt.attempts {
						t.Errorf("%d attempts, want %d", n, tt.attempts)
					}
					for i, previous := range b.previous {
						if want := fmt.Sprint(i); i > 0 && previous != want || i == 0 && previous != "" {
							t.Errorf("attempt %d says that %q came before", i, previous)
						}
					}
				})
			})
		}
	}
}

func TestUnaryAttemptsSayHowManyCameBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, b := dialBackend(t, voting(traffic(retried(3))), after(1, codes.Unavailable), after(1, codes.Unavailable), parrot)
		reply := new(wrapperspb.StringValue)
		if err := conn.Invoke(t.Context(), method, wrapperspb.String("a"), reply); err != nil || reply.GetValue() != "a" {
			t.Errorf("%v, %v", reply, err)
		}
		if diff := cmp.Diff([]string{"", "1", "2"}, b.previous); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheHeaderCommitsAStreamThatAskedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := make(chan struct{})
		conn, b := dialBackend(t, voting(traffic(retried(3))), after(0, codes.Unavailable), func(s grpc.ServerStream) error {
			if err := s.SendHeader(metadata.Pairs("x-attempt", "second")); err != nil {
				return err
			}
			<-late
			return status.Error(codes.Unavailable, "after the header")
		}, parrot)
		s := newStream(t, conn, bidi)
		md, err := s.Header()
		if err != nil || len(md.Get("x-attempt")) != 1 {
			t.Fatalf("header %v, %v", md, err)
		}
		close(late)
		if _, err := rest(s); status.Code(err) != codes.Unavailable || b.made() != 2 {
			t.Errorf("%v after %d attempts", err, b.made())
		}
	})
}

func TestTheHeaderOfAStreamThatHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, b := dialBackend(t, voting(traffic(retried(2))), after(0, codes.Unavailable))
		s := newStream(t, conn, bidi)
		if md, err := s.Header(); md != nil || err != nil {
			t.Errorf("header %v, %v", md, err)
		}
		if _, err := rest(s); status.Code(err) != codes.Unavailable || b.made() != 2 {
			t.Errorf("%v after %d attempts", err, b.made())
		}
		if err := s.SendMsg(wrapperspb.String("late")); err != io.EOF { //nolint:errorlint // grpc returns it bare
			t.Errorf("SendMsg after the end: %v", err)
		}
	})
}

// A message that came while only SendMsg looked is there for the first RecvMsg.
func TestAMessageThatCameEarlyIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, b := dialBackend(t, voting(traffic(retried(3))), func(s grpc.ServerStream) error {
			if err := s.SendMsg(wrapperspb.String("early")); err != nil {
				return err
			}
			return status.Error(codes.Unavailable, "late")
		})
		s := newStream(t, conn, bidi)
		synctest.Wait()
		if err := s.SendMsg(wrapperspb.String("a")); err != io.EOF { //nolint:errorlint // grpc returns it bare
			t.Errorf("SendMsg on a stream that ended: %v", err)
		}
		got, err := rest(s)
		if diff := cmp.Diff([]string{"early"}, got); diff != "" || status.Code(err) != codes.Unavailable || b.made() != 1 {
			t.Errorf("%v after %d attempts: %s", err, b.made(), diff)
		}
	})
}

func TestAClientStreamIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []error
		count := func(s grpc.ServerStream) error {
			var all []string
			for {
				m := new(wrapperspb.StringValue)
				if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
					return s.SendMsg(wrapperspb.String(strings.Join(all, "")))
				} else if err != nil {
					return err
				}
				all = append(all, m.GetValue())
			}
		}
		conn, b := dialBackend(t, voting(timeout(time.Hour), traffic(retried(3))), after(1, codes.Unavailable), after(2, codes.Unavailable), count)
		s := newStream(t, conn, &grpc.StreamDesc{ClientStreams: true}, grpc.OnFinish(func(err error) { told = append(told, err) }))
		for _, m := range []string{"a", "b", "c", "d"} {
			send(t, s, m)
			synctest.Wait()
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		reply := new(wrapperspb.StringValue)
		if err := s.RecvMsg(reply); err != nil || reply.GetValue() != "abcd" || b.made() != 3 {
			t.Errorf("%v, %v after %d attempts", reply, err, b.made())
		}
		if diff := cmp.Diff([]error{nil}, told); diff != "" {
			t.Errorf("the application is told %v", told)
		}
		if s.Context().Err() == nil {
			t.Error("the route's deadline goes on after the stream")
		}
	})
}

func TestAMessageMayBeUsedAgainOnceItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, _ := dialBackend(t, voting(traffic(retried(3))), after(3, codes.Unavailable), parrot)
		s := newStream(t, conn, bidi)
		m := new(wrapperspb.StringValue)
		for _, v := range []string{"a", "b", "c"} {
			m.Value = v
			if err := s.SendMsg(m); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		got, err := rest(s)
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" || err != io.EOF { //nolint:errorlint // grpc returns it bare
			t.Errorf("%v: %s", err, diff)
		}
	})
}

func TestAnAttemptOfAStreamHasItsTimeUntilItIsAnswered(t *testing.T) {
	hang := func(s grpc.ServerStream) error { <-s.Context().Done(); return nil }
	t.Run("another is made when that is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, b := dialBackend(t, voting(traffic(retried(2, perTry(time.Second)))), hang, parrot)
			start := time.Now()
			s := newStream(t, conn, bidi)
			send(t, s, "a")
			if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil || time.Since(start) != time.Second || b.made() != 2 {
				t.Errorf("%v after %v and %d attempts", err, time.Since(start), b.made())
			}
			time.Sleep(time.Hour) // the last has no time of its own
			send(t, s, "b")
			if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("an answer ends it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			conn, b := dialBackend(t, voting(traffic(retried(2, perTry(time.Second)))), parrot)
			s := newStream(t, conn, bidi)
			for range 3 {
				send(t, s, "a")
				if err := s.RecvMsg(new(wrapperspb.StringValue)); err != nil || b.made() != 1 {
					t.Errorf("%v after %d attempts", err, b.made())
				}
				time.Sleep(time.Hour)
			}
		})
	})
	t.Run("it is said where nothing comes after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			none := budget(resource.RetryBudget{Window: time.Second})
			conn, _ := dialBackend(t, voting(traffic(retried(2, perTry(time.Second)), none)), hang)
			s := newStream(t, conn, bidi)
			err := s.RecvMsg(new(wrapperspb.StringValue))
			if e := call.AsError(err); e == nil || e.Reason != call.PerTryTimeout || e.Code != codes.DeadlineExceeded {
				t.Errorf("got %v", err)
			}
			if again := s.RecvMsg(new(wrapperspb.StringValue)); !errors.Is(again, err) {
				t.Errorf("then %v, want the same", again)
			}
		})
	})
}

// Whatever the interleaving of who sends, who receives and an attempt that breaks, an
// answered stream has had each message once and in order.
func TestStreamsThatBreakAtRandom(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		messages := make([]string, random.IntN(20))
		for i := range messages {
			messages[i] = fmt.Sprint(i)
		}
		var handlers []func(grpc.ServerStream) error
		for range random.IntN(5) {
			handlers = append(handlers, after(random.IntN(len(messages)+1), codes.Unavailable))
		}
		handlers = append(handlers, parrot)
		header := random.IntN(3) == 0
		pause := time.Duration(random.IntN(3)) * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			conn, b := dialBackend(t, voting(traffic(retried(5, backoff(2*time.Millisecond, 2*time.Millisecond)))), handlers...)
			s := newStream(t, conn, bidi)
			var others sync.WaitGroup
			others.Go(func() {
				for _, m := range messages {
					if err := s.SendMsg(wrapperspb.String(m)); err != nil {
						t.Errorf("send %s: %v", m, err)
					}
					time.Sleep(pause)
				}
				if err := s.CloseSend(); err != nil {
					t.Error(err)
				}
			})
			if header {
				others.Go(func() {
					if _, err := s.Header(); err != nil {
						t.Error(err)
					}
				})
			}
			got, err := rest(s)
			others.Wait()
			if diff := cmp.Diff(messages, got, cmpopts.EquateEmpty()); diff != "" || err != io.EOF || b.made() != len(handlers) { //nolint:errorlint // grpc returns it bare
				t.Errorf("%v after %d attempts of %d: %s", err, b.made(), len(handlers), diff)
			}
		})
		if t.Failed() {
			return
		}
	}
}
