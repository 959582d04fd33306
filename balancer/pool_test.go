package balancer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tulle-mesh/tulle/mesh/breaker"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// pick picks for a call that goes on.
func (l *lab) pick(rpc *call.Call) (func(balancer.DoneInfo), *fake) {
	l.t.Helper()
	result, err := l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
	if err != nil {
		l.t.Fatalf("a pick failed: %v", err)
	}
	return result.Done, l.at(rpc.Endpoint())
}

func TestACallIsNotTriedTwiceAtOnePlace(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		for range 200 {
			rpc := l.call()
			seen := make(map[string]bool)
			for n := range uint32(3) {
				rpc.Begin(n)
				l.one(rpc)
				seen[rpc.Endpoint()] = true
			}
			if len(seen) != 3 {
				l.t.Fatalf("three attempts went to %v", seen)
			}
			rpc.Begin(3)
			if r := l.one(rpc); r.err != nil {
				l.t.Fatalf("a fourth attempt, of three endpoints, got %v", r.err)
			}
		}
	})
}

func TestAConnectionThatIsGoneIsNoCall(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		rpc := l.call()
		for range 100 {
			done, _ := l.pick(rpc)
			done(balancer.DoneInfo{})
		}
		s := l.pool.Status()[0]
		if rpc.HasTried(s.Address) || s.Open != 0 || !s.Guess || s.Breaker != breaker.Closed {
			t.Errorf("after picks without a call the endpoint is %+v, tried %v", s, rpc.HasTried(s.Address))
		}
	})
}

