package consul

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// anyValue is an expression for every value of a header that is there.
const anyValue = "(?s).*"

// matchOf is the match of a router's route; never is true of one that no call of gRPC is.
func matchOf(m *api.ServiceRouteHTTPMatch) (match model.Match, never bool, err error) {
	if len(m.Methods) > 0 && !slices.Contains(m.Methods, "POST") {
		return match, true, nil
	}
	switch {
	case len(m.QueryParam) > 0:
		return match, false, errors.New("QueryParam: calls of gRPC have no query")
	case m.CaseInsensitive:
		return match, false, errors.New("CaseInsensitive: names of methods differ by case")
	}
	if match, err = pathOf(m); err != nil {
		return match, false, err
	}
	for _, h := range m.Header {
		header, err := headerOf(h)
		if err != nil {
			return match, false, err
		}
		match.Headers = append(match.Headers, header)
	}
	return match, false, nil
}

// pathOf is which methods a path is of: "/package.Service/Method".
func pathOf(m *api.ServiceRouteHTTPMatch) (model.Match, error) {
	switch {
	case m.PathExact != "":
		service, method, ok := strings.Cut(strings.TrimPrefix(m.PathExact, "/"), "/")
		if !ok || service == "" || method == "" || strings.Contains(method, "/") {
			return model.Match{}, fmt.Errorf("PathExact: %.200q is the path of no method, /package.Service/Method", m.PathExact)
		}
		return model.Match{Service: service, Method: method}, nil
	case m.PathPrefix == "" || m.PathPrefix == "/":
	case m.PathPrefix != "":
		service, method, whole := strings.Cut(strings.TrimPrefix(m.PathPrefix, "/"), "/")
		switch {
		case service == "" || strings.Contains(method, "/"):
			return model.Match{}, fmt.Errorf("PathPrefix: %.200q begins the path of no method, /package.Service/Method", m.PathPrefix)
		case !whole:
			return model.Match{Regex: true, Service: regexp.QuoteMeta(service) + "[^/]*"}, nil
		case method == "":
			return model.Match{Service: service}, nil
		default:
			return model.Match{Regex: true, Service: regexp.QuoteMeta(service), Method: regexp.QuoteMeta(method) + "[^/]*"}, nil
		}
	}
	if m.PathRegex == "" {
		return model.Match{}, nil
	}
	service, method, ok := strings.Cut(strings.TrimPrefix(m.PathRegex, "/"), "/")
	if !ok || !strings.HasPrefix(m.PathRegex, "/") || strings.Contains(method, "/") || strings.ContainsAny(service, "|") || strings.ContainsAny(method, "|") {
		return model.Match{}, fmt.Errorf("PathRegex: %.200q: write /SERVICE/METHOD, each an expression without alternatives", m.PathRegex)
	}
	return model.Match{Regex: true, Service: service, Method: method}, nil
}

// headerOf is a match of one header.
func headerOf(h api.ServiceRouteHTTPMatchHeader) (model.HeaderMatch, error) {
	m := model.HeaderMatch{Name: strings.ToLower(h.Name), Regex: true, Invert: h.Invert}
	switch {
	case h.Exact != "":
		m.Value, m.Regex = h.Exact, false
	case h.Prefix != "":
		m.Value = regexp.QuoteMeta(h.Prefix) + anyValue
	case h.Suffix != "":
		m.Value = anyValue + regexp.QuoteMeta(h.Suffix)
	case h.Regex != "":
		m.Value = h.Regex
	case h.Present && h.Invert:
		return m, fmt.Errorf("header %s must be absent, which routes cannot ask for", h.Name)
	default:
		m.Value = anyValue
	}
	return m, nil
}

// A timeout is a RequestTimeout of a service-resolver.
type timeout = time.Duration

// timeoutOf is the RequestTimeout of the resolver that a node leads to, where it leads to
// one service alone; nil for none.
func (c *chain) timeoutOf(at string) *time.Duration {
	node := c.Nodes[at]
	if node == nil || node.Resolver == nil {
		return nil
	}
	t := c.Targets[node.Resolver.Target]
	if t == nil || c.timeouts[t.Service] <= 0 {
		return nil
	}
	return new(c.timeouts[t.Service])
}

// destination is what a router says of calls beside where they go.
func destination(rule *model.Rule, d *api.ServiceRouteDestination) {
	if d.RequestTimeout > 0 {
		rule.Timeout = new(d.RequestTimeout)
	}
	if d.IdleTimeout > 0 {
		rule.IdleTimeout = new(d.IdleTimeout)
	}
	rule.Retry = retryOf(d)
	if h := d.RequestHeaders; h != nil {
		rule.Headers = &model.Headers{Set: values(h.Set), Add: values(h.Add), Remove: slices.Sorted(slices.Values(h.Remove))}
	}
}

func values(of map[string]string) []model.HeaderValue {
	all := make([]model.HeaderValue, 0, len(of))
	for name, value := range of {
		all = append(all, model.HeaderValue{Name: name, Value: value})
	}
	slices.SortFunc(all, func(a, b model.HeaderValue) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Of gRPC's codes, what HTTP and Envoy call them.
const (
	cancelled, deadlineExceeded, resourceExhausted, internal, unavailable = 1, 4, 8, 13, 14
)

// retryOf is when calls are tried again; nil keeps the service's own.
func retryOf(d *api.ServiceRouteDestination) *model.Retry {
	var codes []uint32
	add := func(more ...uint32) { codes = append(codes, more...) }
	if d.RetryOnConnectFailure {
		add(unavailable)
	}
	for _, status := range d.RetryOnStatusCodes {
		switch status {
		case 429:
			add(resourceExhausted)
		case 502, 503, 504: // gRPC's own mapping of HTTP's codes
			add(unavailable)
		case 500:
			add(internal)
		}
	}
	for _, on := range d.RetryOn {
		switch on {
		case "cancelled":
			add(cancelled)
		case "deadline-exceeded":
			add(deadlineExceeded)
		case "resource-exhausted":
			add(resourceExhausted)
		case "internal":
			add(internal)
		case "unavailable", "connect-failure", "reset", "refused-stream", "gateway-error", "5xx":
			add(unavailable)
		}
	}
	if len(codes) == 0 && d.NumRetries == 0 {
		return nil
	}
	attempts := d.NumRetries + 1
	if d.NumRetries == 0 {
		attempts = 2 // Consul's own default is one retry
	}
	r := &model.Retry{Attempts: min(attempts, model.MaxAttempts), Idempotent: len(d.RetryOnStatusCodes)+len(d.RetryOn) > 0}
	if len(codes) > 0 {
		r.On = model.Codes(codes...)
	}
	return r
}
