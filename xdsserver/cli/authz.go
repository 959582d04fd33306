package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newAuthz() *cobra.Command {
	var metadata []string
	request := &adminv1.AuthorizeRequest{}
	cmd := &cobra.Command{
		Use:   "authz SERVICE [--from CALLER --method METHOD]",
		Short: "Say who may call a service, or whether one call is allowed and by what",
		Long: `authz shows the rules in force for a service in the order in which they are
asked: what is exempt, what is denied, what is allowed, and what the mesh does when
no policy allows anything. With --from and --method it says whether that call is
allowed and which rule decides. It exits with 1 when the call is denied.

A deny rule that matches denies. Else, where a policy has a list of what it allows,
only that is allowed. Else the mesh's default decides.`,
		Example: `  xdsserver authz voting
  xdsserver authz voting --from web --method /vote.v1.Votes/Cast
  xdsserver authz voting.shop --from spiffe://partner.test/ns/default/svc/web --method /vote.v1.Votes/Cast
  xdsserver authz suggest voting`,
		Args: arguments(1, 1, "one service"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().StringVar(&request.From, "from", "", "who calls: `CALLER` is NAME, NAME.NAMESPACE or a SPIFFE id")
	cmd.Flags().StringVar(&request.Method, "method", "", "what is called: `METHOD` is /package.Service/Method")
	cmd.Flags().StringArrayVar(&metadata, "metadata", nil, "metadata of the call, `NAME=VALUE`; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Service = args[0]
		if err := parseMetadata(request, metadata); err != nil {
			return err
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.Authorize(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		switch {
		case out.json():
			err = writeJSON(cmd.OutOrStdout(), authzResult(request, answer))
		case answer.GetVerdict() != nil:
			printVerdict(cmd.OutOrStdout(), answer.GetVerdict())
		default:
			err = printRules(cmd.OutOrStdout(), cmd.ErrOrStderr(), answer.GetRules())
		}
		if err == nil && answer.GetVerdict() != nil && !answer.GetVerdict().GetAllowed() {
			return errSilent
		}
		return err
	}
	cmd.AddCommand(newAuthzSuggest())
	return cmd
}

// parseMetadata reads --metadata, and says what must come together.
func parseMetadata(request *adminv1.AuthorizeRequest, metadata []string) error {
	switch {
	case (request.GetFrom() == "") != (request.GetMethod() == ""):
		return errors.New("--from and --method say together which call is meant: give both, or none for the rules")
	case len(metadata) > 0 && request.GetFrom() == "":
		return errors.New("--metadata is of a call: say which with --from and --method")
	}
	for _, m := range metadata {
		name, value, found := strings.Cut(m, "=")
		if !found || name == "" {
			return fmt.Errorf("--metadata %q: want NAME=VALUE", m)
		}
		request.Metadata = append(request.Metadata, &adminv1.Metadata{Name: strings.ToLower(name), Value: value})
	}
	return nil
}

func printVerdict(w io.Writer, v *adminv1.AuthorizeResponse_Verdict) {
	word := "denied"
	if v.GetAllowed() {
		word = "allowed"
	}
	fmt.Fprintf(w, "%s by %s: %s\n", word, printable(v.GetPolicy()), printable(v.GetReason()))
	if v.GetWouldDeny() {
		fmt.Fprintf(w, "would be denied by %s, were it enforced\n", printable(v.GetWouldPolicy()))
	}
}

func printRules(w, errs io.Writer, rules []*adminv1.AccessRule) error {
	t := newTable(w, "POLICY", "ACTION", "MODE", "FROM", "METHODS", "METADATA", "ONLY IF", "ORIGIN")
	for _, r := range rules {
		t.row(r.GetPolicy(), r.GetAction(), r.GetMode(), anyOf(r.GetFrom()), anyOf(r.GetMethods()),
			metadataText(r.GetMetadata()), strings.Join(r.GetOnlyIf(), "; "), r.GetOrigin())
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, r := range rules {
		if r.GetNote() != "" {
			fmt.Fprintf(errs, "%s: %s\n", printable(r.GetPolicy()), printable(r.GetNote()))
		}
	}
	return nil
}

func anyOf(entries []string) string {
	if len(entries) == 0 {
		return "any"
	}
	return strings.Join(entries, ",")
}

func metadataText(metadata []*adminv1.Metadata) string {
	var b []string
	for _, m := range metadata {
		if m.GetValue() == "" {
			b = append(b, m.GetName())
		} else {
			b = append(b, m.GetName()+"="+m.GetValue())
		}
	}
	return strings.Join(b, ",")
}

func newAuthzSuggest() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest SERVICE",
		Short: "Write a policy from the callers that were observed",
		Long: `suggest prints a policy that allows exactly what the service's processes were
asked in the last hour, and by whom. It comes in mode audit: apply it, see with
'xdsserver check' what it would deny, and then change its mode to enforce.`,
		Example: `  xdsserver authz suggest voting > voting-access.yaml
  xdsserver authz suggest voting | xdsserver apply -f -`,
		Args: arguments(1, 1, "one service"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.SuggestPolicy(cmd.Context(), &adminv1.SuggestPolicyRequest{Service: args[0]})
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				YAML  string   `json:"yaml"`
				Notes []string `json:"notes"`
			}{answer.GetYaml(), orEmpty(answer.GetNotes())})
		}
		fmt.Fprint(cmd.OutOrStdout(), answer.GetYaml())
		for _, note := range answer.GetNotes() {
			fmt.Fprintln(cmd.ErrOrStderr(), printable(note))
		}
		return nil
	}
	return cmd
}

type authzJSON struct {
	Service string       `json:"service"`
	From    string       `json:"from,omitempty"`
	Method  string       `json:"method,omitempty"`
	Verdict *verdictJSON `json:"verdict,omitempty"`
	Rules   []ruleJSON   `json:"rules"`
}

type verdictJSON struct {
	Allowed     bool   `json:"allowed"`
	Policy      string `json:"policy"`
	Reason      string `json:"reason"`
	WouldDeny   bool   `json:"wouldDeny"`
	WouldPolicy string `json:"wouldPolicy"`
}

type ruleJSON struct {
	Policy   string         `json:"policy"`
	Action   string         `json:"action"`
	Mode     string         `json:"mode"`
	From     []string       `json:"from"`
	Methods  []string       `json:"methods"`
	Metadata []metadataJSON `json:"metadata"`
	OnlyIf   []string       `json:"onlyIf"`
	Origin   string         `json:"origin"`
	Note     string         `json:"note"`
}

type metadataJSON struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

func authzResult(request *adminv1.AuthorizeRequest, answer *adminv1.AuthorizeResponse) authzJSON {
	out := authzJSON{Service: request.GetService(), From: request.GetFrom(), Method: request.GetMethod(), Rules: []ruleJSON{}}
	if v := answer.GetVerdict(); v != nil {
		out.Verdict = verdictResult(v)
	}
	for _, r := range answer.GetRules() {
		metadata := make([]metadataJSON, 0, len(r.GetMetadata()))
		for _, m := range r.GetMetadata() {
			metadata = append(metadata, metadataJSON{Name: m.GetName(), Value: m.GetValue()})
		}
		out.Rules = append(out.Rules, ruleJSON{
			Policy:   r.GetPolicy(),
			Action:   r.GetAction(),
			Mode:     r.GetMode(),
			From:     orEmpty(r.GetFrom()),
			Methods:  orEmpty(r.GetMethods()),
			Metadata: metadata,
			OnlyIf:   orEmpty(r.GetOnlyIf()),
			Origin:   r.GetOrigin(),
			Note:     r.GetNote(),
		})
	}
	return out
}

func verdictResult(v *adminv1.AuthorizeResponse_Verdict) *verdictJSON {
	return &verdictJSON{
		Allowed: v.GetAllowed(), Policy: v.GetPolicy(), Reason: v.GetReason(),
		WouldDeny: v.GetWouldDeny(), WouldPolicy: v.GetWouldPolicy(),
	}
}
