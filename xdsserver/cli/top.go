package cli

import (
	"context"
	"fmt"
	"io"
	"slices"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

func newTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [SERVICE]",
		Short: "Watch who calls whom, the busiest first",
		Long: `top shows who calls whom, or the methods of one service, the busiest first, and looks
again every 2 seconds. In a terminal s changes what it is sorted by, / filters, p pauses
and q ends it; elsewhere it prints plain lines.`,
		Example: `  xdsserver top
  xdsserver top voting
  xdsserver top --once -o json`,
		Args: arguments(0, 1, "one service at most"),
	}
	to, out, back := addAdmin(cmd), addOutput(cmd), addWindow(cmd)
	once := cmd.Flags().Bool("once", false, "look once, and end")
	cmd.ValidArgsFunction = completeServices(to)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		look := func(ctx context.Context) ([]topRow, error) {
			rows, err := topRows(ctx, client, args, back)
			return rows, to.explain(err)
		}
		if !*once && !out.json() && isTerminal(cmd.OutOrStdout()) {
			return runTop(cmd, look)
		}
		return watched(cmd, !*once && !out.json(), func(ctx context.Context, w io.Writer) error {
			rows, err := look(ctx)
			if err != nil {
				return err
			}
			if out.json() {
				return writeJSON(w, topResult(rows))
			}
			return printTop(w, rows)
		})
	}
	return cmd
}

// A topRow is calls that are alike.
type topRow struct {
	source, destination, method string
	golden                      *adminv1.Golden
}

// topRows are the methods of the service that args name, or all edges, the busiest first.
func topRows(ctx context.Context, client adminv1connect.AdminServiceClient, args []string, back *window) ([]topRow, error) {
	var rows []topRow
	if len(args) > 0 {
		stats, err := client.GetServiceStats(ctx, &adminv1.GetServiceStatsRequest{Service: args[0], Window: back.proto()})
		if err != nil {
			return nil, err
		}
		for _, m := range stats.GetMethods() {
			rows = append(rows, topRow{source: "*", destination: stats.GetService().GetService(), method: m.GetMethod(), golden: m.GetGolden()})
		}
	} else {
		graph, err := client.GetGraph(ctx, &adminv1.GetGraphRequest{Window: back.proto()})
		if err != nil {
			return nil, err
		}
		for _, e := range graph.GetEdges() {
			rows = append(rows, topRow{source: sourceText(e.GetSource()), destination: e.GetDestination(), method: "*", golden: e.GetCalls()})
		}
	}
	sortTop(rows, "rps")
	return rows, nil
}

// topOrders are what rows may be sorted by, the largest first.
var topOrders = []string{"rps", "failures", "p99"}

func sortTop(rows []topRow, order string) {
	value := func(r topRow) float64 {
		switch order {
		case "failures":
			return float64(r.golden.GetFailures())
		case "p99":
			return r.golden.GetP99Ms()
		}
		return r.golden.GetRps()
	}
	slices.SortStableFunc(rows, func(a, b topRow) int {
		switch x, y := value(a), value(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
}

func printTop(w io.Writer, rows []topRow) error {
	if len(rows) == 0 {
		fmt.Fprintln(w, "No calls in the window.")
		return nil
	}
	t := newTable(w, slices.Concat([]string{"SOURCE", "DESTINATION", "METHOD", "CALLS"}, goldenHeader)...)
	for _, r := range rows {
		t.row(slices.Concat([]string{r.source, r.destination, r.method, total(r.golden.GetCalls())}, goldenCells(r.golden))...)
	}
	return t.flush()
}

type topJSON struct {
	Rows []topRowJSON `json:"rows"`
}

type topRowJSON struct {
	Source      string     `json:"source"`
	Destination string     `json:"destination"`
	Method      string     `json:"method"`
	Golden      goldenJSON `json:"golden"`
}

func topResult(rows []topRow) topJSON {
	out := topJSON{Rows: []topRowJSON{}}
	for _, r := range rows {
		out.Rows = append(out.Rows, topRowJSON{r.source, r.destination, r.method, goldenResult(r.golden)})
	}
	return out
}

// runTop draws the table until it is ended.
func runTop(cmd *cobra.Command, look func(context.Context) ([]topRow, error)) error {
	ended, err := tea.NewProgram(&topModel{ctx: cmd.Context(), look: look},
		tea.WithContext(cmd.Context()), tea.WithOutput(cmd.OutOrStdout()), tea.WithInput(cmd.InOrStdin())).Run()
	if cmd.Context().Err() != nil {
		return nil // it was stopped
	}
	if m, ok := ended.(*topModel); ok && m.fatal != nil {
		return m.fatal
	}
	return err
}
