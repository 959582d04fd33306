package telemetry

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
)

func TestSeriesAreBounded(t *testing.T) {
	in := New(Config{})
	for i := range 3 * maxSeries {
		in.ClientCall(ClientKey{Service: "voting", Method: fmt.Sprint("method ", i)}).Record(codes.OK, 1)
		in.ServerCall(ServerKey{Caller: fmt.Sprint("spiffe://caller/", i), Method: "m"}).Record(codes.OK, 1)
	}
	var calls, others uint64
	n := 0
	for _, p := range in.Snapshot().Points {
		n++
		calls += p.Count
		for _, a := range p.Attributes {
			if a.Key == "grpc.method" && a.Value == Other {
				others += p.Count
			}
		}
	}
	if limit := 2 * (maxSeries + maxOther + 1); n > limit {
		t.Errorf("%d series, want at most %d", n, limit)
	}
	if calls != 6*maxSeries || others < 3*maxSeries {
		t.Errorf("%d calls are counted, %d of them as other; want all %d", calls, others, 6*maxSeries)
	}
}

func TestCallsBeyondTheBoundWaitForNobody(t *testing.T) {
	in := New(Config{})
	for i := range maxSeries {
		in.ClientCall(ClientKey{Service: "voting", Method: fmt.Sprint(i)})
	}
	other := in.ClientCall(ClientKey{Service: "voting", Method: "one more"})
	in.calls.mu.Lock()
	defer in.calls.mu.Unlock()
	if in.ClientCall(ClientKey{Service: "voting", Method: "and another"}) != other {
		t.Error("two methods beyond the bound have series of their own")
	}
}

func TestACodeBeginsWithItsFirstCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := New(Config{})
		start := time.Now()
		k := ServerKey{Method: "Vote"}
		in.ServerCall(k).Record(codes.OK, time.Millisecond)
		time.Sleep(time.Minute)
		in.ServerCall(k).Record(codes.Internal, time.Millisecond)
		for _, p := range in.Snapshot().Points {
			want := start
			if p.Code == codes.Internal {
				want = start.Add(time.Minute)
			}
			if !p.Began.Equal(want) {
				t.Errorf("%v began at %v, want %v", p.Code, p.Began, want)
			}
		}
	})
}
