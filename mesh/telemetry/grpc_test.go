package telemetry

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

// standard returns what a snapshot says in gRPC's names, one line a point.
func standard(s *Snapshot) []string {
	var lines []string
	for _, p := range s.GRPC() {
		line := fmt.Sprint(p.Name, " ", StatusName(p.Code), " ", p.Count)
		for _, a := range p.Attributes {
			line += fmt.Sprintf(" %s=%s", a.Key, a.Value)
		}
		lines = append(lines, line)
	}
	slices.SortFunc(lines, cmp.Compare[string])
	return lines
}

func TestGRPCsNamesTellApartWhatGRPCDoes(t *testing.T) {
	in := New(Config{Service: "web"})
	for _, route := range []string{"", "canary"} {
		in.ClientCall(ClientKey{Service: "voting", Route: route, Method: "/v.V/Vote"}).Record(codes.OK, time.Millisecond)
		for _, cluster := range []string{"voting/v1", "voting/v2"} {
			for _, local := range []bool{true, false} {
				k := AttemptKey{Service: "voting", Route: route, Method: "/v.V/Vote", Cluster: cluster, Local: local}
				in.ClientAttempt(k).Record(codes.OK, time.Millisecond)
			}
		}
	}
	in.ClientCall(ClientKey{Service: "voting", Method: "/v.V/Vote"}).Record(codes.Unavailable, time.Millisecond)
	for i := range 3 {
		in.ServerCall(ServerKey{Caller: fmt.Sprint("spiffe://a/", i), Method: "/w.W/Get"}).Record(codes.NotFound, time.Second)
	}
	want := []string{
		"grpc.client.attempt.duration OK 4 grpc.method=/v.V/Vote grpc.target=mesh:///voting grpc.lb.backend_service=voting/v1",
		"grpc.client.attempt.duration OK 4 grpc.method=/v.V/Vote grpc.target=mesh:///voting grpc.lb.backend_service=voting/v2",
		"grpc.client.call.duration OK 2 grpc.method=/v.V/Vote grpc.target=mesh:///voting",
		"grpc.client.call.duration UNAVAILABLE 1 grpc.method=/v.V/Vote grpc.target=mesh:///voting",
		"grpc.server.call.duration NOT_FOUND 3 grpc.method=/w.W/Get",
	}
	if diff := gocmp.Diff(want, standard(in.Snapshot())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestGRPCsCountsDoNotShrinkWhenAPartLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := New(Config{Service: "web"})
		start := time.Now()
		calls := uint64(0)
		call := func(caller string) {
			in.ServerCall(ServerKey{Caller: caller, Method: "/w.W/Get"}).Record(codes.OK, time.Millisecond)
			calls++
		}
		count := func() (n uint64) {
			for _, p := range in.Snapshot().GRPC() {
				n += p.Count
				if !p.Began.Equal(start) {
					t.Errorf("at %v it began at %v", time.Since(start), p.Began.Sub(start))
				}
			}
			return n
		}
		call("spiffe://a/once")
		for minute := range 40 {
			call("spiffe://a/often")
			if minute == 30 {
				call("spiffe://a/once") // it comes back
			}
			if n := count(); n != calls {
				t.Fatalf("after %d minutes %d calls are counted, want %d", minute, n, calls)
			}
			if n := len(in.Snapshot().Points); minute == 20 && n != 1 {
				t.Errorf("%d series are there, want that of the one who calls", n)
			}
			time.Sleep(time.Minute)
		}
		for range 15 {
			count()
			time.Sleep(time.Minute)
		}
		if n := count(); n != 0 {
			t.Errorf("%d calls are told of 15 minutes after the last", n)
		}
	})
}
