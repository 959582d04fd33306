package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newRoutes() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "routes SERVICE",
		Short: "Show the routes of a service as its clients get them",
		Long: `routes shows where calls to a service go, in order of precedence: a call takes the
first route that matches. Every value is what clients go by, the defaults too; "-" is
what is off. RETRY is what is tried again and how many attempts there are in all;
"unsent" tries again only what certainly was not sent, and methods that their own
definition marks as idempotent. -o wide adds the rest, and who wrote each route.

Below, where callers have reported: what they get of each route, and below each what its
backends give, attempt by attempt. Retries are those for each call.`,
		Example: `  xdsserver routes voting
  xdsserver routes voting.shop -o wide
  xdsserver routes voting -o json`,
		Args: arguments(1, 1, "one service"),
	}
	to, out, back := addAdmin(cmd), addOutput(cmd, "wide"), addWindow(cmd)
	cmd.ValidArgsFunction = completeServices(to)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ListRoutes(cmd.Context(), &adminv1.ListRoutesRequest{Service: args[0]})
		if err != nil {
			return to.explain(err)
		}
		live, err := client.GetServiceStats(cmd.Context(), &adminv1.GetServiceStatsRequest{Service: args[0], Window: back.proto()})
		if err != nil && !slices.Contains(withoutReports, connect.CodeOf(err)) {
			return to.explain(err)
		}
		stats := inOrder(live.GetRoutes(), answer.GetRoutes())
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), routesResult(answer, stats))
		}
		if err := printRoutes(cmd.OutOrStdout(), answer.GetRoutes(), out.format == "wide"); err != nil {
			return err
		}
		return printLiveRoutes(cmd.OutOrStdout(), stats)
	}
	return cmd
}

// withoutReports is how a server answers that takes none, that has none, or that is older:
// there are still the routes.
var withoutReports = []connect.Code{connect.CodeUnavailable, connect.CodeNotFound, connect.CodeUnimplemented}

func printRoutes(w io.Writer, routes []*adminv1.CallRoute, wide bool) error {
	header := []string{"ROUTE", "METHOD", "HEADERS", "BACKENDS", "TIMEOUT", "RETRY", "HEDGE", "MIRROR", "FAULT"}
	if wide {
		header = append(header, "BUDGET", "BREAKER", "SERVICE BREAKER", "BALANCING", "RATE LIMIT", "CAPS", "IDLE TIMEOUT", "HASH", "WRITTEN BY")
	}
	t := newTable(w, header...)
	for _, r := range routes {
		tr := r.GetTraffic()
		row := []string{
			routeName(r.GetName()), methodText(r.GetMethod(), r.GetPercent()), strings.Join(r.GetHeaders(), " and "),
			backendsText(r), durationText(r.GetTimeout()), retryText(tr.GetRetry()), hedgeText(tr.GetHedge()), mirrorsText(tr.GetMirrors()),
			ofBackends(r, func(b *adminv1.CallBackend) string { return faultText(b.GetFault()) }),
		}
		if wide {
			row = append(row,
				budgetText(r),
				ofBackends(r, func(b *adminv1.CallBackend) string { return breakerText(b.GetBalancing().GetBreaker()) }),
				breakerText(tr.GetBreaker()),
				ofBackends(r, func(b *adminv1.CallBackend) string { return balancingText(b.GetBalancing()) }),
				rateText(tr.GetRateLimit()),
				ofBackends(r, capsText),
				durationText(tr.GetIdleTimeout()),
				tr.GetHashHeader(),
				writtenBy(r.GetObject(), r.GetOrigin()),
			)
		}
		t.row(row...)
	}
	return t.flush()
}

func methodText(method string, percent float64) string {
	if method == "*" {
		method = "any"
	}
	if percent < 100 {
		return fmt.Sprintf("%s (%s of them)", method, percentText(percent))
	}
	return method
}

// backendsText is "voting/v1 90%,voting/v2 10%".
func backendsText(r *adminv1.CallRoute) string {
	if r.GetUnsupported() != "" {
		return "none: " + r.GetUnsupported()
	}
	if b := r.GetBackends(); len(b) == 1 {
		return b[0].GetCluster()
	}
	parts := make([]string, 0, len(r.GetBackends()))
	for _, b := range r.GetBackends() {
		parts = append(parts, b.GetCluster()+" "+percentText(b.GetPercent()))
	}
	return strings.Join(parts, ",")
}

// ofBackends is what all backends have, or what each has.
func ofBackends(r *adminv1.CallRoute, text func(*adminv1.CallBackend) string) string {
	parts := make([]string, 0, len(r.GetBackends()))
	same := true
	for _, b := range r.GetBackends() {
		parts = append(parts, b.GetCluster()+": "+orDash(text(b)))
		same = same && text(b) == text(r.GetBackends()[0])
	}
	if same && len(parts) > 0 {
		return text(r.GetBackends()[0])
	}
	return strings.Join(parts, "; ")
}

func writtenBy(object, origin string) string {
	if object == "" || origin == "" {
		return object
	}
	return fmt.Sprintf("%s (%s)", object, origin)
}

type routesJSON struct {
	Service string      `json:"service"`
	Version string      `json:"version"`
	Routes  []routeJSON `json:"routes"`
	// Live is what callers got in the window.
	Live []liveRouteJSON `json:"live"`
}

type routeJSON struct {
	Name        string            `json:"name"`
	Method      string            `json:"method"`
	Headers     []string          `json:"headers"`
	Percent     float64           `json:"percent"`
	Backends    []callBackendJSON `json:"backends"`
	Unsupported string            `json:"unsupported,omitempty"`
	Timeout     string            `json:"timeout,omitempty"`
	Traffic     trafficJSON       `json:"traffic"`
	Object      string            `json:"object"`
	Origin      string            `json:"origin"`
}

type callBackendJSON struct {
	Cluster     string         `json:"cluster"`
	Percent     float64        `json:"percent"`
	Fault       *faultJSON     `json:"fault,omitempty"`
	Balancing   *balancingJSON `json:"balancing,omitempty"`
	MaxRequests uint32         `json:"maxRequests,omitempty"`
}

func routesResult(answer *adminv1.ListRoutesResponse, live []*adminv1.RouteStat) routesJSON {
	out := routesJSON{Service: answer.GetService(), Version: answer.GetVersion(), Routes: []routeJSON{}, Live: liveRoutesResult(live)}
	for _, r := range answer.GetRoutes() {
		out.Routes = append(out.Routes, routeResult(r))
	}
	return out
}

func routeResult(r *adminv1.CallRoute) routeJSON {
	out := routeJSON{
		Name:        r.GetName(),
		Method:      r.GetMethod(),
		Headers:     orEmpty(r.GetHeaders()),
		Percent:     r.GetPercent(),
		Backends:    []callBackendJSON{},
		Unsupported: r.GetUnsupported(),
		Timeout:     durationText(r.GetTimeout()),
		Traffic:     trafficResult(r.GetTraffic()),
		Object:      r.GetObject(),
		Origin:      r.GetOrigin(),
	}
	for _, b := range r.GetBackends() {
		out.Backends = append(out.Backends, callBackendResult(b))
	}
	return out
}

func callBackendResult(b *adminv1.CallBackend) callBackendJSON {
	return callBackendJSON{
		Cluster:     b.GetCluster(),
		Percent:     b.GetPercent(),
		Fault:       faultResult(b.GetFault()),
		Balancing:   balancingResult(b.GetBalancing()),
		MaxRequests: b.GetMaxRequests(),
	}
}
