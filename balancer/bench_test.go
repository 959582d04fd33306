package balancer_test

import (
	"fmt"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/call"
	"google.golang.org/grpc/resolver"
)

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			p, info := readyPicker(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := pickOnce(p, info); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPickParallel(b *testing.B) {
	for _, n := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			p, _ := readyPicker(b, n)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				info := balancer.PickInfo{Ctx: &call.Call{Context: b.Context(), Cluster: service}}
				for pb.Next() {
					if err := pickOnce(p, info); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func TestAPickDoesNotAllocate(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		p, info := readyPicker(t, n)
		got := testing.AllocsPerRun(1000, func() {
			if err := pickOnce(p, info); err != nil {
				t.Error(err)
			}
		})
		if got != 0 {
			t.Errorf("%g allocations per pick of %d endpoints", got, n)
		}
	}
}

// BenchmarkUpdate is what one change costs a connection with n ready endpoints.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("change=endpoint/endpoints=%d", n), func(b *testing.B) {
			f := newFake(b)
			more, less := stateOf(many(n), nil), stateOf(many(n-1), nil)
			f.update(b, more)
			b.ReportAllocs()
			for b.Loop() {
				f.update(b, less)
				f.update(b, more)
			}
		})
		b.Run(fmt.Sprintf("change=connection/endpoints=%d", n), func(b *testing.B) {
			f := newFake(b)
			config := many(n)
			f.update(b, stateOf(config, nil))
			sc := f.conns[config.Clusters[service].Endpoints.Localities[0].Endpoints[n/2].Addresses[0]]
			b.ReportAllocs()
			for b.Loop() {
				sc.is(connectivity.Idle) // and connecting and ready again
				f.await(3)
			}
		})
		b.Run(fmt.Sprintf("change=routes/endpoints=%d", n), func(b *testing.B) {
			f := newFake(b)
			states := []resolver.State{stateOf(many(n), nil), stateOf(many(n), nil)}
			f.update(b, states[1])
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				f.update(b, states[i%2])
				i++
			}
		})
	}
}

func readyPicker(t testing.TB, n int) (balancer.Picker, balancer.PickInfo) {
	t.Helper()
	f := newFake(t)
	f.update(t, stateOf(many(n), nil))
	if f.state.ConnectivityState != connectivity.Ready {
		t.Fatalf("the channel is %v", f.state.ConnectivityState)
	}
	return f.state.Picker, balancer.PickInfo{Ctx: &call.Call{Context: t.Context(), Cluster: service}}
}

// pickOnce begins a call and ends it. It takes no testing.TB: Helper costs ten
// times what a pick does.
func pickOnce(p balancer.Picker, info balancer.PickInfo) error {
	result, err := p.Pick(info)
	if err != nil {
		return err
	}
	result.Done(balancer.DoneInfo{})
	return nil
}
