package hedge_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tulle-mesh/tulle/interceptors/hedge"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	ms     = time.Millisecond
	method = "/voting.v1.Voting/Vote"
)

// An answer is what one attempt comes to.
type answer struct {
	after    time.Duration
	code     codes.Code
	refused  bool // by the mesh: nothing was sent
	pushback time.Duration
}

// script is an invoker whose attempts are answered in turn, with their numbers as
// reply, by endpoints of the same numbers. An attempt that is cancelled ends at once.
type script struct {
	begun   time.Time
	answers []answer

	mu      sync.Mutex
	started []time.Duration
	ended   map[int]time.Duration
	headers []string
}

func (s *script) invoke(ctx context.Context, _ string, _, reply any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
	rpc := call.FromContext(ctx)
	s.mu.Lock()
	n := len(s.started)
	s.started = append(s.started, time.Since(s.begun))
	s.headers = append(s.headers, metadata.ValueFromOutgoingContext(ctx, hedge.Header)...)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended[n] = time.Since(s.begun)
	}()
	a := s.answers[n]
	if !a.refused {
		rpc.Try(strconv.Itoa(n))
	}
	select {
	case <-time.After(a.after):
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	if a.refused {
		rpc.Failure = &call.Error{Service: "voting", Reason: call.NoEndpoint, Code: codes.Unavailable, Detail: "none is there"}
		return rpc.Failure
	}
	rpc.Outcome.Pushback = a.pushback
	if a.code != codes.OK {
		return status.Errorf(a.code, "attempt %d", n)
	}
	reply.(*wrapperspb.Int64Value).Value = int64(n)
	return nil
}

