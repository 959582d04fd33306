package model

import (
	"fmt"
	"slices"
	"strings"
)

// badName says why a header is none that a mesh could set, or choose by. Letter
// case does not count.
func badName(name string) string {
	lower := strings.ToLower(name)
	switch {
	case strings.HasPrefix(lower, ":"):
		return fmt.Sprintf("%.80q is a pseudo-header, which is HTTP/2's own: name a header of the application", name)
	case strings.HasPrefix(lower, "grpc-") || lower == "te" || lower == "user-agent" || slices.Contains(decidedElsewhere, lower):
		return fmt.Sprintf("%.80s is gRPC's own: name a header of the application", name)
	case strings.HasSuffix(lower, "-bin"):
		return fmt.Sprintf("%.80s is binary: name a header of text", name)
	}
	return badHeader(lower) // empty, too long, or no name at all
}

func (c *checker) headers(field string, h *Headers) {
	if h == nil {
		return
	}
	if len(h.Set)+len(h.Add)+len(h.Remove) == 0 {
		c.errorf(field, "changes nothing: write set, add or remove, or remove the filter")
	}
	for _, list := range []struct {
		field  string
		values []HeaderValue
	}{{field + ".set", h.Set}, {field + ".add", h.Add}} {
		c.count(list.field, len(list.values), maxChanges)
		seen := make(map[string]int, len(list.values))
		for i, v := range list.values {
			at := fmt.Sprintf("%s[%d]", list.field, i)
			c.named(at+".name", v.Name, seen, i)
			switch {
			case v.Value == "":
				c.errorf(at+".value", "is empty: write a value, or remove the header")
			case len(v.Value) > maxHeaderValue:
				c.errorf(at+".value", "is %d bytes long, %d is the most", len(v.Value), maxHeaderValue)
			case strings.ContainsFunc(v.Value, func(r rune) bool { return r < ' ' || r > '~' }):
				c.errorf(at+".value", "%.80q can never be sent: gRPC headers are printable ASCII", v.Value)
			case strings.TrimSpace(v.Value) != v.Value:
				// HTTP/2 strips it (RFC 9110 section 5.5).
				c.errorf(at+".value", "%.80q begins or ends with a space, which is not sent: remove it", v.Value)
			}
		}
	}
	c.count(field+".remove", len(h.Remove), maxChanges)
	seen := make(map[string]int, len(h.Remove))
	for i, name := range h.Remove {
		c.named(fmt.Sprintf("%s.remove[%d]", field, i), name, seen, i)
	}
}

// named checks a header's name, and that it is in the list once.
func (c *checker) named(field, name string, seen map[string]int, i int) {
	if why := badName(name); why != "" {
		c.errorf(field, "%s", why)
	}
	lower := strings.ToLower(name)
	if j, ok := seen[lower]; ok {
		c.errorf(field, "%s is in entry %d, too: keep one", lower, j)
	}
	seen[lower] = i
}

func (c *checker) mirrors(field string, r *Rule) {
	c.count(field, len(r.Mirrors), maxMirrors)
	for i, m := range r.Mirrors {
		at := fmt.Sprintf("%s[%d]", field, i)
		if m.Version != "" {
			if err := CheckVersion(m.Version); err != nil {
				c.errorf(at+".backendRef.version", "%v", err)
			}
		}
		c.share(at+".percent", m.PerMillion)
		c.span(at+".timeout", m.Timeout, shortest, longest)
		for j, b := range r.Backends {
			// What has no version is every version.
			if b.Service == m.Service && b.Weight > 0 && (m.Version == "" || m.Version == b.Version) {
				c.errorf(at+".backendRef", "is a mirror to itself: backendRefs[%d] sends the calls there already, and copies would be carried "+
					"out twice; name another service or version", j)
				break
			}
		}
		for j, other := range r.Mirrors[:i] {
			if other.Service == m.Service && other.Version == m.Version {
				c.errorf(at+".backendRef", "is mirrored to by requestMirror[%d], too: keep one", j)
			}
		}
	}
}
