package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// tapped is what the command line asks for.
type tapped struct {
	request *adminv1.TapRequest
	headers []string
	length  time.Duration
}

func newTap() *cobra.Command {
	t := &tapped{request: &adminv1.TapRequest{}}
	cmd := &cobra.Command{
		Use:   "tap SERVICE",
		Short: "Watch calls live, as the processes of a service see them",
		Long: `tap prints a line for each call that processes of SERVICE make or take, until it
is interrupted: where it went and why, how long it took, how it ended. A call that
was tried again has a line for each attempt; they have one id.

The processes report what they see themselves, at most --max-rps calls a second.
Secrets are left out there: metadata such as authorization, fields of messages
that are debug_redact, and what the Mesh says in spec.tap.redact.

To watch messages, --payload, is a permission of its own ('xdsserver serve --tap').
Who watches what is in the audit log.`,
		Example: `  xdsserver tap web --to voting
  # what fails, and why
  xdsserver tap web --failures -o wide
  # calls that voting takes from web, of one user, with their messages
  xdsserver tap voting --from web --method Vote -H x-user=ada --payload
  # for programs
  xdsserver tap web -o json | jq 'select(.tookMs > 100)'`,
		Args: arguments(1, 1, "a service, NAME or NAME.NAMESPACE"),
	}
	to, out := addAdmin(cmd), addOutput(cmd, "wide")
	flags := cmd.Flags()
	flags.StringVar(&t.request.To, "to", "", "only calls it makes to a `SERVICE`; * stands for anything")
	flags.StringVar(&t.request.From, "from", "", "only calls it takes from a `SERVICE`; * stands for anything")
	flags.StringVar(&t.request.Method, "method", "", "only calls of a `METHOD`: /pkg.Service/Method, Method alone, or with *")
	flags.StringArrayVarP(&t.headers, "header", "H", nil, "only calls with this metadata, `KEY=VALUE`; may be repeated")
	flags.BoolVar(&t.request.Failures, "failures", false, "only calls that do not end OK")
	flags.Float64Var(&t.request.MaxRps, "max-rps", 100, "calls per second at most, a `NUMBER` up to 1000; what is more is counted")
	flags.BoolVar(&t.request.Payload, "payload", false, "messages too, as JSON")
	flags.StringVar(&t.request.Instance, "instance", "", "only one process, by the `ID` of its instance")
	flags.DurationVar(&t.length, "for", 10*time.Minute, "end after a `DURATION`, at most 1h")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		t.request.Service = args[0]
		if err := t.read(); err != nil {
			return err
		}
		client, err := to.streaming()
		if err != nil {
			return err
		}
		show := tapPrinter{out: cmd.OutOrStdout(), err: cmd.ErrOrStderr(), format: out.format, service: args[0]}
		return to.explain(show.run(cmd.Context(), client, t.request))
	}
	return cmd
}

// read takes in flags that are more than a value.
func (t *tapped) read() error {
	if t.request.GetMaxRps() < 1 || t.request.GetMaxRps() > 1000 {
		return fmt.Errorf("--max-rps %v: want 1 to 1000", t.request.GetMaxRps())
	}
	if t.length < time.Second || t.length > time.Hour {
		return fmt.Errorf("--for %v: want 1s to 1h", t.length)
	}
	t.request.Duration = durationpb.New(t.length)
	t.request.Metadata = make(map[string]string, len(t.headers))
	for _, h := range t.headers {
		key, value, found := strings.Cut(h, "=")
		if !found || key == "" {
			return fmt.Errorf("--header %q: want KEY=VALUE, for example x-user=ada", h)
		}
		t.request.Metadata[strings.ToLower(key)] = value
	}
	return nil
}

// streaming is client for answers that last.
func (a *admin) streaming() (adminv1connect.AdminServiceClient, error) {
	if _, err := a.client(); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(a.url, "unix://"); ok {
		http := overSocket(path)
		http.Timeout = 0
		return adminv1connect.NewAdminServiceClient(http, "http://localhost"), nil
	}
	return adminv1connect.NewAdminServiceClient(&http.Client{}, strings.TrimSuffix(a.url, "/")), nil
}

// A tapPrinter shows events, and on standard error how the tap stands.
type tapPrinter struct {
	out, err        io.Writer
	format, service string

	events        int
	dropped       uint64
	processes, of int32
	said          bool // how many processes tap
	alone         bool // that none does
}

// run shows what comes until ctx ends or the tap is over.
func (p *tapPrinter) run(ctx context.Context, client adminv1connect.AdminServiceClient, req *adminv1.TapRequest) error {
	stream, err := client.Tap(ctx, req)
	if err == nil {
		for stream.Receive() {
			if err = p.take(stream.Msg()); err != nil {
				break
			}
		}
		if err == nil {
			err = stream.Err()
		}
		_ = stream.Close() // it is over, however it ended
	}
	if ctx.Err() != nil || connect.CodeOf(err) == connect.CodeCanceled {
		err = nil // interrupted, as it is meant to be
	}
	if err == nil || p.events > 0 {
		p.sum()
	}
	return err
}

func (p *tapPrinter) take(m *adminv1.TapResponse) error {
	p.dropped = m.GetDropped()
	if m.GetEvent() == nil {
		p.status(m)
		return nil
	}
	p.events++
	var err error
	if p.format == "json" {
		err = tapJSON(p.out, m.GetEvent())
	} else {
		_, err = fmt.Fprintln(p.out, tapLine(m.GetEvent(), p.format == "wide"))
	}
	if err != nil {
		return errors.Join(errSilent, err) // nobody reads on
	}
	return nil
}

// status says how many processes tap, where that is news.
func (p *tapPrinter) status(m *adminv1.TapResponse) {
	if p.said && m.GetProcesses() == p.processes && m.GetOf() == p.of {
		return
	}
	p.said, p.processes, p.of = true, m.GetProcesses(), m.GetOf()
	switch {
	case p.of == 0 && !p.alone:
		p.alone = true
		fmt.Fprintf(p.err, "no process of %s can tell: none is connected but by a stock gRPC client, which knows no taps\n", printable(p.service))
	case p.of > 0 && p.events == 0:
		fmt.Fprintf(p.err, "waiting for the first call; %d of %d processes tap\n", p.processes, p.of)
	case p.of > 0:
		fmt.Fprintf(p.err, "%d of %d processes tap\n", p.processes, p.of)
	}
}

// sum says at the end what was seen, and what was not.
func (p *tapPrinter) sum() {
	fmt.Fprintf(p.err, "%s shown", count(p.events, "attempt"))
	if p.dropped > 0 {
		fmt.Fprintf(p.err, "; %d calls were left out: they were too many, see --max-rps", p.dropped)
	}
	fmt.Fprintln(p.err)
}
