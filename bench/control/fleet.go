package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
)

// patience is how long anything may take that clients wait for.
const patience = 60 * time.Second

// A fleet is many clients of one engine, which is a process of its own.
type fleet struct {
	engine  string
	form    *form
	world   world
	streams int
	server  *proc.Process
	address string

	clients []*client
	running sync.WaitGroup
	// broken has the first error of a client.
	broken chan error

	// number counts changes; last is that of each service's endpoints.
	number int
	last   []uint32
	// target is the change that clients are waited for, as targetOf has it, and due how
	// many do not have it.
	target atomic.Uint64
	due    atomic.Int64
	done   chan struct{}
}

// startFleet starts the server. Who starts a fleet closes it.
func startFleet(engine string, form *form, w world, streams int) (*fleet, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &fleet{
		engine: engine, form: form, world: w, streams: streams,
		broken: make(chan error, 1), done: make(chan struct{}, 1), last: make([]uint32, w.services),
	}
	if f.server, err = proc.Start(engine, self, []string{Role, engine, strconv.Itoa(w.services), strconv.Itoa(w.endpoints)}); err != nil {
		return nil, err
	}
	if err := f.server.Ask("address", nil, &f.address); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close ends clients and server.
func (f *fleet) close() {
	f.disconnect()
	f.server.Kill()
}

// disconnect cuts all connections at once.
func (f *fleet) disconnect() {
	for _, c := range f.clients {
		if c != nil {
			_ = c.conn.Close()
		}
	}
	f.running.Wait()
	f.clients = nil
}

// A cost is what something took until all clients had it, and the server's CPU with their
// acknowledgements.
type cost struct{ took, cpu time.Duration }

// connect brings all clients up, so many at a time, each until it has its configuration.
func (f *fleet) connect(ctx context.Context, atOnce int) (cost, error) {
	return f.cost(ctx, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("clients did not get their first configuration in "+patience.String()))
		defer cancel()
		clients := make([]*client, f.streams)
		fail := make(chan error, atOnce)
		var dialing sync.WaitGroup
		for d := range min(atOnce, f.streams) {
			dialing.Go(func() {
				for i := d; i < f.streams; i += atOnce {
					var err error
					if clients[i], err = f.join(ctx, i); err != nil {
						cancel()
						fail <- err
						return
					}
				}
			})
		}
		dialing.Wait()
		f.clients = clients
		select {
		case err := <-fail:
			return err
		default:
			return nil
		}
	})
}

// join starts client i and waits until it has its configuration.
func (f *fleet) join(ctx context.Context, i int) (*client, error) {
	c, err := f.dial(ctx, i)
	if err != nil {
		return nil, err
	}
	f.running.Go(func() {
		if err := c.run(); err != nil {
			select {
			case f.broken <- fmt.Errorf("client %d: %w", i, err):
			default:
			}
		}
	})
	select {
	case <-c.ready:
		return c, nil
	case err := <-f.broken:
		return c, err
	case <-ctx.Done():
		return c, context.Cause(ctx)
	}
}

// cost measures what f does.
func (f *fleet) cost(ctx context.Context, do func() error) (c cost, err error) {
	var before, after time.Duration
	if err := f.server.Ask("cpu", nil, &before); err != nil {
		return c, err
	}
	start := time.Now()
	if err := do(); err != nil {
		return c, err
	}
	c.took = time.Since(start)
	f.settle(ctx)
	if err := f.server.Ask("cpu", nil, &after); err != nil {
		return c, err
	}
	c.cpu = after - before
	return c, ctx.Err()
}

// settle lets the last acknowledgements be taken in, before CPU is read.
func (f *fleet) settle(ctx context.Context) {
	pause(ctx, 15*time.Millisecond+time.Duration(f.streams)*20*time.Microsecond)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func targetOf(k kind, number uint32) uint64 { return uint64(k)<<32 | uint64(number) }

// arrived is told by a client of a change that it has.
func (f *fleet) arrived(a arrival) {
	if a.service == 0 && targetOf(a.kind, a.number) == f.target.Load() && f.due.Add(-1) == 0 {
		f.done <- struct{}{}
	}
}

// publish gives a service another version.
func (f *fleet) publish(k kind, service int) (p publication, err error) {
	f.number++
	if k == endpoints {
		f.last[service] = uint32(f.number)
	}
	return p, f.server.Ask("set", change{Kind: k, Service: service, Number: f.number}, &p)
}

// An update is what one change or several, each when all have the last, came to.
type update struct {
	cost

	changes int
	// latencies of all clients and changes, from before the change was encoded.
	latencies []time.Duration
}

// update changes the service that all subscribe to.
func (f *fleet) update(ctx context.Context, k kind, changes int) (u update, err error) {
	starts := make(map[uint32]int64, changes)
	f.reset()
	u.changes = changes
	u.cost, err = f.cost(ctx, func() error {
		for range changes {
			f.due.Store(int64(f.streams))
			f.target.Store(targetOf(k, uint32(f.number+1)))
			p, err := f.publish(k, 0)
			if err != nil {
				return err
			}
			starts[uint32(f.number)] = p.Start
			if err := f.wait(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return u, err
	}
	for _, c := range f.clients {
		for _, a := range c.arrivals() {
			if start, ok := starts[a.number]; ok && a.service == 0 && a.kind == k {
				u.latencies = append(u.latencies, time.Duration(a.at.UnixNano()-start))
			}
		}
	}
	return u, nil
}

func (f *fleet) reset() {
	for _, c := range f.clients {
		c.reset()
	}
}

// wait waits until nobody is due.
func (f *fleet) wait(ctx context.Context) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-f.done:
		return nil
	case err := <-f.broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%d clients did not get a change in %v", f.due.Load(), patience)
	}
}
