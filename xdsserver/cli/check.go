package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/mesh/api"
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
	// Anchor is where the documentation says more. It is stable.
	Anchor string `json:"anchor"`
}

// anchor is the place of a check in the documentation.
func anchor(check string) string { return "docs/operations.md#check-" + check }

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

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say whether everything is as it should be",
		Long: `check asks the server about itself, its configuration, the services and the
clients. It exits with 1 when a check failed; warnings do not fail it.`,
		Example: `  xdsserver check
  xdsserver check -o json`,
		Args: noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		result := runChecks(cmd.Context(), client, to)
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), result)
		} else {
			printChecks(cmd.OutOrStdout(), result)
		}
		if err == nil && !result.Success {
			return errSilent
		}
		return err
	}
	return cmd
}

func runChecks(ctx context.Context, client adminv1connect.AdminServiceClient, to *admin) checkJSON {
	status, err := client.GetStatus(ctx, &adminv1.GetStatusRequest{})
	if err != nil {
		return newCheckResult(categoryJSON{"xdsserver", []resultLine{{
			Description: "xdsserver answers at " + to.url,
			Result:      failure,
			Details:     []string{to.explain(err).Error()},
			Hint:        "start it with 'xdsserver serve'",
			Anchor:      anchor("server-answers"),
		}}})
	}
	endpoints, err := client.ListEndpoints(ctx, &adminv1.ListEndpointsRequest{})
	if err != nil {
		endpoints = &adminv1.ListEndpointsResponse{}
	}
	objects, err := client.List(ctx, &adminv1.ListRequest{})
	if err != nil {
		objects = &adminv1.ListResponse{}
	}
	return newCheckResult(
		categoryJSON{"xdsserver", checkServer(status, to)},
		categoryJSON{"identity", checkIdentity(status.GetSecurity())},
		categoryJSON{"configuration", checkConfiguration(status)},
		categoryJSON{"services", checkServices(objects.GetObjects(), endpoints.GetEndpoints())},
		categoryJSON{"clients", checkClients(status)},
	)
}

func newCheckResult(categories ...categoryJSON) checkJSON {
	result := checkJSON{Success: true, Categories: categories}
	for _, c := range categories {
		for _, l := range c.Checks {
			if l.Result == failure {
				result.Success = false
			}
		}
	}
	return result
}

func checkServer(s *adminv1.GetStatusResponse, to *admin) []resultLine {
	version := resultLine{
		Description: "xdsserver is of this command's version, " + api.Version,
		Result:      success,
		Anchor:      anchor("server-version"),
	}
	if s.GetVersion() != api.Version {
		version.Result = warning
		version.Details = []string{"it is " + s.GetVersion()}
		version.Hint = "run the same version of the command and the server"
	}
	warm := resultLine{
		Description: "processes had time to come back since the server started",
		Result:      success,
		Anchor:      anchor("server-warm"),
	}
	if s.GetWarming() {
		warm.Result = warning
		warm.Details = []string{"it started " + age(s.GetStarted()) + " ago and removes nobody yet"}
		warm.Hint = "wait a few seconds"
	}
	return []resultLine{
		{Description: "xdsserver answers at " + to.url, Result: success, Anchor: anchor("server-answers")},
		version,
		warm,
	}
}

func checkConfiguration(s *adminv1.GetStatusResponse) []resultLine {
	sources := resultLine{
		Description: "every source of configuration is up to date",
		Result:      success,
		Anchor:      anchor("sources-current"),
	}
	for _, src := range s.GetSources() {
		if src.GetError() != "" {
			sources.Result = failure
			sources.Details = append(sources.Details, src.GetName()+": "+src.GetError())
			sources.Hint = "the last good state is served meanwhile"
		}
	}
	objects := resultLine{
		Description: "every object is served as it is written",
		Result:      success,
		Anchor:      anchor("objects-served"),
	}
	for _, p := range s.GetProblems() {
		objects.Details = append(objects.Details, problemLine(p))
		switch {
		case !p.GetWarning():
			objects.Result = failure
			objects.Hint = "the last good form of each object is served meanwhile"
		case objects.Result == success:
			objects.Result = warning
			objects.Hint = "what is warned of is served, and may not do what was meant"
		}
	}
	published := resultLine{
		Description: "the configuration is published",
		Result:      success,
		Anchor:      anchor("published"),
	}
	if s.GetSnapshot() == "" {
		published.Result = failure
		published.Details = []string{"nothing has been published yet"}
		published.Hint = "the server's log says what it waits for"
	}
	return []resultLine{sources, objects, published}
}

