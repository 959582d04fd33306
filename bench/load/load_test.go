package load

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server answers unary calls as answer says, the n-th of which has begun, from zero.
type server struct {
	answer func(n int) error

	mu     sync.Mutex
	n      int
	open   int
	most   int
	stream func() grpc.ClientStream
}

func (s *server) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	s.mu.Lock()
	n := s.n
	s.n++
	s.open++
	s.most = max(s.most, s.open)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	return s.answer(n)
}

func (s *server) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return s.stream(), nil
}

// runs plans in the time of a bubble.
func runs(t *testing.T, s *server, p Plan) Result {
	t.Helper()
	r, err := run(t.Context(), []grpc.ClientConnInterface{s}, p, func(d time.Duration) error {
		<-time.After(d)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func percentiles(t *testing.T, r Result, ps ...float64) []float64 {
	t.Helper()
	got, err := r.Percentiles(ps...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestClosedLoopCallsAgainWhenItHasAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(int) error {
			time.Sleep(10 * time.Millisecond)
			return nil
		}}
		r := runs(t, s, Plan{Kind: Unary, Callers: 4, For: time.Second})
		if r.Ledger.OK != 400 || r.Ledger.Check() != nil || s.most != 4 || r.Took != time.Second {
			t.Errorf("%+v in %v, %d at once", r.Ledger, r.Took, s.most)
		}
		if got := percentiles(t, r, 50, 100); got[0] < 9_990 || got[1] > 10_010 {
			t.Errorf("p50 and most: %v us", got)
		}
	})
}

// A pause of the server delays all that was due in it, not only the calls that it was at.
func TestOpenLoopCountsFromWhenCallsWereDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &server{answer: func(int) error {
			if since := time.Since(began); since < 500*time.Millisecond {
				time.Sleep(500*time.Millisecond - since)
			}
			return nil
		}}
		r := runs(t, s, Plan{Kind: Unary, Rate: 1000, For: time.Second, Seed: 1})
		if err := r.Ledger.Check(); err != nil || r.Ledger.Due < 900 || r.Ledger.Due > 1100 {
			t.Errorf("%+v: %v", r.Ledger, err)
		}
		got := percentiles(t, r, 25, 75, 99)
		if got[0] > 250_000 || got[1] < 200_000 || got[2] < 480_000 {
			t.Errorf("p25, p75 and p99 are %v us: half of the calls waited for up to half a second", got)
		}
		again := runs(t, s, Plan{Kind: Unary, Rate: 1000, For: time.Second, Seed: 1})
		if again.Ledger.Due != r.Ledger.Due {
			t.Errorf("the same seed makes %d calls and then %d", r.Ledger.Due, again.Ledger.Due)
		}
	})
}

func TestWhatIsDueBeyondTheMostThatWaitIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(int) error {
			time.Sleep(time.Second)
			return nil
		}}
		r := runs(t, s, Plan{Kind: Unary, Rate: 1.5 * maxOpen, For: 900 * time.Millisecond, Seed: 2})
		l := r.Ledger
		if l.Sent != maxOpen || l.Skipped == 0 || l.Due != l.Sent+l.Skipped || l.Check() == nil {
			t.Errorf("%+v, and %v", l, l.Check())
		}
	})
}

func TestFailuresAreCountedByCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(n int) error {
			time.Sleep(time.Millisecond)
			if n%4 == 0 {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		}}
		r := runs(t, s, Plan{Kind: Unary, Callers: 1, For: 100 * time.Millisecond})
		if r.Ledger.OK != 75 || r.Ledger.Failed["Unavailable"] != 25 || r.Ledger.Check() == nil {
			t.Errorf("%+v", r.Ledger)
		}
	})
}

// A tape is a stream of so many messages.
type tape struct {
	grpc.ClientStream

	left int
	end  error
	wait func()
}

func (s *tape) SendMsg(any) error { return nil }
func (s *tape) CloseSend() error  { return nil }

func (s *tape) Header() (metadata.MD, error) { return metadata.MD{}, nil }

func (s *tape) RecvMsg(any) error {
	s.wait()
	if s.left == 0 {
		return s.end
	}
	s.left--
	return nil
}

func TestStreamsCountMessages(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		left       int
		end        error
		ok, failed int64
	}{
		{"of the server", ServerStream, streamMessages, io.EOF, streamMessages, 0},
		{"of the server that ends early", ServerStream, streamMessages - 1, io.EOF, 0, streamMessages},
		{"of the server that fails", ServerStream, 3, errors.New("broken"), 0, streamMessages},
		{"of both", BidiStream, streamMessages, io.EOF, streamMessages, 0},
		{"of both that fails", BidiStream, 3, errors.New("broken"), 3, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{stream: func() grpc.ClientStream {
					return &tape{left: tt.left, end: tt.end, wait: func() { time.Sleep(time.Millisecond) }}
				}}
				r := runs(t, s, Plan{Kind: tt.kind, Callers: 1, For: time.Millisecond})
				if r.Ledger.OK != tt.ok || r.Ledger.Failed["Unknown"] != tt.failed || r.Ledger.Due != tt.ok+tt.failed {
					t.Errorf("%+v", r.Ledger)
				}
			})
		})
	}
}

func TestPlansThatCannotBeMadeAreRefused(t *testing.T) {
	good := Plan{Kind: Unary, Callers: 1, For: time.Second}
	for name, change := range map[string]func(*Plan){
		"kind":     func(p *Plan) { p.Kind = "other" },
		"callers":  func(p *Plan) { p.Callers = 0 },
		"crowd":    func(p *Plan) { p.Callers = maxCallers + 1 },
		"time":     func(p *Plan) { p.For = time.Hour },
		"no time":  func(p *Plan) { p.For = 0 },
		"size":     func(p *Plan) { p.Bytes = maxBytes + 1 },
		"rate":     func(p *Plan) { p.Rate = -1 },
		"at rates": func(p *Plan) { p.Kind, p.Rate = BidiStream, 1 },
	} {
		p := good
		change(&p)
		if _, err := Run(t.Context(), nil, p); err == nil {
			t.Errorf("%s: %+v is taken", name, p)
		}
	}
}

// With Go's timers this would be half a millisecond late, and as much sooner as something
// else happened.
func TestCallsOfAnOpenLoopBeginWhenTheyAreDue(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there the clock is Go's")
	}
	c, err := newClock()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	const most = 250 * time.Microsecond
	var late time.Duration
	for range 5 { // others may have the processors for a while
		if late = lateness(t, c); late <= most {
			break
		}
	}
	t.Logf("late by %v at the median", late)
	if late > most {
		t.Errorf("half of the calls are more than %v late", late)
	}
	if err := c.sleep(0); err != nil {
		t.Error(err)
	}
}

// lateness is the median of two hundred short sleeps.
func lateness(t *testing.T, c *clock) time.Duration {
	t.Helper()
	const wait = 300 * time.Microsecond
	late := make([]time.Duration, 200)
	for i := range late {
		began := time.Now()
		if err := c.sleep(wait); err != nil {
			t.Fatal(err)
		}
		if late[i] = time.Since(began) - wait; late[i] < 0 {
			t.Fatalf("woken %v early", -late[i])
		}
	}
	slices.Sort(late)
	return late[len(late)/2]
}
