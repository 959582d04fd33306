package consul

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A permission is one that may match a call of gRPC.
type permission struct {
	allow bool
	calls model.CallMatch
}

// permission reads one; ok is false where it matches no call. One that allows and that
// is not honoured in full allows nothing; of one that denies what is not honoured is left
// out, so that it denies more.
func (c *intentionCompiler) permission(e *api.ServiceIntentionsConfigEntry, field, source string, p *api.IntentionPermission) (out permission, ok bool) {
	r := &permissionReader{c: c, entry: e, field: field, source: source, allow: p.Action == api.IntentionActionAllow, ok: true}
	if !r.allow && p.Action != api.IntentionActionDeny {
		r.refusef("Action", "the action %.80q is unknown", p.Action)
	}
	if p.JWT != nil || e.JWT != nil {
		r.refusef("JWT", "servers of the mesh look at no JWT")
	}
	if p.HTTP != nil {
		r.http(p.HTTP)
	}
	return permission{r.allow, r.calls}, r.ok
}

type permissionReader struct {
	c             *intentionCompiler
	entry         *api.ServiceIntentionsConfigEntry
	field, source string
	allow         bool

	calls model.CallMatch
	ok    bool // it may match
}

func (r *permissionReader) refusef(field, format string, args ...any) {
	then := "it denies whatever that is"
	if r.allow {
		r.ok, then = false, "it allows nothing"
	}
	r.c.refusef(r.entry, r.field+"."+field, "source %.80s: "+format+": "+then, append([]any{r.source}, args...)...)
}

func (r *permissionReader) http(p *api.IntentionHTTPPermission) {
	if len(p.Methods) > 0 && !slices.Contains(p.Methods, http.MethodPost) {
		r.ok = false // gRPC knows no other
		return
	}
	switch {
	case p.PathExact != "":
		r.exactly(p.PathExact)
	case p.PathPrefix != "" && p.PathPrefix != "/":
		r.below(p.PathPrefix)
	case p.PathRegex != "":
		r.path("PathRegex", model.PathMatch{Kind: model.PathExpression, Value: p.PathRegex})
	}
	for i := range p.Header {
		r.header(&p.Header[i])
	}
}

// exactly is a path that is the name of a method, or none that is ever called.
func (r *permissionReader) exactly(path string) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) != 3 || parts[0] != "" || parts[1] == "" || parts[2] == "":
		r.ok = false
	case parts[2] != "*" && model.CheckMethod(path) == nil:
		r.calls.Methods = []string{path}
	default: // a name that no protobuf has
		r.path("PathExact", model.PathMatch{Kind: model.PathExpression, Value: regexp.QuoteMeta(path)})
	}
}

func (r *permissionReader) below(prefix string) {
	if strings.HasSuffix(prefix, "/") && model.CheckMethod(prefix+"*") == nil {
		r.calls.Methods = []string{prefix + "*"}
		return
	}
	r.path("PathPrefix", model.PathMatch{Kind: model.PathPrefix, Value: prefix})
}

func (r *permissionReader) path(field string, m model.PathMatch) {
	if problems := model.CheckCalls(model.CallMatch{Path: &m}); len(problems) > 0 {
		r.refusef("HTTP."+field, "%s", problems[0].Message)
		return
	}
	r.calls.Path = &m
}

func (r *permissionReader) header(h *api.IntentionHTTPHeaderPermission) {
	m := model.MetadataMatch{Name: strings.ToLower(h.Name), Invert: h.Invert, IgnoreCase: h.IgnoreCase}
	switch { // in the order that Consul asks
	case h.Exact != "":
		m.Kind, m.Value = model.ValueIs, h.Exact
	case h.Regex != "":
		m.Kind, m.Value, m.IgnoreCase = model.ValueExpression, h.Regex, false
	case h.Prefix != "":
		m.Kind, m.Value = model.ValuePrefix, h.Prefix
	case h.Suffix != "":
		m.Kind, m.Value = model.ValueSuffix, h.Suffix
	case h.Contains != "":
		m.Kind, m.Value = model.ValueContains, h.Contains
	case h.Present:
		m.Kind, m.IgnoreCase = model.ValueAny, false
	default:
		r.refusef("HTTP.Header", "header %.80s says nothing to match by", h.Name)
		return
	}
	if m.Kind == model.ValueIs && slices.ContainsFunc(r.calls.Metadata, func(o model.MetadataMatch) bool {
		return o.Name == m.Name && o.Kind == model.ValueIs
	}) {
		// A policy has one value for a header; another is an expression.
		m.Kind, m.Value = model.ValueExpression, regexp.QuoteMeta(m.Value)
		if m.IgnoreCase {
			m.Value, m.IgnoreCase = "(?i)"+m.Value, false
		}
	}
	metadata := append(slices.Clone(r.calls.Metadata), m)
	if problems := model.CheckCalls(model.CallMatch{Metadata: metadata}); len(problems) > 0 {
		r.refusef("HTTP.Header", "%s", problems[0].Message)
		return
	}
	r.calls.Metadata = metadata
}
