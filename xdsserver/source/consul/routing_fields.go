package consul

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// harmless are values of refused fields that ask for nothing: what Consul has by default.
var harmless = map[string]string{
	"Partition": "default", "MeshGateway.Mode": "none", "Mode": "direct", "Policy.Mode": "sequential",
	"PrioritizeByLocality.Mode": "none", "FailoverPolicy.Mode": "sequential", "MutualTLSMode": "strict",
}

// refusedFields are the fields that are refused and change nothing else, by kind of entry
// and path. What fails is told of where it is compiled, since that depends on more.
var refusedFields = func() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, f := range routingFields() {
		if all[f.Entry] == nil {
			all[f.Entry] = map[string]string{}
		}
		if f.Status == refused {
			all[f.Entry][f.Path] = f.Note
		}
	}
	return all
}()

// routingFields is what is done with each field of the entries that route calls.
func routingFields() []field {
	return slices.Concat(routerFields, splitterFields, resolverFields, defaultsFields, proxyFields)
}

// refusals warns of the fields of an entry that are set and refused. Those that are
// refused for one reason are one warning.
func refusals(e api.ConfigEntry) []model.Problem {
	refused := refusedFields[e.GetKind()]
	var reasons []string
	fields := map[string][]string{}
	walkSet("", "", reflect.ValueOf(e), func(at, path string, v reflect.Value) {
		reason, ok := refused[path]
		if !ok || isHarmless(path, v) {
			return
		}
		if fields[reason] == nil {
			reasons = append(reasons, reason)
		}
		if !slices.Contains(fields[reason], at) {
			fields[reason] = append(fields[reason], at)
		}
	})
	problems := make([]model.Problem, 0, len(reasons))
	for _, reason := range reasons {
		problems = append(problems, problemOf(e, shortened(fields[reason]), "is not honoured: "+reason, true))
	}
	return problems
}

// isHarmless reports whether a value is what Consul has by default.
func isHarmless(path string, v reflect.Value) bool {
	if v.Kind() != reflect.String {
		return false
	}
	for suffix, value := range harmless {
		if v.String() == value && (path == suffix || strings.HasSuffix(path, "."+suffix)) {
			return true
		}
	}
	return false
}

// shortened names three fields and counts the others.
func shortened(fields []string) string {
	const most = 3
	if len(fields) <= most {
		return strings.Join(fields, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(fields[:most], ", "), len(fields)-most)
}

// walkSet visits the values in an entry that are not zero: at is where one is, as in
// "Subsets{v1}.Filter", and path is that of its field, "Subsets{}.Filter".
func walkSet(at, path string, v reflect.Value, visit func(at, path string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct {
			walkSet(at, path, v.Elem(), visit)
		} else if !v.IsNil() {
			visit(at, path, v.Elem()) // that it is there says something
		}
	case v.Kind() == reflect.Struct:
		for f, value := range v.Fields() {
			if f.IsExported() {
				walkSet(strings.TrimPrefix(at+"."+f.Name, "."), strings.TrimPrefix(path+"."+f.Name, "."), value, visit)
			}
		}
	case v.Kind() == reflect.Slice && holdsStructs(v.Type()):
		for i := range v.Len() {
			walkSet(fmt.Sprintf("%s[%d]", at, i), path+"[]", v.Index(i), visit)
		}
	case v.Kind() == reflect.Map && holdsStructs(v.Type()):
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, key := range keys {
			walkSet(fmt.Sprintf("%s{%s}", at, key), path+"{}", v.MapIndex(key), visit)
		}
	case (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0:
	case !v.IsZero():
		visit(at, path, v)
	}
}

// holdsStructs reports whether the elements of a slice or a map have fields.
func holdsStructs(t reflect.Type) bool {
	e := t.Elem()
	if e.Kind() == reflect.Pointer {
		e = e.Elem()
	}
	return e.Kind() == reflect.Struct
}

// problemOf is one of an entry.
func problemOf(e api.ConfigEntry, field, message string, warning bool) model.Problem {
	p := model.Problem{From: entryFrom(e.GetKind(), e.GetName()), Field: field, Message: message, Warning: warning}
	if e.GetKind() != api.ProxyDefaults {
		name := meshName(e.GetNamespace(), e.GetName())
		p.Object = model.Ref{Kind: model.KindService, Namespace: reduce(name.Namespace), Name: reduce(name.Name)}
	}
	return p
}

// entryFrom is where what an entry says is written.
func entryFrom(kind, name string) string { return "consul:" + kind + "/" + reduce(name) }