func checkServices(objects []*adminv1.Object, endpoints []*adminv1.Endpoint) []resultLine {
	line := resultLine{
		Description: "every configured service has an endpoint that takes calls",
		Result:      success,
		Anchor:      anchor("services-have-endpoints"),
	}
	alive := map[string]bool{}
	for _, e := range endpoints {
		if e.GetState() == "healthy" || e.GetState() == "lost" {
			alive[qualified(e.GetService(), e.GetNamespace())] = true
		}
	}
	for _, o := range objects {
		name := qualified(o.GetRef().GetName(), o.GetRef().GetNamespace())
		if o.GetRef().GetKind() == "Service" && !alive[name] {
			line.Result = warning
			line.Details = append(line.Details, name+" has none; see 'xdsserver endpoints "+name+"'")
			line.Hint = "start an instance of it, or take its object away"
		}
	}
	return []resultLine{line}
}

// slowClient is how long a client may take to acknowledge before it is worth a word.
const slowClient = 10 * time.Second

func checkClients(s *adminv1.GetStatusResponse) []resultLine {
	nacks := resultLine{
		Description: "no client refused what it was sent",
		Result:      success,
		Anchor:      anchor("clients-accept"),
	}
	for _, r := range s.GetRejections() {
		nacks.Result = failure
		nacks.Details = append(nacks.Details, fmt.Sprintf("%s refused %s %q %s ago: %s",
			r.GetNode(), shortType(r.GetType()), r.GetResource(), age(r.GetAt()), r.GetReason()))
		nacks.Hint = "its last good configuration stays in force; the version is not sent again"
	}
	current := resultLine{
		Description: "every connected client has acknowledged its configuration",
		Result:      success,
		Anchor:      anchor("clients-current"),
	}
	for _, c := range s.GetClients() {
		if !c.GetCurrent() && time.Since(s.GetPublished().AsTime()) > slowClient {
			current.Result = warning
			current.Details = append(current.Details, c.GetNode()+" at "+c.GetPeer()+" has not")
			current.Hint = "the process may be stopped or overloaded: see its log"
		}
	}
	if current.Result == success {
		current.Description += fmt.Sprintf(" (%s)", count(len(s.GetClients()), "client"))
	}
	return []resultLine{nacks, current}
}

// shortType is the message's name in a type URL.
func shortType(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

// mostDetails are shown to people for one check; programs get all.
const mostDetails = 20

var marks = map[string]string{success: "√", warning: "‼", failure: "×"}

func printChecks(w io.Writer, result checkJSON) {
	for _, c := range result.Categories {
		fmt.Fprintf(w, "%s\n%s\n", c.Name, strings.Repeat("-", len(c.Name)))
		for _, l := range c.Checks {
			fmt.Fprintf(w, "%s %s\n", marks[l.Result], printable(l.Description))
			for _, d := range l.Details[:min(len(l.Details), mostDetails)] {
				fmt.Fprintf(w, "    %s\n", printable(d))
			}
			if more := len(l.Details) - mostDetails; more > 0 {
				fmt.Fprintf(w, "    and %d more; -o json lists all\n", more)
			}
			if l.Hint != "" {
				fmt.Fprintf(w, "    %s\n", l.Hint)
			}
			if l.Result != success {
				fmt.Fprintf(w, "    see %s\n", l.Anchor)
			}
		}
		fmt.Fprintln(w)
	}
	if result.Success {
		fmt.Fprintln(w, "Status check results are √")
	} else {
		fmt.Fprintln(w, "Status check results are ×")
	}
}
