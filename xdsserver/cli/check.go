package cli

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// The results of a check. A warning does not fail the command.
const (
	success = "success"
	warning = "warning"
	failure = "error"
)

type checkJSON struct {
	Success    bool           `json:"success"`
	Categories []categoryJSON `json:"categories"`
}

type categoryJSON struct {
	Name   string       `json:"categoryName"`
	Checks []resultLine `json:"checks"`
}

// A resultLine is one sentence that is true when all is well, and what is known
// when it is not.
type resultLine struct {
	Description string   `json:"description"`
	Result      string   `json:"result"`
	Details     []string `json:"details,omitempty"`
	Hint        string   `json:"hint,omitempty"`
	// Command is what mends it, or shows more of it.
	Command string `json:"command,omitempty"`
	// Anchor is where the documentation says more. It is stable.
	Anchor string `json:"anchor"`

	subject string // what stands for {} in Command
	passing bool   // it is wrong, and that is expected to pass
}

// anchor is the place of a check in the documentation.
func anchor(check string) string { return "docs/checks.md#" + check }

func (l *resultLine) fail(detail string) {
	l.Result = failure
	l.Details = append(l.Details, detail)
}

// warn leaves a failure one.
func (l *resultLine) warn(detail string) {
	if l.Result == success {
		l.Result = warning
	}
	l.Details = append(l.Details, detail)
}

// about says what the command is to name; the first wins.
func (l *resultLine) about(subject string) {
	if l.subject == "" {
		l.subject = subject
	}
}

// harmless is what may stand in a command that somebody pastes, wherever it came from.
var harmless = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@+-]*$|^/[A-Za-z0-9._/:@+-]*$`)

// run judges the facts. What is well needs neither hint nor command.
func (c *check) run(f *facts) resultLine {
	line := resultLine{Description: c.says, Result: success, Anchor: anchor(c.id)}
	c.judge(f, &line)
	if line.Result == success {
		return line
	}
	line.passing = c.passes || line.Result == failure
	if line.Hint == "" {
		line.Hint = c.mend
	}
	if strings.Contains(c.command, "{}") && !harmless.MatchString(line.subject) {
		return line
	}
	line.Command = strings.ReplaceAll(c.command, "{}", line.subject)
	return line
}

// facts are what the checks judge.
type facts struct {
	url         string // of the server
	unreachable error  // why it does not answer; the rest is then unset

	status    *adminv1.GetStatusResponse
	objects   []*adminv1.Object
	endpoints []*adminv1.Endpoint
	graph     *adminv1.GetGraphResponse // of the last minute; nil when no reports are taken
	// silent are processes that are connected and do not report, by service.
	silent map[string][]string
}

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether everything is as it should be",
		Long: `check asks the server about itself, its store and configuration, who may be who, its
