package consul

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func named(name string) model.ServiceName {
	return model.ServiceName{Namespace: model.DefaultNamespace, Name: name}
}

// routeOf is the route that Consul's entries made of a service; nil for none.
func routeOf(out source.Output, service string) *model.Route {
	for _, o := range out.Objects {
		if r, ok := o.(*model.Route); ok && slices.Contains(r.Parents, named(service)) {
			return r
		}
	}
	return nil
}

func TestEntriesBecomeRoutes(t *testing.T) {
	agent := consultest.Start(t)
	client, err := consul.New(consul.Config{Address: agent.Address()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	outputs, stop := runSource(t, Config{Client: client, Self: "one"})
	defer stop()
	next(t, outputs, func(out source.Output) bool { return out.Err == nil })
	entries := agent.Client(t).ConfigEntries()
	set := func(e api.ConfigEntry) {
		t.Helper()
		if ok, _, err := entries.Set(e, nil); err != nil || !ok {
			t.Fatalf("%s %s: %v, %v", e.GetKind(), e.GetName(), ok, err)
		}
	}
	for _, name := range []string{"voting", "standby"} {
		set(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: name, Protocol: "grpc"})
	}
	resolver := &api.ServiceResolverConfigEntry{
		Kind: api.ServiceResolver, Name: "voting", RequestTimeout: 3 * time.Second,
		Subsets: map[string]api.ServiceResolverSubset{
			"one": {Filter: `Service.Meta.version == "v1"`}, "two": {Filter: `Service.Meta.version == "v2"`, OnlyPassing: true},
		},
		Failover: map[string]api.ServiceResolverFailover{"*": {Service: "standby"}},
	}
	set(resolver)
	standby := []model.Target{{Service: named("standby")}}
	three := 3 * time.Second
	for _, test := range []struct {
		name  string
		entry api.ConfigEntry
		want  []model.Rule
	}{
		{
			name: "a resolver alone", entry: resolver,
			want: []model.Rule{{Backends: []model.Backend{{Service: named("voting"), Weight: 10000, Failover: standby}}, Timeout: &three}},
		},
		{
			name: "a splitter",
			entry: &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: "voting", Splits: []api.ServiceSplit{
				{Weight: 99.75, ServiceSubset: "one"}, {Weight: 0.25, ServiceSubset: "two"},
			}},
			want: []model.Rule{{Backends: []model.Backend{
				{Service: named("voting"), Version: "subset.one", Weight: 9975, Failover: standby},
				{Service: named("voting"), Version: "subset.two", Weight: 25, Failover: standby},
			}}},
		},
	} {
		began := time.Now()
		set(test.entry)
		var got *model.Route
		out := next(t, outputs, func(out source.Output) bool {
			got = routeOf(out, "voting")
			return got != nil && cmp.Equal(got.Rules, test.want)
		})
		t.Logf("%s: after %v", test.name, time.Since(began).Round(time.Millisecond))
		for _, p := range out.Problems {
			t.Errorf("%s: %s %s %s", test.name, p.From, p.Field, p.Message)
		}
	}
}
