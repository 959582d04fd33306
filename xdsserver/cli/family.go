package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// family makes cmd the parent of commands. Alone it prints its help; a word that
// is none of them is misuse, which cobra would take for an argument.
func family(cmd *cobra.Command, members ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(members...)
	return cmd
}
