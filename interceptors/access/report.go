package access

import (
	"context"
	"time"

	"google.golang.org/grpc"

	accessv1 "github.com/tulle-mesh/tulle/mesh/api/access/v1"
)

const (
	// reportEvery is how old a count may be before xdsserver hears of it.
	reportEvery = 5 * time.Second
	// reportWithin bounds the wait for an answer.
	reportWithin = 3 * time.Second
)

// Report tells xdsserver every 5 seconds what was counted since, if anything was,
// until ctx ends; then it returns nil. conn leads to xdsserver; instance names the
// process within its service. What could not be delivered is told with the next:
// while xdsserver is away counts add up, and none is lost.
func (l *Ledger) Report(ctx context.Context, conn grpc.ClientConnInterface, instance string) error {
	client := accessv1.NewAccessServiceClient(conn)
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if counts := l.take(); len(counts) > 0 {
			l.put(report(ctx, client, instance, counts))
		}
	}
}

// report returns what could not be delivered.
func report(ctx context.Context, client accessv1.AccessServiceClient, instance string, counts []Count) []Count {
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	// Rows that were retired since may make it one more.
	for len(counts) > 0 {
		n := min(len(counts), maxRows)
		req := &accessv1.ReportRequest{Instance: instance}
		for _, c := range counts[:n] {
			req.Observations = append(req.Observations, &accessv1.Observation{
				Caller:    c.Caller,
				Address:   c.Host,
				Method:    c.Method,
				Allowed:   c.Allowed,
				Denied:    c.Denied,
				WouldDeny: c.WouldDeny,
				Policy:    c.Policy,
			})
		}
		if _, err := client.Report(ctx, req); err != nil {
			return counts
		}
		counts = counts[n:]
	}
	return nil
}
