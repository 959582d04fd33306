package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// inOrder puts what routes come to in the order in which they are asked; those that are
// not configured any more come last.
func inOrder(live []*adminv1.RouteStat, routes []*adminv1.CallRoute) []*adminv1.RouteStat {
	place := func(r *adminv1.RouteStat) int {
		i := slices.IndexFunc(routes, func(c *adminv1.CallRoute) bool { return c.GetName() == r.GetRoute() })
		if i < 0 {
			return len(routes)
		}
		return i
	}
	live = slices.Clone(live)
	slices.SortStableFunc(live, func(a, b *adminv1.RouteStat) int { return cmp.Compare(place(a), place(b)) })
	return live
}

// printLiveRoutes has two levels: what callers get of a route, its retries included, and
// what each of its backends gives.
func printLiveRoutes(w io.Writer, routes []*adminv1.RouteStat) error {
	if len(routes) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	c := newColumns(2, 0, slices.Concat([]string{"ROUTE", "BACKEND"}, goldenHeader, []string{"TIMEOUTS", "RETRIES"})...)
	longest := 0
	for _, r := range routes {
		longest = max(longest, lipgloss.Width(routeName(r.GetRoute())))
	}
	branch := "└" + strings.Repeat("─", max(longest-2, 1)) + "►"
	for _, r := range routes {
		cells := append([]string{routeName(r.GetRoute()), ""}, goldenDashes(r.GetCalls())...)
		c.part(append(cells, shareOf(r.GetCalls(), r.GetTimeouts()), shareOf(r.GetCalls(), r.GetRetries()))...)
		for _, b := range r.GetBackends() {
			cells := append([]string{branch, b.GetCluster()}, goldenDashes(b.GetAttempts())...)
			c.part(append(cells, shareOf(b.GetAttempts(), b.GetTimeouts()))...)
		}
	}
	return c.flush(w)
}

type liveRouteJSON struct {
	Route    string            `json:"route"`
	Calls    goldenJSON        `json:"calls"`
	Timeouts float64           `json:"timeouts"`
	Retries  float64           `json:"retries"`
	Backends []liveBackendJSON `json:"backends"`
}

type liveBackendJSON struct {
	Cluster  string     `json:"cluster"`
	Version  string     `json:"version"`
	Attempts goldenJSON `json:"attempts"`
	Timeouts float64    `json:"timeouts"`
}

func liveRoutesResult(routes []*adminv1.RouteStat) []liveRouteJSON {
	out := make([]liveRouteJSON, 0, len(routes))
	for _, r := range routes {
		route := liveRouteJSON{
			Route: r.GetRoute(), Calls: goldenResult(r.GetCalls()), Timeouts: r.GetTimeouts(), Retries: r.GetRetries(), Backends: []liveBackendJSON{},
		}
		for _, b := range r.GetBackends() {
			route.Backends = append(route.Backends, liveBackendJSON{b.GetCluster(), b.GetVersion(), goldenResult(b.GetAttempts()), b.GetTimeouts()})
		}
		out = append(out, route)
	}
	return out
}
