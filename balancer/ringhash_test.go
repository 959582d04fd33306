package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/grpc/balancer"
	_ "google.golang.org/grpc/balancer/ringhash" // the yardstick
	"google.golang.org/grpc/experimental/balancer/weight"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// ringPool is a pool of endpoints of some weights, all ready.
type ringPool struct {
	t         *testing.T
	endpoints []resource.Endpoint
	nodes     map[string]*tulle.Node
	pool      *tulle.Pool
}

func ringEndpoints(weights ...uint32) []resource.Endpoint {
	all := make([]resource.Endpoint, len(weights))
	for i, w := range weights {
		all[i] = resource.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256)}, Weight: w}
	}
	return all
}

func alike(n int) []uint32 { return slices.Repeat([]uint32{1}, n) }

// newRingPool makes a pool, all of whose endpoints are of the client's own zone.
func newRingPool(t *testing.T, endpoints []resource.Endpoint, configure func(*resource.Balancing)) *ringPool {
	t.Helper()
	return newZonedRingPool(t, endpoints, len(endpoints), configure)
}

// newZonedRingPool makes one of whose endpoints the first so many are.
func newZonedRingPool(t *testing.T, endpoints []resource.Endpoint, local int, configure func(*resource.Balancing)) *ringPool {
	t.Helper()
	p := &ringPool{t: t, endpoints: endpoints, nodes: make(map[string]*tulle.Node)}
	config := resource.DefaultBalancing()
	config.Policy = resource.RingHash
	if configure != nil {
		configure(&config)
	}
	members := make([]tulle.Member, len(endpoints))
	for i := range endpoints {
		address := endpoints[i].Addresses[0]
		p.nodes[address] = tulle.NewNode(address)
		members[i] = tulle.Member{Endpoint: &endpoints[i], Picker: named(address), Node: p.nodes[address], Local: i < local}
	}
	p.pool = tulle.NewPool(&config, members)
	return p
}

// A named picker picks a connection that is its endpoint's name.
type named string

type namedConn struct {
	balancer.SubConn

	name string
}

func (n named) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{SubConn: &namedConn{name: string(n)}}, nil
}

// begin begins a call of a key and returns where it goes.
func (p *ringPool) begin(rpc *call.Call, key string) (string, func(balancer.DoneInfo)) {
	p.t.Helper()
	rpc.Hash, rpc.Hashed = resource.HashKey(key), true
	result, err := p.pool.Pick(balancer.PickInfo{Ctx: rpc}, rpc)
	if err != nil {
		p.t.Fatal(err)
	}
	return result.SubConn.(*namedConn).name, result.Done
}

func (p *ringPool) of(key string) string {
	p.t.Helper()
	name, done := p.begin(&call.Call{Context: p.t.Context()}, key)
	done(balancer.DoneInfo{BytesSent: true})
	return name
}

func key(i int) string { return fmt.Sprintf("user-%d", i) }

const keys = 10_000

func TestAKeyStaysWithItsEndpoint(t *testing.T) {
	endpoints := ringEndpoints(alike(20)...)
	p := newRingPool(t, endpoints, nil)
	shuffled := slices.Clone(endpoints)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	q := newRingPool(t, shuffled, nil)
	for i := range keys {
		k := key(i)
		first := p.of(k)
		if again := p.of(k); again != first {
			t.Fatalf("%s went to %s and then to %s", k, first, again)
		}
		if other := q.of(k); other != first {
			t.Fatalf("%s went to %s, and to %s where the endpoints came in another order", k, first, other)
		}
	}
}

func TestAKeyHasOneEndpointInAllZones(t *testing.T) {
	endpoints := ringEndpoints(alike(10)...)
	backwards := slices.Clone(endpoints)
	slices.Reverse(backwards)
	here := newZonedRingPool(t, endpoints, 5, nil)
	there := newZonedRingPool(t, backwards, 5, nil) // the zone of the other five
	for i := range 1000 {
		if a, b := here.of(key(i)), there.of(key(i)); a != b {
			t.Fatalf("%s goes to %s from one zone and to %s from the other", key(i), a, b)
		}
	}
}

// An endpoint that leaves takes its keys from it and, where the others get more
// entries for it, as many from them: gRFC A42's ring, which is everybody's.
func TestFewKeysMoveWhenAnEndpointLeaves(t *testing.T) {
	for _, tt := range []struct {
		name  string
		n     int
		moved float64 // of all keys, in shares of one endpoint
	}{
		{"of many endpoints one share moves", 100, 1},
		{"of few endpoints two shares move", 10, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			endpoints := ringEndpoints(alike(tt.n)...)
			before := newRingPool(t, endpoints, nil)
			after := newRingPool(t, endpoints[1:], nil)
			gone := endpoints[0].Addresses[0]
			moved, had := 0, 0
			for i := range keys {
				was, is := before.of(key(i)), after.of(key(i))
				if was == gone {
					had++
				}
				if was != is {
					moved++
				}
			}
			share := float64(keys) / float64(tt.n)
			t.Logf("of %d keys %d moved, of which the endpoint had %d; one share is %g", keys, moved, had, share)
			if float64(moved) > share*tt.moved*1.5 {
				t.Errorf("%d keys moved, want about %g", moved, share*tt.moved)
			}
			if tt.moved == 1 && float64(moved-had) > share/10 {
				t.Errorf("%d keys moved that the endpoint did not have", moved-had)
			}
		})
	}
}

