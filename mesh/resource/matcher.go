package resource

import (
	"regexp"
	"strconv"
	"strings"
)

// matcher holds for the calls a route applies to: path, headers and share must
// all hold (gRFC A28). The zero matcher holds for every call.
type matcher struct {
	path    pathMatcher
	headers []headerMatcher

	// sampled is whether only a share of the calls is matched, of a million.
	sampled bool
	share   uint32
}

type pathKind int

const (
	pathAny pathKind = iota
	pathPrefix
	pathExact
	pathRegex
)

// pathMatcher holds for some methods, as in "/package.Service/Method".
type pathMatcher struct {
	kind  pathKind
	fold  bool   // ignore case
	text  string // in upper case where fold is set
	regex *regexp.Regexp
}

func (p *pathMatcher) match(method string) bool {
	if p.fold {
		method = strings.ToUpper(method)
	}
	switch p.kind {
	case pathPrefix:
		return strings.HasPrefix(method, p.text)
	case pathExact:
		return method == p.text
	case pathRegex:
		return p.regex.MatchString(method)
	default:
		return true
	}
}

type headerKind int

const (
	headerExact headerKind = iota
	headerPrefix
	headerSuffix
	headerContains
	headerRegex
	headerRange
	headerPresent
)

// headerMatcher holds for some values of one header.
type headerMatcher struct {
	name   string // in lower case
	kind   headerKind
	invert bool
	fold   bool   // ignore case
	text   string // in lower case where fold is set
	regex  *regexp.Regexp

	start, end int64 // of a range, end excluded
}

// match reports whether the matcher holds for a header with this value; ok is
// false where the call does not have it. No matcher but one for presence holds
// for an absent header, inverted or not. An empty value counts as absent for
// presence, and only there; all of this is grpc-go's reading.
func (h *headerMatcher) match(value string, ok bool) bool {
	if h.kind == headerPresent {
		return (value != "") != h.invert
	}
	return ok && h.holds(value) != h.invert
}

func (h *headerMatcher) holds(value string) bool {
	if h.fold {
		value = strings.ToLower(value)
	}
	switch h.kind {
	case headerPrefix:
		return strings.HasPrefix(value, h.text)
	case headerSuffix:
		return strings.HasSuffix(value, h.text)
	case headerContains:
		return strings.Contains(value, h.text)
	case headerRegex:
		return h.regex.MatchString(value)
	case headerRange:
		n, err := strconv.ParseInt(value, 10, 64)
		return err == nil && n >= h.start && n < h.end
	default:
		return value == h.text
	}
}
