package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
	"github.com/tulle-mesh/tulle/mesh"
)

// outside is the name of the traffic's source.
const outside = "traffic"

// workers is how many calls to web are in flight at most.
const workers = 8

// Traffic calls web like a crowd of people: most vote, some look, and one in
// twenty wants the doughnut.
type traffic struct {
	web     votev1.WebServiceClient
	counted *tally
	seen    *ring // of the calls, for the grid
	ok      atomic.Int64
	failed  atomic.Int64
}

// newTraffic joins the mesh as a client; the caller closes what it returns.
func newTraffic(ctx context.Context, server string) (*traffic, func() error, error) {
	m, err := mesh.Join(ctx, mesh.Config{
		Service:  outside,
		Server:   server,
		StateDir: mesh.NoState,
		// The tour's own words are on this terminal: only trouble adds to them.
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, nil, err
	}
	t := &traffic{counted: newTally(outside), seen: newRing()}
	conn, err := m.NewClient("mesh:///web", t.counted.to("web"), t.seen.watch())
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	t.web = votev1.NewWebServiceClient(conn)
	return t, func() error { return errors.Join(conn.Close(), m.Close()) }, nil
}

// run makes n calls, or calls until ctx ends where n is zero, rps a second.
func (t *traffic) run(ctx context.Context, n int, rps float64) {
	turns := make(chan int)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := range turns {
				// A call begun is finished, so that stopping fails none.
				if t.call(context.WithoutCancel(ctx), i) == nil {
					t.ok.Add(1)
				} else {
					t.failed.Add(1)
				}
			}
		})
	}
	tick := time.NewTicker(time.Duration(float64(time.Second) / rps))
	defer tick.Stop()
	for i := 0; (n == 0 || i < n) && ctx.Err() == nil; i++ {
		select {
		case turns <- i:
		case <-ctx.Done():
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	close(turns)
	wait.Wait()
}

// call makes the i-th call.
func (t *traffic) call(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The first calls wait for web to be there; later ones find it.
	wait := grpc.WaitForReady(true)
	var err error
	switch {
	case i%20 == 7:
		_, err = t.web.VoteDoughnut(ctx, &votev1.VoteDoughnutRequest{}, wait)
	case i%10 == 3:
		_, err = t.web.Leaderboard(ctx, &votev1.LeaderboardRequest{}, wait)
	case i%4 == 1:
		_, err = t.web.List(ctx, &votev1.ListRequest{}, wait)
	default:
		_, err = t.web.Vote(ctx, &votev1.VoteRequest{Name: emojis[i%(len(emojis)-1)].GetName()}, wait)
	}
	if err != nil && i%20 != 7 { // that one fails on purpose
		fmt.Fprintf(os.Stderr, "request %d failed: %v\n", i, err)
	}
	return err
}
