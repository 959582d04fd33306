package admin

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/metadata"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A question is one call, and what there is to know beside its client's configuration.
type question struct {
	method  string // "/package.Service/Method"
	md      metadata.MD
	caller  *adminv1.ExplainedCaller
	set     *model.Set
	authors authors
	// inbound returns what the servers of a service go by.
	inbound func(service string) (*resource.Inbound, error)
}

// walk takes a call through the configuration of its client, as that does.
func walk(e *evidence, q *question) *adminv1.ExplainCallResponse {
	out := &adminv1.ExplainCallResponse{Method: q.method, Caller: q.caller}
	q.follow(e, out)
	out.Resources = e.resources
	out.Fails = fails(out.GetFailures())
	return out
}

func (q *question) follow(e *evidence, out *adminv1.ExplainCallResponse) {
	whole := func(reason string) {
		out.Failures = append(out.Failures, &adminv1.CallFailure{Percent: 100, Reason: reason})
	}
	if e.missing != "" {
		whole(e.missing)
		return
	}
	var route *resource.Route
	if out.Steps, route = q.match(e.config.VirtualHost.Routes); route == nil {
		whole("no route matches the call")
		return
	}
	e.clusters(route)
	out.Route = callRoute(e.config, route, q.authors)
	if route.Unsupported != "" {
		whole("the route cannot be followed: " + route.Unsupported)
		return
	}
	t := e.config.Traffic(route)
	out.Retried = retried(t.Retry)
	sent := sentHeaders(q.md, t.Headers)
	for i, b := range out.GetRoute().GetBackends() {
		step, failures := q.backend(e.config.Clusters[route.Clusters[i].Name], b, t, sent)
		out.Backends, out.Failures = append(out.Backends, step), add(out.GetFailures(), failures)
	}
}

// add adds up what fails for the same reason at several clusters.
func add(to, failures []*adminv1.CallFailure) []*adminv1.CallFailure {
	for _, f := range failures {
		i := slices.IndexFunc(to, func(have *adminv1.CallFailure) bool {
			return have.GetReason() == f.GetReason() && have.GetInjected() == f.GetInjected()
		})
		if i < 0 {
			to = append(to, f)
			continue
		}
		to[i].Percent += f.GetPercent()
	}
	return to
}

// match compares the call with every route, and returns the one that takes it; nil
// when there is none.
func (q *question) match(routes []*resource.Route) (steps []*adminv1.RouteStep, taken *resource.Route) {
	for _, r := range routes {
		m := r.Match()
		step := &adminv1.RouteStep{Name: r.Name, Method: m.Method, Headers: m.Headers, Reason: r.Mismatch(q.method, q.md)}
		step.Object, step.Origin = q.authors.of(r.Name)
		switch {
		case step.GetReason() != "":
			step.Outcome = adminv1.RouteOutcome_ROUTE_OUTCOME_MISMATCH
		case taken != nil:
			step.Outcome, step.Reason = adminv1.RouteOutcome_ROUTE_OUTCOME_LATE, "it matches, too, and comes later"
		case m.PerMillion < million:
			step.Outcome = adminv1.RouteOutcome_ROUTE_OUTCOME_SHARE
			step.Reason = fmt.Sprintf("it takes %v %% of such calls, at random; what follows is of the others", percent(m.PerMillion))
		default:
			step.Outcome, taken = adminv1.RouteOutcome_ROUTE_OUTCOME_TAKEN, r
		}
		steps = append(steps, step)
	}
	return steps, taken
}

// retried says whether a failed call would be tried again. What the method's own
// definition says is known to nobody but its client.
func retried(r *resource.Retry) string {
	switch {
	case r == nil || r.Attempts <= 1:
		return "never: the route has one attempt"
	case r.Idempotent:
		return "yes: the route says that its calls may be made twice (idempotent)"
	default:
		return "what certainly was not sent; more only if the method's own definition allows it (idempotency_level), which its client knows"
	}
}

// sentHeaders is the metadata as it leaves the client.
func sentHeaders(md metadata.MD, h *resource.Headers) metadata.MD {
	if h == nil {
		return md
	}
	md = md.Copy()
	for _, name := range h.Remove {
		delete(md, name)
	}
	for _, v := range h.Set {
		md[v.Name] = []string{v.Value}
	}
	for _, v := range h.Add {
		md[v.Name] = append(md[v.Name], v.Value)
	}
	return md
}

