package life

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/plane"
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
	"github.com/tulle-mesh/tulle/bench/service"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// shortLife is how long certificates live where they are to be renewed often, where the
// default is 24 hours.
const shortLife = 3 * time.Second

// A pair is a client and a server of the mesh of one xdsserver, and the loads they had.
type pair struct {
	name           string
	plane          *plane.Plane
	client, server *proc.Process
	loads          []steady
}

// A steady is a steady load and what came of it.
type steady struct {
	// p50 and p99 are in microseconds, cpu is that of a call, of client and server.
	p50, p99, cpu float64
	// failed are calls, renewed certificates that xdsserver issued meanwhile.
	failed, renewed float64
}

// steadyPlan is a fraction of what the machine can do, so that what a renewal delays shows.
var steadyPlan = load.Plan{Kind: load.Unary, Bytes: 1 << 10, Rate: 1500, For: time.Second}

// rotations loads members whose certificates stay, and members whose certificates are
// renewed all the time; and at last replaces the root under the load.
func (r *run) rotations(ctx context.Context) error {
	calm, err := r.bed.newPair(ctx, "certificates that stay", r.bed.plane, r.bed.member)
	if err != nil {
		return err
	}
	brief, err := r.bed.newPlane(ctx, r.Dir, "--leaf-ttl", shortLife.String())
	if err != nil {
		return err
	}
	busy, err := r.bed.newPair(ctx, "certificates that are renewed all the time", brief, nil)
	if err != nil {
		return err
	}
	pairs := []*pair{calm, busy}
	err = turns(ctx, 1+r.rounds(5, 1), len(pairs), func(i, round int) error {
		s, err := pairs[i].load(ctx, steadyPlan)
		if err == nil && round > 0 {
			pairs[i].loads = append(pairs[i].loads, s)
		}
		return err
	})
	if err != nil {
		return err
	}
	if r.Quick {
		r.out.Notes = append(r.out.Notes,
			"life: with --quick no new root under load, no cost of a renewal, no programs without tracing, no upstreams of grpc-go's xDS")
	} else {
		replaced := &pair{name: "the root is replaced", plane: busy.plane, client: busy.client, server: busy.server}
		if err := r.replaceRoot(ctx, replaced); err != nil {
			return err
		}
		pairs = append(pairs, replaced)
	}
	r.reportRotations(pairs)
	return nil
}

// newPair starts a client, and a server if there is none yet.
func (b *bed) newPair(ctx context.Context, name string, p *plane.Plane, server *proc.Process) (_ *pair, err error) {
	if server == nil {
		if server, err = b.newMember(ctx, p); err != nil {
			return nil, err
		}
	}
	client, err := b.start(tulle, nil, memberOf(p, caller, "off")...)
	if err != nil {
		return nil, err
	}
	return &pair{name: name, plane: p, client: client, server: server}, client.Ask("dial", []string{"mesh:///" + echo}, nil)
}

// load runs a plan. Calls that fail are no error: they are what is looked for.
func (p *pair) load(ctx context.Context, plan load.Plan) (s steady, err error) {
	var before, after service.Counts
	if err := p.server.Ask("counts", nil, &before); err != nil {
		return s, err
	}
	issued, err := p.authority(ctx)
	if err != nil {
		return s, err
	}
	var result load.Result
	if err := p.client.Ask("run", plan, &result); err != nil {
		return s, err
	}
	if err := p.server.Ask("counts", nil, &after); err != nil {
		return s, err
	}
	later, err := p.authority(ctx)
	if err != nil {
		return s, err
	}
	latencies, err := result.Percentiles(50, 99)
	if err != nil {
		return s, err
	}
	return steady{
		p50: latencies[0], p99: latencies[1],
		cpu:     millis(result.CPU+after.CPU-before.CPU) * 1e3 / float64(result.Ledger.OK),
		failed:  float64(result.Ledger.Due - result.Ledger.OK),
		renewed: float64(later.GetIssued() - issued.GetIssued()),
	}, nil
}

func (p *pair) authority(ctx context.Context) (*adminv1.Authority, error) {
	answer, err := p.plane.API().GetAuthority(ctx, &adminv1.GetAuthorityRequest{})
	return answer.GetAuthority(), err
}

// replaceRoot has xdsserver make a new root, and loads until nobody trusts the old one.
func (r *run) replaceRoot(ctx context.Context, p *pair) error {
	if _, err := p.plane.API().RotateAuthority(ctx, &adminv1.RotateAuthorityRequest{}); err != nil {
		return err
	}
	began := time.Now()
	const patience = 30 * time.Second
	for {
		s, err := p.load(ctx, steadyPlan)
		if err != nil {
			return err
		}
		p.loads = append(p.loads, s)
		a, err := p.authority(ctx)
		if err != nil {
			return err
		}
		if a.GetRotation().GetLevel() != "root" {
			break
		}
		if time.Since(began) > patience {
			r.out.Notes = append(r.out.Notes, fmt.Sprintf("life: the end of a root's replacement: after %v it waits for %s", patience, a.GetRotation().GetWaiting()))
			return nil
		}
	}
	// Who has not followed cannot make a new connection.
	return p.client.Ask("dial", []string{"mesh:///" + echo}, nil)
}

func (r *run) reportRotations(pairs []*pair) {
	t := report.Table{
		Title: fmt.Sprintf("Certificates under a load of %.0f calls of 1 KB a second", steadyPlan.Rate),
		Note: fmt.Sprintf("The same client and server; a round has %v of load. Certificates that stay are issued for 24 h, the others for %v, and xdsserver's "+
			"connections live a quarter of that. Every call that was due and not answered has failed.", steadyPlan.For, shortLife),
		Columns: []report.Column{
			{Name: "p99 ratio", Digits: 2, Spread: true},
			{Name: "CPU ratio", Digits: 3, Spread: true},
			{Name: "failed calls", Unit: "in all"},
			{Name: "certificates", Unit: "in all"},
			{Name: "p50", Unit: "us"},
			{Name: "p99", Unit: "us", Spread: true},
			{Name: "CPU", Unit: "us/call", Digits: 1},
		},
	}
	base := pairs[0].loads
	failed := report.Sample{0}
	for _, p := range pairs {
		of := func(f func(steady) float64) report.Sample { return sample(p.loads, f) }
		p99 := func(s steady) float64 { return s.p99 }
		cpu := func(s steady) float64 { return s.cpu }
		lost := total(of(func(s steady) float64 { return s.failed }))
		failed[0] += lost[0]
		t.Add(p.name, of(p99).Over(sample(base, p99)), of(cpu).Over(sample(base, cpu)),
			lost, total(of(func(s steady) float64 { return s.renewed })),
			of(func(s steady) float64 { return s.p50 }), of(p99), of(cpu))
	}
	r.out.Tables = append(r.out.Tables, t)
	r.figure("life.rotation_failed", "calls that failed while certificates were replaced", "", failed)
}

func sample(loads []steady, f func(steady) float64) report.Sample {
	s := make(report.Sample, len(loads))
	for i, l := range loads {
		s[i] = f(l)
	}
	return s
}

// total is the sum of a sample, as one.
func total(s report.Sample) report.Sample {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return report.Sample{sum}
}
