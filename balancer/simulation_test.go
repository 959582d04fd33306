//go:build !race

// It runs in one goroutine: the race detector would find nothing, ten times as slowly.

package balancer_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/balancer"

	tulle "github.com/tulle-mesh/tulle/balancer"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A fleet is a thousand clients of a hundred servers, none of which knows of the
// others, in virtual time. A server answers a few calls at once and has the rest wait,
// so that who sends too much there finds out only by waiting, too.
type fleet struct {
	t       *testing.T
	random  *rand.Rand // what clients want and how long it takes; choices have their own
	config  resource.Balancing
	servers []*simServer
	clients []*simClient
	tick    int64
	due     [][]*simJob // a ring: jobs whose work ends, by tick
}

const (
	simTick    = 100 * time.Microsecond
	simTicks   = 1 << 14 // of the ring
	simSlots   = 4       // calls a server works on at once
	simWork    = 10 * time.Millisecond
	simLoad    = 0.6 // of what all servers can do
	simClients = 1000
	simServers = 100
)

type simServer struct {
	endpoint *resource.Endpoint
	work     time.Duration // mean
	busy     int
	waiting  []*simJob

	// What follows is counted from one look to the next.
	calls int
	most  int // open at once
}

type simClient struct {
	nodes []*tulle.Node
	pool  *tulle.Pool
}

type simJob struct {
	server *simServer
	done   func(balancer.DoneInfo)
}

// simConn is a server's picker and connection.
type simConn struct {
	balancer.SubConn

	server *simServer
}

func (c *simConn) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{SubConn: c}, nil
}

// simulate runs a fleet in a bubble.
func simulate(t *testing.T, configure func(*resource.Balancing), run func(f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{
			t:      t,
			random: rand.New(rand.NewPCG(7, 11)),
			config: resource.DefaultBalancing(),
			due:    make([][]*simJob, simTicks),
		}
		if configure != nil {
			configure(&f.config)
		}
		for range simServers {
			f.join(simWork)
		}
		f.clients = make([]*simClient, simClients)
		for i := range f.clients {
			f.clients[i] = &simClient{}
		}
		f.learn()
		run(f)
	})
}

// join adds a server that no client knows of.
func (f *fleet) join(work time.Duration) *simServer {
	i := len(f.servers)
	s := &simServer{
		endpoint: &resource.Endpoint{Addresses: []string{fmt.Sprintf("10.0.%d.%d:8080", i/256, i%256)}, Weight: 1},
		work:     work,
	}
	f.servers = append(f.servers, s)
	return s
}

// learn has all clients learn of all servers at one moment.
func (f *fleet) learn() {
	conns := make([]*simConn, len(f.servers))
	for i, s := range f.servers {
		conns[i] = &simConn{server: s}
	}
	for _, c := range f.clients {
		members := make([]tulle.Member, len(f.servers))
		for i, s := range f.servers {
			if i == len(c.nodes) {
				c.nodes = append(c.nodes, tulle.NewNode(s.endpoint.Addresses[0]))
			}
			members[i] = tulle.Member{Endpoint: s.endpoint, Picker: conns[i], Node: c.nodes[i], Local: true}
		}
		c.pool = tulle.NewPool(&f.config, members)
	}
}

// run lets time pass. Calls come as they like (Poisson), each from any client.
func (f *fleet) run(d time.Duration) {
	synctest.Wait() // there is nothing to wait for but time, and that a bubble's
	perTick := simLoad * simServers * simSlots * float64(simTick) / float64(simWork)
	for end := f.tick + int64(d/simTick); f.tick < end; f.tick++ {
		slot := &f.due[f.tick%simTicks]
		for _, j := range *slot {
			f.end(j)
		}
		*slot = (*slot)[:0]
		for wait := f.random.ExpFloat64(); wait < perTick; wait += f.random.ExpFloat64() {
			f.call(f.clients[f.random.IntN(len(f.clients))])
		}
		time.Sleep(simTick)
	}
}

