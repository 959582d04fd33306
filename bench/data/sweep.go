package data

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/report"
)

const manyUpstreams = 10

// sweep compares the modes that matter most under other loads.
func (r *run) sweep(ctx context.Context) error {
	lanes := r.whole(func(l *lane) bool { return l.name == baseline || l.name == otelMode || l.name == tulleMode })
	t := report.Table{
		Title:   "Other loads",
		Note:    "Units of work a second over those of plain grpc-go with mTLS and the same deadline; of a stream, a unit is a message.",
		Columns: []report.Column{{Name: "plain", Unit: "/s"}},
	}
	for _, l := range lanes {
		if l.name != baseline {
			t.Columns = append(t.Columns, report.Column{Name: l.name, Digits: 3, Spread: true}, report.Column{Name: "CPU ratio", Digits: 3})
		}
	}
	const long = 350 * time.Millisecond
	for _, load := range []struct {
		name string
		plan load.Plan
	}{
		{"unary 1 KB, 1 caller", load.Plan{Kind: load.Unary, Bytes: 1 << 10, Callers: 1, For: long}},
		{"unary 1 KB, 16 callers", load.Plan{Kind: load.Unary, Bytes: 1 << 10, Callers: 16, For: long}},
		{"unary 1 KB, 256 callers", load.Plan{Kind: load.Unary, Bytes: 1 << 10, Callers: 256, For: long}},
		{"unary 100 B, 64 callers", load.Plan{Kind: load.Unary, Bytes: 100, Callers: 64, For: long}},
		{"server stream 1 KB, 64 callers", load.Plan{Kind: load.ServerStream, Bytes: 1 << 10, Callers: 64, For: long}},
		{"bidi stream 1 KB, 64 callers", load.Plan{Kind: load.BidiStream, Bytes: 1 << 10, Callers: 64, For: long}},
	} {
		r.Log("other loads: %s", load.name)
		if err := r.compare(ctx, &t, load.name, lanes, load.plan); err != nil {
			return err
		}
	}
	r.Log("other loads: %d upstreams", manyUpstreams)
	many, err := r.many(ctx, lanes)
	defer func() {
		for _, l := range many {
			if l != nil {
				l.close()
			}
		}
	}()
	if err != nil {
		return err
	}
	if err := r.compare(ctx, &t, fmt.Sprintf("unary 1 KB, 64 callers, %d upstreams", manyUpstreams), many, saturated); err != nil {
		return err
	}
	r.out.Tables = append(r.out.Tables, t)
	return nil
}

// many are lanes with many upstreams; nil for a mode that has none.
func (r *run) many(ctx context.Context, lanes []*lane) ([]*lane, error) {
	many := make([]*lane, len(lanes))
	for i, l := range lanes {
		m := l.mode
		if m.xds() {
			r.out.Notes = append(r.out.Notes, fmt.Sprintf("data: %s with %d upstreams: its server is of one service", m.name, manyUpstreams))
			continue
		}
		if m.tulle() {
			m.service = "many"
			m.manifests = serviceOf(m.service, withDeadline) + routesOf(m.service)
		}
		var err error
		if many[i], err = r.bed.open(ctx, m, manyUpstreams); err != nil {
			return many, err
		}
	}
	return many, nil
}

// compare adds a row. A nil lane was not measured.
func (r *run) compare(ctx context.Context, t *report.Table, name string, lanes []*lane, p load.Plan) error {
	var there []*lane
	for _, l := range lanes {
		if l != nil {
			there = append(there, l)
		}
	}
	got, err := r.rounds(ctx, there, r.number(3, 2), p)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	base := got[baseline]
	cells := []report.Sample{sample(base, rate)}
	for _, l := range lanes {
		switch {
		case l == nil:
			cells = append(cells, nil, nil)
		case l.name != baseline:
			cells = append(cells, sample(got[l.name], rate).Over(sample(base, rate)), sample(got[l.name], round.cpu).Over(sample(base, round.cpu)))
		}
	}
	t.Add(name, cells...)
	return nil
}
