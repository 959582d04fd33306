package data

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/bench/load"
	"github.com/tulle-mesh/tulle/bench/report"
)

// halfLoad begins calls at half the rate at which the baseline was saturated, whoever
// waits. It is for what can carry that and is compared with the baseline: a percentile of
// so short a round says little, so that there are many of them.
func (r *run) halfLoad(ctx context.Context, saturated map[string][]round) (map[string][]round, error) {
	at := sample(saturated[baseline], rate).Spread().Median / 2
	lanes := r.whole(func(l *lane) bool {
		if l.name == insecureMode || l.name == mtlsMode || l.name == xdsMode || r.Quick && l.name != baseline && l.name != tulleMode {
			return false
		}
		if own := sample(saturated[l.name], rate).Spread().Median; own < at*1.25 {
			r.out.Notes = append(r.out.Notes, fmt.Sprintf("data: %s at %.0f calls/s: it is saturated at %.0f", l.name, at, own))
			return false
		}
		return true
	})
	r.Log("half load: %.0f calls/s, %d modes", at, len(lanes))
	return r.atRate(ctx, lanes, at, r.number(15, 9), "")
}

// held is what a service keeps alive that is more than an echo, of which nothing is: Go
// collects when there is as much garbage, but not before 4 MiB.
const held = 32 << 20

// holding is half load of services that hold memory.
func (r *run) holding(ctx context.Context, saturated map[string][]round) error {
	lanes := r.whole(func(l *lane) bool { return l.name == baseline || l.name == tunedMode || l.name == tulleMode })
	if r.Quick || len(lanes) < 2 {
		return nil
	}
	defer hold(lanes, 0) //nolint:errcheck // what comes next fails if they do not answer
	if err := hold(lanes, held); err != nil {
		return err
	}
	at := sample(saturated[baseline], rate).Spread().Median / 2
	r.Log("half load, 32 MiB held: %.0f calls/s, %d modes", at, len(lanes))
	got, err := r.atRate(ctx, lanes, at, r.number(9, 0), ", in processes that hold 32 MiB")
	if err != nil {
		return err
	}
	over := func(f func(round) float64) report.Sample {
		return sample(got[tulleMode], f).Over(sample(got[baseline], f))
	}
	r.add("data.held_p50", "p50 at half load where processes hold 32 MiB, Tulle / plain mTLS", over(p50))
	r.add("data.held_p99", "p99 at half load where processes hold 32 MiB, Tulle / plain mTLS", over(p99))
	r.add("data.held_cpu", "CPU of a call at half load where processes hold 32 MiB, Tulle / plain mTLS", over(round.cpu))
	return nil
}

func hold(lanes []*lane, bytes int) (err error) {
	for _, l := range lanes {
		err = errors.Join(err, l.client.Ask("hold", bytes, nil), l.server.Ask("hold", bytes, nil))
	}
	return err
}

func (r *run) atRate(ctx context.Context, lanes []*lane, at float64, n int, where string) (map[string][]round, error) {
	got, err := r.rounds(ctx, lanes, n, load.Plan{Kind: load.Unary, Bytes: 1 << 10, Rate: at, For: 600 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	t := latencies(fmt.Sprintf("Unary calls of 1 KB that begin at random times, %.0f a second%s", at, where))
	t.Note = "Latencies are from when a call was to begin, so that a pause counts for all that were due in it."
	addLatencies(&t, lanes, got)
	r.out.Tables = append(r.out.Tables, t)
	return got, nil
}