func (f *fleet) call(c *simClient) {
	result, err := c.pool.Pick(balancer.PickInfo{}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	s := result.SubConn.(*simConn).server
	s.calls++
	j := &simJob{server: s, done: result.Done}
	if s.busy < simSlots {
		f.begin(j)
	} else {
		s.waiting = append(s.waiting, j)
	}
	s.most = max(s.most, s.busy+len(s.waiting))
}

func (f *fleet) begin(j *simJob) {
	j.server.busy++
	work := int64(f.random.ExpFloat64() * float64(j.server.work) / float64(simTick))
	at := (f.tick + 1 + min(work, simTicks-2)) % simTicks
	f.due[at] = append(f.due[at], j)
}

func (f *fleet) end(j *simJob) {
	j.done(balancer.DoneInfo{BytesSent: true, BytesReceived: true})
	s := j.server
	s.busy--
	if len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		f.begin(next)
	}
}

// look begins to count anew.
func (f *fleet) look() {
	for _, s := range f.servers {
		s.calls, s.most = 0, s.busy+len(s.waiting)
	}
}

// uneven returns how many times the mean the most called server was called since the
// last look, and the most calls that were open to one server at once.
func (f *fleet) uneven() (ratio float64, most int) {
	all, top := 0, 0
	for _, s := range f.servers {
		all += s.calls
		top = max(top, s.calls)
		most = max(most, s.most)
	}
	return float64(top) * float64(len(f.servers)) / float64(all), most
}

func TestAThousandClientsSpreadTheirCallsEvenly(t *testing.T) {
	for _, policy := range []resource.Policy{resource.PeakEWMA, resource.LeastRequest} {
		t.Run(string(policy), func(t *testing.T) {
			simulate(t, func(c *resource.Balancing) { c.Policy = policy }, func(f *fleet) {
				f.run(3 * time.Second)
				f.look()
				f.run(5 * time.Second)
				ratio, most := f.uneven()
				t.Logf("the most called server has %.3f times the mean, and up to %d calls open", ratio, most)
				if ratio > 1.15 {
					t.Errorf("the most called server has %.3f times the mean, want at most 1.15", ratio)
				}
			})
		})
	}
}

// herd is what a server gets that all clients turn to, in steps of a tenth of a second,
// as a multiple of the mean.
func (f *fleet) herd(s *simServer, d time.Duration) (peak, last float64, most int) {
	for ; d > 0; d -= 100 * time.Millisecond {
		f.look()
		f.run(100 * time.Millisecond)
		all := 0
		for _, s := range f.servers {
			all += s.calls
		}
		last = float64(s.calls) * float64(len(f.servers)) / float64(all)
		peak = max(peak, last)
		most = max(most, s.most)
	}
	return peak, last, most
}

// Of two draws one server is in 2/n: all that a thousand clients know alike makes it
// twice the mean. A tenth of a second has 24 calls for each, whose root adds a fifth.
func TestClientsDoNotFlock(t *testing.T) {
	arrive := func(f *fleet) *simServer {
		s := f.join(simWork)
		f.learn()
		return s
	}
	for _, tt := range []struct {
		name   string
		config func(*resource.Balancing)
		change func(f *fleet) *simServer
		most   float64 // times the mean in a tenth of a second
		open   int     // at once; the others have up to 30
	}{
		{name: "to a server that all learn of at one moment", change: arrive, most: 2.5, open: 60},
		{
			name:   "to one that starts slowly",
			config: func(c *resource.Balancing) { c.SlowStart.Window = 5 * time.Second },
			change: arrive, most: 2.5, open: 60,
		},
		{
			name: "to one that becomes ten times as fast",
			change: func(f *fleet) *simServer {
				f.servers[0].work = simWork / 10
				return f.servers[0]
			},
			most: 3, open: 60,
		},
		{
			// It still has what came while it was slow.
			name: "to one that was slow and is well again",
			change: func(f *fleet) *simServer {
				f.servers[0].work = 20 * simWork
				f.run(3 * time.Second)
				f.servers[0].work = simWork
				return f.servers[0]
			},
			most: 2.5, open: 2000,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, tt.config, func(f *fleet) {
				f.run(3 * time.Second)
				peak, last, open := f.herd(tt.change(f), 3*time.Second)
				t.Logf("in a tenth of a second it got up to %.2f times the mean, and %.2f at the end; up to %d calls were open", peak, last, open)
				if peak > tt.most {
					t.Errorf("in a tenth of a second it got %.2f times the mean, want at most %g", peak, tt.most)
				}
				if open > tt.open {
					t.Errorf("up to %d calls were open to it, want at most %d", open, tt.open)
				}
			})
		})
	}
}
