// Package data measures the data path: what a call costs by plain grpc-go, by grpc-go's own
// xDS, as a member of the mesh, and through sidecars, side by side in one run.
//
// Client and server of each mode are processes of their own, all on loopback and all there
// at once; they take turns, in an order that turns too, so that what else the machine does
// hits all.
package data

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/report"
)

// Config says what to measure.
type Config struct {
	// Quick is for a minute: fewer modes, rounds and loads.
	Quick bool
	// Rounds is how many each mode has in each table; zero is as many as fit into the time.
	Rounds int
	// Only are the names of modes; empty is all. The baseline is always among them.
	Only []string
	// Profiles is a directory for CPU profiles of each client and server at saturation,
	// taken in rounds of their own; empty is none.
	Profiles string
	// Dir keeps programs and scratch.
	Dir string
	// Log is told of progress.
	Log func(format string, args ...any)
}

// A run is one measurement of the data path.
type run struct {
	Config

	bed   *bed
	lanes []*lane
	out   *report.Report
}

// Run measures, and adds tables, figures and charts to a report.
func Run(ctx context.Context, c Config, out *report.Report) error {
	if err := c.check(); err != nil {
		return err
	}
	b, err := newBed(ctx, c)
	if err != nil {
		return err
	}
	defer b.close()
	r := &run{Config: c, bed: b, out: out}
	defer r.close()
	if err := r.openLanes(ctx); err != nil {
		return err
	}
	saturated, err := r.saturation(ctx)
	if err != nil {
		return err
	}
	near, err := r.nearness(ctx)
	if err != nil {
		return err
	}
	if err := r.profiles(); err != nil {
		return err
	}
	half, err := r.halfLoad(ctx, saturated)
	if err != nil {
		return err
	}
	single, err := r.oneCaller(ctx)
	if err != nil {
		return err
	}
	memory, err := r.memory()
	if err != nil {
		return err
	}
	r.figures(saturated, near, half, single, memory)
	if err := r.holding(ctx, saturated); err != nil {
		return err
	}
	if c.Quick {
		r.out.Notes = append(r.out.Notes, "data: with --quick no parts switched off, no processes that hold memory, no streams, "+
			"no other sizes and numbers of callers and upstreams")
		return nil
	}
	return r.sweep(ctx)
}

