package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newExplain() *cobra.Command {
	var headers []string
	request := &adminv1.ExplainCallRequest{}
	cmd := &cobra.Command{
		Use:   "explain SERVICE --method METHOD",
		Short: "Say what would become of one call, and why",
		Long: `explain walks one call through what its client goes by: the configuration it holds,
the route that takes the call and why the others do not, where that sends it, by which
policy, to which endpoints, and whether they let it in. It sends nothing.

With --instance the call is explained by what that process really holds: the versions
that it acknowledged, which are not always those that are published. Without, by what
is published. It exits with 1 when the call would fail: no route, no endpoint, or
denied.`,
		Example: `  xdsserver explain voting --method vote.v1.Votes/Cast
  xdsserver explain voting --method vote.v1.Votes/Cast -H x-canary=1 --from web
  xdsserver explain voting --method vote.v1.Votes/Cast --instance web/web-7d9f -o json`,
		Args: arguments(1, 1, "one service"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().StringVar(&request.Method, "method", "", "what is called: `METHOD` is package.Service/Method")
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, "metadata of the call, `NAME=VALUE`; may be repeated")
	cmd.Flags().StringVar(&request.From, "from", "", "who calls: `CALLER` is NAME, NAME.NAMESPACE or a SPIFFE id")
	cmd.Flags().StringVar(&request.Instance, "instance", "", "the process that calls: `ID` as 'xdsserver identity' shows it in column NODE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Service = args[0]
		if err := parseCall(request, headers); err != nil {
			return err
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ExplainCall(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			err = writeJSON(cmd.OutOrStdout(), explainResult(answer))
		} else {
			err = printExplanation(cmd.OutOrStdout(), answer)
		}
		if err == nil && answer.GetFails() {
			return errSilent
		}
		return err
	}
	return cmd
}

// parseCall checks what can be checked here, so that misuse is told from a mesh that
// is not as it should be.
func parseCall(request *adminv1.ExplainCallRequest, headers []string) error {
	service, method, found := strings.Cut(strings.TrimPrefix(request.GetMethod(), "/"), "/")
	switch {
	case request.GetMethod() == "":
		return errors.New("--method names no method: say which call is meant, as in --method package.Service/Method")
	case !found || service == "" || method == "" || strings.Contains(method, "/"):
		return fmt.Errorf("--method %q is no method, want package.Service/Method", request.GetMethod())
	case request.GetFrom() != "" && request.GetInstance() != "":
		return errors.New("--from and --instance both say who calls: leave one out")
	}
	for _, h := range headers {
		name, value, found := strings.Cut(h, "=")
		if !found || name == "" {
			return fmt.Errorf("-H %q: want NAME=VALUE", h)
		}
		request.Headers = append(request.Headers, &adminv1.Metadata{Name: strings.ToLower(name), Value: value})
	}
	return nil
}

// mostCandidates is how many endpoints of a cluster people are shown.
const mostCandidates = 20

// An explainer prints an explanation, step by step.
type explainer struct {
	w      io.Writer
	answer *adminv1.ExplainCallResponse
	step   int
}

func printExplanation(w io.Writer, answer *adminv1.ExplainCallResponse) error {
	p := &explainer{w: w, answer: answer}
	p.linef(0, "%s of %s, called by %s", answer.GetMethod(), answer.GetService(), callerText(answer.GetCaller()))
	if note := answer.GetCaller().GetNote(); note != "" {
		p.linef(2, "%s", note)
	}
	for _, part := range []func() error{p.configuration, p.match, p.backends, p.policy, p.endpoints, p.access} {
		if err := part(); err != nil {
			return err
		}
	}
	p.verdict()
	return nil
}

func callerText(c *adminv1.ExplainedCaller) string {
	if c.GetInstance() == "" {
		who := c.GetService()
		if who == "" {
			who = c.GetId()
		}
		if who == "" {
			who = "anybody"
		}
		return who + ", by what is published"
	}
	facts := []string{c.GetInstance(), c.GetUserAgent()}
	if c.GetZone() != "" {
		facts = append(facts, "zone "+zoneText(c.GetRegion(), c.GetZone()))
	}
	facts = append(facts, "connected for "+age(c.GetConnected()))
	return strings.Join(facts, ", ")
}

func zoneText(region, zone string) string {
	if region == "" {
		return zone
	}
	return region + "/" + zone
}

// linef prints one line. What came from elsewhere does not steer the terminal.
func (p *explainer) linef(indent int, format string, args ...any) {
	fmt.Fprintln(p.w, strings.TrimRight(strings.Repeat(" ", indent)+printable(fmt.Sprintf(format, args...)), " "))
}

func (p *explainer) title(text string) {
	p.step++
	fmt.Fprintln(p.w)
	p.linef(0, "%d. %s", p.step, text)
}

func (p *explainer) configuration() error {
	p.title("configuration")
	l := newList(p.w, 3)
	for _, r := range p.answer.GetResources() {
		state := r.GetState()
		if r.GetAt() != nil {
			state += ", " + age(r.GetAt()) + " ago"
		}
		version := r.GetVersion()
		if p.answer.GetCaller().GetInstance() == "" {
			version = r.GetPublished()
		}
		l.row(r.GetType(), r.GetName(), orDash(version), state)
		if r.GetNote() != "" {
			l.below(r.GetNote())
		}
		if r.GetAssumed() {
			l.below("what follows takes the published version, " + r.GetPublished() + ", for it")
		}
	}
	if err := l.flush(); err != nil {
		return err
	}
	if h := p.answer.GetHolders(); h != nil {
		p.linef(3, "%s", holdersText(h, p.answer))
	}
	return nil
}

func holdersText(h *adminv1.Holders, answer *adminv1.ExplainCallResponse) string {
	of := ""
	if s := answer.GetCaller().GetService(); s != "" {
		of = " of " + s
	}
	if h.GetInstances() == 0 {
		return fmt.Sprintf("no connected process%s has asked for %s", of, answer.GetService())
	}
	text := fmt.Sprintf("%d of %d processes%s that asked for %s have all of this", h.GetCurrent(), h.GetInstances(), of, answer.GetService())
	if h.GetRefused() > 0 {
		text += fmt.Sprintf(", %d refuse some of it", h.GetRefused())
	}
	return text
}

func (p *explainer) match() error {
	if len(p.answer.GetSteps()) == 0 {
		return nil
	}
	p.title("match")
	l := newList(p.w, 3)
	for _, s := range p.answer.GetSteps() {
		asks := strings.Join(append([]string{methodText(s.GetMethod(), 100)}, s.GetHeaders()...), " and ")
		mark, why := "×", s.GetReason()
		switch s.GetOutcome() {
		case adminv1.RouteOutcome_ROUTE_OUTCOME_TAKEN:
			mark, why = "→", "takes the call; written by "+writtenBy(s.GetObject(), s.GetOrigin())
		case adminv1.RouteOutcome_ROUTE_OUTCOME_LATE:
			mark = "·"
		case adminv1.RouteOutcome_ROUTE_OUTCOME_SHARE:
			mark = "~"
		case adminv1.RouteOutcome_ROUTE_OUTCOME_MISMATCH, adminv1.RouteOutcome_ROUTE_OUTCOME_UNSPECIFIED:
		}
		l.row(mark+" "+routeName(s.GetName()), asks, why)
	}
	return l.flush()
}

func (p *explainer) backends() error {
	if len(p.answer.GetBackends()) == 0 {
		return nil
	}
	p.title("backend")
	l := newList(p.w, 3)
	for _, b := range p.answer.GetBackends() {
		fault := faultText(b.GetBackend().GetFault())
		if fault != "" {
			fault = "on purpose: " + fault
		}
		l.row(b.GetBackend().GetCluster(), percentText(b.GetBackend().GetPercent()), fault)
	}
	for _, m := range p.answer.GetRoute().GetTraffic().GetMirrors() {
		l.row(m.GetCluster(), perMillionText(m.GetPerMillion()), "copies of unary calls; answers are dropped after "+durationText(m.GetTimeout()))
	}
	return l.flush()
}

func (p *explainer) policy() error {
	r := p.answer.GetRoute()
	if r == nil || len(p.answer.GetBackends()) == 0 {
		return nil
	}
	p.title("policy")
	t := r.GetTraffic()
	l := newList(p.w, 3)
	timeout := durationText(r.GetTimeout())
	if timeout == "" {
		timeout = "the application's own deadline"
	}
	l.row("timeout", timeout)
	l.row("retry", orDash(retryText(t.GetRetry())))
	l.row("tried again", p.answer.GetRetried())
	for _, fact := range []struct{ name, text string }{
		{"hedge", hedgeText(t.GetHedge())},
		{"budget", budgetText(r)},
		{"breaker of endpoints", ofBackends(r, func(b *adminv1.CallBackend) string { return breakerText(b.GetBalancing().GetBreaker()) })},
		{"breaker of the service", breakerText(t.GetBreaker())},
		{"caps", ofBackends(r, capsText)},
		{"rate limit", rateText(t.GetRateLimit())},
		{"idle timeout", durationText(t.GetIdleTimeout())},
		{"headers", headersText(t.GetHeaders())},
	} {
		l.row(fact.name, orDash(fact.text))
	}
	return l.flush()
}

func (p *explainer) verdict() {
	fmt.Fprintln(p.w)
	failures := p.answer.GetFailures()
	switch {
	case len(failures) == 0:
		p.linef(0, "√ The call would be sent.")
	case p.answer.GetFails():
		p.linef(0, "× The call would fail:")
	default:
		p.linef(0, "√ The call would be sent, but for what is made to fail on purpose:")
	}
	for _, f := range failures {
		share := ""
		if text := percentText(f.GetPercent()); text != "100%" {
			share = text + " of such calls: "
		}
		p.linef(2, "%s%s", share, f.GetReason())
	}
}

// routeName is a route's, or what stands for the one that has none.
func routeName(name string) string {
	if name == "" {
		return "(default)"
	}
	return name
}
