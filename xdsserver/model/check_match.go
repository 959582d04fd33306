package model

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	maxMethod      = 1024 // the Gateway API's
	maxHeaderValue = 4096 // the Gateway API's
	// maxProgram bounds a compiled expression, in instructions; clients of ours
	// refuse more. Repetitions make long programs of short texts: (a{30}){30}
	// has 900 instructions, and every client may run it on every call.
	maxProgram = 1000
)

// Names as protobuf has them; a service may have a package before it.
var (
	serviceForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`)
	methodForm  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func (c *checker) match(field string, m Match) {
	switch {
	case m.Path != nil:
		c.methodPath(field+".path", m)
	case m.Regex:
		if m.Service == "" && m.Method == "" {
			c.errorf(field+".method", "has neither service nor method: write one of them, or remove method to match every call")
		}
		service := c.regex(field+".method.service", m.Service, maxMethod)
		method := c.regex(field+".method.method", m.Method, maxMethod)
		if service && method {
			// Joined they may differ from each alone: \Q quotes to the end.
			c.regex(field+".method", m.PathRegex(), 2*maxMethod+16)
		}
	default:
		c.form(field+".method.service", m.Service, serviceForm, "emojivoto.v1.VotingService")
		c.form(field+".method.method", m.Method, methodForm, "VoteDoughnut")
	}
	c.count(field+".headers", len(m.Headers), maxHeaders)
	seen := make(map[string]int, len(m.Headers))
	for i, h := range m.Headers {
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		name := strings.ToLower(h.Name)
		// The Gateway API ignores all but the first; nothing is ignored here.
		if j, ok := seen[name]; ok && !c.ordered {
			c.errorf(at+".name", "%s is matched by headers[%d] too: all would have to hold, write one of them", name, j)
		}
		seen[name] = i
		c.header(at, h)
	}
}

func (c *checker) form(field, s string, form *regexp.Regexp, example string) {
	switch {
	case s == "":
	case len(s) > maxMethod:
		c.errorf(field, "is %d characters long, %d is the most", len(s), maxMethod)
	case !form.MatchString(s):
		c.errorf(field, "%q is no protobuf name, as in %s: correct it, or write type: RegularExpression", s, example)
	}
}

func (c *checker) header(field string, h HeaderMatch) {
	if why := badHeader(strings.ToLower(h.Name)); why != "" {
		c.errorf(field+".name", "%s", why)
	}
	switch {
	case h.Absent:
		if h.Value != "" || h.Regex || h.Invert {
			c.errorf(field+".value", "is of a header that is to be absent: remove it")
		}
	case h.Value == "":
		c.errorf(field+".value", "is empty: write the value to match (type: RegularExpression and value: .* match any)")
	case len(h.Value) > maxHeaderValue:
		c.errorf(field+".value", "is %d bytes long, %d is the most", len(h.Value), maxHeaderValue)
	case h.Regex:
		c.regex(field+".value", h.Value, maxMethod)
	case strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r > '~' }):
		// grpc/grpc PROTOCOL-HTTP2: ASCII-Value is printable ASCII and space.
		c.errorf(field+".value", "%q can never be sent: gRPC headers are printable ASCII", h.Value)
	}
}

// badHeader says why no application can send a header of that name, so that a
// match on it would never hold.
func badHeader(name string) string {
	switch {
	case name == "":
		return "is empty: write the header to match"
	case len(name) > maxText:
		return fmt.Sprintf("is %d bytes long, %d is the most", len(name), maxText)
	case name[0] == ':':
		return fmt.Sprintf("%s is a pseudo-header: match the method instead", name)
	case strings.HasSuffix(name, "-bin"):
		return fmt.Sprintf("%s is binary, and clients match no binary headers (gRFC A28): send the fact in a header of text too", name)
	case strings.HasPrefix(name, "grpc-") || name == "te" || name == "user-agent":
		return fmt.Sprintf("%s is gRPC's own, and added after a call is routed: match a header of the application", name)
	}
	for _, r := range name {
		// grpc/grpc PROTOCOL-HTTP2, Header-Name.
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '.' {
			return fmt.Sprintf("%q may hold only letters, digits, '_', '-' and '.', not %q", name, r)
		}
	}
	return ""
}

// regex checks an RE2 expression and says whether it is good; an empty one is.
func (c *checker) regex(field, s string, longest int) bool {
	if len(s) > longest {
		c.errorf(field, "is %d characters long, %d is the most for an expression", len(s), longest)
		return false
	}
	re, err := syntax.Parse(s, syntax.Perl)
	if err != nil {
		c.errorf(field, "%q is no RE2 expression: %v", s, err)
		return false
	}
	program, err := syntax.Compile(re.Simplify())
	if err != nil {
		c.errorf(field, "%q is no RE2 expression: %v", s, err)
		return false
	}
	if n := len(program.Inst); n > maxProgram {
		c.errorf(field, "%q compiles to %d instructions, %d is the most: use fewer repetitions", s, n, maxProgram)
		return false
	}
	return true
}

// methodPath checks the Path of a match.
func (c *checker) methodPath(field string, m Match) {
	if m.Service != "" || m.Method != "" || m.Regex {
		c.errorf(field, "is there beside method: write one of them")
	}
	switch m.Path.Kind {
	case PathPrefix:
		if len(m.Path.Value) > maxMethod || !strings.HasPrefix(m.Path.Value, "/") {
			c.errorf(field, "%.80q begins the path of no method: write the beginning of /package.Service/Method", m.Path.Value)
		}
	case PathExpression:
		c.regex(field, m.Path.Value, maxMethod)
	default:
		c.errorf(field, "is of a kind that is not known")
	}
}

// PathRegex returns the RE2 expression for the whole path "/service/method" of
// the calls that m's Path, or its Service and Method, hold for. A part that is empty
// holds for any name.
func (m Match) PathRegex() string {
	if m.Path != nil {
		if m.Path.Kind == PathPrefix {
			return regexp.QuoteMeta(m.Path.Value) + ".*"
		}
		return m.Path.Value
	}
	part := func(s string) string {
		switch {
		case s == "":
			return "[^/]+"
		case m.Regex:
			return "(?:" + s + ")"
		default:
			return regexp.QuoteMeta(s)
		}
	}
	return "/" + part(m.Service) + "/" + part(m.Method)
}
