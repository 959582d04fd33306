package manifest

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// instead returns what stands for an AccessPolicy or a Mesh that has an error, or
// nil: who wrote it meant to close something, and a slip must not leave it open.
// It takes from the document what can be made out, however wrong the rest is.
func (r *reader) instead() model.Object {
	if r.raw == nil {
		return nil // no YAML, and nobody can say what was meant
	}
	kind := plainText(entry(r.raw, "kind"))
	if kinds[kind] == nil {
		kind = model.Nearest(kind, known())
	}
	meta, _ := entry(r.raw, "metadata").(*ast.MappingNode)
	spec, _ := entry(r.raw, "spec").(*ast.MappingNode)
	line := r.above + position(r.raw).Line
	from := fmt.Sprintf("%s:%d", r.origin, line)
	switch kind {
	case string(model.KindAccessPolicy):
		return closedPolicy(meta, spec, from, line)
	case string(model.KindMesh):
		return closedMesh(spec, from)
	}
	return nil
}

// closes reports whether a document may be one that closes something. Such are read
// also where others are not any more: they would be left out.
func closes(text []byte) bool {
	return bytes.Contains(text, []byte(model.KindAccessPolicy)) || bytes.Contains(text, []byte(model.KindMesh))
}

func closedPolicy(meta, spec *ast.MappingNode, from string, line int) model.Object {
	p := &model.AccessPolicy{Namespace: model.DefaultNamespace, From: from}
	if n := plainText(lookUp(meta, "namespace")); model.CheckLabel(n) == nil {
		p.Namespace = n
	}
	if p.Name = plainText(lookUp(meta, "name")); p.Name == "" {
		p.Name = fmt.Sprintf("line-%d", line)
	}
	if plainText(lookUp(spec, "mode")) == audit {
		return nil // it would have denied nobody
	}
	var entries []ast.Node
	switch n := lookUp(spec, "services").(type) {
	case *ast.SequenceNode:
		entries = n.Values
	case nil:
	default:
		entries = []ast.Node{n}
	}
	for _, n := range entries {
		_ = protect(p, plainText(n)) // those that are none are told of already
	}
	if len(p.Services)+len(p.Namespaces) == 0 && !p.AllServices && model.CheckLabel(p.Name) == nil {
		p.Services = []model.ServiceName{{Namespace: p.Namespace, Name: p.Name}}
	}
	return p.Close()
}

// closedMesh lets callers in by default only where the document says so, or says
// nothing of it.
func closedMesh(spec *ast.MappingNode, from string) model.Object {
	m := &model.Mesh{From: from, AccessDefault: model.AccessDeny}
	access := lookUp(spec, "access")
	switch access := access.(type) {
	case nil:
		if spec != nil && !slices.ContainsFunc(spec.Values, func(e *ast.MappingValueNode) bool { return meshSpec.field(e.Key.GetToken().Value) == nil }) {
			m.AccessDefault = model.AccessAuthenticated
		}
	case *ast.MappingNode:
		if plainText(lookUp(access, "default")) == authenticated {
			m.AccessDefault = model.AccessAuthenticated
		}
	}
	return m.Close()
}

// lookUp returns the value of a key, or of one that is nearly the same; nil where
// there is none.
func lookUp(m *ast.MappingNode, key string) ast.Node {
	if m == nil {
		return nil
	}
	if n := entry(m, key); n != nil {
		return n
	}
	for _, e := range m.Values {
		if model.Nearest(e.Key.GetToken().Value, []string{key}) != "" {
			return e.Value
		}
	}
	return nil
}

func plainText(n ast.Node) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	return ""
}
