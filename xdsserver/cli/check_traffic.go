package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

const (
	// reportsAfter is how long a process may be connected before its first report is
	// missed: it has one every five seconds.
	reportsAfter = 30 * time.Second
	// mostSilent bounds the services that are asked for their processes.
	mostSilent = 50
)

// findSilent are the processes that are connected and do not report. Services of which as
// many report as are connected are not looked at.
func findSilent(ctx context.Context, client adminv1connect.AdminServiceClient, f *facts) map[string][]string {
	connected := map[string]map[string]bool{} // nodes by service
	for _, c := range f.status.GetClients() {
		if strings.HasPrefix(c.GetUserAgent(), ours) && time.Since(c.GetConnected().AsTime()) > reportsAfter {
			if connected[c.GetService()] == nil {
				connected[c.GetService()] = map[string]bool{}
			}
			connected[c.GetService()][c.GetNode()] = true
		}
	}
	for _, s := range f.graph.GetServices() {
		if int(s.GetMeshed()) >= len(connected[s.GetService()]) {
			delete(connected, s.GetService())
		}
	}
	silent := map[string][]string{}
	for service, nodes := range connected {
		if len(silent) >= mostSilent {
			break
		}
		reporting := map[string]bool{}
		if stats, err := client.GetServiceStats(ctx, &adminv1.GetServiceStatsRequest{Service: service}); err == nil {
			for _, in := range stats.GetInstances() {
				if r := in.GetReported(); r != nil && time.Since(r.AsTime()) <= reportsAfter {
					reporting[service+"/"+in.GetInstance()] = true
				}
			}
		}
		for node := range nodes {
			if !reporting[node] {
				silent[service] = append(silent[service], node)
			}
		}
		slices.Sort(silent[service])
	}
	return silent
}

func checkTaken(f *facts, l *resultLine) {
	if t := f.status.GetTelemetry(); t == nil || f.graph == nil {
		l.warn("it takes none")
	} else {
		l.Description += fmt.Sprintf(" (%s)", fmt.Sprintf("from %d", t.GetProcesses()))
	}
}

func checkComing(f *facts, l *resultLine) {
	for _, service := range slices.Sorted(maps.Keys(f.silent)) {
		l.about(service)
		l.warn(service + ": not " + few(f.silent[service]))
	}
}

func checkRoomForReports(f *facts, l *resultLine) {
	t := f.status.GetTelemetry()
	for _, what := range []struct {
		n    uint64
		text string
	}{
		{t.GetRefused(), "points were refused"},
		{t.GetFolded(), "series are not kept apart"},
		{t.GetEvicted(), "times five minutes of calls were forgotten within the hour"},
	} {
		if what.n > 0 {
			l.warn(fmt.Sprintf("since the server started, %d %s", what.n, what.text))
		}
	}
}

func checkCollector(f *facts, l *resultLine) {
	t := f.status.GetTelemetry()
	address := strings.TrimPrefix(t.GetCollector(), "dns:///")
	l.about(address)
	switch {
	case address == "":
		l.Description = "reports are not sent on to a collector"
	case t.GetCollectorProblem() != "":
		l.warn(fmt.Sprintf("%s: %s (%d dropped)", address, t.GetCollectorProblem(), t.GetCollectorDropped()))
	default:
		l.Description += ", " + address
	}
}

// checkStock finds services whose clients are all stock ones, whose calls servers see, and
// which report no load themselves.
func checkStock(f *facts, l *resultLine) {
	agents := map[string]string{}
	for _, c := range f.status.GetClients() {
		if strings.HasPrefix(c.GetUserAgent(), ours) {
			agents[c.GetService()] = ""
		} else if _, known := agents[c.GetService()]; !known {
			agents[c.GetService()] = c.GetUserAgent()
		}
	}
	for _, e := range f.graph.GetEdges() {
		if agent := agents[e.GetSource()]; agent != "" && !e.GetStock() && e.GetCalls().GetCalls() > 0 {
			l.about(e.GetSource())
			l.warn(fmt.Sprintf("%s (%s) calls %s and does not", e.GetSource(), agent, e.GetDestination()))
		}
	}
}

func checkServices(f *facts, l *resultLine) {
	alive := map[string]bool{}
	for _, e := range f.endpoints {
		if e.GetState() == "healthy" || e.GetState() == "lost" {
			alive[qualified(e.GetService(), e.GetNamespace())] = true
		}
	}
	for _, o := range f.objects {
		name := qualified(o.GetRef().GetName(), o.GetRef().GetNamespace())
		if o.GetRef().GetKind() == "Service" && !alive[name] {
			l.about(name)
			l.warn(name + " has none")
		}
	}
}

const (
	// goodEnough is the share of calls that a service is to answer, and enoughCalls how
	// many it takes to say so. Linkerd's dashboard is green from 95 % on.
	goodEnough  = 0.95
	enoughCalls = 20
)

func checkSuccess(f *facts, l *resultLine) {
	for _, s := range f.graph.GetServices() {
		in := s.GetInbound()
		if in.GetCalls() < enoughCalls || float64(in.GetFailures()) <= (1-goodEnough)*float64(in.GetCalls()) {
			continue
		}
		l.about(s.GetService())
		l.warn(fmt.Sprintf("%s answers %s: %d of %d calls failed", s.GetService(), successText(in), in.GetFailures(), in.GetCalls()))
	}
}

// perEdge warns of the edges of which there is a number that ought to be zero.
func perEdge(f *facts, l *resultLine, about func(*adminv1.EdgeStat) string, number func(*adminv1.EdgeStat) uint64, what string) {
	for _, e := range f.graph.GetEdges() {
		if n := number(e); n > 0 {
			l.about(about(e))
			l.warn(fmt.Sprintf("%s to %s: %d %s", sourceText(e.GetSource()), e.GetDestination(), n, what))
		}
	}
}

func checkRefused(f *facts, l *resultLine) {
	perEdge(f, l, (*adminv1.EdgeStat).GetSource, (*adminv1.EdgeStat).GetRefused, "refused")
}

func checkBudgets(f *facts, l *resultLine) {
	perEdge(f, l, (*adminv1.EdgeStat).GetDestination, (*adminv1.EdgeStat).GetDenied, "not made")
}

func checkSecured(f *facts, l *resultLine) {
	perEdge(f, l, (*adminv1.EdgeStat).GetDestination, func(e *adminv1.EdgeStat) uint64 {
		if e.GetSecurity() == "plaintext" {
			return max(e.GetCalls().GetCalls(), 1)
		}
		return 0
	}, "in plaintext")
}

func checkKeptOut(f *facts, l *resultLine) {
	for _, s := range f.graph.GetServices() {
		for _, what := range []struct {
			n    int32
			text string
		}{{s.GetBreakersOpen(), "by a breaker"}, {s.GetEjected(), "by outlier detection"}} {
			if what.n > 0 {
				l.about(s.GetService())
				l.warn(fmt.Sprintf("%s of %s %s", count(int(what.n), "endpoint"), s.GetService(), what.text))
			}
		}
	}
}