// backend explains one of the clusters that the call may go to, and why calls fail
// there; sent is the metadata that arrives.
func (q *question) backend(
	c *resource.ClusterConfig, b *adminv1.CallBackend, t *resource.Traffic, sent metadata.MD,
) (*adminv1.BackendStep, []*adminv1.CallFailure) {
	step := &adminv1.BackendStep{Backend: b}
	f := failing{share: b.GetPercent()}
	short, version, _ := strings.Cut(b.GetCluster(), "/")
	name, err := model.ParseServiceName(short)
	if err == nil {
		step.Service = name.String()
	}
	if c.Err != nil {
		step.Error = c.Err.Error()
		f.all(step.GetError())
		return step, f.list
	}
	f.injected(b.GetFault(), q.md)

	g := cluster{balancing: &c.Cluster.Balancing, traffic: t, endpoints: c.Endpoints, caller: q.caller, md: sent}
	if err == nil {
		g.known = slices.DeleteFunc(slices.Clone(q.set.Endpoints[name]), func(e model.Endpoint) bool { return !e.In(version) })
	}
	step.Candidates, step.Notes = g.candidates(), g.notes()
	for _, d := range c.Endpoints.Drops {
		f.some(percent(d.PerMillion), fmt.Sprintf("%s drops calls of category %q", b.GetCluster(), d.Category), false)
	}
	if !slices.ContainsFunc(step.GetCandidates(), func(c *adminv1.Candidate) bool { return c.GetUse() != useNever }) {
		f.all(b.GetCluster() + " has no endpoint that takes calls")
		return step, f.list
	}
	if err == nil {
		q.arrive(name, step, sent, &f)
	}
	return step, f.list
}

// arrive says what the servers of a service make of the call.
func (q *question) arrive(name model.ServiceName, step *adminv1.BackendStep, sent metadata.MD, f *failing) {
	in, err := q.inbound(name.String())
	if err != nil {
		step.Notes = append(step.Notes, "whether the call is let in is not known: "+err.Error())
		return
	}
	id := q.caller.GetId()
	if id != "" {
		step.Access = verdict(q.set, name, in.Access(q.method).Decide(&resource.Caller{ID: id}, q.method, sent))
		if !step.GetAccess().GetAllowed() {
			f.all(fmt.Sprintf("%s denies it: %s", name, step.GetAccess().GetReason()))
			return
		}
	}
	a := in.Admission(q.method)
	if step.Admission = admission(a, q.method, id); a != nil && a.Fault != nil {
		f.some(percent(a.Fault.AbortPerMillion), fmt.Sprintf("%s fails calls on purpose with %s", name, resource.CodeName(uint32(a.Fault.AbortCode))), true)
	}
}

// failing collects why calls to a cluster fail.
type failing struct {
	share float64 // of all calls, those that go there
	list  []*adminv1.CallFailure
}

func (f *failing) all(reason string) { f.some(100, reason, false) }

func (f *failing) some(percent float64, reason string, injected bool) {
	if percent > 0 {
		f.list = append(f.list, &adminv1.CallFailure{Percent: percent * f.share / 100, Reason: reason, Injected: injected})
	}
}

// abortHeader is what a call asks for an error by, where it may (gRFC A33).
const abortHeader = "x-envoy-fault-abort-grpc-request"

func (f *failing) injected(fault *adminv1.CallFault, md metadata.MD) {
	switch {
	case fault.GetAbortByHeader() && len(md[abortHeader]) == 0:
	case fault.GetAbortByHeader():
		f.some(fault.GetAbortPercent(), "the route fails it on purpose, as its header "+abortHeader+" asks", true)
	default:
		f.some(fault.GetAbortPercent(), "the route fails calls on purpose with "+resource.CodeName(fault.GetAbortCode()), true)
	}
}

// fails reports whether a call would fail: what is injected into some counts only
// where it is injected into all.
func fails(failures []*adminv1.CallFailure) bool {
	const all = 99.9999 // shares are rounded
	injected := 0.0
	for _, f := range failures {
		if !f.GetInjected() {
			return true
		}
		injected += f.GetPercent()
	}
	return injected >= all
}