func TestTheFirstAnswerWins(t *testing.T) {
	twice, thrice := &resource.Hedge{Delay: 10 * ms, Attempts: 2}, &resource.Hedge{Delay: 10 * ms, Attempts: 3}
	const slow = time.Hour
	ok := func(after time.Duration) answer { return answer{after: after} }
	fails := func(after time.Duration, code codes.Code) answer { return answer{after: after, code: code} }
	for _, tt := range []struct {
		name     string
		policy   *resource.Hedge
		answers  []answer
		budget   int           // attempts; -1 is without bound
		deadline time.Duration // zero is none

		started []time.Duration
		took    time.Duration
		code    codes.Code
		winner  int
		tally   hedge.Tally
	}{
		{
			name: "an answer in time is all there is", policy: twice,
			answers: []answer{ok(9 * ms)}, budget: -1,
			started: []time.Duration{0}, took: 9 * ms,
		},
		{
			name: "a hedge may be faster", policy: twice,
			answers: []answer{ok(slow), ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 15 * ms, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "a hedge may be slower", policy: twice,
			answers: []answer{ok(12 * ms), ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 12 * ms, tally: hedge.Tally{Extra: 1},
		},
		{
			name: "each hedge comes a delay after the one before", policy: thrice,
			answers: []answer{ok(slow), ok(slow), ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 10 * ms, 20 * ms}, took: 25 * ms, winner: 2, tally: hedge.Tally{Extra: 2, Won: true},
		},
		{
			name: "there are no more attempts than the policy's", policy: thrice,
			answers: []answer{ok(50 * ms), ok(slow), ok(slow)}, budget: -1,
			started: []time.Duration{0, 10 * ms, 20 * ms}, took: 50 * ms, tally: hedge.Tally{Extra: 2},
		},
		{
			name: "there are no more attempts than gRFC A6 lets there be", policy: &resource.Hedge{Delay: 10 * ms, Attempts: 100},
			answers: []answer{ok(time.Second), ok(slow), ok(slow), ok(slow), ok(slow)}, budget: -1,
			started: []time.Duration{0, 10 * ms, 20 * ms, 30 * ms, 40 * ms}, took: time.Second, tally: hedge.Tally{Extra: 4},
		},
		{
			name: "a failure that nothing mends is an answer", policy: twice,
			answers: []answer{ok(slow), fails(5*ms, codes.NotFound)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 15 * ms, code: codes.NotFound, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "a failure that another attempt may mend does not wait for the timer", policy: twice,
			answers: []answer{fails(2*ms, codes.Unavailable), ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 2 * ms}, took: 7 * ms, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "after a failure the delay begins anew", policy: thrice,
			answers: []answer{fails(8*ms, codes.Unavailable), ok(slow), ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 8 * ms, 18 * ms}, took: 23 * ms, winner: 2, tally: hedge.Tally{Extra: 2, Won: true},
		},
		{
			name: "a hedge that fails waits for those that run", policy: twice,
			answers: []answer{ok(30 * ms), fails(ms, codes.Unavailable)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 30 * ms, tally: hedge.Tally{Extra: 1},
		},
		{
			name: "a first attempt that fails waits for those that run", policy: twice,
			answers: []answer{fails(12*ms, codes.Unavailable), ok(20 * ms)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 30 * ms, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "where all fail the last says how", policy: twice,
			answers: []answer{fails(20*ms, codes.Unavailable), fails(20*ms, codes.ResourceExhausted)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 30 * ms, code: codes.ResourceExhausted, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "without a budget there is no hedge", policy: thrice,
			answers: []answer{ok(30 * ms)}, budget: 0,
			started: []time.Duration{0}, took: 30 * ms, tally: hedge.Tally{Denied: true},
		},
		{
			name: "without a budget a failure is the answer", policy: thrice,
			answers: []answer{fails(ms, codes.Unavailable)}, budget: 0,
			started: []time.Duration{0}, took: ms, code: codes.Unavailable, tally: hedge.Tally{Denied: true},
		},
		{
			name: "the budget ends hedging midway", policy: thrice,
			answers: []answer{ok(50 * ms), ok(slow)}, budget: 1,
			started: []time.Duration{0, 10 * ms}, took: 50 * ms, tally: hedge.Tally{Extra: 1, Denied: true},
		},
		{
			name: "an endpoint that pushes back for good is the last one", policy: thrice,
			answers: []answer{{after: ms, code: codes.Unavailable, pushback: -1}}, budget: -1,
			started: []time.Duration{0}, took: ms, code: codes.Unavailable,
		},
		{
			name: "an endpoint that pushes back lets those that run go on", policy: thrice,
			answers: []answer{ok(50 * ms), {after: ms, code: codes.Unavailable, pushback: -1}}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 50 * ms, tally: hedge.Tally{Extra: 1},
		},
		{
			name: "an endpoint may say when", policy: thrice,
			answers: []answer{{after: ms, code: codes.Unavailable, pushback: 100 * ms}, ok(ms)}, budget: -1,
			started: []time.Duration{0, 101 * ms}, took: 102 * ms, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "a pushback beyond the deadline is the end", policy: thrice, deadline: 100 * ms,
			answers: []answer{{after: ms, code: codes.Unavailable, pushback: 100 * ms}}, budget: -1,
			started: []time.Duration{0}, took: ms, code: codes.Unavailable,
		},
		{
			name: "an answer ends the wait of a pushback", policy: thrice,
			answers: []answer{ok(50 * ms), {after: ms, code: codes.Unavailable, pushback: time.Minute}}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 50 * ms, tally: hedge.Tally{Extra: 1},
		},
		{
			name: "what the mesh refused waits for the timer", policy: thrice,
			answers: []answer{{after: ms, refused: true}, ok(5 * ms)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 15 * ms, winner: 1, tally: hedge.Tally{Extra: 1, Won: true},
		},
		{
			name: "a deadline ends all attempts", policy: thrice, deadline: 15 * ms,
			answers: []answer{ok(slow), ok(slow)}, budget: -1,
			started: []time.Duration{0, 10 * ms}, took: 15 * ms, code: codes.DeadlineExceeded, winner: -1, tally: hedge.Tally{Extra: 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
					defer cancel()
				}
				var taken atomic.Int64
				plan := hedge.Plan{
					Policy:    tt.policy,
					Retryable: resource.Codes(uint32(codes.Unavailable), uint32(codes.ResourceExhausted), uint32(codes.DeadlineExceeded)),
					Take:      func() bool { return tt.budget < 0 || taken.Add(1) <= int64(tt.budget) },
				}
				s := &script{begun: time.Now(), answers: tt.answers, ended: map[int]time.Duration{}}
				rpc := &call.Call{Context: ctx, Service: "voting", Method: method, Cluster: "voting/v2"}
				rpc.Begin(0)
				reply := wrapperspb.Int64(-1)
				var hedges hedge.Hedger
				tally, err := hedges.Do(rpc, plan, hedge.Unary{Method: method, Request: wrapperspb.Int64(7), Reply: reply, Invoker: s.invoke})

				if took := time.Since(s.begun); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
				if status.Code(err) != tt.code {
					t.Errorf("got %v, want %v", err, tt.code)
				}
				if tt.winner < 0 {
					tally.Won = tt.tally.Won // both end at once
				} else if tt.code == codes.OK && reply.Value != int64(tt.winner) || rpc.Attempt != uint32(tt.winner) {
					t.Errorf("the reply is of attempt %d, the call of %d, want %d", reply.Value, rpc.Attempt, tt.winner)
				} else if want := strconv.Itoa(tt.winner); rpc.Endpoint() != want || rpc.Failure != nil {
					t.Errorf("the call's endpoint is %s, its failure %v, want %s and none", rpc.Endpoint(), rpc.Failure, want)
				}
				if tally != tt.tally {
					t.Errorf("got %+v, want %+v", tally, tt.tally)
				}
				if rpc.Context != ctx {
					t.Error("the call has not its own context back")
				}
				if len(s.started) != len(tt.started) || len(s.ended) != len(s.started) {
					t.Fatalf("attempts started at %v and ended at %v, want %v", s.started, s.ended, tt.started)
				}
				for n, at := range s.started {
					if at != tt.started[n] {
						t.Errorf("attempt %d started at %v, want %v", n, at, tt.started[n])
					}
					if n > 0 && s.headers[n-1] != strconv.Itoa(n) {
						t.Errorf("the headers are %v, want those of %d attempts", s.headers, n)
					}
				}
			})
		})
	}
}

func TestACallThatTheApplicationCancelsEndsAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []answer
	}{
		{"while attempts run", []answer{{after: time.Hour}, {after: time.Hour}}},
		{"while it waits for a pushback", []answer{{code: codes.Unavailable, pushback: time.Hour}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				s := &script{begun: time.Now(), answers: tt.answers, ended: map[int]time.Duration{}}
				rpc := &call.Call{Context: ctx}
				var hedges hedge.Hedger
				_, err := hedges.Do(rpc, hedge.Plan{
					Policy:    &resource.Hedge{Delay: 10 * ms, Attempts: 2},
					Retryable: resource.Codes(uint32(codes.Unavailable), uint32(codes.Canceled)),
				}, hedge.Unary{Request: wrapperspb.Int64(7), Reply: wrapperspb.Int64(0), Invoker: s.invoke})
				if err == nil || time.Since(s.begun) != time.Second {
					t.Errorf("got %v after %v, want a failure after a second", err, time.Since(s.begun))
				}
			})
		})
	}
}

