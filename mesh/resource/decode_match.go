package resource

import (
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

func decodeMatch(m *xdsv3.RouteMatch) (*matcher, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	out := &matcher{}
	if err := out.path.decode(m); err != nil {
		return nil, err
	}
	if n := len(m.GetHeaders()); n > maxHeaders {
		return nil, bad("headers", "are %d, at most %d are accepted", n, maxHeaders)
	}
	for i, h := range m.GetHeaders() {
		header, err := decodeHeader(h)
		if err != nil {
			return nil, at("headers", i, err)
		}
		out.headers = append(out.headers, *header)
	}
	if f := m.GetRuntimeFraction(); f != nil {
		if err := known(f); err != nil {
			return nil, under("runtime_fraction", err)
		}
		share, _, err := perMillion(f.GetDefaultValue())
		if err != nil {
			return nil, under("runtime_fraction.default_value", err)
		}
		out.sampled, out.share = share < million, share
	}
	return out, nil
}

// byPath refuses what a route with access rules may not match by. Its calls are
// decided by method; what else a caller says picks no other rules.
func (m *matcher) byPath() error {
	switch {
	case len(m.headers) > 0:
		return bad("headers", "pick no access rules; conditions on headers stand in the rules")
	case m.sampled:
		return bad("runtime_fraction", "picks no access rules")
	case m.path.kind == pathRegex:
		return bad("safe_regex", "picks no access rules; set prefix or path")
	case m.path.fold:
		return bad("case_sensitive", "must not be false: methods that differ in case are others")
	}
	return nil
}

func (p *pathMatcher) decode(m *xdsv3.RouteMatch) error {
	switch spec := m.GetPathSpecifier().(type) {
	case *xdsv3.RouteMatch_Prefix:
		p.kind, p.text = pathPrefix, spec.Prefix
	case *xdsv3.RouteMatch_Path:
		p.kind, p.text = pathExact, spec.Path
	case *xdsv3.RouteMatch_SafeRegex:
		var err error
		p.kind = pathRegex
		p.regex, err = compile(spec.SafeRegex)
		return under("safe_regex", err) // case_sensitive does not apply: a regex says (?i)
	default:
		return bad("", "has no path specifier that gRPC knows: set prefix, path or safe_regex")
	}
	if s := m.GetCaseSensitive(); s != nil && !s.GetValue() {
		p.fold, p.text = true, strings.ToUpper(p.text)
	}
	return nil
}

func decodeHeader(m *xdsv3.HeaderMatcher) (*headerMatcher, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	// Metadata has lower case names only.
	h := &headerMatcher{name: strings.ToLower(m.GetName()), invert: m.GetInvertMatch()}
	switch spec := m.GetHeaderMatchSpecifier().(type) {
	case *xdsv3.HeaderMatcher_ExactMatch:
		return h, under("exact_match", h.literal(headerExact, spec.ExactMatch))
	case *xdsv3.HeaderMatcher_PrefixMatch:
		return h, under("prefix_match", h.literal(headerPrefix, spec.PrefixMatch))
	case *xdsv3.HeaderMatcher_SuffixMatch:
		return h, under("suffix_match", h.literal(headerSuffix, spec.SuffixMatch))
	case *xdsv3.HeaderMatcher_ContainsMatch:
		return h, under("contains_match", h.literal(headerContains, spec.ContainsMatch))
	case *xdsv3.HeaderMatcher_SafeRegexMatch:
		var err error
		h.kind = headerRegex
		h.regex, err = compile(spec.SafeRegexMatch)
		return h, under("safe_regex_match", err)
	case *xdsv3.HeaderMatcher_RangeMatch:
		h.kind, h.start, h.end = headerRange, spec.RangeMatch.GetStart(), spec.RangeMatch.GetEnd()
		return h, nil
	case *xdsv3.HeaderMatcher_PresentMatch:
		// That a header is there, and not that it is not, are one matcher.
		h.kind, h.invert = headerPresent, spec.PresentMatch == h.invert
		return h, nil
	case *xdsv3.HeaderMatcher_StringMatch:
		return h, under("string_match", h.string(spec.StringMatch))
	default:
		return nil, bad("", "does not say what to match %q by, or in a way that gRPC does not know", h.name)
	}
}

func (h *headerMatcher) string(m *xdsv3.StringMatcher) error {
	h.fold = m.GetIgnoreCase()
	switch pattern := m.GetMatchPattern().(type) {
	case *xdsv3.StringMatcher_Exact:
		return under("exact", h.literal(headerExact, pattern.Exact))
	case *xdsv3.StringMatcher_Prefix:
		return under("prefix", h.literal(headerPrefix, pattern.Prefix))
	case *xdsv3.StringMatcher_Suffix:
		return under("suffix", h.literal(headerSuffix, pattern.Suffix))
	case *xdsv3.StringMatcher_Contains:
		return under("contains", h.literal(headerContains, pattern.Contains))
	case *xdsv3.StringMatcher_SafeRegex:
		var err error
		h.kind, h.fold = headerRegex, false // ignore_case does not apply: a regex says (?i)
		h.regex, err = compile(pattern.SafeRegex)
		return under("safe_regex", err)
	default:
		return bad("", "has no pattern that gRPC knows: set exact, prefix, suffix, contains or safe_regex")
	}
}

// literal takes a text to compare with. Only exact may be empty (gRFC A63).
func (h *headerMatcher) literal(kind headerKind, text string) error {
	if text == "" && kind != headerExact {
		return bad("", "is empty; to match any value use present_match")
	}
	if h.fold {
		text = strings.ToLower(text)
	}
	h.kind, h.text = kind, text
	return nil
}

// compile compiles a regular expression that must match the whole text.
func compile(m *xdsv3.RegexMatcher) (*regexp.Regexp, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	pattern := m.GetRegex()
	if n := len(pattern); n > maxRegexLength {
		return nil, bad("regex", "has %d bytes, at most %d are accepted", n, maxRegexLength)
	}
	// The pattern alone must be well formed: "a)(b" is, between parentheses.
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, bad("regex", "%v", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, bad("regex", "%v", err)
	}
	if n := len(program.Inst); n > maxRegexProgram {
		return nil, bad("regex", "compiles to %d instructions, at most %d are accepted", n, maxRegexProgram)
	}
	compiled, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, bad("regex", "%v", err)
	}
	return compiled, nil
}
