package consul

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

var updateDocs = flag.Bool("update-docs", false, "rewrite docs/consul-config-entries.md")

// leaves are the paths of all fields of a type that hold values.
func leaves(t reflect.Type, path string) []string {
	switch t.Kind() { //nolint:exhaustive // all others are leaves
	case reflect.Pointer:
		return leaves(t.Elem(), path)
	case reflect.Slice:
		return leaves(t.Elem(), path+"[]")
	case reflect.Map:
		if t.Elem().Kind() == reflect.Struct {
			return leaves(t.Elem(), path)
		}
	case reflect.Struct:
		var all []string
		for f := range t.Fields() {
			if f.IsExported() {
				all = append(all, leaves(f.Type, strings.TrimPrefix(path+"."+f.Name, "."))...)
			}
		}
		return all
	}
	return []string{path}
}

// routingFields is what is done with each field of the entries that route calls.
func routingFields() []field {
	var all []field
	for _, e := range []api.ConfigEntry{
		&api.ServiceRouterConfigEntry{Kind: api.ServiceRouter}, &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter},
		&api.ServiceResolverConfigEntry{Kind: api.ServiceResolver}, &api.ServiceConfigEntry{Kind: api.ServiceDefaults},
	} {
		for _, path := range leaves(reflect.TypeOf(e), "") {
			f := field{Entry: e.GetKind(), Path: path, Status: refused, Note: "`xdsserver check` tells of it; the rest of the entry holds"}
			switch {
			case slices.Contains(everyHonoured, path):
				f.Status, f.Note = honoured, ""
			case strings.Contains(path, "QueryParam") || strings.HasSuffix(path, "CaseInsensitive"):
				f.Note = "no call of gRPC has it: the router is not honoured, and `xdsserver check` says so"
			case strings.Contains(path, "Datacenter") || strings.HasSuffix(path, "Peer"):
				f.Note = "services of other datacenters and peers are not called yet: a failover leaves them out, other entries are not honoured; " +
					"`xdsserver check` says so"
			case slices.Contains(routingHonoured[e.GetKind()], path):
				f.Status, f.Note = honoured, ""
			case strings.HasSuffix(path, "Namespace") || strings.HasSuffix(path, "Partition"):
				f.Note = "of Consul Enterprise; default is taken"
			}
			all = append(all, f)
		}
	}
	return all
}

func TestFieldsOfConfigEntriesAreDocumented(t *testing.T) {
	const path = "../../../docs/consul-config-entries.md"
	var b strings.Builder
	b.WriteString("# Fields of Consul's config entries\n\nWhat `xdsserver serve --consul` does with each field that Consul's config entries have " +
		"([consul.md](consul.md)). Paths\nare those of Consul's own Go types.\n")
	kind := ""
	for _, f := range slices.Concat(routingFields(), intentionFields) {
		if f.Entry != kind {
			kind = f.Entry
			fmt.Fprintf(&b, "\n## %s\n\n| field | | |\n| --- | --- | --- |\n", kind)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.Path, f.Status, f.Note)
	}
	if *updateDocs {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the tables say: go test ./xdsserver/source/consul -run Documented -update-docs", path)
	}
}

// Every path that is said to be honoured is one that there is.
func TestHonouredFieldsExist(t *testing.T) {
	all := map[string][]string{}
	for _, f := range routingFields() {
		all[f.Entry] = append(all[f.Entry], f.Path)
	}
	for kind, paths := range routingHonoured {
		for _, path := range paths {
			if kind != api.ProxyDefaults && !slices.Contains(all[kind], path) {
				t.Errorf("%s has no field %s", kind, path)
			}
		}
	}
}

func TestFieldsThatAreNotHonouredAreTold(t *testing.T) {
	problems := unhonoured(&api.ServiceSplitterConfigEntry{
		Kind: api.ServiceSplitter, Name: "voting", Namespace: "default",
		Splits: []api.ServiceSplit{
			{Weight: 50, ServiceSubset: "one"},
			{Weight: 50, RequestHeaders: &api.HTTPHeaderModifiers{Set: map[string]string{"x": "1"}}, Partition: "other"},
		},
	})
	var got []string
	for _, p := range problems {
		got = append(got, p.From+" "+p.Field)
	}
	slices.Sort(got)
	want := []string{"consul:service-splitter/voting Splits[1].Partition", "consul:service-splitter/voting Splits[1].RequestHeaders.Set"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What Consul says, however odd, makes a route or problems, and never harm.
func FuzzChain(f *testing.F) {
	f.Add("voting", "router:voting", "/a/b", "x", "one", "voting.default")
	f.Add("", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, name, start, path, header, subset, target string) {
		route, problems := compileChain(&api.CompiledDiscoveryChain{
			ServiceName: name, StartNode: start, Datacenter: "dc1",
			Nodes: map[string]*api.DiscoveryGraphNode{
				start: {Type: api.DiscoveryGraphNodeTypeRouter, Routes: []*api.DiscoveryRoute{{
					Definition: &api.ServiceRoute{Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{
						PathPrefix: path, Header: []api.ServiceRouteHTTPMatchHeader{{Name: header, Prefix: header}},
					}}},
					NextNode: "r",
				}, {NextNode: start}}},
				"r": {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{Target: target, Failover: &api.DiscoveryFailover{
					Targets: []string{target, "gone"},
				}}},
			},
			Targets: map[string]*api.DiscoveryTarget{target: {ID: target, Service: name, ServiceSubset: subset, Datacenter: "dc1"}},
		}, nil)
		if route == nil && len(problems) == 0 {
			t.Error("neither a route nor a problem")
		}
	})
}
