package cli

import (
	"cmp"
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
again every 2 seconds. In a terminal ? shows the keys: sort, filter, pause, end; elsewhere
it prints plain lines.`,
		Example: `  xdsserver top
  xdsserver top voting
  xdsserver top voting --once -o json`,
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
		look := func(ctx context.Context) (*topPage, error) {
			page, err := topOf(ctx, client, args, back)
			return page, to.explain(err)
		}
		if !*once && !out.json() && isTerminal(cmd.OutOrStdout()) {
			return runTop(cmd, look)
		}
		return watched(cmd, !*once && !out.json(), func(ctx context.Context, w io.Writer) error {
			page, err := look(ctx)
			if err != nil {
				return err
			}
			if out.json() {
				return writeJSON(w, topResult(page))
			}
			if len(page.rows) == 0 {
				fmt.Fprintf(w, "No calls in the last %v.\n", back.d)
				return nil
			}
			return page.columns().flush(w)
		})
	}
	return cmd
}

// A topPage is what there is to see at one moment.
type topPage struct {
	service string // of which these are the methods; empty for edges
	rows    []topRow
}

// A topRow is calls that are alike.
type topRow struct {
	source, destination, method string
	golden                      *adminv1.Golden
}

// topOf are the methods of the service that args name, or all edges, the busiest first.
func topOf(ctx context.Context, client adminv1connect.AdminServiceClient, args []string, back *window) (*topPage, error) {
	page := &topPage{}
	if len(args) > 0 {
		stats, err := client.GetServiceStats(ctx, &adminv1.GetServiceStatsRequest{Service: args[0], Window: back.proto()})
		if err != nil {
			return nil, err
		}
		page.service = stats.GetService().GetService()
		for _, m := range stats.GetMethods() {
			page.rows = append(page.rows, topRow{source: "*", destination: page.service, method: m.GetMethod(), golden: m.GetGolden()})
		}
	} else {
		graph, err := client.GetGraph(ctx, &adminv1.GetGraphRequest{Window: back.proto()})
		if err != nil {
			return nil, err
		}
		for _, e := range graph.GetEdges() {
			page.rows = append(page.rows, topRow{source: sourceText(e.GetSource()), destination: e.GetDestination(), method: "*", golden: e.GetCalls()})
		}
	}
	topOrders[0].sort(page.rows, false)
	return page, nil
}

// columns are the page as a table.
func (p *topPage) columns() *columns {
	if p.service != "" {
		c := newColumns(1, 0, slices.Concat([]string{"METHOD", "CALLS"}, goldenHeader)...)
		for _, r := range p.rows {
			c.row(slices.Concat([]string{r.method, total(r.golden.GetCalls())}, goldenCells(r.golden))...)
		}
		return c
	}
	c := newColumns(2, 0, slices.Concat([]string{"SOURCE", "DESTINATION", "CALLS"}, goldenHeader)...)
	for _, r := range p.rows {
		c.row(slices.Concat([]string{r.source, r.destination, total(r.golden.GetCalls())}, goldenCells(r.golden))...)
	}
	return c
}

// A topOrder is what rows may be sorted by, the largest first, and names from A.
type topOrder struct {
	key, name string
	compare   func(a, b topRow) int
}

func byNumber[N cmp.Ordered](number func(*adminv1.Golden) N) func(a, b topRow) int {
	return func(a, b topRow) int { return cmp.Compare(number(b.golden), number(a.golden)) }
}

var topOrders = []topOrder{
	{"r", "rps", byNumber((*adminv1.Golden).GetRps)},
	{"f", "failures", byNumber((*adminv1.Golden).GetFailures)},
	{"l", "p50", byNumber((*adminv1.Golden).GetP50Ms)},
	{"t", "p99", byNumber((*adminv1.Golden).GetP99Ms)},
	{"n", "name", byName},
}

func byName(a, b topRow) int {
	return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.destination, b.destination), cmp.Compare(a.method, b.method))
}

// sort leaves rows that are equal in order of their names, so that they do not jump.
func (o *topOrder) sort(rows []topRow, reverse bool) {
	slices.SortFunc(rows, func(a, b topRow) int {
		if reverse {
			return cmp.Or(-o.compare(a, b), byName(a, b))
		}
		return cmp.Or(o.compare(a, b), byName(a, b))
	})
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

func topResult(page *topPage) topJSON {
	out := topJSON{Rows: []topRowJSON{}}
	for _, r := range page.rows {
		out.Rows = append(out.Rows, topRowJSON{r.source, r.destination, r.method, goldenResult(r.golden)})
	}
	return out
}

// runTop draws the table until it is ended.
func runTop(cmd *cobra.Command, look func(context.Context) (*topPage, error)) error {
	ended, err := tea.NewProgram(&topModel{ctx: cmd.Context(), look: look},
		tea.WithContext(cmd.Context()), tea.WithOutput(cmd.OutOrStdout()), tea.WithInput(cmd.InOrStdin())).Run()
	if m, ok := ended.(*topModel); ok && m.fatal != nil {
		err = m.fatal
	}
	if cmd.Context().Err() == nil {
		return err
	}
	return nil // it was stopped
}
