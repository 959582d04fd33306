// Package cli is the command line of xdsserver: the server itself, and the
// commands an operator runs against it.
//
//	os.Exit(cli.Main(ctx, os.Args[1:], cli.Stdio()))
//
// Commands other than serve speak to a running server through its admin API
// only. Tables are for people; `-o json` is for programs and stays stable. Exit
// codes: 0 good, 1 something is wrong with the mesh or was refused, 2 the
// command was misused.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// IO is where a command reads and writes.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
}

// Stdio is the process's own.
func Stdio() IO { return IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// The exit codes.
const (
	exitGood  = 0
	exitWrong = 1
	exitUsage = 2
)

// wrongError ends a command that worked but found or was told something bad.
// What there is to say has been printed when silent is set.
type wrongError struct {
	err    error
	silent bool
}

func (e *wrongError) Error() string { return e.err.Error() }
func (e *wrongError) Unwrap() error { return e.err }

var errSilent = &wrongError{err: errors.New("failed"), silent: true}

// wrong marks err as the mesh's trouble, not the command line's.
func wrong(err error) error {
	if err == nil {
		return nil
	}
	return &wrongError{err: err}
}

// Main runs the command that args name until it ends or ctx does, and returns
// the exit code.
func Main(ctx context.Context, args []string, stdio IO) int {
	root := New(stdio)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var found *wrongError
	switch {
	case err == nil:
		return exitGood
	case errors.As(err, &found):
		if !found.silent {
			fmt.Fprintln(stdio.Err, "Error:", err)
		}
		return exitWrong
	default:
		fmt.Fprintln(stdio.Err, "Error:", err)
		fmt.Fprintf(stdio.Err, "Run '%s --help' for usage.\n", cmd.CommandPath())
		return exitUsage
	}
}

// New returns the command tree.
func New(stdio IO) *cobra.Command {
	root := &cobra.Command{
		Use:   "xdsserver",
		Short: "The control plane of a service mesh that weighs nothing",
		Long: `xdsserver feeds a mesh of gRPC services over xDS: who is where, which calls go
to which version, how long they may take. Services join from inside their own
process; no proxy runs anywhere.`,
		Example: `  # a mesh on this machine, from nothing
  xdsserver serve --data ./data

  # send one call in ten to v2, live
  xdsserver apply -f split.yaml

  # is everything as it should be?
  xdsserver check`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	root.AddGroup(
		&cobra.Group{ID: "run", Title: "Run:"},
		&cobra.Group{ID: "change", Title: "Change:"},
		&cobra.Group{ID: "secure", Title: "Secure:"},
		&cobra.Group{ID: "look", Title: "Look:"},
	)
	for _, c := range []struct {
		group string
		cmd   *cobra.Command
	}{
		{"run", newServe()},
		{"run", newBootstrap()},
		{"run", newDashboard()},
		{"change", newApply()},
		{"change", newDelete()},
		{"change", newDiff()},
		{"change", newValidate()},
		{"change", newHistory()},
		{"change", newRollback()},
		{"secure", newToken()},
		{"secure", newCA()},
		{"secure", newIdentity()},
		{"secure", newAuthz()},
		{"look", newGet()},
		{"look", newStat()},
		{"look", newEdges()},
		{"look", newTop()},
		{"look", newEndpoints()},
		{"look", newRoutes()},
		{"look", newExplain()},
		{"look", newTap()},
		{"look", newLog()},
		{"look", newCheck()},
		{"look", newVersion()},
	} {
		c.cmd.GroupID = c.group
		root.AddCommand(c.cmd)
	}
	root.SetHelpCommandGroupID("look")
	root.SetCompletionCommandGroupID("run")
	root.InitDefaultCompletionCmd("")
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		strict(root, c)
	}
	return root
}

// strict makes the commands that cobra adds refuse what they do not know; as they
// are made, they print help and call it good.
func strict(root, c *cobra.Command) {
	switch c.Name() {
	case "completion":
		c.Args = arguments(1, 1, "a shell: bash, fish, powershell or zsh")
		c.RunE = func(_ *cobra.Command, args []string) error {
			return fmt.Errorf("unknown shell %q, want bash, fish, powershell or zsh", args[0])
		}
	case "help":
		c.Run = nil
		c.RunE = func(_ *cobra.Command, args []string) error {
			found, _, err := root.Find(args)
			if err != nil {
				return err
			}
			return found.Help()
		}
	}
}

// arguments takes from least to most arguments; want says which.
func arguments(least, most int, want string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return fmt.Errorf("got %s, want %s", count(len(args), "argument"), want)
		}
		return nil
	}
}

// noArguments takes none.
var noArguments = arguments(0, 0, "none")
