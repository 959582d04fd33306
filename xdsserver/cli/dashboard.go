package cli

import (
	"cmp"
	"errors"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newDashboard() *cobra.Command {
	var may []string
	var session time.Duration
	var bare, open bool
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Print an address that opens the dashboard, once",
		Long: `dashboard prints an address that opens the dashboard in a browser, once, within
five minutes. Who opens it has a session, which may do what --may says:

  view     see the mesh and its configuration
  apply    change the configuration, make join tokens, rotate the authority
  tap      watch calls
  payload  watch their messages, too, where the server allows it (serve --tap payload)

The server must run as the same user on this machine. From another machine, reach it
through ssh: ssh -L 18080:127.0.0.1:18080 HOST, and open the address there.`,
		Example: `  xdsserver dashboard
  xdsserver dashboard --may view --session 1h
  xdsserver dashboard --open`,
		Args: noArguments,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&may, "may", []string{"view", "apply", "tap"}, "what the session may, `RIGHTS` with commas between")
	flags.DurationVar(&session, "session", 12*time.Hour, "how long the session lasts, a `DURATION`, 24h at most")
	flags.BoolVar(&bare, "print", false, "print the address and nothing else")
	flags.BoolVar(&open, "open", false, "open it in this user's browser, too")
	cmd.MarkFlagsMutuallyExclusive("print", "open")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if session <= 0 || session > 24*time.Hour {
			return fmt.Errorf("--session %v: want more than nothing and at most 24h", session)
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.CreateLogin(cmd.Context(), &adminv1.CreateLoginRequest{May: may, Session: durationpb.New(session)})
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), struct {
				URL         string     `json:"url"`
				Expires     *time.Time `json:"expires,omitempty"`
				Fingerprint string     `json:"fingerprint,omitempty"`
			}{answer.GetUrl(), stamp(answer.GetExpires()), answer.GetFingerprint()})
		} else {
			fmt.Fprintln(cmd.OutOrStdout(), answer.GetUrl())
		}
		if err == nil && !bare && !out.json() {
			fmt.Fprintf(cmd.ErrOrStderr(), "\nIt opens the dashboard once, within %s. The session may %s, and lasts %s.\n",
				left(answer.GetExpires()), strings.Join(may, ", "), units(session))
			if f := answer.GetFingerprint(); f != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "The browser will warn of the certificate, which it does not know. Go on if its SHA-256 is\n    %s\n", f)
			}
		}
		if err == nil && open {
			err = openBrowser(cmd, answer.GetUrl())
		}
		return err
	}
	return cmd
}

// openBrowser opens the address in this user's browser. The address is handed over in a
// file: what is an argument of a program, every user of the machine can read.
func openBrowser(cmd *cobra.Command, url string) error {
	dir := filepath.Dir(api.DefaultSocket())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return wrong(fmt.Errorf("no browser is opened: %w", err))
	}
	file := filepath.Join(dir, "dashboard.html")
	_ = os.Remove(file) // so that the mode is ours
	page := fmt.Sprintf("<!doctype html>\n<meta http-equiv=\"refresh\" content=\"0;url=%s\">\n", html.EscapeString(url))
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		return wrong(fmt.Errorf("no browser is opened: %w", err))
	}
	program := cmp.Or(os.Getenv("BROWSER"), map[string]string{"darwin": "open", "windows": "explorer"}[runtime.GOOS], "xdg-open")
	if err := exec.CommandContext(cmd.Context(), program, file).Run(); err != nil { //nolint:gosec // the user says which browser
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("there is no %s on this machine", program)
		}
		return wrong(fmt.Errorf("no browser is opened: %w; open the address yourself", err))
	}
	return nil
}
