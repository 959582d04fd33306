package manifest

import (
	"slices"
	"strings"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// traffic reports what the model finds wrong with the traffic of an object, at the
// place where it is written. What the reader has said of a place is not said twice.
func (r *reader) traffic(v *value, o model.Object) {
	said := slices.Clone(r.faults)
	for _, p := range model.CheckTraffic(o) {
		path := r.placed(p.Field)
		if slices.ContainsFunc(said, func(f fault) bool { return !f.warning && related(f.field, path) }) {
			continue
		}
		at := v.at(path)
		if p.Warning {
			r.warnf(path, at.pos, "%s", p.Message)
			continue
		}
		r.errorf(path, at.pos, "%s", p.Message)
	}
}

// placed turns a field as the model names it into the path where it is written: the
// model does not know in which order filters stand.
func (r *reader) placed(field string) string {
	for named, path := range r.places {
		if rest, ok := strings.CutPrefix(field, named); ok && (rest == "" || rest[0] == '.') {
			return path + rest
		}
	}
	return field
}

// related reports whether one of two paths is the other, or holds it.
func related(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, ok := strings.CutPrefix(b, a)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// at returns the value at a path, or the innermost that is there and would hold it.
func (v *value) at(path string) *value {
	for {
		next := v.holding(path)
		if next == nil {
			return v
		}
		v = next
	}
}

func (v *value) holding(path string) *value {
	holds := func(inner *value) bool {
		rest, ok := strings.CutPrefix(path, inner.path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	for _, inner := range v.fields {
		if holds(inner) {
			return inner
		}
	}
	for _, inner := range v.list {
		if holds(inner) {
			return inner
		}
	}
	return nil
}
