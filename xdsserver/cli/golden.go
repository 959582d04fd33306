package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// window is the --window flag.
type window struct{ d time.Duration }

func addWindow(cmd *cobra.Command) *window {
	w := &window{}
	cmd.Flags().DurationVar(&w.d, "window", time.Minute, "how far back to look, a `DURATION` from 15s to 1h")
	inner := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if w.d < 15*time.Second || w.d > time.Hour {
			return fmt.Errorf("--window %v: want 15s to 1h", w.d)
		}
		if inner != nil {
			return inner(cmd, args)
		}
		return nil
	}
	return w
}

func (w *window) proto() *durationpb.Duration { return durationpb.New(w.d) }

// goldenHeader are the columns of goldenCells, with Linkerd's names.
var goldenHeader = []string{"SUCCESS", "RPS", "LATENCY_P50", "LATENCY_P95", "LATENCY_P99"}

// goldenCells are golden metrics for people; "-" is what is not known.
func goldenCells(g *adminv1.Golden) []string {
	return []string{successText(g), rpsText(g), latencyText(g, g.GetP50Ms()), latencyText(g, g.GetP95Ms()), latencyText(g, g.GetP99Ms())}
}

// goldenDashes are goldenCells for a table whose cells may be empty.
func goldenDashes(g *adminv1.Golden) []string {
	cells := goldenCells(g)
	for i := range cells {
		cells[i] = orDash(cells[i])
	}
	return cells
}

func successText(g *adminv1.Golden) string {
	if g.GetCalls() == 0 {
		return ""
	}
	return share(1 - float64(g.GetFailures())/float64(g.GetCalls()))
}

// shareOf is a share of calls, if there were any.
func shareOf(g *adminv1.Golden, s float64) string {
	if g.GetCalls() == 0 {
		return "-"
	}
	return share(s)
}

func share(s float64) string { return fmt.Sprintf("%.2f%%", 100*s) }

func rpsText(g *adminv1.Golden) string {
	if g.GetCalls() == 0 {
		return ""
	}
	return fmt.Sprintf("%.1frps", g.GetRps())
}

func latencyText(g *adminv1.Golden, ms float64) string {
	switch {
	case !g.GetTimed() || g.GetCalls() == 0:
		return ""
	case ms < 0.01:
		return "<10µs" // nothing shorter is told apart
	case ms < 1:
		return fmt.Sprintf("%.0fµs", 1000*ms)
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.1fs", ms/1000)
}

// securedText is how edges say that calls are secured, as Linkerd does.
func securedText(security string) string {
	if security == "mtls" {
		return "√"
	}
	return security
}

// goldenJSON is golden metrics for programs. Latencies are null where they are not known.
type goldenJSON struct {
	Calls    uint64   `json:"calls"`
	Failures uint64   `json:"failures"`
	Success  *float64 `json:"success"`
	RPS      float64  `json:"rps"`
	P50      *float64 `json:"p50Milliseconds"`
	P95      *float64 `json:"p95Milliseconds"`
	P99      *float64 `json:"p99Milliseconds"`
}

func goldenResult(g *adminv1.Golden) goldenJSON {
	out := goldenJSON{Calls: g.GetCalls(), Failures: g.GetFailures(), RPS: g.GetRps()}
	if g.GetCalls() == 0 {
		return out
	}
	success := 1 - float64(g.GetFailures())/float64(g.GetCalls())
	out.Success = &success
	if g.GetTimed() {
		p50, p95, p99 := g.GetP50Ms(), g.GetP95Ms(), g.GetP99Ms()
		out.P50, out.P95, out.P99 = &p50, &p95, &p99
	}
	return out
}
