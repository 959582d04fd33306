package life

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/bench/plane"
	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
	"github.com/tulle-mesh/tulle/mesh/identity"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

const (
	// holders is how many identities there are in this process that are renewed.
	holders = 40
	// holderLife is how long their certificates live. Who is asked for a renewal takes up
	// to a tenth of that, so that not all come at once.
	holderLife = 10 * time.Second
)

// renewals measures what the renewal of a certificate costs who renews and xdsserver: all
// are asked to at once, as when the root is replaced, and nothing else goes on.
func (r *run) renewals(ctx context.Context) error {
	if r.Quick {
		return nil
	}
	p, err := r.bed.newPlane(ctx, r.Dir, "--leaf-ttl", holderLife.String())
	if err != nil {
		return err
	}
	defer p.Kill()
	ctx, cancel := context.WithTimeout(ctx, holderLife+20*time.Second)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	var all []*identity.Source
	for i := range holders {
		source, stop, err := hold(ctx, p, fmt.Sprintf("holder-%d", i), &wait)
		if err != nil {
			return err
		}
		defer stop()
		all = append(all, source)
	}
	var own, server, both report.Sample
	// The first makes the connections.
	for round := range 4 {
		o, s, err := renewAll(ctx, p, all)
		if err != nil {
			return err
		}
		if round > 0 {
			own, server, both = append(own, o), append(server, s), append(both, o+s)
		}
	}
	t := report.Table{
		Title:   "A renewal of a certificate",
		Note:    "A new key, a request, its answer and what verifies it, over a connection of mutual TLS that some have to make anew.",
		Columns: []report.Column{{Name: "CPU of the process", Unit: "us", Spread: true}, {Name: "CPU of xdsserver", Unit: "us", Spread: true}},
	}
	t.Add("each", own, server)
	r.out.Tables = append(r.out.Tables, t)
	r.figure("life.renewal_us", "CPU of a renewal, process and xdsserver", "us", both)
	return nil
}

// hold enrols one process and keeps its identity fresh until ctx ends.
func hold(ctx context.Context, p *plane.Plane, instance string, wait *sync.WaitGroup) (source *identity.Source, stop func(), err error) {
	source, err = identity.New(identity.Config{
		Service: caller, Instance: instance, Servers: []string{p.Target()}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient(p.Target(), grpc.WithTransportCredentials(source.ControlCredentials()))
	if err != nil {
		return nil, nil, err
	}
	wait.Go(func() { _ = source.Run(ctx, conn) })
	if _, err := source.Wait(ctx); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return source, func() { _ = conn.Close() }, nil
}

// renewAll has all renew and returns the CPU of each, in microseconds.
func renewAll(ctx context.Context, p *plane.Plane, all []*identity.Source) (own, server float64, err error) {
	usage, err := proc.UsageOf(p.PID())
	if err != nil {
		return 0, 0, err
	}
	before, err := proc.OwnCPU()
	if err != nil {
		return 0, 0, err
	}
	changed := make([]<-chan struct{}, len(all))
	for i, source := range all {
		changed[i] = source.Changed()
		bundle := source.Current().Bundle
		source.SetTrust(&resource.TrustBundle{TrustDomain: bundle.TrustDomain(), Authorities: bundle.Roots(), RenewBefore: time.Now()})
	}
	for _, c := range changed {
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-c:
		}
	}
	after, err := proc.OwnCPU()
	if err != nil {
		return 0, 0, err
	}
	later, err := proc.UsageOf(p.PID())
	n := float64(len(all))
	return millis(after-before) * 1e3 / n, millis(later.CPU-usage.CPU) * 1e3 / n, err
}
