package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// maxWait is the longest --wait: the answer must still come within answerWithin.
const maxWait = answerWithin - time.Second

func newApply() *cobra.Command {
	var wait time.Duration
	var revision int64
	cmd := &cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Store objects and publish them to every client",
		Long: `apply stores the objects of the files and publishes them. It is all or nothing:
one refused object refuses them all, with the reason for each. What is applied
survives restarts; what a file under 'serve --config' holds is changed there.`,
		Example: `  xdsserver apply -f split.yaml
  xdsserver apply -f mesh/ --wait 10s
  generate-config | xdsserver apply -f -`,
		Args: moreFiles,
	}
	in, to, out := addFiles(cmd), addAdmin(cmd), addOutput(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait until every connected client has acknowledged the change, at most this `DURATION`")
	addRevision(cmd, &revision)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &adminv1.ApplyRequest{IfRevision: revision}
		switch {
		case wait < 0 || wait > maxWait:
			return fmt.Errorf("--wait %v: want 0s to %v", wait, maxWait)
		case wait > 0:
			request.Wait = durationpb.New(wait)
		}
		answer, err := send(cmd, in.and(args), to, request)
		if err != nil {
			return err
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), applyResult(answer))
		} else {
			printApply(cmd.OutOrStdout(), cmd.ErrOrStderr(), answer, wait > 0)
		}
		return verdict(answer, err)
	}
	return cmd
}

func newValidate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate -f FILE...",
		Short: "Say what apply would refuse, and change nothing",
		Long: `validate hands the objects to the server as apply does, and stores nothing. The
server reads them, checks them against everything it knows, and lets a real gRPC
xDS client decode what it would publish.`,
		Example: `  xdsserver validate -f mesh/
  xdsserver validate -f split.yaml -o json`,
		Args: moreFiles,
	}
	in, to, out := addFiles(cmd), addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer, err := send(cmd, in.and(args), to, &adminv1.ApplyRequest{DryRun: true})
		if err != nil {
			return err
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), applyResult(answer))
		} else {
			printProblems(cmd.OutOrStdout(), answer)
			if !refused(answer) {
				fmt.Fprintf(cmd.OutOrStdout(), "%s good\n", count(len(answer.GetResults()), "object"))
			}
		}
		return verdict(answer, err)
	}
	return cmd
}

func newDiff() *cobra.Command {
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff -f FILE...",
		Short: "Show what apply would change",
		Example: `  xdsserver diff -f split.yaml
  xdsserver diff -f mesh/ --exit-code   # 1 when something would change`,
		Args: moreFiles,
	}
	in, to, out := addFiles(cmd), addAdmin(cmd), addOutput(cmd)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 1 when something would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		answer, err := send(cmd, in.and(args), to, &adminv1.ApplyRequest{DryRun: true})
		if err != nil {
			return err
		}
		changes := 0
		for _, r := range answer.GetResults() {
			if a := r.GetAction(); a == adminv1.Action_ACTION_CREATED || a == adminv1.Action_ACTION_CONFIGURED {
				changes++
				if !out.json() {
					name := refString(r.GetRef())
					_, _ = cmd.OutOrStdout().Write(diff.Diff(name+" (now)", []byte(r.GetBefore()), name+" (after apply)", []byte(r.GetAfter())))
				}
			}
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), applyResult(answer))
		} else {
			printProblems(cmd.ErrOrStderr(), answer)
		}
		if err := verdict(answer, err); err != nil {
			return err
		}
		if exitCode && changes > 0 {
			return errSilent
		}
		return nil
	}
	return cmd
}

// send reads the files and calls Apply.
func send(cmd *cobra.Command, in *files, to *admin, request *adminv1.ApplyRequest) (*adminv1.ApplyResponse, error) {
	docs, err := in.read(cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		request.Manifests = append(request.Manifests, &adminv1.Manifest{Origin: d.origin, Yaml: d.yaml})
	}
	client, err := to.client()
	if err != nil {
		return nil, err
	}
	answer, err := client.Apply(cmd.Context(), request)
	return answer, to.explain(err)
}

func refused(answer *adminv1.ApplyResponse) bool {
	for _, p := range answer.GetProblems() {
		if !p.GetWarning() {
			return true
		}
	}
	for _, r := range answer.GetResults() {
		if r.GetAction() == adminv1.Action_ACTION_REFUSED {
			return true
		}
	}
	return false
}

func verdict(answer *adminv1.ApplyResponse, err error) error {
	if err == nil && refused(answer) {
		return errSilent
	}
	return err
}

func printProblems(w io.Writer, answer *adminv1.ApplyResponse) {
	for _, p := range answer.GetProblems() {
		fmt.Fprintln(w, problemLine(p))
	}
	for _, r := range answer.GetResults() {
		for _, p := range r.GetProblems() {
			fmt.Fprintln(w, problemLine(p))
		}
	}
}

func printApply(w, errs io.Writer, answer *adminv1.ApplyResponse, waited bool) {
	printProblems(errs, answer)
	if refused(answer) {
		fmt.Fprintln(errs, "Nothing was applied.")
		return
	}
	for _, r := range answer.GetResults() {
		fmt.Fprintf(w, "%s %s\n", refString(r.GetRef()), actionName(r.GetAction()))
	}
	if waited {
		fmt.Fprintf(w, "%d of %s current\n", answer.GetClientsCurrent(), count(int(answer.GetClients()), "client"))
	}
}

func actionName(a adminv1.Action) string {
	return strings.ToLower(strings.TrimPrefix(a.String(), "ACTION_"))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

type applyJSON struct {
	Revision       int64         `json:"revision"`
	Results        []resultJSON  `json:"results"`
	Problems       []problemJSON `json:"problems"`
	Clients        int32         `json:"clients"`
	ClientsCurrent int32         `json:"clientsCurrent"`
}

type resultJSON struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Action    string        `json:"action"`
	Before    string        `json:"before,omitempty"`
	After     string        `json:"after,omitempty"`
	Problems  []problemJSON `json:"problems"`
}

func applyResult(answer *adminv1.ApplyResponse) applyJSON {
	out := applyJSON{
		Revision:       answer.GetRevision(),
		Results:        []resultJSON{},
		Problems:       problemsJSON(answer.GetProblems()),
		Clients:        answer.GetClients(),
		ClientsCurrent: answer.GetClientsCurrent(),
	}
	for _, r := range answer.GetResults() {
		out.Results = append(out.Results, resultJSON{
			Kind:      r.GetRef().GetKind(),
			Namespace: r.GetRef().GetNamespace(),
			Name:      r.GetRef().GetName(),
			Action:    actionName(r.GetAction()),
			Before:    r.GetBefore(),
			After:     r.GetAfter(),
			Problems:  problemsJSON(r.GetProblems()),
		})
	}
	return out
}
