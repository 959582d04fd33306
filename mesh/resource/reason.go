package resource

import (
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"
)

// A Match is what a [Route] asks of a call, in words for people: calls are matched
// by [VirtualHost.Match].
type Match struct {
	// Method is "/package.Service/Method", "/package.Service/*" for what begins so,
	// "*" for every method, and "~ EXPRESSION" for what an expression matches in
	// whole. " (any case)" is behind one that ignores case.
	Method string
	// Headers are as in "x-canary=1", "x-canary=v*", "x-canary~EXPRESSION" and
	// "x-canary present". All must hold.
	Headers []string
	// PerMillion is the share of those calls that the route takes.
	PerMillion uint32
}

// Match returns what the route asks of a call. It is for people, and allocates.
func (r *Route) Match() Match {
	m := Match{Method: r.match.path.words(), PerMillion: million}
	for i := range r.match.headers {
		m.Headers = append(m.Headers, r.match.headers[i].words())
	}
	if r.match.sampled {
		m.PerMillion = r.match.share
	}
	return m
}

// Mismatch returns why a call of method, as in "/package.Service/Method", with the
// outgoing metadata md does not match the route: the first reason, in words for
// people. It is empty where [VirtualHost.Match] could return the route, which for one
// that takes a share of the calls is a matter of luck. Names in md are in lower case;
// nil is none.
func (r *Route) Mismatch(method string, md metadata.MD) string {
	m := &r.match
	if !m.path.match(method) {
		if m.path.kind == pathRegex {
			return fmt.Sprintf("the method does not match %s", m.path.words())
		}
		return fmt.Sprintf("the method is not %s", m.path.words())
	}
	for i := range m.headers {
		h := &m.headers[i]
		value, ok := valueOf(md, h.name)
		switch {
		case h.match(value, ok):
		case h.kind == headerPresent && h.invert:
			return fmt.Sprintf("header %s is there, want none", h.name)
		case !ok || h.kind == headerPresent:
			return fmt.Sprintf("header %s is missing, want %s", h.name, h.words())
		case h.kind == headerRegex:
			return fmt.Sprintf("header %s is %q, which the expression does not match: want %s", h.name, value, h.words())
		default:
			return fmt.Sprintf("header %s is %q, want %s", h.name, value, h.words())
		}
	}
	if m.sampled && m.share == 0 {
		return "the route takes no share of the calls"
	}
	return ""
}

// valueOf reads a header as readHeader does, from metadata at hand.
func valueOf(md metadata.MD, name string) (string, bool) {
	if name == "content-type" {
		return "application/grpc", true
	}
	if strings.HasSuffix(name, "-bin") {
		return "", false
	}
	values, ok := md[name]
	return strings.Join(values, ","), ok
}

func (p *pathMatcher) words() string {
	text := p.text
	switch p.kind {
	case pathExact:
	case pathRegex:
		return "~ " + expression(p.regex.String())
	case pathPrefix:
		if text == "" || text == "/" {
			return "*" // every method begins with a slash
		}
		text += "*"
	case pathAny:
		return "*"
	}
	if p.fold {
		text += " (any case)"
	}
	return text
}

func (h *headerMatcher) words() string {
	var text string
	switch h.kind {
	case headerExact:
		text = h.name + "=" + h.text
	case headerPrefix:
		text = h.name + "=" + h.text + "*"
	case headerSuffix:
		text = h.name + "=*" + h.text
	case headerContains:
		text = h.name + "=*" + h.text + "*"
	case headerRegex:
		text = h.name + "~" + expression(h.regex.String())
	case headerRange:
		text = fmt.Sprintf("%s in %d..%d", h.name, h.start, h.end-1)
	case headerPresent:
		if h.invert {
			return h.name + " absent"
		}
		return h.name + " present"
	}
	if h.fold {
		text += " (any case)"
	}
	if h.invert {
		return "not " + text
	}
	return text
}

// expression is what compile wrapped.
func expression(text string) string {
	return strings.TrimSuffix(strings.TrimPrefix(text, "^(?:"), ")$")
}
