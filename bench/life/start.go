package life

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tulle-mesh/tulle/bench/plane"
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
	"github.com/tulle-mesh/tulle/bench/service"
)

// A way is one way for a process to start and to make a call.
type way struct {
	name, program string
	// prepare returns its arguments, its environment and what it calls.
	prepare func() (args, env []string, target string, err error)
	got     []start
}

// A start is what one took.
type start struct {
	// running is until the process does what it is told, answered until it had the answer
	// to its first call; CPU is what it used until then. In milliseconds.
	running, answered, cpu float64
}

const (
	first    = "Tulle, first start"
	again    = "Tulle, started again"
	deserted = "Tulle, started again, no xdsserver"
)

// starts measures cold starts.
func (r *run) starts(ctx context.Context) error {
	ways, err := r.ways(ctx)
	if err != nil {
		return err
	}
	err = turns(ctx, 1+r.rounds(21, 9), len(ways), func(i, round int) error {
		s, err := r.bed.coldStart(ways[i])
		if err != nil {
			return fmt.Errorf("%s: %w", ways[i].name, err)
		}
		if round > 0 {
			ways[i].got = append(ways[i].got, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.reportStarts(ways)
	return nil
}

// ways are those that are compared, the yardstick first.
func (r *run) ways(ctx context.Context) ([]*way, error) {
	b := r.bed
	var ways []*way
	for _, program := range []string{plain, grpcxds} {
		ways = append(ways, &way{name: names[program], program: program, prepare: func() (args, env []string, target string, err error) {
			args, env, target = b.client(program)
			return args, env, target, nil
		}})
	}
	member := func(name string, p *plane.Plane, state func() (string, error)) *way {
		return &way{name: name, program: tulle, prepare: func() (args, env []string, target string, err error) {
			dir, err := state()
			return nil, memberOf(p, caller, dir), "mesh:///" + echo, err
		}}
	}
	gone, err := b.newPlane(ctx, r.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := b.newMember(ctx, gone); err != nil {
		return nil, err
	}
	left, err := b.primed(ctx, gone)
	if err != nil {
		return nil, err
	}
	gone.Kill()
	return append(ways,
		member(first, b.plane, b.scratch),
		member(again, b.plane, func() (string, error) { return b.kept, nil }),
		member(deserted, gone, func() (string, error) { return left, nil })), nil
}

// primed returns the state that a client of p leaves which has called echo.
func (b *bed) primed(ctx context.Context, p *plane.Plane) (dir string, err error) {
	if dir, err = b.scratch(); err != nil {
		return "", err
	}
	client, err := proc.Start("Tulle, to leave its state", b.programs[tulle], nil, memberOf(p, caller, dir)...)
	if err != nil {
		return "", err
	}
	defer func() { _ = client.Close() }()
	if err := client.Ask("dial", []string{"mesh:///" + echo}, nil); err != nil {
		return "", err
	}
	// Both files are written by and by.
	for _, name := range []string{".identity", ".xds"} {
		if err := settled(ctx, file(dir, caller+name)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// settled waits until a file is there and has not changed for a while.
func settled(ctx context.Context, path string) error {
	const still, patience = 500 * time.Millisecond, 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > still {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not written: %w", path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// coldStart starts a process, has it make a call, and ends it.
func (b *bed) coldStart(w *way) (s start, err error) {
	args, env, target, err := w.prepare()
	if err != nil {
		return s, err
	}
	began := time.Now()
	p, err := proc.Start(w.name, b.programs[w.program], args, env...)
	if err != nil {
		return s, err
	}
	defer func() { _ = p.Close() }()
	var c service.Counts
	if err := p.Ask("counts", nil, &c); err != nil {
		return s, err
	}
	s.running = millis(time.Since(began))
	if err := p.Ask("dial", []string{target}, nil); err != nil {
		return s, err
	}
	s.answered = millis(time.Since(began))
	if err := p.Ask("counts", nil, &c); err != nil {
		return s, err
	}
	s.cpu = millis(c.CPU)
	return s, p.Close()
}

func (r *run) reportStarts(ways []*way) {
	t := report.Table{
		Title: "Start of a process to the answer to its first call",
		Note: "The program runs once it takes commands; the rest is joining, connecting and the call. A first start gets an identity, which plain " +
			"grpc-go and grpc-go's xDS find in files; one that is started again has that, and the last configuration, on disk.",
		Columns: []report.Column{
			{Name: "ratio", Digits: 2, Spread: true},
			{Name: "answered", Unit: "ms", Digits: 1, Spread: true},
			{Name: "runs after", Unit: "ms", Digits: 1},
			{Name: "CPU", Unit: "ms", Digits: 1},
		},
	}
	c := report.Chart{File: "life-start", Title: "Start of a process to the answer to its first call", Unit: "ms", Series: []report.Series{{Name: "answered"}}}
	answered := map[string]report.Sample{}
	for _, w := range ways {
		var running, cpu report.Sample
		for _, s := range w.got {
			answered[w.name] = append(answered[w.name], s.answered)
			running, cpu = append(running, s.running), append(cpu, s.cpu)
		}
		t.Add(w.name, answered[w.name].Over(answered[names[plain]]), answered[w.name], running, cpu)
		c.Labels = append(c.Labels, w.name)
		c.Series[0].Values = append(c.Series[0].Values, answered[w.name].Spread().Median)
	}
	r.out.Tables = append(r.out.Tables, t)
	r.out.Charts = append(r.out.Charts, c)
	r.figure("life.start", "start to first answer, Tulle's first / plain mTLS", "", answered[first].Over(answered[names[plain]]))
	r.figure("life.start_xds", "start to first answer, grpc-go xDS / Tulle started again", "", answered[names[grpcxds]].Over(answered[again]))
	r.figure("life.start_deserted_ms", "start to first answer, Tulle, no xdsserver", "ms", answered[deserted])
}