// check finds modes that do not exist.
func (c *Config) check() error {
	names := make([]string, 0, len(modes()))
	for _, m := range modes() {
		names = append(names, m.name)
	}
	for _, name := range c.Only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no mode is called %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// openLanes starts all modes. That sidecars cannot be had is a note, and no error.
func (r *run) openLanes(ctx context.Context) error {
	for _, m := range modes() {
		if !r.wanted(m) {
			continue
		}
		r.Log("starting %s", m.name)
		l, err := r.bed.open(ctx, m, 1)
		if err != nil && m.sidecar != "" && ctx.Err() == nil {
			r.out.Notes = append(r.out.Notes, fmt.Sprintf("data: %s: %v", m.name, err))
			continue
		}
		if err != nil {
			return err
		}
		r.lanes = append(r.lanes, l)
		if l.proxies != nil {
			r.out.Machine.Versions[l.proxies.Name] = l.proxies.Version
		}
	}
	return nil
}

func (r *run) wanted(m mode) bool {
	if len(r.Only) == 0 {
		return !r.Quick || !m.part && m.name != xdsMode && m.name != mtlsMode && m.name != insecureMode && m.name != tunedMode
	}
	return m.name == baseline || slices.Contains(r.Only, m.name)
}

func (r *run) close() {
	for _, l := range r.lanes {
		l.close()
	}
}

// rounds has lanes take turns at a plan, n times each; what lane has the plan, or none,
// plan says. Before the first each has a warm-up, which does not count.
func (r *run) rounds(ctx context.Context, lanes []*lane, n int, p load.Plan) (map[string][]round, error) {
	all := make(map[string][]round, len(lanes))
	for turn := range n + 1 {
		p.Seed = uint64(turn)
		for i := range lanes {
			// The order turns and turns back, so that none always follows the same one.
			at := (i + turn) % len(lanes)
			if turn%2 == 1 {
				at = len(lanes) - 1 - at
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			got, err := lanes[at].measure(p)
			if err != nil {
				return nil, err
			}
			if turn > 0 {
				all[lanes[at].name] = append(all[lanes[at].name], got)
			}
		}
	}
	return all, nil
}

// number is how many rounds there are.
func (r *run) number(usual, quick int) int {
	switch {
	case r.Rounds > 0:
		return r.Rounds
	case r.Quick:
		return quick
	default:
		return usual
	}
}

// saturated is the plan whose figures have budgets.
var saturated = load.Plan{Kind: load.Unary, Bytes: 1 << 10, Callers: 64, For: 400 * time.Millisecond}

func (r *run) saturation(ctx context.Context) (map[string][]round, error) {
	r.Log("saturation: %d modes", len(r.lanes))
	got, err := r.rounds(ctx, r.lanes, r.number(5, 4), saturated)
	if err != nil {
		return nil, err
	}
	r.addSaturated("", r.lanes, got)
	return got, nil
}

// nearness is saturation of what is so near to the baseline that it takes many rounds, each
// beside one of the baseline, to tell them apart.
func (r *run) nearness(ctx context.Context) (map[string][]round, error) {
	lanes := r.whole(func(l *lane) bool { return l.name == baseline || l.name == tunedMode || l.name == tulleMode })
	if len(lanes) < 2 {
		return nil, nil //nolint:nilnil // no rounds
	}
	r.Log("saturation, many rounds: %d modes", len(lanes))
	p := saturated
	p.For = 250 * time.Millisecond
	got, err := r.rounds(ctx, lanes, r.number(21, 11), p)
	if err != nil {
		return nil, err
	}
	r.addSaturated(", in many rounds", lanes, got)
	return got, nil
}

func (r *run) addSaturated(how string, lanes []*lane, got map[string][]round) {
	t := report.Table{
		Title: "Unary calls of 1 KB, 64 callers, as fast as they can" + how,
		Note:  "CPU is user and system time of the process, proxies' included; the ratio is to plain grpc-go with mTLS and the same deadline, round by round.",
		Columns: []report.Column{
			{Name: "ratio", Digits: 3, Spread: true},
			{Name: "calls/s"},
			{Name: "p50", Unit: "us"},
			{Name: "p90", Unit: "us"},
			{Name: "p99", Unit: "us"},
			{Name: "p99.9", Unit: "us"},
			{Name: "CPU ratio", Digits: 3, Spread: true},
			{Name: "client", Unit: "us/call", Digits: 1},
			{Name: "server", Unit: "us/call", Digits: 1},
			{Name: "proxies", Unit: "us/call", Digits: 1},
			{Name: "client allocs", Digits: 1},
			{Name: "server allocs", Digits: 1},
		},
	}
	base := got[baseline]
	for _, l := range lanes {
		of := got[l.name]
		proxies := report.Sample(nil)
		if l.proxies != nil {
			proxies = sample(of, func(r round) float64 { return r.proxyCPU })
		}
		t.Add(l.name,
			sample(of, rate).Over(sample(base, rate)), sample(of, rate),
			sample(of, p50), sample(of, func(r round) float64 { return r.p90 }), sample(of, p99), sample(of, func(r round) float64 { return r.p999 }),
			sample(of, round.cpu).Over(sample(base, round.cpu)),
			sample(of, func(r round) float64 { return r.clientCPU }), sample(of, func(r round) float64 { return r.serverCPU }), proxies,
			sample(of, func(r round) float64 { return r.clientAllocs }), sample(of, func(r round) float64 { return r.serverAllocs }))
	}
	r.out.Tables = append(r.out.Tables, t)
}

func sample(rounds []round, f func(round) float64) report.Sample {
	s := make(report.Sample, len(rounds))
	for i, r := range rounds {
		s[i] = f(r)
	}
	return s
}

func rate(r round) float64 { return r.rate }
func p50(r round) float64  { return r.p50 }
func p99(r round) float64  { return r.p99 }

// whole are the lanes that are not Tulle less a part.
func (r *run) whole(keep func(*lane) bool) []*lane {
	var lanes []*lane
	for _, l := range r.lanes {
		if !l.part && keep(l) {
			lanes = append(lanes, l)
		}
	}
	return lanes
}

func (r *run) oneCaller(ctx context.Context) (map[string][]round, error) {
	lanes := r.whole(func(*lane) bool { return true })
	r.Log("one caller: %d modes", len(lanes))
	got, err := r.rounds(ctx, lanes, r.number(7, 4), load.Plan{Kind: load.Unary, Bytes: 1 << 10, Callers: 1, For: 250 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	t := latencies("Unary calls of 1 KB, one after another")
	addLatencies(&t, lanes, got)
	r.out.Tables = append(r.out.Tables, t)
	return got, nil
}

func latencies(title string) report.Table {
	return report.Table{Title: title, Columns: []report.Column{
		{Name: "p50 ratio", Digits: 3, Spread: true},
		{Name: "p99 ratio", Digits: 3, Spread: true},
		{Name: "p50", Unit: "us"},
		{Name: "p90", Unit: "us"},
		{Name: "p99", Unit: "us"},
		{Name: "p99.9", Unit: "us"},
		{Name: "CPU", Unit: "us/call", Digits: 1},
	}}
}

func addLatencies(t *report.Table, lanes []*lane, got map[string][]round) {
	base := got[baseline]
	for _, l := range lanes {
		of := got[l.name]
		t.Add(l.name,
			sample(of, p50).Over(sample(base, p50)), sample(of, p99).Over(sample(base, p99)),
			sample(of, p50), sample(of, func(r round) float64 { return r.p90 }), sample(of, p99), sample(of, func(r round) float64 { return r.p999 }),
			sample(of, round.cpu))
	}
}
