package serve

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkUpdate measures what it takes to tell every client of one changed
// endpoint: 1,000 and 5,000 state-of-the-world streams, each on a TCP connection
// of its own and subscribed to ten services of 200 (listener, route, cluster,
// endpoints), against this engine and against go-control-plane's LinearCache and
// MuxCache on the same transport, by turns.
//
// For each engine it reports the time from before the change is encoded until
// the client has it (p50, p99 over all streams and rounds), the server's CPU per
// stream and update with all acknowledgements taken in (median of rounds), and
// heap and stack per stream; and how many times the yardstick's figure each is.
// Figures depend on the machine; ratios much less.
func BenchmarkUpdate(b *testing.B) {
	counts := []int{1000, 5000}
	if testing.Short() {
		counts = []int{200}
	}
	for _, n := range counts {
		b.Run(fmt.Sprintf("streams=%d", n), func(b *testing.B) { benchmarkUpdate(b, n) })
	}
}

// benchRounds is how many updates one iteration sends through each engine.
const benchRounds = 10

func benchmarkUpdate(b *testing.B, n int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		b.Fatal(err)
	}
	if need := uint64(2*n + 100); limit.Cur < need {
		b.Skipf("needs %d file descriptors and may open %d: raise ulimit -n", need, limit.Cur)
	}
	fleets := []*fleet{newFleet(b, own, n), newFleet(b, yardstick, n)}
	for _, f := range fleets {
		f.round(true) // warm pools and caches
	}
	for b.Loop() {
		for range benchRounds {
			for _, f := range fleets {
				f.round(false)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	ours, theirs := fleets[0].figures(), fleets[1].figures()
	b.Logf("%-8s %12s %18s %7s", "", own, yardstick, "ratio")
	for i, f := range ours {
		b.ReportMetric(f.value, f.unit)
		b.ReportMetric(f.value/theirs[i].value, f.name+"-ratio")
		b.Logf("%-8s %8.1f %-8s %8.1f %-8s %6.2f", f.name, f.value, f.measure, theirs[i].value, f.measure, f.value/theirs[i].value)
	}
}

// A fleet is many clients of one engine.
type fleet struct {
	b     *testing.B
	n     int
	child *child

	number int
	// due counts clients that have not got the change of this round.
	due       atomic.Int64
	done      chan struct{}
	arrivals  []time.Time
	latencies []time.Duration
	cpu       []time.Duration
	publish   []time.Duration
	heap      float64 // bytes per stream
	stack     float64
}

// newFleet starts an engine and connects n clients.
func newFleet(b *testing.B, which string, n int) *fleet {
	b.Helper()
	f := &fleet{b: b, n: n, child: startChild(b, which), done: make(chan struct{}, 1), arrivals: make([]time.Time, n)}
	before := f.child.tell("usage", 1)

	var running, dialing sync.WaitGroup
	clients := make([]*wireClient, n)
	// A few at a time, each until it has its configuration: a connection is
	// there for the client before the server has accepted it, and there is an
	// end to how many may wait for that.
	const dialers = 64
	for d := range dialers {
		dialing.Go(func() {
			for i := d; i < n; i += dialers {
				clients[i] = f.connect(i, &running)
			}
		})
	}
	dialing.Wait()
	b.Cleanup(func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close()
			}
		}
		running.Wait()
	})
	if b.Failed() {
		b.FailNow()
	}
	settle()
	after := f.child.tell("usage", 1)
	f.heap = float64(after.Heap-before.Heap) / float64(n)
	f.stack = float64(after.Stack-before.Stack) / float64(n)
	return f
}

// connect starts client i and waits until it has its first configuration.
func (f *fleet) connect(i int, running *sync.WaitGroup) *wireClient {
	c, err := dialWire(f.child.address, nodeName(i), benchNames(i))
	if err != nil {
		f.b.Error(err)
		return c
	}
	c.changed = func(at time.Time) {
		f.arrivals[i] = at
		if f.due.Add(-1) == 0 {
			f.done <- struct{}{}
		}
	}
	ready := make(chan struct{})
	missing := 4 // types
	c.first = func() {
		if missing--; missing == 0 {
			c.first = nil
			close(ready)
		}
	}
	for _, u := range []string{lds, rds, cds, eds} {
		if err := c.request([]byte(u), nil, nil); err != nil {
			f.b.Error(err)
			return c
		}
	}
	running.Go(func() {
		if err := c.run(); err != nil {
			f.b.Error(err)
		}
	})
	select {
	case <-ready:
	case <-time.After(30 * time.Second):
		f.b.Errorf("client %d did not get its first configuration in 30s", i)
	}
	return c
}

// settle lets the last acknowledgements be taken in, before CPU is read.
func settle() { <-time.After(150 * time.Millisecond) }

// round sends one update through the engine.
func (f *fleet) round(discard bool) {
	f.b.Helper()
	f.number++
	f.due.Store(int64(f.n))
	before := f.child.tell("usage", 0)
	o := f.child.tell("change", f.number)
	select {
	case <-f.done:
	case <-time.After(30 * time.Second):
		f.b.Fatalf("%d clients did not get an update in 30s", f.due.Load())
	}
	settle()
	after := f.child.tell("usage", 0)
	if discard {
		return
	}
	for _, at := range f.arrivals {
		f.latencies = append(f.latencies, time.Duration(at.UnixNano()-o.Start))
	}
	f.cpu = append(f.cpu, time.Duration(after.CPU-before.CPU))
	f.publish = append(f.publish, time.Duration(o.Took))
}

// A figure is one number of the report.
type figure struct {
	name, measure string
	unit          string // as benchmarks name metrics
	value         float64
}

func (f *fleet) figures() []figure {
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	return []figure{
		{"p50", "ms", "p50-ms", ms(quantile(f.latencies, 0.50))},
		{"p99", "ms", "p99-ms", ms(quantile(f.latencies, 0.99))},
		{"cpu", "µs", "cpu-µs/stream", float64(quantile(f.cpu, 0.5).Microseconds()) / float64(f.n)},
		{"heap", "KB", "heap-KB/stream", f.heap / 1000},
		{"stack", "KB", "stack-KB/stream", f.stack / 1000},
		{"publish", "ms", "publish-ms", ms(quantile(f.publish, 0.5))},
	}
}

// quantile sorts what it is given.
func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}
