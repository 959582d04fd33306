package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// redrawEvery is how often what is watched is looked at.
const redrawEvery = 2 * time.Second

func newStat() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stat [SERVICE...]",
		Short: "Show success, rates and latencies of services",
		Long: `stat shows what callers get of each service: how many of its instances report to
xdsserver, the share of calls that did not fail, calls a second, latencies, and open
connections. "-" is what is not known. A call fails by a code that is the service's
fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
-o wide adds the versions below each service, and what is kept out.`,
		Example: `  xdsserver stat
  xdsserver stat voting web -o wide
  xdsserver stat -w
  xdsserver stat --window 15m -o json`,
		Args: arguments(0, 1000, "services"),
	}
	to, out, back := addAdmin(cmd), addOutput(cmd, "wide"), addWindow(cmd)
	watch := cmd.Flags().BoolP("watch", "w", false, "look again every 2 seconds, until stopped")
	cmd.ValidArgsFunction = completeServices(to)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		return watched(cmd, *watch, func(ctx context.Context, w io.Writer) error {
			graph, err := client.GetGraph(ctx, &adminv1.GetGraphRequest{Window: back.proto()})
			if err != nil {
				return to.explain(err)
			}
			services, err := chosen(graph, args)
			if err != nil {
				return err
			}
			if out.json() {
				return writeJSON(w, statResult(services, graph))
			}
			if len(services) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "No services: start an instance with TULLE_SERVICE set.")
				return nil
			}
			return printStat(w, services, out.format == "wide")
		})
	}
	return cmd
}

// chosen are the services that were asked for.
func chosen(graph *adminv1.GetGraphResponse, names []string) ([]*adminv1.ServiceStat, error) {
	if len(names) == 0 {
		return graph.GetServices(), nil
	}
	var out []*adminv1.ServiceStat
	for _, name := range names {
		name = strings.TrimSuffix(name, ".default")
		i := slices.IndexFunc(graph.GetServices(), func(s *adminv1.ServiceStat) bool { return s.GetService() == name })
		if i < 0 {
			return nil, wrong(noService(name, graph))
		}
		out = append(out, graph.GetServices()[i])
	}
	return out, nil
}

// noService names the service that was meant, perhaps.
func noService(name string, graph *adminv1.GetGraphResponse) error {
	best, distance := "", 3
	for _, s := range graph.GetServices() {
		if d := edits(name, s.GetService()); d < distance {
			best, distance = s.GetService(), d
		}
	}
	if best == "" {
		return fmt.Errorf("no service is named %q; 'xdsserver stat' lists all", name)
	}
	return fmt.Errorf("no service is named %q; did you mean %q?", name, best)
}

// edits is the Levenshtein distance of two names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func printStat(w io.Writer, services []*adminv1.ServiceStat, wide bool) error {
	header, more := slices.Concat([]string{"NAME", "MESHED"}, goldenHeader, []string{"CONN"}), 0
	if wide {
		header, more = append(header, "OUT_SUCCESS", "OUT_RPS", "HEALTHY", "BREAKERS", "EJECTED", "ZONES"), 1
	}
	c := newColumns(1, more, header...)
	for _, s := range services {
		row := slices.Concat([]string{s.GetService(), of(s.GetMeshed(), s.GetInstances())}, goldenCells(s.GetInbound()), []string{countText(s.GetConnections())})
		if wide {
			row = append(row, successText(s.GetOutbound()), rpsText(s.GetOutbound()), of(s.GetHealthy(), s.GetInstances()),
				strconv.Itoa(int(s.GetBreakersOpen())), strconv.Itoa(int(s.GetEjected())), strings.Join(s.GetZones(), ","))
		}
		c.row(row...)
		if !wide {
			continue
		}
		if v := s.GetVersions(); len(v) == 1 && v[0].GetVersion() == "" {
			continue // nobody says one
		}
		for i, v := range s.GetVersions() {
			twig := "├─ "
			if i == len(s.GetVersions())-1 {
				twig = "└─ "
			}
			cells := append([]string{twig + orDash(v.GetVersion()), ""}, goldenDashes(v.GetGolden())...)
			c.part(append(cells, "", "", "", of(v.GetHealthy(), v.GetInstances()))...)
		}
	}
	return c.flush(w)
}

// of is "2/3".
func of(n, all int32) string { return fmt.Sprintf("%d/%d", n, all) }

func countText(n int32) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(int(n))
}

type statJSON struct {
	WindowSeconds float64           `json:"windowSeconds"`
	Services      []serviceStatJSON `json:"services"`
}

type serviceStatJSON struct {
	Service     string            `json:"service"`
	Instances   int32             `json:"instances"`
	Meshed      int32             `json:"meshed"`
	Healthy     int32             `json:"healthy"`
	Inbound     goldenJSON        `json:"inbound"`
	Outbound    goldenJSON        `json:"outbound"`
	Connections int32             `json:"connections"`
	Breakers    int32             `json:"breakersOpen"`
	Ejected     int32             `json:"ejected"`
	Zones       []string          `json:"zones"`
	Versions    []versionStatJSON `json:"versions"`
}

type versionStatJSON struct {
	Version   string     `json:"version"`
	Instances int32      `json:"instances"`
	Healthy   int32      `json:"healthy"`
	Attempts  goldenJSON `json:"attempts"`
}

func statResult(services []*adminv1.ServiceStat, graph *adminv1.GetGraphResponse) statJSON {
	out := statJSON{WindowSeconds: graph.GetWindow().AsDuration().Seconds(), Services: []serviceStatJSON{}}
	for _, s := range services {
		stat := serviceStatJSON{
			Service: s.GetService(), Instances: s.GetInstances(), Meshed: s.GetMeshed(), Healthy: s.GetHealthy(),
			Inbound: goldenResult(s.GetInbound()), Outbound: goldenResult(s.GetOutbound()),
			Connections: s.GetConnections(), Breakers: s.GetBreakersOpen(), Ejected: s.GetEjected(),
			Zones: orEmpty(s.GetZones()), Versions: versionsResult(s.GetVersions()),
		}
		out.Services = append(out.Services, stat)
	}
	return out
}

func versionsResult(versions []*adminv1.VersionStat) []versionStatJSON {
	out := make([]versionStatJSON, 0, len(versions))
	for _, v := range versions {
		out = append(out, versionStatJSON{v.GetVersion(), v.GetInstances(), v.GetHealthy(), goldenResult(v.GetGolden())})
	}
	return out
}