func TestAKeyGoesToTheNextEndpointAndBack(t *testing.T) {
	p := newRingPool(t, ringEndpoints(alike(10)...), nil)
	for i := range 100 {
		k := key(i)
		home := p.of(k)
		p.nodes[home].Eject(true)
		next := p.of(k)
		if next == home {
			t.Fatalf("%s went to %s, which is kept out", k, home)
		}
		if again := p.of(k); again != next {
			t.Fatalf("%s went to %s and then to %s while its own was out", k, next, again)
		}
		p.nodes[home].Eject(false)
		if back := p.of(k); back != home {
			t.Fatalf("%s went to %s after its own endpoint %s came back", k, back, home)
		}

		rpc := &call.Call{Context: t.Context()}
		rpc.Begin(0)
		first, done := p.begin(rpc, k)
		done(balancer.DoneInfo{BytesSent: true})
		rpc.Begin(1)
		second, done := p.begin(rpc, k)
		done(balancer.DoneInfo{BytesSent: true})
		if first != home || second != next {
			t.Fatalf("the attempts of %s went to %s and %s, want %s and %s", k, first, second, home, next)
		}
	}
}

func TestAKeyWhoseEndpointIsFullGoesToTheNext(t *testing.T) {
	p := newRingPool(t, ringEndpoints(alike(3)...), func(c *resource.Balancing) { c.MaxRequestsPerEndpoint = 2 })
	var got []string
	for range 6 {
		name, _ := p.begin(&call.Call{Context: t.Context()}, "key")
		got = append(got, name)
	}
	for i := 0; i < len(got); i += 2 {
		if got[i] != got[i+1] || i > 0 && slices.Contains(got[:i], got[i]) {
			t.Fatalf("calls of one key went to %v, want two to each", got)
		}
	}
}

// grpc-go's ring_hash is asked where it sends a key: a mesh has stock clients, too.
func TestTheRingIsTheOneOfGRPC(t *testing.T) {
	for _, tt := range []struct {
		name             string
		weights          []uint32
		minSize, maxSize uint32
	}{
		{"endpoints alike", alike(7), 1024, 4096},
		{"endpoints that differ", []uint32{1, 2, 3, 10, 1}, 1024, 4096},
		{"a ring of few entries", []uint32{3, 3, 4}, 7, 10},
		{"a ring that has no room for all", append(alike(50), 1000), 16, 64},
	} {
		t.Run(tt.name, func(t *testing.T) {
			endpoints := ringEndpoints(tt.weights...)
			ours := newRingPool(t, endpoints, func(c *resource.Balancing) {
				c.RingHash = resource.RingHashConfig{MinSize: tt.minSize, MaxSize: tt.maxSize}
			})
			theirs := newStockRing(t, endpoints, tt.minSize, tt.maxSize)
			for i := range 2000 {
				if got, want := ours.of(key(i)), theirs.of(key(i)); got != want {
					t.Fatalf("%s goes to %s, with grpc-go to %s", key(i), got, want)
				}
			}
		})
	}
}

// A stockRing is grpc-go's ring_hash_experimental without a network.
type stockRing struct {
	*fakeConn

	t *testing.T
}

func newStockRing(t *testing.T, endpoints []resource.Endpoint, minSize, maxSize uint32) *stockRing {
	t.Helper()
	s := &stockRing{t: t, fakeConn: &fakeConn{events: make(chan func(), 1<<12), conns: make(map[string]*fakeSubConn)}}
	builder := balancer.Get("ring_hash_experimental")
	s.policy = builder.Build(s.fakeConn, balancer.BuildOptions{})
	t.Cleanup(s.policy.Close)
	config, err := builder.(balancer.ConfigParser).ParseConfig(
		fmt.Appendf(nil, `{"minRingSize":%d,"maxRingSize":%d,"requestHashHeader":"key"}`, minSize, maxSize))
	if err != nil {
		t.Fatal(err)
	}
	var state resolver.State
	for _, e := range endpoints {
		state.Endpoints = append(state.Endpoints, weight.Set(
			resolver.Endpoint{Addresses: []resolver.Address{{Addr: e.Addresses[0]}}}, weight.EndpointInfo{Weight: e.Weight}))
	}
	err = s.policy.UpdateClientConnState(balancer.ClientConnState{ResolverState: state, BalancerConfig: config})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stockRing) of(key string) string {
	s.t.Helper()
	ctx := metadata.NewOutgoingContext(context.Background(), metadata.Pairs("key", key))
	for {
		s.settle()
		result, err := s.state.Picker.Pick(balancer.PickInfo{Ctx: ctx})
		switch {
		case errors.Is(err, balancer.ErrNoSubConnAvailable):
			s.await(1) // it connects in another goroutine
		case err != nil:
			s.t.Fatal(err)
		default:
			for address, sc := range s.conns {
				if sc == result.SubConn {
					return address
				}
			}
			s.t.Fatal("a connection of nobody's")
		}
	}
}
