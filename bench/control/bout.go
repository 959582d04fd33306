package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/bench/control/ordinary"
	"github.com/tulle-mesh/tulle/bench/report"
)

// A bout is what engines do side by side.
type bout struct {
	form    *form
	world   world
	streams int
	// updates and routes are rounds of changes, returns those of all clients that reconnect.
	updates, routes, returns int
	storm                    time.Duration
	profiled                 bool
}

func (b bout) String() string {
	s := fmt.Sprintf("%d streams, %s", b.streams, b.form.name)
	if b.world != plain {
		s += fmt.Sprintf(", %d services, the first of %d endpoints", b.world.services, b.world.endpoints)
	}
	return s
}

// changes is how many a round makes one after the other: a few streams, or a small service,
// cost too little for one to be seen.
func (b bout) changes() int { return min(max(5000/b.streams/b.world.endpoints, 1), 20) }

// sizes are those of all that grows.
var sizes = []int{10, 100, 1000, 5000}

// small is how many streams there are where something else grows.
const small = 100

// bouts are what to measure.
func (c Config) bouts() []bout {
	if c.Quick {
		return []bout{
			{form: sotw, world: plain, streams: 100, updates: 3, routes: 1},
			{form: sotw, world: plain, streams: 1000, updates: 5, routes: 1, returns: 1, profiled: true},
		}
	}
	all := c.byStreams()
	for _, n := range sizes {
		for _, w := range []world{{services: n, endpoints: ordinary.PerService}, {services: perClient, endpoints: n}} {
			if b := (bout{form: sotw, world: w, streams: small, updates: 3}); !slices.Contains(all, b) {
				all = append(all, b)
			}
		}
	}
	return all
}

// byStreams are the bouts of an ordinary mesh and ever more streams.
func (c Config) byStreams() []bout {
	updates, few, storm := 5, 1, 5*time.Second
	streams := sizes
	if c.Full {
		updates, few, storm = 11, 5, 30*time.Second
		streams = append(slices.Clone(sizes), 10_000)
	}
	all := make([]bout, 0, 2*len(streams))
	for _, f := range []*form{sotw, delta} {
		for _, n := range streams {
			b := bout{form: f, world: plain, streams: n, updates: updates, routes: few, returns: 1}
			if f == delta && !c.Full {
				b.updates, b.routes, b.returns = 3, 0, 0
			}
			if n == 1000 && (f == sotw || c.Full) {
				b.storm = storm
			}
			b.profiled = f == sotw && n == 5000
			all = append(all, b)
		}
	}
	return all
}

// A result is what a bout came to for one engine.
type result struct {
	bout

	engine                  string
	failed                  bool
	sync, back              costs
	endpoint, route         updates
	heap, stack, goroutines report.Sample // per stream, the former in KB
	storms                  []storm
}

// costs are of all clients: seconds until they are current, and seconds of CPU.
type costs struct{ took, cpu report.Sample }

func (c *costs) add(o cost) {
	c.took = append(c.took, o.took.Seconds())
	c.cpu = append(c.cpu, o.cpu.Seconds())
}

// updates are rounds of one change: milliseconds until half of the clients have it, and
// until 99 of 100; the server's CPU in microseconds per stream.
type updates struct{ p50, p99, cpu report.Sample }

func (u *updates) add(o update, streams int) {
	u.p50 = append(u.p50, milliseconds(quantile(o.latencies, 0.5)))
	u.p99 = append(u.p99, milliseconds(quantile(o.latencies, 0.99)))
	u.cpu = append(u.cpu, float64(o.cpu)/float64(time.Microsecond)/float64(streams*o.changes))
}

// quantile sorts what it is given; that of nothing is zero.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}
