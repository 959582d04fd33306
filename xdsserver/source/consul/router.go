package consul

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// rule adds the rule of one route of a router.
func (c *chain) rule(field string, r *api.DiscoveryRoute) {
	var match *model.Match
	if r.Definition != nil && r.Definition.Match != nil && r.Definition.Match.HTTP != nil {
		m, ok := c.match(field+".Match.HTTP", r.Definition.Match.HTTP)
		if !ok {
			return
		}
		if !m.Catchall() {
			match = &m
		}
	}
	rule := c.to(field, r.NextNode)
	if r.Definition != nil && r.Definition.Destination != nil {
		rule = c.destination(field+".Destination", rule, r.Definition.Destination)
	}
	if match != nil {
		rule.Matches = []model.Match{*match}
	}
	c.add(field, rule)
}

// add adds a rule that clients take; what they would not is told of, and left out.
func (c *chain) add(field string, rule model.Rule) {
	for _, p := range model.CheckRule(rule) {
		if p.Warning {
			continue
		}
		switch part, _, _ := strings.Cut(strings.TrimPrefix(p.Field, "."), "."); {
		case strings.HasPrefix(part, "matches"):
			c.problemf(false, field+".Match", "%s: the route is left out", p.Message)
			return
		case part == "timeouts":
			rule.Timeout = nil
			c.problemf(true, strings.TrimPrefix(field+".Destination.RequestTimeout", "."), "%s: it is left out", p.Message)
		case part == "idleTimeout":
			rule.IdleTimeout = nil
			c.problemf(true, field+".Destination.IdleTimeout", "%s: it is left out", p.Message)
		case part == "filters":
			rule.Headers = nil
			c.problemf(true, field+".Destination.RequestHeaders", "%s: they are left out", p.Message)
		default:
			matches := rule.Matches
			rule = c.failing(codeUnavailable)
			rule.Matches = matches
			c.problemf(false, field, "%s: calls fail with UNAVAILABLE", p.Message)
		}
	}
	c.route.Rules = append(c.route.Rules, rule)
}

// match is that of a route; ok is false where no call of gRPC is meant.
func (c *chain) match(field string, m *api.ServiceRouteHTTPMatch) (match model.Match, ok bool) {
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, http.MethodPost) {
		c.problemf(true, field+".Methods", "holds for no call of gRPC, which are all POST: add POST, or remove the route")
		return match, false
	}
	if len(m.QueryParam) > 0 {
		return match, false // which is told of as refused
	}
	match = pathOf(m)
	for _, h := range m.Header {
		match.Headers = append(match.Headers, headerOf(h))
	}
	return match, true
}

// protobufName is a name of a service or of a method.
var protobufName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)

// pathOf is which methods a path is of: "/package.Service/Method".
func pathOf(m *api.ServiceRouteHTTPMatch) model.Match {
	fold := func(expression string) model.Match {
		return model.Match{Path: &model.PathMatch{Kind: model.PathExpression, Value: "(?i)" + expression}}
	}
	switch path := m.PathExact + m.PathPrefix; {
	case m.PathExact != "" && m.CaseInsensitive:
		return fold(regexp.QuoteMeta(m.PathExact))
	case m.PathExact != "":
		service, method, ok := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		if ok && path[0] == '/' && protobufName.MatchString(service) && protobufName.MatchString(method) && !strings.Contains(method, ".") {
			return model.Match{Service: service, Method: method}
		}
		return model.Match{Path: &model.PathMatch{Kind: model.PathExpression, Value: regexp.QuoteMeta(path)}}
	case m.PathPrefix == "/":
		return model.Match{}
	case m.PathPrefix != "" && m.CaseInsensitive:
		return fold(regexp.QuoteMeta(m.PathPrefix) + ".*")
	case m.PathPrefix != "":
		if service, rest, ok := strings.Cut(path[1:], "/"); ok && rest == "" && path[0] == '/' && protobufName.MatchString(service) {
			return model.Match{Service: service}
		}
		return model.Match{Path: &model.PathMatch{Kind: model.PathPrefix, Value: path}}
	case m.PathRegex != "":
		return model.Match{Path: &model.PathMatch{Kind: model.PathExpression, Value: m.PathRegex}}
	}
	return model.Match{}
}

// anyValue is an expression for every value of a header that is there.
const anyValue = ".*"

// headerOf is a match of one header, asked in the order in which Consul does.
func headerOf(h api.ServiceRouteHTTPMatchHeader) model.HeaderMatch {
	m := model.HeaderMatch{Name: strings.ToLower(h.Name), Regex: true, Invert: h.Invert}
	switch {
	case h.Exact != "":
		m.Value, m.Regex = h.Exact, false
	case h.Regex != "":
		m.Value = h.Regex
	case h.Prefix != "":
		m.Value = regexp.QuoteMeta(h.Prefix) + anyValue
	case h.Suffix != "":
		m.Value = anyValue + regexp.QuoteMeta(h.Suffix)
	case h.Present && h.Invert:
		return model.HeaderMatch{Name: m.Name, Absent: true}
	case h.Present:
		m.Value = anyValue
	}
	return m // without a value it is refused
}

