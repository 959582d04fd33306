package balancer_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A load is a report with the calls a second that an endpoint answers at half its
// utilization; zero is no report.
type load float64

func (load) GetApplicationUtilization() float64 { return 0.5 }
func (load) GetCpuUtilization() float64         { return 0 } //nolint:staticcheck // protobuf names it
func (l load) GetRpsFractional() float64        { return float64(l) }
func (load) GetEps() float64                    { return 0 }

// reported is a pool of endpoints with loads, which tests change.
type reported struct {
	t     *testing.T
	loads []load
	pool  *tulle.Pool
}

func newReported(t *testing.T, config *resource.Balancing, loads ...load) *reported {
	t.Helper()
	r := &reported{t: t, loads: loads}
	members := make([]tulle.Member, len(loads))
	for i := range members {
		address := fmt.Sprint(i)
		members[i] = tulle.Member{
			Endpoint: &resource.Endpoint{Addresses: []string{address}, Weight: 1},
			Picker:   named(address), Node: tulle.NewNode(address), Local: true,
		}
	}
	r.pool = tulle.NewPool(config, members)
	return r
}

// calls makes n calls, each of which brings a report where its endpoint makes any.
func (r *reported) calls(n int) []int {
	r.t.Helper()
	got := make([]int, len(r.loads))
	for range n {
		rpc := &call.Call{Context: r.t.Context()}
		result, err := r.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
		if err != nil {
			r.t.Fatal(err)
		}
		i := int(rpc.Endpoint()[0] - '0')
		got[i]++
		info := balancer.DoneInfo{BytesSent: true, BytesReceived: true}
		if r.loads[i] > 0 {
			info.ServerLoad = r.loads[i]
		}
		result.Done(info)
	}
	return got
}

func TestWeightsOfReports(t *testing.T) {
	for _, tt := range []struct {
		name  string
		loads []load
		want  []int // of 1200 calls
	}{
		{"without reports each has its turn", []load{0, 0, 0}, []int{400, 400, 400}},
		{"one report tells nothing of the others", []load{100, 0, 0}, []int{400, 400, 400}},
		{"turns are by weight", []load{100, 200, 300}, []int{200, 400, 600}},
		{"who does not report gets the mean", []load{100, 0, 300}, []int{200, 400, 600}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := resource.StandardBalancing(resource.WeightedRoundRobin)
				r := newReported(t, &config, tt.loads...)
				r.calls(30)
				time.Sleep(config.WeightedRoundRobin.BlackoutPeriod)
				got := r.calls(1200)
				for i := range got {
					if got[i] < tt.want[i]*98/100 || got[i] > tt.want[i]*102/100 {
						t.Errorf("calls went %v, want %v", got, tt.want)
						break
					}
				}
			})
		})
	}
}

func TestWeightsAreFollowedOnceAPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := resource.StandardBalancing(resource.WeightedRoundRobin)
		r := newReported(t, &config, 100, 100)
		r.calls(10)
		time.Sleep(config.WeightedRoundRobin.BlackoutPeriod)
		expect := func(a, b int) {
			t.Helper()
			if got := r.calls(400); got[0] < a-4 || got[0] > a+4 {
				t.Errorf("calls went %v, want %d and %d", got, a, b)
			}
		}
		expect(200, 200)
		r.loads[1] = 300
		r.calls(10)
		time.Sleep(config.WeightedRoundRobin.WeightUpdatePeriod - time.Nanosecond)
		expect(200, 200)
		time.Sleep(time.Nanosecond)
		expect(100, 300)

		// Reports that nobody makes any more expire.
		r.loads = []load{0, 0}
		time.Sleep(config.WeightedRoundRobin.WeightExpirationPeriod)
		expect(200, 200)
	})
}

func TestANewEndpointStartsSlowly(t *testing.T) {
	for _, policy := range []resource.Policy{resource.LeastRequest, resource.WeightedRoundRobin} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := resource.DefaultBalancing()
				config.Policy, config.SlowStart.Window, config.Choices = policy, 100*time.Second, 10
				members := make([]tulle.Member, 3)
				for i := range members {
					if i == 2 {
						time.Sleep(config.SlowStart.Window)
					}
					address := fmt.Sprint(i)
					members[i] = tulle.Member{
						Endpoint: &resource.Endpoint{Addresses: []string{address}, Weight: 1},
						Picker:   named(address), Node: tulle.NewNode(address), Local: true,
					}
				}
				pool := tulle.NewPool(&config, members)
				share := func() float64 {
					var open []func(balancer.DoneInfo)
					got := 0
					for range 1000 { // at once, so that least request has something to count
						rpc := &call.Call{Context: t.Context()}
						result, err := pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
						if err != nil {
							t.Fatal(err)
						}
						if rpc.Endpoint() == "2" {
							got++
						}
						open = append(open, result.Done)
					}
					for _, done := range open {
						done(balancer.DoneInfo{BytesSent: true})
					}
					return float64(got) / 1000
				}
				time.Sleep(20 * time.Second)
				early := share()
				time.Sleep(80 * time.Second)
				late := share()
				t.Logf("its share is %.3f after 20 s and %.3f after 100 s", early, late)
				if early < 0.05 || early > 0.15 {
					t.Errorf("after a fifth of the window its share is %.3f, want 0.2/2.2", early)
				}
				if late < 0.30 || late > 0.37 {
					t.Errorf("after the window its share is %.3f, want a third", late)
				}
			})
		})
	}
}
