package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
)

// inbound is the source of the calls that an instance counts as they come in.
const inbound = "inbound"

// A measure is what one phase came to.
type measure struct {
	Phase   string  `json:"phase"`
	Says    string  `json:"says"`
	Calls   int     `json:"calls"`
	OK      int     `json:"ok"`
	Success float64 `json:"success"`
	P50ms   float64 `json:"p50Milliseconds"`
	P99ms   float64 `json:"p99Milliseconds"`
	// Attempts is how many calls of voting's a vote took.
	Attempts float64 `json:"attempts"`
	// Instances is each instance's share of what reached voting.
	Instances map[string]float64 `json:"instances"`
}

// measure votes at even intervals, whatever becomes of the votes before.
func (p *play) measure(ctx context.Context, d time.Duration) measure {
	n := int(p.rps * d.Seconds())
	took := make([]time.Duration, n)
	failed := make([]bool, n)
	var wait sync.WaitGroup
	tick := time.NewTicker(time.Duration(float64(time.Second) / p.rps))
	defer tick.Stop()
	made := 0
	for i := range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		made++
		wait.Go(func() {
			began := time.Now()
			call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_, err := p.web.Vote(call, &votev1.VoteRequest{Name: "tulip"}, grpc.WaitForReady(true))
			took[i], failed[i] = time.Since(began), err != nil
		})
	}
	wait.Wait()
	took, failed = took[:made], failed[:made]
	m := measure{Calls: made}
	for _, f := range failed {
		if !f {
			m.OK++
		}
	}
	if m.Calls == 0 {
		return m
	}
	slices.Sort(took)
	ms := func(p float64) float64 {
		return float64(took[min(len(took)-1, int(p*float64(len(took))))]) / float64(time.Millisecond)
	}
	m.Success, m.P50ms, m.P99ms = float64(m.OK)/float64(m.Calls), ms(.5), ms(.99)
	return m
}

// reached is how many calls each instance of voting has counted. A process that was
// started again began anew.
func (p *play) reached() map[string]int64 {
	sums := map[string]int64{}
	for _, c := range p.stage.crew.calls() {
		if c.Source == inbound && strings.HasPrefix(c.Destination, "voting-") {
			sums[c.Destination] += c.Count
		}
	}
	return sums
}

func (p *play) shares(before map[string]int64, calls int) (map[string]float64, float64) {
	shares, sum := map[string]float64{}, int64(0)
	after := p.reached()
	for name, n := range after {
		if n >= before[name] {
			after[name] = n - before[name]
		}
		sum += after[name]
	}
	for name, in := range p.stage.instances {
		if in.service == "voting" {
			shares[name] = float64(after[name]) / float64(max(sum, 1))
		}
	}
	return shares, float64(sum) / float64(max(calls, 1))
}

// table is the outcome for people.
func (p *play) table(all []measure) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", p.name, p.says)
	var names []string
	for name, in := range p.stage.instances {
		if in.service == "voting" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprint(w, "PHASE\tCALLS\tSUCCESS\tP50\tP99\tATTEMPTS")
	for _, name := range names {
		fmt.Fprintf(w, "\t%s", strings.ToUpper(name))
	}
	fmt.Fprintln(w, "\tWHAT")
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%d\t%.2f%%\t%.1fms\t%.1fms\t%.2f", m.Phase, m.Calls, 100*m.Success, m.P50ms, m.P99ms, m.Attempts)
		for _, name := range names {
			fmt.Fprintf(w, "\t%.0f%%", 100*m.Instances[name])
		}
		fmt.Fprintf(w, "\t%s\n", m.Says)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return b.String()
}
