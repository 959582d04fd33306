package e2e

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// A book is what the load generator itself knows of its calls.
type book struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
}

func (b *book) note(took time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = append(b.took, took)
	if err != nil {
		b.failed++
	}
}

// percentile is exact.
func (b *book) percentile(p float64) float64 {
	slices.Sort(b.took)
	at := min(len(b.took)-1, int(math.Ceil(p*float64(len(b.took))))-1)
	return float64(b.took[max(at, 0)]) / float64(time.Millisecond)
}

// keep makes calls at even intervals, each noted, until its context ends, and returns
// when the last of them has ended.
func (b *book) keep(ctx context.Context, cc grpc.ClientConnInterface, rps int) {
	var wait sync.WaitGroup
	defer wait.Wait()
	tick := time.NewTicker(time.Second / time.Duration(rps))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wait.Go(func() {
			began := time.Now()
			_, _, err := where(context.WithoutCancel(ctx), cc)
			b.note(time.Since(began), err)
		})
	}
}

// edge returns an edge of the graph, nil where there is none.
func (s *server) edge(ctx context.Context, window time.Duration, source, destination string) *adminv1.EdgeStat {
	graph, err := s.api.GetGraph(ctx, &adminv1.GetGraphRequest{Window: durationpb.New(window)})
	if err != nil {
		return nil
	}
	for _, e := range graph.GetEdges() {
		if e.GetSource() == source && e.GetDestination() == destination {
			return e
		}
	}
	return nil
}

// What xdsserver says of the calls is what who made them says, whoever was started again
// meanwhile.
func TestNumbersAreThoseOfTheLoadGenerator(t *testing.T) {
	const rps = 300
	s := startServer(t)
	sick := []string{"TULLE_E2E_FAILS=0.05", "TULLE_E2E_TAKES=20ms"}
	first, _ := s.echo(t, "voting", "v1", sick...)
	s.echo(t, "voting", "v1", sick...)
	s.echo(t, "voting", "v2", sick...)
	s.awaitEndpoints(t, "voting", 3)
	m, err := mesh.Join(t.Context(), mesh.Config{Service: "web", Server: s.target(), StateDir: mesh.NoState})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.NewClient("mesh:///voting")
	if err != nil {
		t.Fatal(err)
	}
	var b book
	began := time.Now()
	_, _, err = where(t.Context(), conn, grpc.WaitForReady(true))
	b.note(time.Since(began), err)

	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { b.keep(ctx, conn, rps) })
	pass(t, 7*time.Second)
	first.stop(t)
	s.echo(t, "voting", "v1", sick...)
	pass(t, 7*time.Second)
	s.process.stop(t)
	pass(t, time.Second)
	s.restart(t)
	pass(t, 10*time.Second)
	cancel()
	wait.Wait()
	conn.Close()
	if err := m.Close(); err != nil { // reports what is left
		t.Fatal(err)
	}

	want := uint64(len(b.took))
	var e *adminv1.EdgeStat
	eventually(t, 15*time.Second, "xdsserver knows of all calls", func(ctx context.Context) bool {
		e = s.edge(ctx, 10*time.Minute, "web", "voting")
		return e.GetCalls().GetCalls() >= want
	})
	got := e.GetCalls()
	t.Logf("%d calls, %d failed; p50 %.2f ms, p95 %.2f ms, p99 %.2f ms. xdsserver: %v", want, b.failed, b.percentile(.5), b.percentile(.95), b.percentile(.99), got)
	if got.GetCalls() != want || got.GetFailures() != uint64(b.failed) {
		t.Errorf("xdsserver knows of %d calls and %d failures, the load generator made %d, of which %d failed", got.GetCalls(), got.GetFailures(), want, b.failed)
	}
	for _, q := range []struct {
		name string
		p    float64
		got  float64
	}{{"p50", .5, got.GetP50Ms()}, {"p95", .95, got.GetP95Ms()}, {"p99", .99, got.GetP99Ms()}} {
		if want := b.percentile(q.p); math.Abs(q.got/want-1) > .02 {
			t.Errorf("%s is %.3f ms, want %.3f within 2 %%", q.name, q.got, want)
		}
	}
	if e.GetSecurity() != "mtls" {
		t.Errorf("security is %q", e.GetSecurity())
	}
}
