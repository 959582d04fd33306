package manifest

import (
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func (r *reader) mesh(v *value) *model.Mesh {
	name, spec := r.name(v), v.get("spec")
	m := &model.Mesh{Name: name.Name, From: r.from(v)}
	if name.Namespace != model.DefaultNamespace {
		n := v.get("metadata").get("namespace")
		r.errorf(n.path, n.pos, "is of no meaning, since the Mesh is of all namespaces: remove it")
	}
	if spec.get("access").textOf("default") == deny {
		m.AccessDefault = model.AccessDeny
	}
	_, m.PermissiveUntil = r.mtls(spec.get("mtls"))
	for _, n := range spec.get("tap").listOf("redact") {
		m.TapRedact = append(m.TapRedact, n.text)
	}
	return m
}

// mtls reads whether strict is written out, or until when it is permissive.
func (r *reader) mtls(v *value) (isStrict bool, until time.Time) {
	if v == nil {
		return false, time.Time{}
	}
	end := v.get("until")
	switch mode := v.textOf("mode"); {
	case mode == permissive && end == nil:
		r.errorf(v.path, v.pos, "is permissive without an end, and would stay so: write until: 2026-12-31, a day not far away")
	case mode == permissive:
		return false, r.moment(end)
	case mode == strict && end != nil:
		r.errorf(end.path, end.pos, "is when permissive ends, and the mode is strict: remove it, or write mode: permissive")
	}
	return v.textOf("mode") == strict, time.Time{}
}

// moment reads a day, which is its first moment, or a time in whole seconds.
func (r *reader) moment(v *value) time.Time {
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, v.text); err == nil && t.Nanosecond() == 0 {
			return t.UTC()
		}
	}
	r.errorf(v.path, v.pos, "%.40q is no day and no time: write 2026-12-31, or 2026-12-31T18:00:00Z", v.text)
	return time.Time{}
}

// mtlsNode is nil where nothing is said.
func mtlsNode(isStrict bool, until time.Time) mapping {
	var m mapping
	switch {
	case isStrict:
		m.raw("mode", strict)
	case !until.IsZero():
		m.raw("mode", permissive)
		m.text("until", until.UTC().Format(time.RFC3339))
	}
	return m
}

func meshNode(m *model.Mesh) node {
	var spec mapping
	if m.Closed {
		spec.beyond("closed", scalarText("true"))
	}
	if m.AccessDefault == model.AccessDeny {
		var access mapping
		access.raw("default", deny)
		spec.put("access", access)
	}
	if mtls := mtlsNode(false, m.PermissiveUntil); mtls != nil {
		spec.put("mtls", mtls)
	}
	if len(m.TapRedact) > 0 {
		names := make(sequence, 0, len(m.TapRedact))
		for _, n := range m.TapRedact {
			names = append(names, quote(n))
		}
		var tap mapping
		tap.list("redact", names)
		spec.put("tap", tap)
	}
	return spec
}