func TestOutcome(t *testing.T) {
	failed := status.Error(codes.Unavailable, "no")
	pushback := func(values ...string) metadata.MD { return metadata.MD{"grpc-retry-pushback-ms": values} }
	for _, tt := range []struct {
		name string
		info balancer.DoneInfo
		want call.Outcome
	}{
		{"a success leaves what was assumed", balancer.DoneInfo{BytesSent: true}, call.Outcome{Sent: true}},
		{"what was not sent says so", balancer.DoneInfo{Err: failed}, call.Outcome{}},
		{"what was sent says so", balancer.DoneInfo{Err: failed, BytesSent: true}, call.Outcome{Sent: true}},
		{
			"the endpoint says when",
			balancer.DoneInfo{Err: failed, BytesSent: true, Trailer: pushback("1500")},
			call.Outcome{Sent: true, Pushback: 1500 * time.Millisecond},
		},
		{"at once is not nothing", balancer.DoneInfo{Err: failed, BytesSent: true, Trailer: pushback("0")}, call.Outcome{Sent: true, Pushback: 1}},
		{"never", balancer.DoneInfo{Err: failed, BytesSent: true, Trailer: pushback("-1")}, call.Outcome{Sent: true, Pushback: -1}},
		{"what cannot be read is never", balancer.DoneInfo{Err: failed, BytesSent: true, Trailer: pushback("soon")}, call.Outcome{Sent: true, Pushback: -1}},
		{"two are never", balancer.DoneInfo{Err: failed, BytesSent: true, Trailer: pushback("1", "2")}, call.Outcome{Sent: true, Pushback: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 1, func(l *lab) {
				rpc := l.call()
				rpc.Begin(0)
				done, _ := l.pick(rpc)
				done(tt.info)
				if diff := cmp.Diff(tt.want, rpc.Outcome); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Which ends of calls count against an endpoint: seven in a row open its breaker.
func TestWhatCounts(t *testing.T) {
	sent := func(code codes.Code, received bool) balancer.DoneInfo {
		return balancer.DoneInfo{Err: status.Error(code, "x"), BytesSent: true, BytesReceived: received}
	}
	for _, tt := range []struct {
		name   string
		info   balancer.DoneInfo
		ctx    func() context.Context // of the call when it ends; nil lasts
		took   time.Duration
		stream bool
		want   bool
	}{
		{name: "an endpoint that is unavailable", info: sent(codes.Unavailable, true), want: true},
		{name: "a connection that broke", info: sent(codes.Unavailable, false), want: true},
		{name: "a call that was not sent", info: balancer.DoneInfo{Err: status.Error(codes.Unavailable, "x")}},
		{name: "an answer", info: sent(codes.NotFound, true)},
		{name: "a call that the application gave up", info: sent(codes.Canceled, false), ctx: gone},
		{name: "a refusal of the mesh", info: balancer.DoneInfo{Err: &call.Error{Code: codes.Unavailable}, BytesSent: true}},
		{name: "a message that cannot be encoded", info: balancer.DoneInfo{
			Err: status.Error(codes.Internal, "grpc: error while marshaling: bad"), BytesSent: true,
		}},
		{name: "a stream that was reset", info: sent(codes.Internal, false), want: true},
		{name: "a try that was not answered in its time", info: sent(codes.DeadlineExceeded, false), want: true},
		{name: "an endpoint that says it took too long", info: sent(codes.DeadlineExceeded, true), want: true},
		{name: "a deadline too short for any endpoint", info: sent(codes.DeadlineExceeded, false), ctx: late, took: time.Millisecond},
		{name: "a deadline that was long enough", info: sent(codes.DeadlineExceeded, false), ctx: late, took: time.Second, want: true},
		{name: "a stream that was as old as its caller wanted", info: sent(codes.DeadlineExceeded, true), ctx: late, took: time.Hour, stream: true},
		{name: "a stream that fails", info: sent(codes.Unavailable, true), took: time.Hour, stream: true, want: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inLab(t, 2, func(l *lab) {
				e := l.endpoints[0]
				for range 7 {
					rpc := l.call()
					rpc.Stream = tt.stream
					rpc.Try(l.endpoints[1].address)
					done, _ := l.pick(rpc)
					time.Sleep(tt.took)
					if tt.ctx != nil {
						rpc.Context = tt.ctx()
					}
					done(tt.info)
				}
				if got := e.node.breaker.Load().State() == breaker.Open; got != tt.want {
					t.Errorf("seven of them open the breaker: %v, want %v", got, tt.want)
				}
			})
		})
	}
}

func gone() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func late() context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	cancel()
	return ctx
}

func TestLimitPerEndpoint(t *testing.T) {
	inLab(t, 3, func(l *lab) {
		l.config.MaxRequestsPerEndpoint = 2
		l.open()
		var ends []func(balancer.DoneInfo)
		got := make(map[string]int)
		for range 6 {
			done, e := l.pick(l.call())
			ends = append(ends, done)
			got[e.address]++
		}
		for _, e := range l.endpoints {
			if got[e.address] != 2 {
				t.Errorf("%s got %d of 6 calls", e.address, got[e.address])
			}
		}
		rpc := l.call()
		_, err := l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
		failure := call.AsError(err)
		if failure == nil || failure.Reason != call.MaxRequestsPerEndpoint || rpc.Failure != failure {
			l.t.Fatalf("a seventh call got %v", err)
		}
		want := `mesh: max requests per endpoint reached: this process has 2 calls open to each endpoint of "voting", its limit; ` +
			"try: raise the limit, or add instances of voting"
		if failure.Error() != want {
			t.Errorf("it says %q,\nwant %q", failure, want)
		}
		l.endpoints[0].node.Eject(true)
		_, err = l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
		if !strings.Contains(fmt.Sprint(err), "(3 known: 1 ejected as outlier, 2 at its limit)") {
			t.Errorf("with one ejected it says %v", err)
		}
		for _, done := range ends {
			done(balancer.DoneInfo{BytesSent: true})
		}
		l.pick(l.call())
	})
}

func TestTheLimitIsNeverPassed(t *testing.T) {
	inLab(t, 4, func(l *lab) {
		l.config.MaxRequestsPerEndpoint = 3
		l.open()
		var callers sync.WaitGroup
		for range 40 {
			callers.Go(func() {
				for range 100 {
					rpc := l.call()
					result, err := l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
					for _, e := range l.endpoints {
						if n := e.node.Open(); n > 3 {
							t.Errorf("%d calls are open to one endpoint", n)
						}
					}
					time.Sleep(time.Millisecond)
					if err == nil {
						result.Done(balancer.DoneInfo{BytesSent: true})
					}
				}
			})
		}
		callers.Wait()
		for _, e := range l.endpoints {
			if n := e.node.total.Load().count.Load(); n != 0 {
				t.Errorf("%d calls are counted in the end", n)
			}
		}
	})
}

func TestAnEndpointsErrorTakesNothing(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		l.config.MaxRequestsPerEndpoint = 1
		l.open()
		l.endpoints[0].err = errors.New("closing")
		for range 3 {
			rpc := l.call()
			if _, err := l.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc); !errors.Is(err, l.endpoints[0].err) {
				l.t.Fatalf("Pick = %v", err)
			}
		}
		l.endpoints[0].err = nil
		l.pick(l.call())
		if s := l.pool.Status()[0]; s.Open != 1 || s.Calls != 1 {
			t.Errorf("after one call the endpoint is %+v", s)
		}
	})
}

func TestStreamsAreOpenCallsAndNoLatency(t *testing.T) {
	inLab(t, 1, func(l *lab) {
		rpc := l.call()
		rpc.Stream = true
		done, _ := l.pick(rpc)
		time.Sleep(time.Hour)
		if s := l.pool.Status()[0]; s.Open != 1 || s.Streams != 1 {
			t.Errorf("with a stream open the endpoint is %+v", s)
		}
		done(balancer.DoneInfo{BytesSent: true})
		synctest.Wait()
		if s := l.pool.Status()[0]; s.Open != 0 || s.Streams != 0 || !s.Guess {
			t.Errorf("after it the endpoint is %+v", s)
		}
	})
}
