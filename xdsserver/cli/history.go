package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// shownChanges is how many changes of a revision stand in a table.
const shownChanges = 3

func newHistory() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use:   "history [REVISION]",
		Short: "Show who applied and deleted what, or what one change was",
		Long: `history lists the last changes of applied objects, the newest first: 200 are kept.
With a revision it shows what that change was. What a file under 'serve --config'
holds has its history elsewhere.`,
		Example: `  xdsserver history
  xdsserver history 12
  xdsserver history -o json`,
		Args: arguments(0, 1, "a revision at most"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().Int32Var(&limit, "limit", 50, "list at most this `NUMBER`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 1 {
			return fmt.Errorf("--limit %d: want at least 1", limit)
		}
		one := int64(-1)
		if len(args) == 1 {
			var err error
			if one, err = parseRevision(args[0]); err != nil {
				return err
			}
			limit = 1 << 20 // all
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ListHistory(cmd.Context(), &adminv1.ListHistoryRequest{Limit: limit})
		if err != nil {
			return to.explain(err)
		}
		revisions := answer.GetRevisions()
		if one >= 0 {
			if revisions = only(revisions, one); len(revisions) == 0 {
				return wrong(fmt.Errorf("revision %d is not kept: 'xdsserver history' lists those that are", one))
			}
		}
		switch {
		case out.json():
			return writeJSON(cmd.OutOrStdout(), historyResult(revisions))
		case one >= 0:
			printDiffs(cmd.OutOrStdout(), revisions[0].GetChanges(), fmt.Sprintf("revision %d", one-1), fmt.Sprintf("revision %d", one))
			return nil
		case len(revisions) == 0:
			fmt.Fprintln(cmd.ErrOrStderr(), "No history: it begins with the next 'xdsserver apply -f FILE'.")
			return nil
		}
		t := newTable(cmd.OutOrStdout(), "REVISION", "AGE", "BY", "CHANGES")
		for _, r := range revisions {
			t.row(strconv.FormatInt(r.GetRevision(), 10), age(r.GetAt()), r.GetBy(), changesText(r.GetChanges()))
		}
		return t.flush()
	}
	return cmd
}

func newRollback() *cobra.Command {
	request := &adminv1.RollBackRequest{}
	cmd := &cobra.Command{
		Use:   "rollback REVISION",
		Short: "Make applied objects what they were at a revision",
		Long: `rollback makes all applied objects what they were at a revision, as one change,
which can be rolled back in turn. It is checked as an apply is, and all or nothing.`,
		Example: `  xdsserver rollback 12 --dry-run
  xdsserver rollback 12`,
		Args: arguments(1, 1, "a revision, as 'xdsserver history' shows it"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "show what would change, and change nothing")
	addRevision(cmd, &request.IfRevision)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if request.Revision, err = parseRevision(args[0]); err != nil {
			return err
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.RollBack(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		refused := false
		for _, p := range answer.GetProblems() {
			refused = refused || !p.GetWarning()
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), rollbackJSON{
				Revision: answer.GetRevision(), Changes: pastJSON(answer.GetChanges()), Problems: problemsJSON(answer.GetProblems()),
			})
		} else {
			printRollback(cmd, answer, request.GetDryRun(), refused)
		}
		if err == nil && refused {
			return errSilent
		}
		return err
	}
	return cmd
}

func printRollback(cmd *cobra.Command, answer *adminv1.RollBackResponse, trial, refused bool) {
	w, errs := cmd.OutOrStdout(), cmd.ErrOrStderr()
	for _, p := range answer.GetProblems() {
		fmt.Fprintln(errs, problemLine(p))
	}
	switch {
	case trial:
		printDiffs(w, answer.GetChanges(), "now", "after rollback")
	case !refused:
		for _, c := range answer.GetChanges() {
			fmt.Fprintf(w, "%s %s\n", refString(c.GetRef()), actionName(c.GetAction()))
		}
	}
	switch {
	case refused:
		fmt.Fprintln(errs, "Nothing was changed.")
	case len(answer.GetChanges()) == 0:
		fmt.Fprintln(errs, "Objects are what they were then: nothing to change.")
	case !trial:
		fmt.Fprintf(errs, "It is revision %d now.\n", answer.GetRevision())
	}
}

func parseRevision(text string) (int64, error) {
	revision, err := strconv.ParseInt(text, 10, 64)
	if err != nil || revision < 0 {
		return 0, fmt.Errorf("%q is no revision, want a number as 'xdsserver history' shows it", text)
	}
	return revision, nil
}

// only keeps one revision.
func only(revisions []*adminv1.Revision, revision int64) []*adminv1.Revision {
	for _, r := range revisions {
		if r.GetRevision() == revision {
			return []*adminv1.Revision{r}
		}
	}
	return nil
}

func printDiffs(w io.Writer, changes []*adminv1.Revision_Change, before, after string) {
	for _, c := range changes {
		name := refString(c.GetRef())
		_, _ = w.Write(diff.Diff(name+" ("+before+")", []byte(c.GetBefore()), name+" ("+after+")", []byte(c.GetAfter())))
	}
}

// changesText is changes in a few words.
func changesText(changes []*adminv1.Revision_Change) string {
	words := make([]string, 0, shownChanges+1)
	for i, c := range changes {
		if i == shownChanges {
			words = append(words, fmt.Sprintf("and %d more", len(changes)-i))
			break
		}
		words = append(words, refString(c.GetRef())+" "+actionName(c.GetAction()))
	}
	return strings.Join(words, ", ")
}

type historyJSON struct {
	Revisions []revisionJSON `json:"revisions"`
}

type revisionJSON struct {
	Revision int64        `json:"revision"`
	At       *time.Time   `json:"at,omitempty"`
	By       string       `json:"by"`
	Changes  []changeJSON `json:"changes"`
}

type changeJSON struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Action    string `json:"action"`
	Before    string `json:"before,omitempty"`
	After     string `json:"after,omitempty"`
}

type rollbackJSON struct {
	Revision int64         `json:"revision"`
	Changes  []changeJSON  `json:"changes"`
	Problems []problemJSON `json:"problems"`
}

func historyResult(revisions []*adminv1.Revision) historyJSON {
	out := historyJSON{Revisions: []revisionJSON{}}
	for _, r := range revisions {
		out.Revisions = append(out.Revisions, revisionJSON{
			Revision: r.GetRevision(), At: stamp(r.GetAt()), By: r.GetBy(), Changes: pastJSON(r.GetChanges()),
		})
	}
	return out
}

func pastJSON(changes []*adminv1.Revision_Change) []changeJSON {
	out := make([]changeJSON, 0, len(changes))
	for _, c := range changes {
		out = append(out, changeJSON{
			Kind: c.GetRef().GetKind(), Namespace: c.GetRef().GetNamespace(), Name: c.GetRef().GetName(),
			Action: actionName(c.GetAction()), Before: c.GetBefore(), After: c.GetAfter(),
		})
	}
	return out
}
