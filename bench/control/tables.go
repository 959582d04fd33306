package control

import (
	"fmt"
	"slices"

	"github.com/tulle-mesh/tulle/bench/report"
)

// report adds what the bouts came to.
func (r *run) report() {
	r.figures()
	for _, f := range []*form{sotw, delta} {
		if of := r.where(func(b bout) bool { return b.form == f && b.world == plain }); len(of) > 0 {
			r.out.Tables = append(r.out.Tables, changesTable(f, of), streamsTable(f, of))
		}
	}
	if table := stormTable(r.results); len(table.Rows) > 0 {
		r.out.Tables = append(r.out.Tables, table)
	}
	r.growth()
}

// where returns the results of some bouts, in order of bouts and then of engines.
func (r *run) where(is func(bout) bool) []*result {
	var of []*result
	for _, res := range r.results {
		if is(res.bout) {
			of = append(of, res)
		}
	}
	return of
}

func (r *result) row() string { return fmt.Sprintf("%d streams, %s", r.streams, r.engine) }

func changesTable(f *form, of []*result) report.Table {
	t := report.Table{
		Title: "Control plane: a change that all clients subscribe to, " + f.name,
		Note: fmt.Sprintf("%d services of %d endpoints, ten of them for each client. From before the change is encoded until clients have it; "+
			"the server's CPU with all acknowledgements taken in.", plain.services, plain.endpoints),
		Columns: []report.Column{
			{Name: "endpoint p50", Unit: "ms", Digits: 1},
			{Name: "p99", Unit: "ms", Digits: 1, Spread: true},
			{Name: "CPU", Unit: "us/stream", Digits: 1, Spread: true},
			{Name: "route p50", Unit: "ms", Digits: 1},
			{Name: "p99", Unit: "ms", Digits: 1},
			{Name: "CPU", Unit: "us/stream", Digits: 1},
		},
	}
	for _, r := range of {
		t.Add(r.row(), r.endpoint.p50, r.endpoint.p99, r.endpoint.cpu, r.route.p50, r.route.p99, r.route.cpu)
	}
	return t
}

func streamsTable(f *form, of []*result) report.Table {
	t := report.Table{
		Title: "Control plane: all clients come, and come back, " + f.name,
		Note: "Until all have their first configuration of 40 resources: 64 of them at a time, and all at once after all connections were cut. " +
			"Heap and stack are what the server holds for a quiet stream.",
		Columns: []report.Column{
			{Name: "first", Unit: "s", Digits: 3},
			{Name: "CPU", Unit: "s", Digits: 3},
			{Name: "again", Unit: "s", Digits: 3},
			{Name: "CPU", Unit: "s", Digits: 3},
			{Name: "heap", Unit: "KB/stream", Digits: 1},
			{Name: "stack", Unit: "KB/stream", Digits: 1},
			{Name: "goroutines", Unit: "/stream", Digits: 1},
		},
	}
	for _, r := range of {
		t.Add(r.row(), r.sync.took, r.sync.cpu, r.back.took, r.back.cpu, r.heap, r.stack, r.goroutines)
	}
	return t
}

func stormTable(results []*result) report.Table {
	t := report.Table{
		Title: fmt.Sprintf("Control plane: %d changes per second", changesPerSecond),
		Note: "Of each service's endpoints in turn. Stale is how long a client is without a change that it subscribes to, from when that was due; " +
			"the last column, how many clients never had the last state.",
		Columns: []report.Column{
			{Name: "made", Unit: "/s", Digits: 0},
			{Name: "stale p50", Unit: "ms", Digits: 1},
			{Name: "stale p99", Unit: "ms", Digits: 1},
			{Name: "CPU", Unit: "cores", Digits: 2},
			{Name: "current after", Unit: "ms", Digits: 0},
			{Name: "lost", Digits: 0},
		},
	}
	for _, r := range results {
		for _, s := range r.storms {
			if r.failed {
				continue
			}
			t.Add(fmt.Sprintf("%s, %s for %v", r.row(), r.form.name, s.planned),
				report.Sample{float64(s.made) / s.planned.Seconds()},
				report.Sample{milliseconds(quantile(s.stale, 0.5))}, report.Sample{milliseconds(quantile(s.stale, 0.99))},
				report.Sample{s.cpu.Seconds() / s.took.Seconds()}, report.Sample{milliseconds(s.after)}, report.Sample{float64(s.lost)})
		}
	}
	return t
}

// figures adds those that budgets are for: of state of the world, and of 5,000 streams or,
// where that was not measured, of the most that were.
func (r *run) figures() {
	const design = 5000
	most := 0
	for _, res := range r.results {
		if res.form == sotw && res.world == plain && res.streams <= design {
			most = max(most, res.streams)
		}
	}
	of := r.where(func(b bout) bool { return b.form == sotw && b.world == plain && b.streams == most })
	ours, theirs := find(of, tulle), find(of, linearCache)
	if ours == nil || theirs == nil {
		r.out.Notes = append(r.out.Notes, "control: no figures, for want of an engine to compare")
		return
	}
	at := fmt.Sprintf("control plane, %d streams", most)
	add := func(key, name, unit string, value report.Sample) {
		r.out.Figures = append(r.out.Figures, report.Figure{Key: "control." + key, Name: at + name, Unit: unit, Value: value.Spread()})
	}
	add("cpu", ", one endpoint changes: server CPU, LinearCache / tulle", "", theirs.endpoint.cpu.Over(ours.endpoint.cpu))
	add("p99", ", the same: p99 to clients, LinearCache / tulle", "", theirs.endpoint.p99.Over(ours.endpoint.p99))
	add("heap", ": heap and stack per stream, LinearCache / tulle", "", theirs.memory().Over(ours.memory()))
	add("p99_ms", ", one endpoint changes: p99 to clients", "ms", ours.endpoint.p99)
	add("cpu_us", ", the same: server CPU per stream", "us", ours.endpoint.cpu)
	add("heap_kb", ": heap and stack per stream", "KB", ours.memory())
}

// memory is heap and stack.
func (r *result) memory() report.Sample {
	all := make(report.Sample, 0, len(r.heap))
	for i, heap := range r.heap {
		all = append(all, heap+r.stack[i])
	}
	return all
}

// find returns the result of an engine that did not fail, or nil.
func find(of []*result, engine string) *result {
	i := slices.IndexFunc(of, func(r *result) bool { return r.engine == engine && !r.failed })
	if i < 0 {
		return nil
	}
	return of[i]
}
