package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

func newCA() *cobra.Command {
	return family(&cobra.Command{
		Use:   "ca",
		Short: "Look after the authority that signs identities",
		Long: `The built-in authority is a root that signs intermediates, an intermediate that
signs the certificates of processes and that replaces itself, and nothing that
could expire because it was forgotten.`,
	}, newCAStatus(), newCARotate(), newCAExportRoot(), newCAImport())
}

func newCAStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what signs, until when, and how a rotation goes on",
		Example: "  xdsserver ca status\n  xdsserver ca status -o json",
		Args:    noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.GetAuthority(cmd.Context(), &adminv1.GetAuthorityRequest{})
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), authorityResult(answer.GetAuthority()))
		}
		return printAuthority(cmd.OutOrStdout(), cmd.ErrOrStderr(), answer.GetAuthority())
	}
	return cmd
}

func printAuthority(w, errs io.Writer, a *adminv1.Authority) error {
	t := newTable(w, "TRUST DOMAIN", "AUTHORITY", "ROOT KEY", "LEAF LIFE", "ISSUED", "ROTATION")
	rotation := ""
	if r := a.GetRotation(); r != nil {
		rotation = r.GetLevel() + " " + r.GetPhase()
	}
	life := ""
	if a.GetLeafTtl() != nil {
		life = units(a.GetLeafTtl().AsDuration())
	}
	t.row(a.GetTrustDomain(), a.GetKind(), rootKey(a), life, fmt.Sprint(a.GetIssued()), rotation)
	if err := t.flush(); err != nil {
		return err
	}
	if len(a.GetRoots())+len(a.GetIntermediates()) > 0 {
		fmt.Fprintln(w)
		t = newTable(w, "CERTIFICATE", "NAME", "KEY ID", "PHASE", "KEY", "AGE", "LEFT")
		for _, c := range a.GetRoots() {
			certificateRow(t, "root", c)
		}
		for _, c := range a.GetIntermediates() {
			certificateRow(t, "intermediate", c)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if r := a.GetRotation(); r != nil {
		fmt.Fprintln(errs, rotationLine(r))
	}
	if a.GetIssuesUntil() != nil {
		fmt.Fprintf(errs, "Identities are issued until %s, %s from now, unless the root's key comes back: 'xdsserver ca import'.\n",
			clock(a.GetIssuesUntil()), left(a.GetIssuesUntil()))
	}
	if a.GetProblem() != "" {
		fmt.Fprintln(errs, printable(a.GetProblem()))
	}
	return nil
}

// rootKey says where the key is that signs intermediates.
func rootKey(a *adminv1.Authority) string {
	switch {
	case a.GetKind() != builtIn:
		return ""
	case a.GetRootOnline():
		return "here"
	}
	return "elsewhere"
}

// builtIn is the kind of the authority that rotates by itself.
const builtIn = "built-in"

func certificateRow(t *table, level string, c *adminv1.CACertificate) {
	key := "elsewhere"
	switch {
	case c.GetOnline():
		key = "here"
	case c.GetReplica() != "":
		key = "at " + c.GetReplica()
	}
	t.row(level, c.GetName(), shortKey(c.GetKeyId()), c.GetPhase(), key, age(c.GetNotBefore()), left(c.GetNotAfter()))
}

// shortKey is as much of a key id as tells keys apart in a table.
func shortKey(id string) string { return id[:min(len(id), 12)] }

func newCARotate() *cobra.Command {
	var detach bool
	request := &adminv1.RotateAuthorityRequest{}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the root and the intermediate, or the intermediate",
		Long: `rotate replaces the root and what it signs, while calls go on and with no restart
of anything: it publishes the new root, waits until every client has it, signs with
it, has every process renew its certificate, and then lets go of the old root. That
takes a few minutes when every process is connected, and at most as long as
certificates live.

The rotation is the server's: it goes on when this command is interrupted. The
intermediate rotates by itself, half-way through its life.`,
		Example: `  xdsserver ca rotate
  xdsserver ca rotate --intermediate
  xdsserver ca rotate --detach && xdsserver ca status`,
		Args: noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().BoolVar(&request.Intermediate, "intermediate", false, "replace the intermediate only: nothing that is trusted changes")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.RotateAuthority(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		authority := answer.GetAuthority()
		if !detach {
			if authority, err = awaitRotation(cmd.Context(), client, cmd.ErrOrStderr(), authority, request.GetIntermediate()); err != nil {
				return to.explain(err)
			}
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), authorityResult(authority))
		}
		return printAuthority(cmd.OutOrStdout(), io.Discard, authority)
	}
	return cmd
}

