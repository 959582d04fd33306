package mesh_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
)

// knobs are what an operator may turn of a service, each with settings that fail no
// call.
var knobs = [][]string{
	{"timeout: 2s", "timeout: 3s", "timeout: 4500ms"},
	{"idleTimeout: 10s", "idleTimeout: 1m"},
	{"hopCost: 1ms", "hopCost: 5ms"},
	{
		"retry: {on: [unavailable], attempts: 3, idempotent: true}",
		"retry: {attempts: 1}",
		"retry: {on: [unavailable, internal], attempts: 5, perTryTimeout: 1s, backoff: {base: 10ms, max: 1s}}",
	},
	{"retryBudget: {percent: 50, minPerSecond: 1, window: 5s}", "retryBudget: {percent: 0, minPerSecond: 100, window: 20s}"},
	{"hedge: {delay: 30ms}", "hedge: {quantile: 0.9, attempts: 3}"},
	{"breaker: {off: true}", "breaker: {consecutiveFailures: 3, minPenalty: 2s, maxPenalty: 10s}", "breaker: {successRate: 0.5, window: 5s, minRequests: 20}"},
	{"serviceBreaker: {consecutiveFailures: 50}", "serviceBreaker: {successRate: 0.2}"},
	{"maxEjectedPercent: 10", "maxEjectedPercent: 100"},
	{
		"outlierDetection: {interval: 1s, failurePercentage: {threshold: 50}}",
		"outlierDetection: {successRate: {stdevFactor: 1500, minimumHosts: 3, requestVolume: 10}}",
	},
	{
		"loadBalancing: {policy: peak-ewma, decay: 3s, failurePenalty: 1s}",
		"loadBalancing: {policy: round-robin}",
		"loadBalancing: {policy: least-request, choices: 3}",
		"loadBalancing: {policy: ring-hash, hashHeader: x-user}",
		"loadBalancing: {policy: weighted-round-robin}",
		"loadBalancing: {slowStart: {window: 5s}, zone: {mode: spread}}",
		"loadBalancing: {zone: {mode: prefer, low: 0.5, high: 1.5}, maxStreamAge: 1m}",
	},
	{"maxRequests: 5000", "maxRequests: 9000"},
	{"maxRequestsPerEndpoint: 2000", "maxRequestsPerEndpoint: 3000"},
	{"rateLimit: {requestsPerSecond: 50000, burst: 1000}", "rateLimit: {requestsPerSecond: 90000}"},
	{
		"admission: {rateLimits: [{name: all, per: total, requestsPerSecond: 50000}]}",
		"admission: {rateLimits: [{name: each, per: identity, requestsPerSecond: 50000}, {name: m, per: method, requestsPerSecond: 60000}]}",
		"admission: {concurrency: {limit: 1000}}",
		"admission: {concurrency: {adaptive: true, min: 100}}",
	},
}

// turn writes a Service with some of the knobs at random settings.
func turn(random *rand.Rand) string {
	var b strings.Builder
	for _, settings := range knobs {
		if random.IntN(2) == 0 {
			fmt.Fprintf(&b, "  %s\n", settings[random.IntN(len(settings))])
		}
	}
	if b.Len() == 0 {
		b.WriteString("  timeout: 1s\n")
	}
	return service("voting", b.String())
}

func TestEveryKnobIsTurnedUnderLoad(t *testing.T) {
	const turns, perSecond = 100, 200
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		m := meshtest.New(t)
		for _, name := range []string{"a", "b", "c"} {
			m.ServeAs(mesh.Config{Service: "voting", Zone: "zone-" + name}, newWorker(name, ways{takes: about(5 * time.Millisecond)}).register)
		}
		var dials atomic.Int64
		caller := m.Join(mesh.Config{Service: "web", Zone: "zone-a", DialContext: func(ctx context.Context, address string) (net.Conn, error) {
			dials.Add(1)
			return m.Network.Dial(ctx, address)
		}})
		conn, err := caller.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if failed, err := work(t, conn, perSecond, time.Second).failed(); failed > 0 {
			t.Fatalf("%d calls fail before any knob is turned: %v", failed, err)
		}
		before := dials.Load()

		done := make(chan results)
		go func() { done <- work(t, conn, perSecond, turns*200*time.Millisecond) }()
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for range turns {
			<-tick.C
			m.Apply(turn(random))
		}
		got := <-done
		failed, err := got.failed()
		t.Logf("%d turns, %d calls, %d failed, %d new connections", turns, len(got), failed, dials.Load()-before)
		if failed > 0 {
			t.Errorf("%d of %d calls failed: %v", failed, len(got), err)
		}
		if after := dials.Load(); after != before {
			t.Errorf("%d new connections", after-before)
		}
	})
}
