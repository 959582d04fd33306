package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// document reads the kind, and then the document as that kind has it. The object
// it returns is whole only when no problem is an error.
func (r *reader) document(n ast.Node) model.Object {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		r.errorf("", position(n), "is no mapping: write apiVersion, kind, metadata and spec")
		return nil
	}
	r.ref, r.raw = refOf(m), m
	kind := entry(m, "kind")
	if kind == nil {
		r.errorf("kind", position(m), "is missing: write kind: %s", strings.Join(known(), " or kind: "))
		return nil
	}
	name := kind.GetToken().Value
	s, ok := kinds[name]
	if version := entry(m, "apiVersion"); ok && name == "Service" && version != nil && version.GetToken().Value == "v1" {
		r.errorf("apiVersion", position(version), "v1 is Kubernetes' own Service, which says nothing to the mesh: "+
			"write apiVersion: %s and a spec of %s", APIVersion, strings.Join(serviceSpec.names(), ", "))
		return nil
	}
	if !ok {
		r.unknownKind(kind, name)
		return nil
	}
	v := r.object(m, "", s)
	r.foreign(m)
	switch name {
	case "Service":
		s := r.service(v)
		r.traffic(v, s)
		return s
	case "AccessPolicy":
		return r.policy(v)
	case "Mesh":
		return r.mesh(v)
	default:
		route := r.route(v)
		r.traffic(v, route)
		return route
	}
}

func known() []string { return slices.Sorted(maps.Keys(kinds)) }

func (r *reader) unknownKind(n ast.Node, name string) {
	if why, ok := kindsRefused[name]; ok {
		r.errorf("kind", position(n), "kind %s is not served by this version: %s", name, why)
		return
	}
	if near := model.Nearest(name, known()); near != "" {
		r.errorf("kind", position(n), "unknown kind %.80q: did you mean %s?", name, near)
		return
	}
	r.errorf("kind", position(n), "unknown kind %.80q: the kinds are %s", name, strings.Join(known(), ", "))
}

// entry returns the value of a key, or nil.
func entry(m *ast.MappingNode, key string) ast.Node {
	for _, e := range m.Values {
		if e.Key.GetToken().Value == key {
			return e.Value
		}
	}
	return nil
}

// refOf is what a document calls itself, as far as it can be made out: problems
// are shown on the object they are about even when it cannot be read.
func refOf(m *ast.MappingNode) model.Ref {
	word := func(m *ast.MappingNode, key string) string {
		if s, ok := entry(m, key).(*ast.StringNode); ok {
			return s.Value
		}
		return ""
	}
	meta, ok := entry(m, "metadata").(*ast.MappingNode)
	if !ok {
		return model.Ref{}
	}
	ref := model.Ref{Kind: model.Kind(word(m, "kind")), Namespace: word(meta, "namespace"), Name: word(meta, "name")}
	if ref.Namespace == "" {
		ref.Namespace = model.DefaultNamespace
	}
	if ref.Kind == "" || ref.Name == "" {
		return model.Ref{}
	}
	return ref
}

// elsewhere are the beginnings of annotations by which Linkerd configures a
// route or a service; who brings such a document would believe them at work.
var elsewhere = map[string]string{
	"retry.linkerd.io/":    "write retry of a rule, or a Service's spec.retry",
	"timeout.linkerd.io/":  "write spec.rules[].timeouts.request, or a Service's spec.timeout",
	"balancer.linkerd.io/": "write a Service's spec.breaker",
}

// foreign warns of annotations that mean something to another mesh.
func (r *reader) foreign(m *ast.MappingNode) {
	meta, _ := entry(m, "metadata").(*ast.MappingNode)
	if meta == nil {
		return
	}
	annotations, _ := entry(meta, "annotations").(*ast.MappingNode)
	if annotations == nil {
		return
	}
	for _, e := range annotations.Values {
		key := e.Key.GetToken()
		for prefix, why := range elsewhere {
			if strings.HasPrefix(key.Value, prefix) {
				r.warnf("metadata.annotations", key.Position, "%.80s has no effect: %s", key.Value, why)
			}
		}
	}
}

// name reads metadata.
func (r *reader) name(v *value) model.ServiceName {
	return r.reference(v.fields["metadata"], model.DefaultNamespace)
}

// reference reads name and namespace.
func (r *reader) reference(v *value, namespace string) model.ServiceName {
	n := model.ServiceName{Name: v.textOf("name"), Namespace: namespace}
	if ns := v.get("namespace"); ns != nil {
		n.Namespace = ns.text
		if ns.text == "" {
			r.errorf(ns.path, ns.pos, "is empty: give it a value, or remove it for namespace %s", namespace)
		}
	}
	if name := v.get("name"); name != nil && name.text == "" {
		r.errorf(name.path, name.pos, "is empty: write a name")
	}
	return n
}

// from is the origin of what begins at v: "origin:line".
func (r *reader) from(v *value) string {
	return fmt.Sprintf("%s:%d", r.origin, r.above+v.pos.Line)
}

// get returns a field, or nil; v may be nil.
func (v *value) get(name string) *value {
	if v == nil {
		return nil
	}
	return v.fields[name]
}

func (v *value) textOf(name string) string {
	if f := v.get(name); f != nil {
		return f.text
	}
	return ""
}

func (v *value) listOf(name string) []*value {
	if f := v.get(name); f != nil {
		return f.list
	}
	return nil
}