// rotationTick is how often the command looks how the rotation goes on.
const rotationTick = 500 * time.Millisecond

// awaitRotation tells each step until there is none left. That of the other level
// is not waited for: where lives are short there is always one.
func awaitRotation(
	ctx context.Context, client adminv1connect.AdminServiceClient, w io.Writer, a *adminv1.Authority, intermediate bool,
) (*adminv1.Authority, error) {
	level := "root"
	if intermediate {
		level = "intermediate"
	}
	tick := time.NewTicker(rotationTick)
	defer tick.Stop()
	told := ""
	for a.GetRotation().GetLevel() == level {
		if line := rotationLine(a.GetRotation()); line != told {
			told = line
			fmt.Fprintln(w, line)
		}
		select {
		case <-ctx.Done():
			fmt.Fprintln(w, "The rotation goes on without this command; 'xdsserver ca status' shows it.")
			return nil, wrong(context.Cause(ctx))
		case <-tick.C:
		}
		answer, err := client.GetAuthority(ctx, &adminv1.GetAuthorityRequest{})
		if err != nil {
			return nil, err
		}
		a = answer.GetAuthority()
	}
	fmt.Fprintln(w, "The rotation is complete.")
	return a, nil
}

func rotationLine(r *adminv1.Rotation) string {
	line := fmt.Sprintf("The new %s is %s", r.GetLevel(), r.GetPhase())
	if r.GetWaiting() != "" {
		line += ": it waits for " + printable(r.GetWaiting())
	}
	if r.GetUntil() != nil {
		line += ", until " + clock(r.GetUntil()) + " at the latest"
	}
	return line
}

type authorityJSON struct {
	TrustDomain    string              `json:"trustDomain"`
	Kind           string              `json:"kind"`
	RootOnline     bool                `json:"rootOnline"`
	IssuesUntil    *time.Time          `json:"issuesUntil,omitempty"`
	LeafTTLSeconds int64               `json:"leafTtlSeconds"`
	Issued         uint64              `json:"issued"`
	Generation     uint64              `json:"generation"`
	Problem        string              `json:"problem"`
	Rotation       *rotationJSON       `json:"rotation,omitempty"`
	Roots          []caCertificateJSON `json:"roots"`
	Intermediates  []caCertificateJSON `json:"intermediates"`
}

type rotationJSON struct {
	Level   string     `json:"level"`
	Phase   string     `json:"phase"`
	Since   *time.Time `json:"since,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	Waiting string     `json:"waiting"`
}

type caCertificateJSON struct {
	Name      string     `json:"name"`
	KeyID     string     `json:"keyId"`
	Serial    string     `json:"serial"`
	Phase     string     `json:"phase"`
	Online    bool       `json:"online"`
	Replica   string     `json:"replica,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	NotAfter  *time.Time `json:"notAfter,omitempty"`
	Until     *time.Time `json:"until,omitempty"`
}

func authorityResult(a *adminv1.Authority) authorityJSON {
	out := authorityJSON{
		TrustDomain:    a.GetTrustDomain(),
		Kind:           a.GetKind(),
		RootOnline:     a.GetRootOnline(),
		IssuesUntil:    stamp(a.GetIssuesUntil()),
		LeafTTLSeconds: int64(a.GetLeafTtl().AsDuration().Seconds()),
		Issued:         a.GetIssued(),
		Generation:     a.GetGeneration(),
		Problem:        a.GetProblem(),
		Roots:          caCertificates(a.GetRoots()),
		Intermediates:  caCertificates(a.GetIntermediates()),
	}
	if r := a.GetRotation(); r != nil {
		out.Rotation = &rotationJSON{
			Level: r.GetLevel(), Phase: r.GetPhase(), Since: stamp(r.GetSince()), Until: stamp(r.GetUntil()), Waiting: r.GetWaiting(),
		}
	}
	return out
}

func caCertificates(certificates []*adminv1.CACertificate) []caCertificateJSON {
	out := make([]caCertificateJSON, 0, len(certificates))
	for _, c := range certificates {
		out = append(out, caCertificateJSON{
			Name:      c.GetName(),
			KeyID:     c.GetKeyId(),
			Serial:    c.GetSerial(),
			Phase:     c.GetPhase(),
			Online:    c.GetOnline(),
			Replica:   c.GetReplica(),
			NotBefore: stamp(c.GetNotBefore()),
			NotAfter:  stamp(c.GetNotAfter()),
			Until:     stamp(c.GetUntil()),
		})
	}
	return out
}