// The picker of an attempt avoids the endpoints of those before, and what it notes
// does not reach the others.
func TestAnAttemptKnowsWhatWasTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		picked := make(chan struct{}) // what a picker does is ordered before what comes after
		var known [3][]string
		invoker := func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			rpc := call.FromContext(ctx)
			n := rpc.Attempt
			if rpc.Cluster != "voting/v2" || rpc.Hash != 7 || !rpc.Outcome.Sent || rpc.Failure != nil {
				t.Errorf("attempt %d has the call %+v", n, rpc)
			}
			for _, address := range []string{"a", "b", "c"} {
				if rpc.HasTried(address) {
					known[n] = append(known[n], address)
				}
			}
			rpc.Try([]string{"a", "b", "c"}[n])
			if n == 2 {
				close(picked)
			}
			<-picked
			if n < 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		rpc := &call.Call{Context: t.Context(), Cluster: "voting/v2", Hash: 7, Hashed: true}
		rpc.Begin(0)
		var hedges hedge.Hedger
		if _, err := hedges.Do(rpc, hedge.Plan{Policy: &resource.Hedge{Delay: 10 * ms, Attempts: 3}},
			hedge.Unary{Request: wrapperspb.Int64(7), Reply: wrapperspb.Int64(0), Invoker: invoker}); err != nil {
			t.Fatal(err)
		}
		if len(known[0]) != 0 || len(known[1]) != 1 || len(known[2]) != 2 {
			t.Errorf("attempts knew of %v", known)
		}
		if !rpc.HasTried("a") || !rpc.HasTried("c") || rpc.Endpoint() != "c" {
			t.Errorf("afterwards the call knows of %q", rpc.Endpoint())
		}
	})
}

// The first attempt may be reading its answer when the second begins; the race
// detector watches.
func TestAnAttemptMayWriteItsReplyWhileAnotherBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		invoker := func(ctx context.Context, _ string, _, reply any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
			if call.FromContext(ctx).Attempt == 0 {
				time.Sleep(10 * ms) // the timer goes off at this very moment
			}
			proto.Reset(reply.(proto.Message))
			return nil
		}
		rpc := &call.Call{Context: t.Context()}
		rpc.Begin(0)
		var hedges hedge.Hedger
		if _, err := hedges.Do(rpc, hedge.Plan{Policy: &resource.Hedge{Delay: 10 * ms, Attempts: 2}},
			hedge.Unary{Request: wrapperspb.Int64(7), Reply: wrapperspb.Int64(0), Invoker: invoker}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatCannotBeHedgedIsMadeOnce(t *testing.T) {
	text := "not protobuf"
	message := wrapperspb.Int64(0)
	for _, tt := range []struct {
		name           string
		policy         *resource.Hedge
		request, reply any
	}{
		{"without a policy", nil, message, message},
		{"with one attempt", &resource.Hedge{Delay: ms, Attempts: 1}, message, message},
		{"a reply that is not protobuf", &resource.Hedge{Delay: ms, Attempts: 2}, message, &text},
		{"a reply that is nil", &resource.Hedge{Delay: ms, Attempts: 2}, message, (*wrapperspb.Int64Value)(nil)},
		{"a request that is not protobuf", &resource.Hedge{Delay: ms, Attempts: 2}, &text, message},
		{"a method whose latency is not known", &resource.Hedge{Quantile: 0.95, Attempts: 2}, message, message},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				failure := errors.New("slow")
				rpc := &call.Call{Context: t.Context()}
				var hedges hedge.Hedger
				tally, err := hedges.Do(rpc, hedge.Plan{Policy: tt.policy}, hedge.Unary{
					Request: tt.request, Reply: tt.reply,
					Invoker: func(ctx context.Context, _ string, _, _ any, _ *grpc.ClientConn, _ ...grpc.CallOption) error {
						calls++
						if ctx != rpc {
							t.Error("the call is another")
						}
						time.Sleep(time.Minute)
						return failure
					},
				})
				if calls != 1 || !errors.Is(err, failure) || tally != (hedge.Tally{}) {
					t.Errorf("got %d calls, %v, %+v", calls, err, tally)
				}
			})
		})
	}
}
