package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newLog() *cobra.Command {
	request := &adminv1.SetLogRequest{}
	var length time.Duration
	var end bool
	cmd := &cobra.Command{
		Use:   "log [SERVICE]",
		Short: "Have processes log more or less for a while, or list who is told what",
		Long: `log tells the processes of SERVICE which of the mesh's messages to log, and which
share of their calls, for a while: then they log as before by themselves, whether
the server is there or not. The lines go where the process logs.

Without SERVICE it lists what processes are told to do now: logs, and taps that
are open.`,
		Example: `  xdsserver log
  xdsserver log voting --level debug --for 10m
  # one call in ten, and every one that fails
  xdsserver log voting --access 0.1
  xdsserver log voting --end`,
		Args: arguments(0, 1, "at most a service, NAME or NAME.NAMESPACE"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	flags := cmd.Flags()
	flags.StringVar(&request.Level, "level", "", "`LEVEL` of the mesh's messages: debug, info, warn, error (default: as the process was started)")
	flags.Float64Var(&request.Access, "access", 0, "`SHARE` of calls to log, 0 to 1; of those that fail, all")
	flags.StringVar(&request.Instance, "instance", "", "only one process, by the `ID` of its instance")
	flags.DurationVar(&length, "for", 10*time.Minute, "how long, a `DURATION` of at most 24h")
	flags.BoolVar(&end, "end", false, "log as before, now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			if request.GetLevel() != "" || request.GetAccess() != 0 || request.GetInstance() != "" || end {
				return errors.New("no service is named: say whose processes log so")
			}
			answer, err := client.ListCommands(cmd.Context(), &adminv1.ListCommandsRequest{})
			if err != nil {
				return to.explain(err)
			}
			return writeCommands(cmd, out, answer)
		}
		request.Service = args[0]
		switch {
		case end:
			length = 0
		case request.GetLevel() == "" && request.GetAccess() == 0:
			return errors.New("nothing is asked for: want --level, --access or --end")
		case length < time.Second || length > 24*time.Hour:
			return fmt.Errorf("--for %v: want 1s to 24h", length)
		}
		request.Duration = durationpb.New(length)
		answer, err := client.SetLog(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		return writeLog(cmd, out, request, answer)
	}
	return cmd
}

type logJSON struct {
	Service   string     `json:"service"`
	Until     *time.Time `json:"until,omitempty"`
	Processes int32      `json:"processes"`
}

func writeLog(cmd *cobra.Command, out *output, req *adminv1.SetLogRequest, answer *adminv1.SetLogResponse) error {
	over := req.GetDuration().AsDuration() == 0
	if out.json() {
		result := logJSON{Service: req.GetService(), Processes: answer.GetProcesses()}
		if !over {
			result.Until = stamp(answer.GetUntil())
		}
		return writeJSON(cmd.OutOrStdout(), result)
	}
	who := count(int(answer.GetProcesses()), "process")
	if n := answer.GetProcesses(); n != 1 {
		who = fmt.Sprintf("%d processes", n)
	}
	if over {
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s log as before\n", who, printable(req.GetService()))
		return err
	}
	what := ""
	if req.GetLevel() != "" {
		what = " level " + req.GetLevel()
	}
	if req.GetAccess() > 0 {
		if what != "" {
			what += " and"
		}
		what += fmt.Sprintf(" %g %% of calls", 100*req.GetAccess())
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s log%s for %s\n", who, printable(req.GetService()), what, units(req.GetDuration().AsDuration()))
	return err
}

type commandsJSON struct {
	Commands []commandJSON `json:"commands"`
}

type commandJSON struct {
	Service  string     `json:"service"`
	Instance string     `json:"instance,omitempty"`
	Kind     string     `json:"kind"`
	What     string     `json:"what"`
	By       string     `json:"by"`
	Until    *time.Time `json:"until,omitempty"`
}

func writeCommands(cmd *cobra.Command, out *output, answer *adminv1.ListCommandsResponse) error {
	if out.json() {
		result := commandsJSON{Commands: []commandJSON{}}
		for _, c := range answer.GetCommands() {
			result.Commands = append(result.Commands, commandJSON{
				Service: c.GetService(), Instance: c.GetInstance(), Kind: c.GetKind(), What: c.GetWhat(), By: c.GetBy(), Until: stamp(c.GetUntil()),
			})
		}
		return writeJSON(cmd.OutOrStdout(), result)
	}
	if len(answer.GetCommands()) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "No process is told anything: 'xdsserver log SERVICE --level debug' and 'xdsserver tap SERVICE' do.")
		return nil
	}
	t := newTable(cmd.OutOrStdout(), "SERVICE", "INSTANCE", "KIND", "WHAT", "BY", "LEFT")
	for _, c := range answer.GetCommands() {
		instance := c.GetInstance()
		if instance == "" {
			instance = "all"
		}
		t.row(c.GetService(), instance, c.GetKind(), c.GetWhat(), c.GetBy(), left(c.GetUntil()))
	}
	return t.flush()
}
