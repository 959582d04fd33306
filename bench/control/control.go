// Package control measures the control plane: what it costs to bring a change to all who
// subscribe to it, by how many they are and how large the mesh is.
//
// The stream engine of xdsserver stands beside go-control-plane's SnapshotCache, and its
// LinearCache behind a MuxCache. Each is a process of its own, which is this program again
// (see [Role]), with the same resources, the same transport options and the same clients,
// one TCP connection each; they are there all at once and take turns.
//
// Not measured: TLS, which costs all the same, and the making of resources from what
// operators write.
package control

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
)

// Config says what to measure.
type Config struct {
	// Quick is for a quarter of a minute: 1,000 streams.
	Quick bool
	// Full takes several minutes: 10,000 streams, changes for 30 seconds, more rounds.
	Full bool
	// Profiles is a directory for a CPU profile of each server while endpoints change, taken
	// in rounds of their own where streams are the most; empty is none.
	Profiles string
	// Dir keeps scratch. There is none: the server is this program.
	Dir string
	// Log is told of progress; nil is nobody.
	Log func(format string, args ...any)
}

// A run is one measurement of the control plane.
type run struct {
	Config

	out     *report.Report
	results []*result
}

// Run measures, and adds tables, figures and charts to a report.
func Run(ctx context.Context, c Config, out *report.Report) error {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	r := &run{Config: c, out: out}
	limit, err := descriptors()
	if err != nil {
		return err
	}
	for _, b := range c.bouts() {
		for group := range slices.Chunk(engines, r.atOnce(b, limit)) {
			if err := r.bout(ctx, b, group); err != nil {
				return err
			}
		}
	}
	r.report()
	return nil
}

// descriptors is how many files this process may open. The runtime has raised the limit
// to the hardest there is.
func descriptors() (uint64, error) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return limit.Cur, err
}

// atOnce is how many engines can have their clients at once.
func (r *run) atOnce(b bout, limit uint64) int {
	const spare = 200
	if b.streams*len(engines)+spare <= int(limit) {
		return len(engines)
	}
	r.out.Notes = append(r.out.Notes, fmt.Sprintf(
		"control: %v: engines were measured one after the other, not by turns: %d files may be open (ulimit -n)", b, limit))
	return 1
}

// A lane is one engine in a bout.
type lane struct {
	*fleet
	*result
}

// bout measures engines side by side. One that fails is left out of the rest, with a note.
func (r *run) bout(ctx context.Context, b bout, group []string) error {
	r.Log("control: %v", b)
	var lanes []lane
	defer func() {
		for _, l := range lanes {
			l.close()
		}
	}()
	for _, engine := range group {
		f, err := startFleet(engine, b.form, b.world, b.streams)
		if err != nil {
			return err
		}
		lanes = append(lanes, lane{f, &result{bout: b, engine: engine}})
	}
	// each has every engine do something, the first another one each time.
	each := func(turn int, do func(lane) error) error {
		for i := range lanes {
			l := lanes[(i+turn)%len(lanes)]
			if l.failed {
				continue
			}
			if err := do(l); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				l.failed = true
				r.out.Notes = append(r.out.Notes, fmt.Sprintf("control: %v: %s: %v", b, l.result.engine, err))
			}
		}
		return nil
	}
	err := r.measure(ctx, b, each)
	for _, l := range lanes {
		r.results = append(r.results, l.result)
	}
	return err
}

// measure does what a bout has, by turns of its engines.
func (r *run) measure(ctx context.Context, b bout, each func(turn int, do func(lane) error) error) error {
	change := func(k kind, add func(l lane, u update)) func(lane) error {
		return func(l lane) error {
			u, err := l.update(ctx, k, b.changes())
			if err == nil {
				add(l, u)
			}
			return err
		}
	}
	steps := []func() error{
		func() error { return each(0, func(l lane) error { return l.first(ctx) }) },
		// The first of each kind warms pools and caches, and is not counted.
		func() error { return each(0, change(endpoints, func(lane, update) {})) },
	}
	if b.routes > 0 {
		steps = append(steps, func() error { return each(0, change(routes, func(lane, update) {})) })
	}
	for i := range b.updates {
		steps = append(steps, func() error {
			return each(i, change(endpoints, func(l lane, u update) { l.endpoint.add(u, b.streams) }))
		})
	}
	for i := range b.routes {
		steps = append(steps, func() error {
			return each(i, change(routes, func(l lane, u update) { l.route.add(u, b.streams) }))
		})
	}
	if b.storm > 0 {
		steps = append(steps, func() error { return each(0, func(l lane) error { return l.weather(ctx) }) })
	}
	for i := range b.returns {
		steps = append(steps, func() error { return each(i, func(l lane) error { return l.comeBack(ctx) }) })
	}
	if r.Profiles != "" && b.profiled {
		steps = append(steps, func() error { return each(0, func(l lane) error { return l.profile(ctx, r.Profiles) }) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// changesPerSecond is how fast a storm is.
const changesPerSecond = 100

// first brings the clients up, a few at a time, and weighs what they are to the server.
func (l lane) first(ctx context.Context) error {
	const atOnce = 64
	var before, after proc.Memory
	if err := l.server.Ask("memory", nil, &before); err != nil {
		return err
	}
	c, err := l.connect(ctx, atOnce)
	if err != nil {
		return err
	}
	if err := l.server.Ask("memory", nil, &after); err != nil {
		return err
	}
	l.sync.add(c)
	perStream := func(after, before uint64) float64 {
		return (float64(after) - float64(before)) / float64(l.streams) / 1000
	}
	l.heap = append(l.heap, perStream(after.Heap, before.Heap))
	l.stack = append(l.stack, perStream(after.Stack, before.Stack))
	l.goroutines = append(l.goroutines, float64(after.Goroutines-before.Goroutines)/float64(l.streams))
	return nil
}

// weather is a storm.
func (l lane) weather(ctx context.Context) error {
	s, err := l.fleet.storm(ctx, changesPerSecond, l.bout.storm)
	if err == nil {
		l.storms = append(l.storms, s)
	}
	return err
}

// comeBack cuts all connections and has all clients dial at once, as many as a listener
// takes. They ask for everything, as processes do that start.
func (l lane) comeBack(ctx context.Context) error {
	const atOnce = 2000
	l.disconnect()
	c, err := l.connect(ctx, atOnce)
	if err == nil {
		l.back.add(c)
	}
	return err
}

func (l lane) profile(ctx context.Context, dir string) error {
	const changes = 20
	path, err := filepath.Abs(filepath.Join(dir, l.result.engine+".pprof"))
	if err != nil {
		return err
	}
	if err := l.server.Ask("profile", path, nil); err != nil {
		return err
	}
	_, err = l.update(ctx, endpoints, changes)
	return errors.Join(err, l.server.Ask("profile", "", nil))
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
