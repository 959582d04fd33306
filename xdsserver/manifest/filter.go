package manifest

import (
	"fmt"
	"math"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// filters reads the filters of a rule.
func (r *reader) filters(rule *model.Rule, v *value, namespace string) {
	for _, f := range v.listOf("filters") {
		kind, modifier, mirror := f.textOf("type"), f.get("requestHeaderModifier"), f.get("requestMirror")
		own, other := modifier, mirror
		name := "requestHeaderModifier"
		if kind == requestMirror {
			own, other = mirror, modifier
			name = "requestMirror"
		}
		switch {
		case kind == "": // said already
			continue
		case other != nil:
			r.errorf(other.path, other.pos, "is of another filter than type: %s: remove it, or write it as a filter of its own", kind)
			continue
		case own == nil:
			if !f.said[name] {
				r.errorf(join(f.path, name), f.pos, "is missing, and says what the filter does: write it, or remove the filter")
			}
			continue
		case kind == requestMirror:
			r.places[fmt.Sprintf("%s.filters.requestMirror[%d]", v.path, len(rule.Mirrors))] = own.path
			rule.Mirrors = append(rule.Mirrors, r.mirror(own, namespace))
		case rule.Headers != nil:
			r.errorf(f.path, f.pos, "is the second RequestHeaderModifier of the rule: write both as one")
		default:
			r.places[v.path+".filters.requestHeaderModifier"] = own.path
			rule.Headers = headerChanges(own)
		}
	}
}

func headerChanges(v *value) *model.Headers {
	h := &model.Headers{}
	for _, set := range v.listOf("set") {
		h.Set = append(h.Set, model.HeaderValue{Name: set.textOf("name"), Value: set.textOf("value")})
	}
	for _, add := range v.listOf("add") {
		h.Add = append(h.Add, model.HeaderValue{Name: add.textOf("name"), Value: add.textOf("value")})
	}
	for _, name := range v.listOf("remove") {
		h.Remove = append(h.Remove, name.text)
	}
	return h
}

func (r *reader) mirror(v *value, namespace string) model.Mirror {
	m := model.Mirror{PerMillion: allCalls, Timeout: r.period(v, "timeout")}
	if to := v.get("backendRef"); to != nil {
		m.Service, m.Version = r.reference(to, namespace), to.textOf("version")
		if version := to.get("version"); version != nil && version.text == "" {
			r.errorf(version.path, version.pos, "is empty: write a version, or remove it for all")
		}
	}
	fraction := v.get("fraction")
	switch {
	case fraction != nil && v.said["percent"]:
		r.errorf(fraction.path, fraction.pos, "says the share, as percent does: remove one of them")
	case fraction != nil:
		m.PerMillion = r.fractionOf(fraction)
	case v.said["percent"]:
		m.PerMillion = r.share(v)
	}
	return m
}

// fractionOf reads the Gateway API's fraction as parts of a million.
func (r *reader) fractionOf(v *value) uint32 {
	part := r.number(v, "numerator", 0, 0, math.MaxInt32)
	of := r.number(v, "denominator", 100, 1, math.MaxInt32)
	if part > of {
		r.errorf(v.path, v.pos, "is %d of %d, more than all calls: write less", part, of)
		return 0
	}
	return uint32(uint64(part) * allCalls / uint64(of))
}

// filterNodes writes what a rule does to calls on their way.
func filterNodes(rule model.Rule, namespace string) sequence {
	var filters sequence
	if h := rule.Headers; h != nil {
		var modifier, filter mapping
		modifier.list("set", headerNodes(h.Set))
		modifier.list("add", headerNodes(h.Add))
		remove := make(sequence, 0, len(h.Remove))
		for _, name := range h.Remove {
			remove = append(remove, quote(name))
		}
		modifier.list("remove", remove)
		filter.raw("type", headerModifier)
		filter.put("requestHeaderModifier", modifier)
		filters = append(filters, filter)
	}
	for _, m := range rule.Mirrors {
		var to, mirror, filter mapping
		to.reference(m.Service, namespace)
		to.text("version", m.Version)
		mirror.put("backendRef", to)
		if m.PerMillion != allCalls {
			mirror.raw("percent", formatShare(m.PerMillion))
		}
		mirror.duration("timeout", m.Timeout)
		filter.raw("type", requestMirror)
		filter.put("requestMirror", mirror)
		filters = append(filters, filter)
	}
	return filters
}

func headerNodes(values []model.HeaderValue) sequence {
	nodes := make(sequence, 0, len(values))
	for _, v := range values {
		var header mapping
		header.put("name", quote(v.Name))
		header.put("value", quote(v.Value))
		nodes = append(nodes, header)
	}
	return nodes
}
