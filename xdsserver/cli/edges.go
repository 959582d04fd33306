package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newEdges() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edges [SERVICE]",
		Short: "Show who calls whom, and whether it is secured",
		Long: `edges shows who calls whom and what callers get, retries included. SECURED is √ where
calls go by mutual TLS with identities of the mesh, and else why not. Clients that are
not built with the library are known by their load reports: they have counts and no
latencies. -o wide adds identities, the share of calls that stays in the caller's zone,
retries, hedges, and what was refused.`,
		Example: `  xdsserver edges
  xdsserver edges voting -o wide
  xdsserver edges -o json`,
		Args: arguments(0, 1, "one service at most"),
	}
	to, out, back := addAdmin(cmd), addOutput(cmd, "wide"), addWindow(cmd)
	cmd.ValidArgsFunction = completeServices(to)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		graph, err := client.GetGraph(cmd.Context(), &adminv1.GetGraphRequest{Window: back.proto()})
		if err != nil {
			return to.explain(err)
		}
		services, err := chosen(graph, args)
		if err != nil {
			return err
		}
		edges := graph.GetEdges()
		if len(args) > 0 {
			name := services[0].GetService()
			edges = slices.DeleteFunc(slices.Clone(edges), func(e *adminv1.EdgeStat) bool { return e.GetSource() != name && e.GetDestination() != name })
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), edgesResult(edges, graph))
		}
		if len(edges) == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "No calls in the last %v.\n", back.d)
			return nil
		}
		return printEdges(cmd.OutOrStdout(), edges, out.format == "wide")
	}
	return cmd
}

// outside is how a caller without an identity is called.
const outside = "(no identity)"

func sourceText(name string) string {
	if name == "" {
		return outside
	}
	return name
}

func printEdges(w io.Writer, edges []*adminv1.EdgeStat, wide bool) error {
	header := slices.Concat([]string{"SRC", "DST"}, goldenHeader)
	if wide {
		header = append(header, "LOCAL", "ATTEMPT_SUCCESS", "RETRIES", "HEDGES", "OVER_BUDGET", "REFUSED", "SECURED", "CLIENT_ID", "SERVER_ID")
	} else {
		header = append(header, "SECURED")
	}
	more := 1
	if wide {
		more = 3
	}
	c := newColumns(2, more, header...)
	for _, e := range edges {
		row := slices.Concat([]string{sourceText(e.GetSource()), e.GetDestination()}, goldenCells(e.GetCalls()))
		if wide {
			local := ""
			if e.GetAttempts().GetCalls() > 0 {
				local = share(e.GetLocal())
			}
			row = append(row, local, successText(e.GetAttempts()), total(e.GetRetries()), total(e.GetHedges()), total(e.GetDenied()),
				total(e.GetRefused()), securedText(e.GetSecurity()), e.GetClientId(), e.GetServerId())
		} else {
			row = append(row, securedText(e.GetSecurity()))
		}
		c.row(row...)
	}
	return c.flush(w)
}

func total(n uint64) string { return strconv.FormatUint(n, 10) }

type edgesJSON struct {
	WindowSeconds float64    `json:"windowSeconds"`
	Edges         []edgeJSON `json:"edges"`
}

type edgeJSON struct {
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Calls       goldenJSON        `json:"calls"`
	Attempts    goldenJSON        `json:"attempts"`
	Security    string            `json:"security"`
	ClientID    string            `json:"clientId"`
	ServerID    string            `json:"serverId"`
	Local       float64           `json:"local"`
	Retries     uint64            `json:"retries"`
	Hedges      uint64            `json:"hedges"`
	OverBudget  uint64            `json:"overBudget"`
	Refused     uint64            `json:"refused"`
	Stock       bool              `json:"stock"`
	Versions    []versionStatJSON `json:"versions"`
}

func edgesResult(edges []*adminv1.EdgeStat, graph *adminv1.GetGraphResponse) edgesJSON {
	out := edgesJSON{WindowSeconds: graph.GetWindow().AsDuration().Seconds(), Edges: []edgeJSON{}}
	for _, e := range edges {
		out.Edges = append(out.Edges, edgeJSON{
			Source: e.GetSource(), Destination: e.GetDestination(), Calls: goldenResult(e.GetCalls()), Attempts: goldenResult(e.GetAttempts()),
			Security: e.GetSecurity(), ClientID: e.GetClientId(), ServerID: e.GetServerId(), Local: e.GetLocal(),
			Retries: e.GetRetries(), Hedges: e.GetHedges(), OverBudget: e.GetDenied(), Refused: e.GetRefused(), Stock: e.GetStock(),
			Versions: versionsResult(e.GetVersions()),
		})
	}
	return out
}
