package resource

import (
	"strings"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// callerSet is callers, of which one must call.
type callerSet struct {
	anyone        bool // also one without an identity
	authenticated bool // anyone who has one
	// keys are SPIFFE ids, and prefixes of them that end in '/'.
	keys map[string]struct{}
	// except are callers that do not count; nil for none.
	except *callerSet
}

// has reports whether a caller is one of them; an id that is empty is one without an
// identity.
func (s *callerSet) has(id string) bool {
	switch {
	case s.anyone, s.authenticated && id != "":
		return true
	case id == "":
		return false
	}
	if _, ok := s.keys[id]; ok {
		return true
	}
	for i := len(id) - 1; i >= len(spiffeScheme); i-- {
		if id[i] == '/' {
			if _, ok := s.keys[id[:i+1]]; ok {
				return true
			}
		}
	}
	return false
}

// decodeCallers reads a list of which one must call. Those without exceptions are one
// set.
func decodeCallers(field string, list []*xdsv3.Principal) ([]callerSet, error) {
	var plain []*xdsv3.Principal
	var out []callerSet
	for i, m := range list {
		and, ok := m.GetIdentifier().(*xdsv3.Principal_AndIds)
		if !ok {
			plain = append(plain, m)
			continue
		}
		s := callerSet{except: &callerSet{}}
		if err := s.allOf(and.AndIds); err != nil {
			return nil, at(field, i, under("and_ids", err))
		}
		out = append(out, s)
	}
	if len(plain) == 0 && len(out) > 0 {
		return out, nil
	}
	var s callerSet
	if err := s.decode(field, plain, 0); err != nil {
		return nil, err
	}
	return append(out, s), nil
}

// allOf reads callers with exceptions: one identifier, and others that are a NOT.
func (s *callerSet) allOf(m *xdsv3.Principal_Set) error {
	if err := known(m); err != nil {
		return err
	}
	who := 0
	for i, id := range m.GetIds() {
		not, ok := id.GetIdentifier().(*xdsv3.Principal_NotId)
		set := s
		if ok {
			id, set = not.NotId, s.except
		} else {
			who++
		}
		if err := set.add(id, 1); err != nil {
			return at("ids", i, err)
		}
	}
	if who != 1 {
		return bad("ids", "hold %d identifiers without a NOT: one is evaluated here, with exceptions", who)
	}
	return nil
}

func (s *callerSet) decode(field string, list []*xdsv3.Principal, depth int) error {
	if len(list) == 0 {
		return bad(field, "is empty: it would hold for no caller")
	}
	for i, m := range list {
		if err := s.add(m, depth+1); err != nil {
			return at(field, i, err)
		}
	}
	return nil
}

func (s *callerSet) add(m *xdsv3.Principal, depth int) error {
	if depth > maxRuleDepth {
		return bad("", "is nested deeper than %d", maxRuleDepth)
	}
	if err := known(m); err != nil {
		return err
	}
	switch id := m.GetIdentifier().(type) {
	case *xdsv3.Principal_Any:
		if !id.Any {
			return bad("any", "must be true")
		}
		s.anyone = true
		return nil
	case *xdsv3.Principal_OrIds:
		if err := known(id.OrIds); err != nil {
			return under("or_ids", err)
		}
		return under("or_ids", s.decode("ids", id.OrIds.GetIds(), depth))
	case *xdsv3.Principal_Authenticated_:
		if err := known(id.Authenticated); err != nil {
			return under("authenticated", err)
		}
		if id.Authenticated.GetPrincipalName() == nil {
			s.authenticated = true
			return nil
		}
		return under("authenticated.principal_name", s.name(id.Authenticated.GetPrincipalName()))
	default:
		return bad("", "has no identifier that is evaluated here: set any, or_ids, authenticated, or and_ids of one of them and not_id")
	}
}

func (s *callerSet) name(m *xdsv3.StringMatcher) error {
	if err := known(m); err != nil {
		return err
	}
	var key string
	switch pattern := m.GetMatchPattern().(type) {
	case *xdsv3.StringMatcher_Exact:
		key = pattern.Exact
		if err := checkID(key); err != nil {
			return under("exact", err)
		}
	case *xdsv3.StringMatcher_Prefix:
		key = pattern.Prefix
		if key == spiffeScheme {
			s.authenticated = true
			return nil
		}
		id, ok := strings.CutSuffix(key, "/")
		if !ok {
			return bad("prefix", "%q must end in '/': it would hold for other services whose names begin like it", key)
		}
		if err := checkID(id); err != nil {
			return under("prefix", err)
		}
	default:
		return bad("", "has no pattern that is evaluated here: set exact or prefix")
	}
	if s.keys == nil {
		s.keys = map[string]struct{}{}
	}
	s.keys[key] = struct{}{}
	return nil
}

// decodeURLPath reads which methods are called. Those of "/service/method" and
// "/service/" are looked up; what is else to be matched is compared.
func decodeURLPath(m *xdsv3.PathMatcher) (term, error) {
	if err := known(m); err != nil {
		return term{}, err
	}
	if m.GetPath().HasUnknown() {
		return term{}, under("path", known(m.GetPath()))
	}
	if m.GetPath().GetIgnoreCase() {
		return term{}, bad("path.ignore_case", "is not evaluated here: methods that differ in case are others")
	}
	var p pathTest
	switch pattern := m.GetPath().GetMatchPattern().(type) {
	case *xdsv3.StringMatcher_Exact:
		if _, ok := serviceOf(pattern.Exact); !ok {
			return term{}, bad("path.exact", "%q is no method, as in /package.Service/Method", pattern.Exact)
		}
		return term{methods: methodSet{pattern.Exact: {}}}, nil
	case *xdsv3.StringMatcher_Prefix:
		switch service, ok := serviceOf(pattern.Prefix + "m"); { // the letter stands for a method
		case pattern.Prefix == "/":
			return term{any: true}, nil
		case pattern.Prefix == "" || pattern.Prefix[0] != '/':
			return term{}, bad("path.prefix", "%q does not begin with a slash, as all methods do", pattern.Prefix)
		case ok && service == pattern.Prefix:
			return term{methods: methodSet{service: {}}}, nil
		}
		p.kind, p.text = pathPrefix, pattern.Prefix
	case *xdsv3.StringMatcher_SafeRegex:
		var err error
		p.kind = pathRegex
		if p.regex, err = compile(pattern.SafeRegex); err != nil {
			return term{}, under("path.safe_regex", err)
		}
	default:
		return term{}, bad("path", "has no pattern that is evaluated here: set exact, prefix or safe_regex")
	}
	return term{any: true, conditions: []condition{{value: textOf(m), test: &p}}}, nil
}

// unmatchable are headers that gRPC keeps from applications, or renames: what
// grpc-go's authz package refuses, too.
var unmatchable = map[string]bool{
	"host": true, "connection": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

func decodeCondition(m *xdsv3.HeaderMatcher) (condition, error) {
	if err := known(m); err != nil {
		return condition{}, err
	}
	c := condition{name: strings.ToLower(m.GetName())} // metadata has lower case names only
	switch {
	case c.name == "":
		return c, bad("name", "is empty")
	case c.name[0] == ':' || strings.HasPrefix(c.name, "grpc-") || strings.HasSuffix(c.name, "-bin") || unmatchable[c.name]:
		return c, bad("name", "%q is none that access can be decided by (gRFC A41)", c.name)
	case m.GetInvertMatch():
		return decodeHeaderTest(c.name, m)
	}
	switch spec := m.GetHeaderMatchSpecifier().(type) {
	case *xdsv3.HeaderMatcher_ExactMatch:
		c.value = spec.ExactMatch
		return c, nil
	case *xdsv3.HeaderMatcher_PresentMatch:
		if c.present = spec.PresentMatch; c.present {
			return c, nil
		}
	case *xdsv3.HeaderMatcher_StringMatch:
		exact, ok := spec.StringMatch.GetMatchPattern().(*xdsv3.StringMatcher_Exact)
		if ok && !spec.StringMatch.GetIgnoreCase() && !spec.StringMatch.HasUnknown() {
			c.value = exact.Exact
			return c, nil
		}
	}
	return decodeHeaderTest(c.name, m)
}

// decodeHeaderTest reads what is more than a comparison with the whole value.
func decodeHeaderTest(name string, m *xdsv3.HeaderMatcher) (condition, error) {
	if s := m.GetStringMatch(); s.HasUnknown() {
		return condition{}, under("string_match", known(s))
	}
	h, err := decodeHeader(m)
	if err != nil {
		return condition{}, err
	}
	return condition{name: name, value: textOf(m), test: &headerTest{*h}}, nil
}
