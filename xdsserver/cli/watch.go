package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// watched runs look once or, where it is watched, every two seconds until the command is
// stopped. A terminal is drawn anew each time; elsewhere what it prints comes one after
// the other. A server that goes away once it has answered is waited for.
func watched(cmd *cobra.Command, again bool, look func(context.Context, io.Writer) error) error {
	w := cmd.OutOrStdout()
	if !again {
		return look(cmd.Context(), w)
	}
	return redraw(cmd.Context(), w, isTerminal(w), look)
}

func redraw(ctx context.Context, w io.Writer, terminal bool, look func(context.Context, io.Writer) error) error {
	tick := time.NewTicker(redrawEvery)
	defer tick.Stop()
	for answered := false; ; {
		var page bytes.Buffer
		switch err := look(ctx, &page); {
		case ctx.Err() != nil:
			return nil // it was stopped
		case err != nil && !answered:
			return err
		case err != nil:
			page.Reset()
			fmt.Fprintln(&page, printable(err.Error()))
		}
		answered = true
		if terminal {
			fmt.Fprint(w, "\x1b[H\x1b[2J")
		} else {
			page.WriteByte('\n')
		}
		if _, err := page.WriteTo(w); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// completeServices completes the names of services.
func completeServices(to *admin) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, err := to.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		graph, err := client.GetGraph(ctx, &adminv1.GetGraphRequest{})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names := make([]cobra.Completion, 0, len(graph.GetServices()))
		for _, s := range graph.GetServices() {
			names = append(names, s.GetService())
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
