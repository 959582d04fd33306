package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newIdentity() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "identity [SERVICE]",
		Short: "Show who is connected, by which certificate, and for how long it lasts",
		Example: `  xdsserver identity
  xdsserver identity voting.shop -o json
  xdsserver identity fetch --service reports --out /run/reports/identity`,
		Args: arguments(0, 1, "one service at most"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &adminv1.ListIdentitiesRequest{}
		if len(args) > 0 {
			request.Service = args[0]
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ListIdentities(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), identitiesResult(answer.GetIdentities()))
		}
		if len(answer.GetIdentities()) == 0 {
			whose := "Nobody"
			if request.GetService() != "" {
				whose = "No process of " + printable(request.GetService())
			}
			fmt.Fprintln(cmd.ErrOrStderr(), whose+" is connected: processes join by themselves on this machine, and with a token elsewhere.")
			return nil
		}
		t := newTable(cmd.OutOrStdout(), "SERVICE", "NODE", "IDENTITY", "ISSUER", "SERIAL", "LEFT", "PEER")
		for _, i := range answer.GetIdentities() {
			t.row(i.GetService(), i.GetNode(), i.GetId(), shortKey(i.GetIssuer()), i.GetSerial(), left(i.GetNotAfter()), i.GetPeer())
		}
		return t.flush()
	}
	cmd.AddCommand(newIdentityFetch())
	return cmd
}

type identitiesJSON struct {
	Identities []identityJSON `json:"identities"`
}

type identityJSON struct {
	Service   string     `json:"service"`
	Node      string     `json:"node"`
	ID        string     `json:"id"`
	Issuer    string     `json:"issuer"`
	Serial    string     `json:"serial"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	NotAfter  *time.Time `json:"notAfter,omitempty"`
	Peer      string     `json:"peer"`
	Connected *time.Time `json:"connected,omitempty"`
}

func identitiesResult(identities []*adminv1.Identity) identitiesJSON {
	out := identitiesJSON{Identities: []identityJSON{}}
	for _, i := range identities {
		out.Identities = append(out.Identities, identityJSON{
			Service:   i.GetService(),
			Node:      i.GetNode(),
			ID:        i.GetId(),
			Issuer:    i.GetIssuer(),
			Serial:    i.GetSerial(),
			NotBefore: stamp(i.GetNotBefore()),
			NotAfter:  stamp(i.GetNotAfter()),
			Peer:      i.GetPeer(),
			Connected: stamp(i.GetConnected()),
		})
	}
	return out
}
