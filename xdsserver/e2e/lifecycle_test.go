package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// One process calls fifty services over one connection to xdsserver.
func TestFiftyTargetsShareOneConnection(t *testing.T) {
	s := startServer(t)
	yaml := services(50)
	_, address := s.echo(t, "voting", "v1")
	for i := range 50 {
		yaml += fmt.Sprintf("---\napiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: route-%d}\nspec:\n  parentRefs: [{kind: Service, name: service-%d}]\n  rules: [{backendRefs: [{name: voting}]}]\n", i, i)
	}
	s.awaitEndpoints(t, "voting", 1)
	s.apply(t, yaml)

	// Connections to xdsserver that are open: the one it enrolled on is closed again.
	var open atomic.Int64
	var dialer net.Dialer
	m := s.join(t, mesh.Config{DialContext: func(ctx context.Context, addr string) (net.Conn, error) {
		path, ok := strings.CutPrefix(addr, "unix://")
		if !ok {
			return dialer.DialContext(ctx, "tcp", addr)
		}
		conn, err := dialer.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &countedConn{UnixConn: conn.(*net.UnixConn), open: &open}, nil
	}})
	for i := range 50 {
		conn := dial(t, m, fmt.Sprintf("mesh:///service-%d", i))
		if _, got, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil || got != address {
			t.Fatalf("service-%d: %q, %v, want %q", i, got, err, address)
		}
	}
	status, err := s.api.GetStatus(t.Context(), &adminv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	streams := 0
	for _, c := range status.GetClients() {
		if c.GetService() == "tester" {
			streams++
		}
	}
	if open.Load() != 1 || streams != 1 {
		t.Errorf("%d connections and %d streams for 50 targets, want 1 and 1", open.Load(), streams)
	}
}

// A countedConn is counted while it is open.
type countedConn struct {
	*net.UnixConn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.UnixConn.Close()
}

// lease is xdsserver's default.
const lease = 5 * time.Second

// An endpoint that dies leaves within its lease plus a second; calls go on at
// the others meanwhile.
func TestKilledEndpointLeavesWithinItsLease(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	victim, address := s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 2)

	victim.kill()
	took := eventually(t, lease+time.Second, "the killed endpoint is gone", func(ctx context.Context) bool {
		_, there := s.endpoints(ctx, "voting")[address]
		return !there
	})
	t.Logf("gone after %v, lease %v", took, lease)
}

// An endpoint that stops cleanly fails no call of 500 a second.
func TestCleanStopFailsNoCall(t *testing.T) {
	s := startServer(t)
	s.echo(t, "voting", "v1")
	s.echo(t, "voting", "v1")
	s.awaitEndpoints(t, "voting", 2)
	conn := dial(t, s.join(t, mesh.Config{}), "mesh:///voting")
	if _, _, err := where(t.Context(), conn, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}

	load := startLoad(t, conn, 500)
	for range 20 { // a rolling restart: one comes, one goes
		p, address := s.echo(t, "voting", "v1")
		s.awaitEndpoints(t, "voting", 3)
		eventually(t, 10*time.Second, "calls reach the new endpoint", func(ctx context.Context) bool {
			_, got, err := where(ctx, conn)
			return err == nil && got == address
		})
		p.stop(t)
		s.awaitEndpoints(t, "voting", 2)
	}
	load.mustNotHaveFailed(t)
}
