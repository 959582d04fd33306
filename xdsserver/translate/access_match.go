package translate

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// matching are permissions of which one must hold for a call to match.
func matching(m model.CallMatch) []*rbacv3.Permission {
	methods := make([]*rbacv3.Permission, 0, len(m.Methods))
	for _, m := range m.Methods {
		methods = append(methods, method(m))
	}
	switch {
	case m.Any():
		return anyPermission()
	case m.Path == nil && len(m.Metadata) == 0:
		return methods
	}
	all := make([]*rbacv3.Permission, 0, 2+len(m.Metadata))
	if len(methods) > 0 {
		all = append(all, anyOf(methods))
	}
	if m.Path != nil {
		all = append(all, pathRule(*m.Path))
	}
	for _, match := range m.Metadata {
		all = append(all, metadata(match))
	}
	return []*rbacv3.Permission{allOf(all)}
}

func anyOf(list []*rbacv3.Permission) *rbacv3.Permission {
	if len(list) == 1 {
		return list[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: list}}}
}

func allOf(list []*rbacv3.Permission) *rbacv3.Permission {
	if len(list) == 1 {
		return list[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: list}}}
}

func notRule(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

func method(m string) *rbacv3.Permission {
	if service, ok := strings.CutSuffix(m, "*"); ok {
		return urlPath(beginning(service))
	}
	return urlPath(exactly(m))
}

func pathRule(m model.PathMatch) *rbacv3.Permission {
	if m.Kind == model.PathPrefix {
		return urlPath(beginning(m.Value))
	}
	return urlPath(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: expression(m.Value)}})
}

func urlPath(path *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{
		Rule: &matcherv3.PathMatcher_Path{Path: path},
	}}}
}

// metadata is a match of one header. That a header is there with any value, or is not,
// is an expression and NOT one: servers differ in whether an empty value is present.
func metadata(m model.MetadataMatch) *rbacv3.Permission {
	header := func(h *routev3.HeaderMatcher) *rbacv3.Permission {
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: h}}
	}
	if m.Kind == model.ValueAny {
		there := header(&routev3.HeaderMatcher{
			Name: m.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: expression(".*")},
		})
		if m.Invert {
			return notRule(there)
		}
		return there
	}
	return header(metadataMatcher(m))
}

// metadataMatcher prefers forms that are deprecated, and those of gRFC A41, which every
// gRPC reads.
func metadataMatcher(m model.MetadataMatch) *routev3.HeaderMatcher {
	h := &routev3.HeaderMatcher{Name: m.Name, InvertMatch: m.Invert}
	switch {
	case m.Kind == model.ValueIs && m.Value == "":
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
	case m.Kind == model.ValueExpression:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: expression(m.Value)}
	case m.IgnoreCase:
		text := &matcherv3.StringMatcher{IgnoreCase: true}
		switch m.Kind {
		case model.ValuePrefix:
			text.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: m.Value}
		case model.ValueSuffix:
			text.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: m.Value}
		case model.ValueContains:
			text.MatchPattern = &matcherv3.StringMatcher_Contains{Contains: m.Value}
		default:
			text.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: m.Value}
		}
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text}
	case m.Kind == model.ValuePrefix:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: m.Value}
	case m.Kind == model.ValueSuffix:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_SuffixMatch{SuffixMatch: m.Value}
	case m.Kind == model.ValueContains:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: m.Value}
	default:
		h.HeaderMatchSpecifier = &routev3.HeaderMatcher_ExactMatch{ExactMatch: m.Value}
	}
	return h
}

func expression(re string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: re} }
