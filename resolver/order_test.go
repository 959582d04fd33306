package resolver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// A call is routed by what Config returns and sent by the picker of what
// UpdateState was given: the picker must never be the one that is behind.
func TestThePickerIsToldFirst(t *testing.T) {
	t.Run("of each configuration, on each connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var first, second fakeConn
			told := 0
			for _, c := range []*fakeConn{&first, &second} {
				c.onUpdate = func(config *resource.Config) {
					told++
					if seen := visible(b, "voting"); seen != nil && seen.Revision >= config.Revision {
						t.Errorf("revision %d is seen by calls while a connection is given revision %d", seen.Revision, config.Revision)
					}
				}
				build(t, b, "mesh:///voting", c)
			}
			for i := range 10 {
				synctest.Wait()
				if seen := visible(b, "voting"); seen != first.config() || seen != second.config() {
					t.Fatalf("calls see %p, connections have %p and %p", seen, first.config(), second.config())
				}
				src.endpoints("voting", fmt.Sprintf("10.0.0.%d:1", i))
			}
			synctest.Wait()
			if told < 20 {
				t.Errorf("connections were told %d times", told)
			}
		})
	})
}

// visible is what interceptors see of a service.
func visible(b *Builder, service string) *resource.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.targets[service]; t != nil {
		return t.config.Load()
	}
	return nil
}

func TestUpdateStorm(t *testing.T) {
	t.Run("is folded, and ends with what came last", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const services, changes = 20, 1000
			src := newFakeSource()
			b := newRunning(t, src)
			conns := make([]fakeConn, services)
			for i := range conns {
				name := fmt.Sprintf("s%d", i)
				src.listener(name, name)
				src.route(name, name)
				src.cluster(name, name)
				src.endpoints(name, "10.0.0.0:1")
				build(t, b, "mesh:///"+name, &conns[i])
			}
			synctest.Wait()

			var storm sync.WaitGroup
			for w := range 4 {
				storm.Go(func() {
					for i := range changes {
						src.endpoints(fmt.Sprintf("s%d", (w*7+i)%services), fmt.Sprintf("10.%d.%d.%d:1", w, i/256, i%256))
					}
				})
			}
			storm.Wait()
			for i := range conns {
				src.endpoints(fmt.Sprintf("s%d", i), "10.9.9.9:1")
			}
			synctest.Wait()
			for i := range conns {
				if got := conns[i].addresses(); !slices.Equal(got, []string{"10.9.9.9:1"}) {
					t.Errorf("s%d ends with %q", i, got)
				}
			}
		})
	})

	t.Run("of news without change tells connections nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			build(t, b, "mesh:///voting", &c)
			synctest.Wait()
			state := src.states[key{resource.EndpointsType, "voting"}]
			for i := range 100 {
				state.Stale = i%2 == 0
				src.set(resource.EndpointsType, "voting", state)
				synctest.Wait()
			}
			if c.updates() != 1 {
				t.Errorf("%d updates, want 1", c.updates())
			}
		})
	})
}

func TestAConnectionClosesWhileItIsTold(t *testing.T) {
	t.Run("without either waiting for the other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			var c fakeConn
			var r resolver.Resolver
			built := make(chan struct{})
			c.onUpdate = func(*resource.Config) {
				<-built
				r.Close() // as grpc may, from another goroutine
			}
			r = build(t, b, "mesh:///voting", &c)
			close(built)
			synctest.Wait()
			if c.updates() != 1 || src.open() != 0 || len(b.Targets()) != 0 {
				t.Errorf("%d updates, %d subscriptions, targets %+v", c.updates(), src.open(), b.Targets())
			}
		})
	})

	t.Run("and others come and go", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			src := newFakeSource()
			src.voting()
			b := newRunning(t, src)
			stop := make(chan struct{})
			var workers sync.WaitGroup
			workers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						src.endpoints("voting", fmt.Sprintf("10.0.%d.%d:1", i/256%256, i%256))
					}
				}
			})
			var dialling sync.WaitGroup
			for range 4 {
				dialling.Go(func() {
					for range 200 {
						r, err := b.Build(parse(t, "mesh:///voting"), &fakeConn{}, resolverOptions)
						if err != nil {
							t.Error(err)
							return
						}
						r.Close()
					}
				})
			}
			dialling.Wait()
			close(stop)
			workers.Wait()
			synctest.Wait()
			if src.open() != 0 || len(b.Targets()) != 0 {
				t.Errorf("%d subscriptions and targets %+v are left", src.open(), b.Targets())
			}
		})
	})
}

// Whatever comes in whatever order, a connection only ever sees whole Configs,
// in order, and in the end everything fits what the control plane says.
func TestNoTears(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				src := newFakeSource()
				b := newRunning(t, src)
				var c fakeConn
				last := uint64(0)
				c.onUpdate = func(config *resource.Config) {
					if config.Revision <= last {
						t.Errorf("revision %d after %d", config.Revision, last)
					}
					last = config.Revision
					for _, name := range clustersOf(config.VirtualHost) {
						cluster := config.Clusters[name]
						if cluster == nil || cluster.Err == nil && (cluster.Cluster == nil || cluster.Endpoints == nil) {
							t.Errorf("revision %d leads to %q, which is %+v", config.Revision, name, cluster)
						}
					}
				}
				build(t, b, "mesh:///voting", &c)
				names := []string{"a", "b", "c", "d"}
				one := func() string { return names[random.IntN(len(names))] }
				for range 500 {
					switch random.IntN(10) {
					case 0:
						src.listener("voting", one())
					case 1, 2:
						src.route(one(), one(), one())
					case 3, 4:
						src.cluster(one(), one())
					case 5:
						src.fail(resource.ClusterType, one(), errNotFound)
					case 6:
						src.fail(resource.EndpointsType, one(), errNotFound)
					case 7:
						src.set(resource.EndpointsType, one(), xdsclient.State{}) // not known again, as after a new interest
					default:
						src.endpoints(one(), one()+":1", one()+":2")
					}
					if random.IntN(3) == 0 {
						synctest.Wait()
					}
				}
				src.listener("voting", "a")
				src.route("a", "b", "c")
				for _, name := range []string{"b", "c"} {
					src.cluster(name, name)
					src.endpoints(name, name+":9")
				}
				synctest.Wait()
				if got := c.addresses(); !slices.Equal(got, []string{"b:9", "c:9"}) {
					t.Errorf("ends with %q", got)
				}
				// A listener, routes, two clusters and their endpoints: nothing else is watched.
				if n := src.open(); n != 6 {
					t.Errorf("%d subscriptions are left, want 6", n)
				}
			})
		})
	}
}