// destination is a rule with what a router says of calls beside where they go.
func (c *chain) destination(field string, rule model.Rule, d *api.ServiceRouteDestination) model.Rule {
	if d.PrefixRewrite != "" {
		c.problemf(false, field+".PrefixRewrite", "is not honoured, since a call of gRPC is of the method that it names: "+
			"calls that the route matches fail with UNIMPLEMENTED; "+
			"remove it")
		return c.failing(codeUnimplemented)
	}
	rule.Timeout = timeoutOf(d.RequestTimeout)
	rule.IdleTimeout = timeoutOf(d.IdleTimeout)
	rule.Retry = c.retry(field, d)
	if h := d.RequestHeaders; h != nil {
		changes := &model.Headers{Set: c.values(field+".RequestHeaders.Set", h.Set), Add: c.values(field+".RequestHeaders.Add", h.Add)}
		for _, name := range h.Remove {
			name = strings.ToLower(name)
			if c.changes(field+".RequestHeaders.Remove", &model.Headers{Remove: []string{name}}) && !slices.Contains(changes.Remove, name) {
				changes.Remove = append(changes.Remove, name)
			}
		}
		if len(changes.Set)+len(changes.Add)+len(changes.Remove) > 0 {
			rule.Headers = changes
		}
	}
	return rule
}

// timeoutOf is nil where nothing is said, and zero where there is to be none.
func timeoutOf(d time.Duration) *time.Duration {
	if d == 0 {
		return nil
	}
	return new(max(d, 0))
}

// values are headers with their values, in order of name.
func (c *chain) values(field string, of map[string]string) (all []model.HeaderValue) {
	for name, value := range of {
		all = append(all, model.HeaderValue{Name: strings.ToLower(name), Value: value})
	}
	slices.SortFunc(all, func(a, b model.HeaderValue) int {
		if d := strings.Compare(a.Name, b.Name); d != 0 {
			return d
		}
		return strings.Compare(a.Value, b.Value)
	})
	all = slices.CompactFunc(all, func(a, b model.HeaderValue) bool { return a.Name == b.Name })
	return slices.DeleteFunc(all, func(v model.HeaderValue) bool {
		if strings.Contains(v.Value, "%") {
			c.problemf(true, field, "%.80s is left out: %.80q holds a variable of Envoy, which nobody fills in", v.Name, v.Value)
			return true
		}
		return !c.changes(field, &model.Headers{Set: []model.HeaderValue{v}})
	})
}

// changes reports whether clients can make a change of headers.
func (c *chain) changes(field string, h *model.Headers) bool {
	problems := model.CheckRule(model.Rule{Backends: c.failing(codeUnavailable).Backends, Headers: h})
	for _, p := range problems {
		c.problemf(true, field, "%s: it is left out", p.Message)
	}
	return len(problems) == 0
}

// retry is when calls are tried again; nil keeps the service's own.
func (c *chain) retry(field string, d *api.ServiceRouteDestination) *model.Retry {
	if d.NumRetries == 0 && !d.RetryOnConnectFailure && len(d.RetryOnStatusCodes)+len(d.RetryOn) == 0 {
		return nil
	}
	r := &model.Retry{Attempts: 2} // one retry is Envoy's default
	if d.NumRetries > 0 {
		r.Attempts = min(d.NumRetries, model.MaxAttempts) + 1
	}
	if r.Attempts > model.MaxAttempts {
		c.problemf(true, field+".NumRetries", "%d is more than %d, which clients make", d.NumRetries, model.MaxAttempts-1)
		r.Attempts = model.MaxAttempts
	}
	conditions := 0
	for _, on := range d.RetryOn {
		codes, known := retriedOn[on]
		switch {
		case !known:
			c.problemf(true, field+".RetryOn", "%.40q is no condition of calls of gRPC: it is left out", on)
		case len(codes) > 0:
			r.Idempotent = true // Consul retries whatever the method is
			r.On |= model.Codes(codes...)
		}
		if known {
			conditions++
		}
	}
	for _, status := range d.RetryOnStatusCodes {
		if !slices.Contains(unavailableStatus, status) {
			c.problemf(true, field+".RetryOnStatusCodes", "%d is no status of calls of gRPC: it is left out", status)
			continue
		}
		conditions++
		r.Idempotent = true
		r.On |= model.Codes(codeUnavailable)
	}
	if conditions == 0 && !d.RetryOnConnectFailure && len(d.RetryOnStatusCodes)+len(d.RetryOn) > 0 {
		return nil // what was asked for is none of it
	}
	return r
}

// retriedOn are the conditions that gRPC has, with the codes that calls fail with. Those
// without one are of what was not sent, which clients send again in any case.
var retriedOn = map[string][]uint32{
	"connect-failure": nil, "refused-stream": nil,
	"5xx": {codeUnavailable}, "gateway-error": {codeUnavailable}, "reset": {codeUnavailable}, "unavailable": {codeUnavailable},
	"cancelled": {1}, "deadline-exceeded": {4}, "resource-exhausted": {8}, "internal": {13},
}

// unavailableStatus are what gRPC takes for UNAVAILABLE (grpc/grpc
// http-grpc-status-mapping).
var unavailableStatus = []uint32{
	http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
}
