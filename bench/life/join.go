package life

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
	"github.com/tulle-mesh/tulle/mesh"
)

// joins measures mesh.Join until the member is ready, in this process.
func (r *run) joins(ctx context.Context) error {
	cases := []struct {
		name  string
		state func() (string, error)
		took  report.Sample
		cpu   report.Sample
	}{
		{name: "first", state: r.bed.scratch},
		{name: "again, with what is on disk", state: func() (string, error) { return r.bed.kept, nil }},
	}
	err := turns(ctx, 1+r.rounds(21, 9), len(cases), func(i, round int) error {
		c := &cases[i]
		dir, err := c.state()
		if err != nil {
			return err
		}
		took, cpu, err := r.bed.join(ctx, dir)
		if err == nil && round > 0 {
			c.took, c.cpu = append(c.took, millis(took)), append(c.cpu, millis(cpu))
		}
		return err
	})
	if err != nil {
		return err
	}
	t := report.Table{
		Title:   "mesh.Join until Mesh.Ready",
		Note:    "In a process that runs: a key, a certificate and the configuration's source.",
		Columns: []report.Column{{Name: "ready", Unit: "ms", Digits: 2, Spread: true}, {Name: "CPU", Unit: "ms", Digits: 2}},
	}
	for _, c := range cases {
		t.Add(c.name, c.took, c.cpu)
	}
	r.out.Tables = append(r.out.Tables, t)
	r.figure("life.join_ms", "mesh.Join until ready, first", "ms", cases[0].took)
	return nil
}

func (b *bed) join(ctx context.Context, state string) (took, cpu time.Duration, err error) {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	before, err := proc.OwnCPU()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	m, err := mesh.Join(ctx, mesh.Config{Service: caller, Server: b.plane.Target(), StateDir: state, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := m.Ready(ctx); err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	after, err := proc.OwnCPU()
	return took, after - before, err
}
