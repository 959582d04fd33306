package life

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
)

// upstreamCount is how many upstreams memory is divided by.
const upstreamCount = 100

// A footprint is what each upstream takes, in KB.
type footprint struct{ heap, stack, all, goroutines report.Sample }

// upstreams measures the memory of one more service to call: of a hundred, each with a
// connection that has made a call, in a process that has called another one before.
func (r *run) upstreams(ctx context.Context) error {
	b := r.bed
	services := make([]string, upstreamCount)
	for i := range services {
		services[i] = fmt.Sprintf("upstream-%d", i)
	}
	addresses, err := serve(ctx, b.plane, b.member, services...)
	if err != nil {
		return err
	}
	targets := map[string][]string{plain: addresses}
	for _, name := range services {
		targets[grpcxds] = append(targets[grpcxds], "xds:///"+name)
		targets[tulle] = append(targets[tulle], "mesh:///"+name)
	}
	got := make([]footprint, len(programs))
	for range r.rounds(2, 1) {
		if err := r.grow(ctx, targets, got); err != nil {
			return err
		}
	}
	r.reportUpstreams(got)
	return nil
}

// grow starts a client of each program, has it call all targets, and adds by what it grew
// for each.
func (r *run) grow(ctx context.Context, targets map[string][]string, got []footprint) error {
	clients := make([]*grown, len(programs))
	for i, program := range programs {
		if r.Quick && program == grpcxds {
			continue
		}
		g, err := r.bed.callAll(ctx, program, targets[program])
		if err != nil {
			return fmt.Errorf("%s: %w", names[program], err)
		}
		defer func() { _ = g.client.Close() }()
		clients[i] = g
	}
	// Members tell xdsserver of their calls, and keep what they have told.
	reported := 5500 * time.Millisecond
	if r.Quick {
		reported = time.Second
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(reported):
	}
	for i, g := range clients {
		if g == nil {
			continue
		}
		after, err := stillMemory(ctx, g.client)
		if err != nil {
			return err
		}
		got[i].add(g.before, after)
	}
	return nil
}

func (f *footprint) add(before, after proc.Memory) {
	const unit = 1024 * upstreamCount
	heap := (float64(after.Heap) - float64(before.Heap)) / unit
	stack := (float64(after.Stack) - float64(before.Stack)) / unit
	f.heap, f.stack, f.all = append(f.heap, heap), append(f.stack, stack), append(f.all, heap+stack)
	f.goroutines = append(f.goroutines, float64(after.Goroutines-before.Goroutines)/upstreamCount)
}

// A grown is a client that has called all targets, and its memory before that.
type grown struct {
	client *proc.Process
	before proc.Memory
}

func (b *bed) callAll(ctx context.Context, program string, targets []string) (_ *grown, err error) {
	args, env, target := b.client(program)
	p, err := proc.Start(names[program]+", client of many", b.programs[program], args, env...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	if err := p.Ask("dial", []string{target}, nil); err != nil {
		return nil, err
	}
	before, err := stillMemory(ctx, p)
	if err != nil {
		return nil, err
	}
	return &grown{p, before}, p.Ask("dial", targets, nil)
}

// stillMemory is the least that a process holds within a short while: what it does beside
// is not what it keeps.
func stillMemory(ctx context.Context, p *proc.Process) (least proc.Memory, err error) {
	for i := range 4 {
		select {
		case <-ctx.Done():
			return least, ctx.Err()
		case <-time.After(40 * time.Millisecond):
		}
		var m proc.Memory
		if err := p.Ask("memory", nil, &m); err != nil {
			return least, err
		}
		if i == 0 || m.Heap+m.Stack < least.Heap+least.Stack {
			least.Heap, least.Stack = m.Heap, m.Stack
		}
		if i == 0 || m.Goroutines < least.Goroutines {
			least.Goroutines = m.Goroutines
		}
	}
	return least, nil
}

func (r *run) reportUpstreams(got []footprint) {
	t := report.Table{
		Title: "Memory of one more upstream",
		Note: fmt.Sprintf("By what a client grows that calls %d more services, one connection and one call each, after collections. "+
			"All call the same servers, each of which has a certificate of its own.", upstreamCount),
		Columns: []report.Column{
			{Name: "heap and stack", Unit: "KB", Digits: 1, Spread: true},
			{Name: "over plain", Unit: "KB", Digits: 1, Spread: true},
			{Name: "heap", Unit: "KB", Digits: 1},
			{Name: "stack", Unit: "KB", Digits: 1},
			{Name: "goroutines", Digits: 2},
		},
	}
	c := report.Chart{File: "life-upstream", Title: "Memory of one more upstream", Unit: "KB", Series: []report.Series{{Name: "heap"}, {Name: "stack"}}}
	base := got[0]
	for i, f := range got {
		if len(f.all) == 0 {
			continue
		}
		t.Add(names[programs[i]], f.all, f.all.Less(base.all), f.heap, f.stack, f.goroutines)
		c.Labels = append(c.Labels, names[programs[i]])
		c.Series[0].Values = append(c.Series[0].Values, f.heap.Spread().Median)
		c.Series[1].Values = append(c.Series[1].Values, f.stack.Spread().Median)
	}
	r.out.Tables = append(r.out.Tables, t)
	r.out.Charts = append(r.out.Charts, c)
	mesh := got[len(got)-1]
	r.figure("life.upstream_kb", "memory of an upstream over plain mTLS", "KB", mesh.all.Less(base.all))
	r.figure("life.upstream_goroutines", "goroutines of an upstream over plain mTLS", "", mesh.goroutines.Less(base.goroutines))
}
