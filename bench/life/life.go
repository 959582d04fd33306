// Package life measures what happens once in a while, and not with each call: how soon a
// process answers after its start, with xdsserver and without; what memory one more
// upstream takes; how large a program gets; and what a connection and a new certificate
// cost.
//
// Beside the mesh stand plain grpc-go with mutual TLS from files, and grpc-go's own xDS.
// All call the same service, by programs that differ in nothing else, and take turns.
package life

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/bench/report"
)

// Config says what to measure.
type Config struct {
	// Quick is for a few seconds: fewer rounds, and no change of the mesh's root.
	Quick bool
	// Dir keeps programs and scratch.
	Dir string
	// Log is told of progress; nil is nobody.
	Log func(format string, args ...any)
}

// A run is one measurement of the life cycle.
type run struct {
	Config

	bed *bed
	out *report.Report
}

// Run measures, and adds tables, figures and charts to a report.
func Run(ctx context.Context, c Config, out *report.Report) error {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	b, err := newBed(ctx, c)
	if err != nil {
		return err
	}
	defer b.close()
	r := &run{Config: c, bed: b, out: out}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"starts", r.starts},
		{"joins", r.joins},
		{"upstreams", r.upstreams},
		{"sizes", r.sizes},
		{"connections", r.connections},
		{"renewals", r.renewals},
		{"rotations", r.rotations},
	} {
		c.Log("life: %s", part.name)
		if err := part.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// rounds is how many rounds there are.
func (r *run) rounds(usual, quick int) int {
	if r.Quick {
		return quick
	}
	return usual
}

// turns has n things take turns for so many rounds, in an order that turns and turns back,
// so that none always follows the same one. Where the first of all is to warm up, its round
// is zero.
func turns(ctx context.Context, rounds, n int, do func(i, round int) error) error {
	for round := range rounds {
		for i := range n {
			at := (i + round) % n
			if round%2 == 1 {
				at = n - 1 - at
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := do(at, round); err != nil {
				return err
			}
		}
	}
	return nil
}

// figure adds one that a budget may stand for.
func (r *run) figure(key, name, unit string, s report.Sample) {
	r.out.Figures = append(r.out.Figures, report.Figure{Key: key, Name: name, Unit: unit, Value: s.Spread()})
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
