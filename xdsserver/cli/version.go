package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this command and of the server",
		Example: "  xdsserver version -o json",
		Args:    noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		client, err := to.client()
		if err != nil {
			return err
		}
		server := ""
		if status, err := client.GetStatus(cmd.Context(), &adminv1.GetStatusRequest{}); err == nil {
			server = status.GetVersion()
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), struct {
				Client string `json:"client"`
				Server string `json:"server"`
			}{api.Version, server})
		}
		if server == "" {
			server = "unavailable"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Client version: %s\nServer version: %s\n", api.Version, server)
		return nil
	}
	return cmd
}
