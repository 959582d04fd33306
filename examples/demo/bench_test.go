package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tulle-mesh/tulle/examples/demo/votev1"
	"github.com/tulle-mesh/tulle/mesh"
)

// callers is how many make the demo's calls at once.
const callers = 16

// BenchmarkVote makes the demo's Vote through the mesh (mutual TLS, route, access,
// balancing) and over plain gRPC without TLS, by turns, over loopback TCP. It reports
// calls a second of both, and the median of their ratio with its spread.
//
//	go test -run '^$' -bench Vote ./examples/demo
func BenchmarkVote(b *testing.B) {
	meshed, plain := meshedVoting(b), plainVoting(b)
	const round = 250 * time.Millisecond
	rate(b, meshed, round)
	rate(b, plain, round)
	var with, without, ratios []float64
	for b.Loop() {
		m, p := rate(b, meshed, round), rate(b, plain, round)
		with, without, ratios = append(with, m), append(without, p), append(ratios, m/p)
	}
	for _, v := range [][]float64{with, without, ratios} {
		slices.Sort(v)
	}
	middle := len(ratios) / 2
	b.ReportMetric(with[middle], "mesh-calls/s")
	b.ReportMetric(without[middle], "plaintext-calls/s")
	b.ReportMetric(ratios[middle], "ratio")
	b.ReportMetric(ratios[0], "least")
	b.ReportMetric(ratios[len(ratios)-1], "most")
}

// rate makes calls for a time and returns how many a second.
func rate(b *testing.B, client votev1.VotingServiceClient, d time.Duration) float64 {
	b.Helper()
	ctx := context.Background()
	began := time.Now()
	var counts [callers]int
	var wait sync.WaitGroup
	for i := range callers {
		wait.Go(func() {
			for time.Since(began) < d {
				if _, err := client.Vote(ctx, &votev1.VoteRequest{Name: "taco"}, grpc.WaitForReady(true)); err != nil {
					b.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	wait.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return float64(sum) / time.Since(began).Seconds()
}

func voting() *votingService { return &votingService{votes: map[string]int64{}} }

func listen(b *testing.B) net.Listener {
	b.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return lis
}

// meshedVoting is voting in a mesh with the demo's own configuration, called as web.
func meshedVoting(b *testing.B) votev1.VotingServiceClient {
	b.Helper()
	dir, err := os.MkdirTemp("", "tulle-") //nolint:usetesting // a socket's path is short, a test's directory long
	if err != nil {
		b.Fatal(err)
	}
	crew := &crew{dir: dir, ended: make(chan string, 1), seen: map[string][]call{}}
	b.Cleanup(func() {
		if err := crew.stop(); err != nil {
			b.Error(err)
		}
		os.RemoveAll(dir)
	})
	server, err := startServer(b.Context(), crew, config)
	if err != nil {
		b.Fatal(err)
	}
	join := func(service, version string) *mesh.Mesh {
		m, err := mesh.Join(b.Context(), mesh.Config{
			Service: service, Version: version, Server: server.mesh,
			StateDir: filepath.Join(dir, fmt.Sprint("state-", service)), Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { m.Close() })
		return m
	}
	// Both versions, since the demo's route splits between them.
	for _, version := range []string{"v1", "v2"} {
		srv := join("voting", version).NewServer()
		votev1.RegisterVotingServiceServer(srv, voting())
		serveUntilDone(b, srv, listen(b))
	}
	conn, err := join("web", "").NewClient("mesh:///voting")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return votev1.NewVotingServiceClient(conn)
}

func plainVoting(b *testing.B) votev1.VotingServiceClient {
	b.Helper()
	srv, lis := grpc.NewServer(), listen(b)
	votev1.RegisterVotingServiceServer(srv, voting())
	serveUntilDone(b, srv, lis)
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return votev1.NewVotingServiceClient(conn)
}

func serveUntilDone(b *testing.B, srv interface {
	Serve(lis net.Listener) error
	Stop()
}, lis net.Listener,
) {
	b.Helper()
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(lis) }) // ends with Stop
	b.Cleanup(func() {
		srv.Stop()
		serving.Wait()
	})
}