clients, what they report, and how calls went in the last minute. Each line is true
when all is well (√); else it says what is known, what mends it, and where docs/checks.md
says more. It exits with 1 when a check failed (×); warnings (‼) do not fail it.`,
		Example: `  xdsserver check
  xdsserver check -o short
  xdsserver check --wait 5m
  xdsserver check -o json`,
		Args: noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd, "short")
	wait := cmd.Flags().Duration("wait", 0, "look again for so long, a `DURATION`, until no check fails and the server has settled")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		spin := io.Discard
		if w := cmd.ErrOrStderr(); isTerminal(w) && !out.json() {
			spin = w
		}
		result := waitForChecks(cmd.Context(), *wait, spin, func(ctx context.Context) checkJSON {
			return judge(lookAround(ctx, client, to))
		})
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), result)
		} else {
			printChecks(cmd.OutOrStdout(), result, out.format == "short")
		}
		if err == nil && !result.Success {
			return errSilent
		}
		return err
	}
	return cmd
}

// judge runs every check; where nobody answers, the one that says so.
func judge(f *facts) checkJSON {
	result := checkJSON{Success: true}
	for i := range checks {
		c := &checks[i]
		if f.unreachable != nil && c.id != serverAnswers {
			continue
		}
		line := c.run(f)
		if line.Result == failure {
			result.Success = false
		}
		if n := len(result.Categories); n == 0 || result.Categories[n-1].Name != c.category {
			result.Categories = append(result.Categories, categoryJSON{Name: c.category})
		}
		last := &result.Categories[len(result.Categories)-1]
		last.Checks = append(last.Checks, line)
	}
	return result
}

// lookAround asks the server for what the checks judge.
func lookAround(ctx context.Context, client adminv1connect.AdminServiceClient, to *admin) *facts {
	f := &facts{url: to.url}
	var err error
	if f.status, err = client.GetStatus(ctx, &adminv1.GetStatusRequest{}); err != nil {
		f.unreachable = to.explain(err)
		return f
	}
	// What an older server does not answer is not judged.
	if answer, err := client.ListEndpoints(ctx, &adminv1.ListEndpointsRequest{}); err == nil {
		f.endpoints = answer.GetEndpoints()
	}
	if answer, err := client.List(ctx, &adminv1.ListRequest{}); err == nil {
		f.objects = answer.GetObjects()
	}
	if answer, err := client.GetGraph(ctx, &adminv1.GetGraphRequest{}); err == nil {
		f.graph = answer
		f.silent = findSilent(ctx, client, f)
	}
	return f
}

const (
	// checkAgain is how long to wait before what failed is looked at again.
	checkAgain = time.Second
	// spinEvery is how often somebody at a terminal sees that it goes on.
	spinEvery = 100 * time.Millisecond
)

// waitForChecks looks until no check fails nor warns of what passes, or the time is over;
// spin shows meanwhile which it waits for.
func waitForChecks(ctx context.Context, wait time.Duration, spin io.Writer, look func(context.Context) checkJSON) checkJSON {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := time.Now().Add(wait)
	tick := time.NewTicker(spinEvery)
	defer tick.Stop()
	for frame := 0; ; {
		result := look(ctx)
		waiting := waitsFor(result)
		if waiting == "" || !time.Now().Add(checkAgain).Before(end) {
			return result
		}
		for again := time.Now().Add(checkAgain); time.Now().Before(again); frame++ {
			fmt.Fprintf(spin, "\r\x1b[K%c %s", spinner[frame%len(spinner)], printable(waiting))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return result
			}
		}
		fmt.Fprint(spin, "\r\x1b[K")
	}
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

// waitsFor is the first check that may become true, as one line that fits a terminal; empty
// when there is none.
func waitsFor(result checkJSON) string {
	for _, c := range result.Categories {
		for _, l := range c.Checks {
			if l.passing {
				text := []rune(l.Description)
				return string(text[:min(len(text), 70)])
			}
		}
	}
	return ""
}

// mostDetails are shown to people for one check; programs get all.
const mostDetails = 20

var marks = map[string]string{success: "√", warning: "‼", failure: "×"}

func printChecks(w io.Writer, result checkJSON, short bool) {
	for _, c := range result.Categories {
		lines := c.Checks
		if short {
			lines = nil
			for _, l := range c.Checks {
				if l.Result != success {
					lines = append(lines, l)
				}
			}
			if len(lines) == 0 {
				continue
			}
		}
		fmt.Fprintf(w, "%s\n%s\n", c.Name, strings.Repeat("-", len(c.Name)))
		for i := range lines {
			printCheck(w, &lines[i])
		}
		fmt.Fprintln(w)
	}
	if result.Success {
		fmt.Fprintln(w, "Status check results are √")
	} else {
		fmt.Fprintln(w, "Status check results are ×")
	}
}

func printCheck(w io.Writer, l *resultLine) {
	fmt.Fprintf(w, "%s %s\n", marks[l.Result], printable(l.Description))
	for _, d := range l.Details[:min(len(l.Details), mostDetails)] {
		fmt.Fprintf(w, "    %s\n", printable(d))
	}
	if more := len(l.Details) - mostDetails; more > 0 {
		fmt.Fprintf(w, "    and %d more; -o json lists all\n", more)
	}
	if l.Hint != "" {
		fmt.Fprintf(w, "    %s\n", printable(l.Hint))
	}
	if l.Command != "" {
		fmt.Fprintf(w, "    try: %s\n", printable(l.Command))
	}
	if l.Result != success {
		fmt.Fprintf(w, "    see %s\n", l.Anchor)
	}
}
