package consul

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

// fieldPaths are the exported fields of a type that hold values.
func fieldPaths(at string, t reflect.Type) []string {
	switch {
	case t.Kind() == reflect.Pointer:
		return fieldPaths(at, t.Elem())
	case t.Kind() == reflect.Slice && holdsStructs(t):
		return fieldPaths(at+"[]", t.Elem())
	case t.Kind() == reflect.Map && holdsStructs(t):
		return fieldPaths(at+"{}", t.Elem())
	case t.Kind() != reflect.Struct:
		return []string{at}
	}
	var out []string
	for f := range t.Fields() {
		if f.IsExported() {
			out = append(out, fieldPaths(strings.TrimPrefix(at+"."+f.Name, "."), f.Type)...)
		}
	}
	return out
}

// routingTypes are Consul's own types of the entries that route calls.
var routingTypes = []struct {
	kind   string
	entry  reflect.Type
	fields []field
}{
	{api.ServiceRouter, reflect.TypeFor[api.ServiceRouterConfigEntry](), routerFields},
	{api.ServiceSplitter, reflect.TypeFor[api.ServiceSplitterConfigEntry](), splitterFields},
	{api.ServiceResolver, reflect.TypeFor[api.ServiceResolverConfigEntry](), resolverFields},
	{api.ServiceDefaults, reflect.TypeFor[api.ServiceConfigEntry](), defaultsFields},
	{api.ProxyDefaults, reflect.TypeFor[api.ProxyConfigEntry](), proxyFields},
}

func TestEveryFieldOfRoutingIsHonouredOrRefused(t *testing.T) {
	for _, of := range routingTypes {
		want := fieldPaths("", of.entry)
		var got []string
		for _, f := range of.fields {
			got = append(got, f.Path)
			known := f.Status == honoured || (f.Status == refused || f.Status == fails) && f.Note != ""
			if f.Entry != of.kind || !known {
				t.Errorf("%+v says too little", f)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-Consul's +ours):\n%s", of.kind, d)
		}
	}
}

// Each field that is refused is set alone, and must be told of.
func TestWhatIsRefusedIsTold(t *testing.T) {
	for _, of := range routingTypes {
		for _, f := range of.fields {
			entry := reflect.New(of.entry)
			entry.Elem().FieldByName("Kind").SetString(of.kind)
			set(t, entry.Elem(), f.Path)
			e, ok := reflect.TypeAssert[api.ConfigEntry](entry)
			if !ok {
				t.Fatalf("%v is no entry", entry.Type())
			}
			problems := refusals(e)
			switch {
			case f.Status == refused && (len(problems) != 1 || !problems[0].Warning || !strings.Contains(problems[0].Message, f.Note)):
				t.Errorf("%s: %s: got %v, want a warning with %q", of.kind, f.Path, problems, f.Note)
			case f.Status != refused && len(problems) > 0:
				t.Errorf("%s: %s is %s, and told of as refused: %v", of.kind, f.Path, f.Status, problems)
			}
		}
	}
}

// set gives the field at a path some value.
func set(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	name, rest, _ := strings.Cut(path, ".")
	bare := strings.TrimRight(name, "[]{}")
	f := v.FieldByName(bare)
	at := f
	switch {
	case strings.HasSuffix(name, "[]"):
		f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		at = f.Index(0)
	case strings.HasSuffix(name, "{}"):
		at = reflect.New(f.Type().Elem()).Elem()
		defer func() {
			f.Set(reflect.MakeMap(f.Type()))
			f.SetMapIndex(reflect.ValueOf("key"), at)
		}()
	}
	if at.Kind() == reflect.Pointer {
		at.Set(reflect.New(at.Type().Elem()))
		at = at.Elem()
	}
	if rest != "" {
		set(t, at, rest)
		return
	}
	switch at.Kind() {
	case reflect.String:
		at.SetString("x")
	case reflect.Bool:
		at.SetBool(true)
	case reflect.Int, reflect.Int64:
		at.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		at.SetUint(1)
	case reflect.Float32:
		at.SetFloat(1)
	case reflect.Slice:
		at.Set(reflect.MakeSlice(at.Type(), 1, 1))
	case reflect.Map:
		at.Set(reflect.MakeMap(at.Type()))
		at.SetMapIndex(reflect.ValueOf("key"), reflect.Zero(at.Type().Elem()))
	default:
		t.Fatalf("%s is a %v, which nobody can set here", path, at.Kind())
	}
}

// TestConfigEntriesAreDocumented holds docs/consul-config-entries.md to the tables: -update
// writes it anew.
func TestConfigEntriesAreDocumented(t *testing.T) {
	const path = "../../../docs/consul-config-entries.md"
	want := documentation()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if d := cmp.Diff(want, string(got)); err != nil || d != "" {
		t.Errorf("%s is not of these tables: go test ./xdsserver/source/consul -run TestConfigEntriesAreDocumented -update (%v):\n%s", path, err, d)
	}
}

func documentation() string {
	var b strings.Builder
	b.WriteString(`# Consul's config entries

<!-- Made from the tables of xdsserver/source/consul/*_fields.go: go test ./xdsserver/source/consul -run TestConfigEntriesAreDocumented -update -->

What ` + "`xdsserver serve --consul`" + ` makes of every field of the config entries that route calls and say who
may call ([Over Consul](consul.md)). A change is with clients within 200 ms.

- **honoured**: it does what Consul documents, or changes nothing.
- **refused**: it is left out, and calls go as the rest of the entry says. ` + "`xdsserver check`" + ` warns of each one that is
  set. In service-intentions it closes rather than opens.
- **fails**: it leaves calls nowhere to go. They fail, rather than go where nobody sent them, and ` + "`xdsserver check`" + `
  says which and why.

The chain that Consul compiles of a service's entries becomes a GRPCRoute ` + "`consul.NAME`" + `, whose first rule that
matches decides. A GRPCRoute that was applied for the same service goes before it. What resolvers and
defaults say of a service itself is a Service; one of that name that was applied takes its place.
`)
	kind := ""
	for _, f := range slices.Concat(routingFields(), intentionFields) {
		if f.Entry != kind {
			kind = f.Entry
			fmt.Fprintf(&b, "\n## %s\n\n| field | | |\n| --- | --- | --- |\n", kind)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, f.Status, strings.ReplaceAll(f.Note, "|", "\\|"))
	}
	return b.String()
}
