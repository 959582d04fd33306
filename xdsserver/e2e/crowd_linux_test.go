package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/mesh"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/telemetry"
)

const (
	// crowdMemory and crowdCPU are what xdsserver may take: bytes, and cores.
	crowdMemory = 600_000_000
	crowdCPU    = 0.5
)

// crowd is how large the mesh is and for how long it is looked at. The full one, which
// takes a while to come up, is asked for:
//
//	TULLE_E2E_CROWD=500x4x10m go test ./xdsserver/e2e -run Crowd -v -timeout 40m
func crowd(t *testing.T) (services, instances int, lasts time.Duration) {
	t.Helper()
	parts := strings.Split(os.Getenv("TULLE_E2E_CROWD"), "x")
	if len(parts) != 3 {
		return 60, 2, 15 * time.Second
	}
	services, errS := strconv.Atoi(parts[0])
	instances, errI := strconv.Atoi(parts[1])
	lasts, errL := time.ParseDuration(parts[2])
	if errS != nil || errI != nil || errL != nil {
		t.Fatalf("TULLE_E2E_CROWD=%s: want services x instances x duration, as 500x4x10m", os.Getenv("TULLE_E2E_CROWD"))
	}
	return services, instances, lasts
}

// A large mesh that reports, with pages open, costs xdsserver little. Each instance is a
// real member with its own certificate, stream and registration; its calls are made up,
// since this machine has to carry all of them.
func TestCrowdOfReportersCostsLittle(t *testing.T) {
	services, instances, lasts := crowd(t)
	s := startServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	name := func(i int) string { return fmt.Sprintf("service-%03d", i%services) }
	for i := range services {
		for j := range instances {
			m, err := mesh.Join(ctx, mesh.Config{
				Service: name(i), Version: "v1", Server: s.target(), StateDir: mesh.NoState, Logger: quiet,
				Instance: fmt.Sprintf("i%d", j), Zone: fmt.Sprintf("zone-%d", j%2),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Close() }) // thousands at once: the end is no matter here
			if _, err := m.Register(fmt.Sprintf("127.%d.%d.%d:8080", 1+i/200, 1+i%200, 1+j)); err != nil {
				t.Fatal(err)
			}
			wait.Go(func() { gossip(ctx, m.Telemetry(), i, name) })
		}
		// Joining is rationed, and takes its time.
		if i%10 == 9 {
			pass(t, 50*time.Millisecond)
		}
	}
	eventually(t, 5*time.Minute, "all have joined", func(ctx context.Context) bool {
		status, err := s.api.GetStatus(ctx, &adminv1.GetStatusRequest{})
		return err == nil && int(status.GetEndpoints()) == services*instances
	})
	pages := watchPages(t, s, name(0))
	pass(t, 10*time.Second)
	cpu, began := cpuOf(t, s.cmd.Process.Pid), time.Now()
	var peak int64
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		pass(t, min(5*time.Second, time.Until(end)+time.Millisecond))
		peak = max(peak, residentOf(t, s.cmd.Process.Pid))
	}
	cores := (cpuOf(t, s.cmd.Process.Pid) - cpu).Seconds() / time.Since(began).Seconds()
	t.Logf("%d services x %d instances for %v: xdsserver %d MiB at most, %.2f cores; %s",
		services, instances, lasts, peak>>20, cores, pages())
	if peak > crowdMemory {
		t.Errorf("xdsserver took %d MB, want at most %d", peak/1e6, crowdMemory/int64(1e6))
	}
	if cores > crowdCPU {
		t.Errorf("xdsserver took %.2f cores, want at most %.2f", cores, crowdCPU)
	}
	graph, err := s.api.GetGraph(t.Context(), &adminv1.GetGraphRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(graph.GetServices()) < services || len(graph.GetEdges()) < 2*services {
		t.Errorf("the graph has %d services and %d edges, want %d and %d", len(graph.GetServices()), len(graph.GetEdges()), services, 2*services)
	}
}

// gossip makes up the calls of one instance: ten a second, to two services by three
// methods, and as many that it takes.
func gossip(ctx context.Context, in *telemetry.Instruments, i int, name func(int) string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range 10 {
			took := time.Duration(rand.ExpFloat64() * float64(5*time.Millisecond))
			code := codes.OK
			if rand.IntN(100) == 0 {
				code = codes.Unavailable
			}
			method := fmt.Sprintf("/shop.v1.Shop/Method%d", rand.IntN(3))
			to := name(i + 1 + rand.IntN(2)*7)
			in.ClientCall(telemetry.ClientKey{Service: to, Method: method}).Record(code, took)
			in.ClientAttempt(telemetry.AttemptKey{Service: to, Method: method, Cluster: to, Local: true, Security: telemetry.MTLS}).Record(code, took)
			in.ServerCall(telemetry.ServerKey{Caller: "spiffe://tulle.local/ns/default/svc/" + name(i+503), Method: method, Security: telemetry.MTLS}).Record(code, took)
		}
	}
}

// cpuOf is the processor time that a process has taken.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// proc_pid_stat(5): behind the name in brackets, 12 and 13 are ticks of 10 ms.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// residentOf is the memory that a process holds, in bytes.
func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kb << 10
}
