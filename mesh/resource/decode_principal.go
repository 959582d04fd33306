package resource

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// callerSet is callers, of which one must call.
type callerSet struct {
	anyone        bool // also one without an identity
	authenticated bool // anyone who has one
	// keys are SPIFFE ids, and prefixes of them that end in '/'.
	keys map[string]struct{}
}

func (s *callerSet) decode(field string, list []*rbacv3.Principal, depth int) error {
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

func (s *callerSet) add(m *rbacv3.Principal, depth int) error {
	if depth > maxRuleDepth {
		return bad("", "is nested deeper than %d", maxRuleDepth)
	}
	if err := known(m); err != nil {
		return err
	}
	switch id := m.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		if !id.Any {
			return bad("any", "must be true")
		}
		s.anyone = true
		return nil
	case *rbacv3.Principal_OrIds:
		if err := known(id.OrIds); err != nil {
			return under("or_ids", err)
		}
		return under("or_ids", s.decode("ids", id.OrIds.GetIds(), depth))
	case *rbacv3.Principal_Authenticated_:
		if err := known(id.Authenticated); err != nil {
			return under("authenticated", err)
		}
		if id.Authenticated.GetPrincipalName() == nil {
			s.authenticated = true
			return nil
		}
		return under("authenticated.principal_name", s.name(id.Authenticated.GetPrincipalName()))
	default:
		return bad("", "has no identifier that is evaluated here: set any, or_ids or authenticated")
	}
}

func (s *callerSet) name(m *matcherv3.StringMatcher) error {
	if err := known(m); err != nil {
		return err
	}
	var key string
	switch pattern := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		key = pattern.Exact
		if err := checkID(key); err != nil {
			return under("exact", err)
		}
	case *matcherv3.StringMatcher_Prefix:
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

// decodeURLPath returns "/service/method", "/service/" or "/".
func decodeURLPath(m *matcherv3.PathMatcher) (string, error) {
	if err := known(m); err != nil {
		return "", err
	}
	if err := known(m.GetPath()); err != nil {
		return "", under("path", err)
	}
	switch pattern := m.GetPath().GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		if _, ok := serviceOf(pattern.Exact); !ok {
			return "", bad("path.exact", "%q is no method, as in /package.Service/Method", pattern.Exact)
		}
		return pattern.Exact, nil
	case *matcherv3.StringMatcher_Prefix:
		// The letter stands for a method.
		if _, ok := serviceOf(pattern.Prefix + "m"); pattern.Prefix != "/" && (!ok || !strings.HasSuffix(pattern.Prefix, "/")) {
			return "", bad("path.prefix", "%q is no service, as in /package.Service/", pattern.Prefix)
		}
		return pattern.Prefix, nil
	default:
		return "", bad("path", "has no pattern that is evaluated here: set exact or prefix")
	}
}

// unmatchable are headers that gRPC keeps from applications, or renames: what
// grpc-go's authz package refuses, too.
var unmatchable = map[string]bool{
	"host": true, "connection": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

func decodeCondition(m *routev3.HeaderMatcher) (condition, error) {
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
		return c, bad("invert_match", "is a NOT, which is not evaluated here")
	}
	switch spec := m.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_ExactMatch:
		c.value = spec.ExactMatch
	case *routev3.HeaderMatcher_PresentMatch:
		if !spec.PresentMatch {
			return c, bad("present_match", "of false is a NOT, which is not evaluated here")
		}
		c.present = true
	case *routev3.HeaderMatcher_StringMatch:
		if err := known(spec.StringMatch); err != nil {
			return c, under("string_match", err)
		}
		exact, ok := spec.StringMatch.GetMatchPattern().(*matcherv3.StringMatcher_Exact)
		if !ok {
			return c, bad("string_match", "must be exact: no other is evaluated here")
		}
		c.value = exact.Exact
	default:
		return c, bad("", "is not evaluated here: set exact_match or present_match")
	}
	return c, nil
}
