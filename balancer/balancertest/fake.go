package balancertest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/balancer"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// An endpoint is a fake with a picker that counts.
type endpoint struct {
	name    string
	weight  uint32
	subConn *subConn
	done    func(balancer.DoneInfo)
	err     error
	picks   atomic.Int64
}

type subConn struct {
	balancer.SubConn

	endpoint *endpoint
}

// Pick implements grpc-go's balancer.Picker.
func (e *endpoint) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	e.picks.Add(1)
	return balancer.PickResult{SubConn: e.subConn, Done: e.done}, e.err
}

// A world is a pool of fakes.
type world struct {
	t         *testing.T
	config    *resource.Balancing
	endpoints []*endpoint
	members   []tulle.Member
	pool      *tulle.Pool
}

// newWorld makes a pool of n endpoints alike.
func newWorld(t *testing.T, config *resource.Balancing, n int) *world {
	t.Helper()
	weights := make([]uint32, n)
	for i := range weights {
		weights[i] = 1
	}
	return newWeighted(t, config, weights)
}

func newWeighted(t *testing.T, config *resource.Balancing, weights []uint32) *world {
	t.Helper()
	w := &world{t: t, config: config}
	for i, weight := range weights {
		e := &endpoint{name: fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256), weight: weight}
		e.subConn = &subConn{endpoint: e}
		w.endpoints = append(w.endpoints, e)
		w.members = append(w.members, tulle.Member{
			Endpoint: &resource.Endpoint{Addresses: []string{e.name}, Weight: weight, Instance: e.name},
			Picker:   e,
			Node:     tulle.NewNode(e.name),
			Local:    true,
		})
	}
	w.pool = tulle.NewPool(config, w.members)
	return w
}

// info is of a call that no interceptor began.
func info() balancer.PickInfo {
	return balancer.PickInfo{FullMethodName: "/test.Service/Method", Ctx: context.Background()}
}

// begin picks for one call; rpc may be nil.
func (w *world) begin(rpc *call.Call) (*endpoint, func(balancer.DoneInfo)) {
	result, err := w.pool.Pick(info(), rpc)
	if err != nil {
		w.t.Errorf("Pick: %v", err)
		return nil, func(balancer.DoneInfo) {}
	}
	return result.SubConn.(*subConn).endpoint, result.Done
}

// one makes one call that ends at once with err.
func (w *world) one(err error) *endpoint {
	e, done := w.begin(nil)
	done(ended(err))
	return e
}

// calls makes n calls that succeed, and counts where they went.
func (w *world) calls(n int) map[*endpoint]int {
	got := make(map[*endpoint]int)
	for range n {
		got[w.one(nil)]++
	}
	return got
}

// fail makes calls until want of them have gone to e, where they fail and nowhere
// else, and reports whether it could.
func (w *world) fail(e *endpoint, want int, err error) bool {
	for range 100_000 {
		got, done := w.begin(nil)
		if got != e {
			done(ended(nil))
			continue
		}
		done(ended(err))
		if want--; want == 0 {
			return true
		}
	}
	w.t.Errorf("%s gets no calls", e.name)
	return false
}

// ended is what grpc-go says at the end of a call that reached its endpoint.
func ended(err error) balancer.DoneInfo {
	return balancer.DoneInfo{Err: err, BytesSent: true, BytesReceived: true}
}

// A report is a load report as an endpoint sends it (ORCA).
type report struct{ utilization, qps float64 }

// GetApplicationUtilization is what is in use of the application.
func (r report) GetApplicationUtilization() float64 { return r.utilization }

// GetCpuUtilization is not reported.
func (r report) GetCpuUtilization() float64 { return 0 } //nolint:staticcheck // protobuf names it

// GetRpsFractional is how many calls are answered in a second.
func (r report) GetRpsFractional() float64 { return r.qps }

// GetEps is that none fails.
func (r report) GetEps() float64 { return 0 }
