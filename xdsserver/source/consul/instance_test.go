package consul

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// entry is a passing instance of voting on one node, changed by the functions.
func entry(id string, change ...func(*api.ServiceEntry)) *api.ServiceEntry {
	e := &api.ServiceEntry{
		Node:    &api.Node{Node: "n1", Address: "10.0.0.1"},
		Service: &api.AgentService{ID: id, Service: "voting", Port: 8080, Weights: api.AgentWeights{Passing: 1, Warning: 1}},
		Checks:  api.HealthChecks{{Node: "n1", CheckID: "serfHealth", Status: api.HealthPassing}},
	}
	for _, f := range change {
		f(e)
	}
	return e
}

func meta(pairs ...string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Service.Meta = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			e.Service.Meta[pairs[i]] = pairs[i+1]
		}
	}
}

func checked(status string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) {
		e.Checks = append(e.Checks, &api.HealthCheck{CheckID: "service:" + e.Service.ID, Status: status})
	}
}

func on(node, address string) func(*api.ServiceEntry) {
	return func(e *api.ServiceEntry) { e.Node = &api.Node{Node: node, Address: address} }
}

var voting = model.ServiceName{Namespace: "default", Name: "voting"}

func TestEntriesBecomeInstances(t *testing.T) {
	// want is of an endpoint what differs from the plain one.
	want := func(change func(*model.Endpoint)) []model.Endpoint {
		e := model.Endpoint{Service: voting, Instance: "a@n1", Addresses: []string{"10.0.0.1:8080"}, Weight: 1, From: "consul:n1"}
		change(&e)
		return []model.Endpoint{e}
	}
	plain := want(func(*model.Endpoint) {})
	service := func(f func(*api.AgentService)) func(*api.ServiceEntry) {
		return func(e *api.ServiceEntry) { f(e.Service) }
	}
	for _, tt := range []struct {
		name     string
		entries  []*api.ServiceEntry
		want     []model.Endpoint
		problems []string
	}{
		{name: "a service at the address of its node", entries: []*api.ServiceEntry{entry("a")}, want: plain},
		{
			name:    "a service at its own address, in its shortest form",
			entries: []*api.ServiceEntry{entry("a", service(func(s *api.AgentService) { s.Address = "2001:DB8::0:7" }))},
			want:    want(func(e *model.Endpoint) { e.Addresses = []string{"[2001:db8::7]:8080"} }),
		},
		{
			name: "a service of several ports at its default one",
			entries: []*api.ServiceEntry{entry("a", service(func(s *api.AgentService) {
				s.Port, s.Ports = 0, api.ServicePorts{{Name: "metrics", Port: 1}, {Name: "grpc", Port: 9000, Default: true}}
			}))},
			want: want(func(e *model.Endpoint) { e.Addresses = []string{"10.0.0.1:9000"} }),
		},
		{
			name: "labels from metadata before tags, from tags before the locality, from the service before its node",
			entries: []*api.ServiceEntry{entry("a", meta("version", "v2"), service(func(s *api.AgentService) {
				s.Tags, s.Locality = []string{"version=v1", "zone=z1", "other"}, &api.Locality{Region: "r1", Zone: "z9"}
			}), func(e *api.ServiceEntry) {
				e.Node.Locality, e.Node.Meta = &api.Locality{Region: "r9"}, map[string]string{"region": "r8", "version": "v9"}
			})},
			want: want(func(e *model.Endpoint) { e.Version, e.Region, e.Zone = "v2", "r1", "z1" }),
		},
		{
			name: "labels from the node's metadata where nobody else says them",
			entries: []*api.ServiceEntry{entry("a", func(e *api.ServiceEntry) {
				e.Node.Meta = map[string]string{"region": "r8", "zone": "z8", "version": "v9"}
			})},
			want: want(func(e *model.Endpoint) { e.Region, e.Zone = "r8", "z8" }),
		},
		{
			name:     "a label that cannot be one is left out with a warning",
			entries:  []*api.ServiceEntry{entry("a", meta("version", "v 2", "zone", "r/z"))},
			want:     plain,
			problems: []string{`default/voting endpoints[a@n1].version: "v 2" is left out`, `default/voting endpoints[a@n1].zone: "r/z" is left out`},
		},
		{
			name: "the weight of one that passes, and of one with a warning, up to the most",
			entries: []*api.ServiceEntry{
				entry("a", service(func(s *api.AgentService) { s.Weights = api.AgentWeights{Passing: 70_000, Warning: 1} })),
				entry("b", checked(api.HealthWarning), service(func(s *api.AgentService) { s.Weights = api.AgentWeights{Passing: 9, Warning: 2} })),
			},
			want: append(want(func(e *model.Endpoint) { e.Weight = 10_000 }), want(func(e *model.Endpoint) { e.Instance, e.Weight = "b@n1", 2 })...),
		},
		{
			name:    "a critical check, and a node under maintenance, take no calls",
			entries: []*api.ServiceEntry{entry("a", checked(api.HealthCritical)), entry("b", func(e *api.ServiceEntry) { e.Checks[0].CheckID = api.NodeMaint })},
			want: append(want(func(e *model.Endpoint) { e.Health = model.NotServing }),
				want(func(e *model.Endpoint) { e.Instance, e.Health = "b@n1", model.NotServing })...),
		},
		{
			name: "what another xdsserver registered has the name and the instance that it says",
			entries: []*api.ServiceEntry{entry("x", meta(consul.MetaOwner, "r2", consul.MetaService, "voting.shop", consul.MetaInstance, "i-1"),
				service(func(s *api.AgentService) { s.Service = "voting--shop" }))},
			want: want(func(e *model.Endpoint) {
				e.Service.Namespace, e.Instance, e.From = "shop", "i-1", model.Elsewhere
			}),
		},
		{
			name:    "what this xdsserver registered is told apart",
			entries: []*api.ServiceEntry{entry("x", meta(consul.MetaOwner, "r1", consul.MetaInstance, "i-1"))},
			want:    want(func(e *model.Endpoint) { e.Instance, e.From = "i-1", model.Mirrored }),
		},
		{
			name: "what this xdsserver registered before a process moved does not hide where it is now",
			entries: []*api.ServiceEntry{
				entry("x", meta(consul.MetaOwner, "r1", consul.MetaInstance, "i-1")),
				entry("y", meta(consul.MetaOwner, "r2", consul.MetaInstance, "i-1"), checked(api.HealthCritical)),
			},
			want: append(
				want(func(e *model.Endpoint) { e.Instance, e.From, e.Health = "i-1", model.Elsewhere, model.NotServing }),
				want(func(e *model.Endpoint) { e.Instance, e.From = "i-1", model.Mirrored })...,
			),
		},
		{
			name:    "nobody joins a service by metadata who may not write it in Consul",
			entries: []*api.ServiceEntry{entry("a", meta(consul.MetaService, "payments"))},
			want:    []model.Endpoint{},
			problems: []string{
				"default/voting : cannot be called: its metadata tulle-service says that it is payments, which is payments in Consul: remove it",
			},
		},
		{
			name:    "an instance on two nodes is the one that passes, then the first",
			entries: twice(checked(api.HealthCritical), checked(api.HealthPassing)),
			want: want(func(e *model.Endpoint) {
				e.Instance, e.From, e.Addresses = "i", model.Elsewhere, []string{"10.0.0.3:8080"}
			}),
		},
		{
			name:    "an instance on two nodes that are alike is the first",
			entries: twice(checked(api.HealthPassing), checked(api.HealthPassing)),
			want: want(func(e *model.Endpoint) {
				e.Instance, e.From, e.Addresses = "i", model.Elsewhere, []string{"10.0.0.2:8080"}
			}),
		},
		{
			name: "proxies, gateways and what is half there are left out without a word",
			entries: []*api.ServiceEntry{
				entry("a", service(func(s *api.AgentService) { s.Kind = api.ServiceKindConnectProxy })),
				entry("a", service(func(s *api.AgentService) { s.Kind = api.ServiceKindMeshGateway })),
				nil,
				{},
				{Service: &api.AgentService{}},
			},
			want: []model.Endpoint{},
		},
		{
			name: "a name that DNS does not take is told once",
			entries: []*api.ServiceEntry{
				entry("a", service(func(s *api.AgentService) { s.Service = "Voting_API" })),
				entry("b", service(func(s *api.AgentService) { s.Service = "Voting_API" })),
			},
			want:     []model.Endpoint{},
			problems: []string{`default/Voting_API : cannot be called: "Voting_API" may hold only a-z, 0-9 and '-', not 'V'`},
		},
		{
			name: "addresses that nobody can dial are told",
			entries: []*api.ServiceEntry{
				entry("a", service(func(s *api.AgentService) { s.Address = "db.example.com" })),
				entry("b", service(func(s *api.AgentService) { s.Address = "0.0.0.0" })),
				entry("c", service(func(s *api.AgentService) { s.Port = 0 })),
				entry("d", service(func(s *api.AgentService) { s.Port = 70_000 })),
				entry("e", service(func(s *api.AgentService) { s.Address = "fe80::1%eth0" })),
				entry("f", func(e *api.ServiceEntry) { e.Node.Address = "" }),
			},
			want: []model.Endpoint{},
			problems: []string{
				`default/voting endpoints[a@n1]: is left out: its address "db.example.com" is a host name`,
				`default/voting endpoints[b@n1]: is left out: its address 0.0.0.0 is not that of one machine`,
				`default/voting endpoints[c@n1]: is left out: its port is 0`,
				`default/voting endpoints[d@n1]: is left out: its port is 70000`,
				`default/voting endpoints[e@n1]: is left out: its address "fe80::1%eth0" has a zone`,
				`default/voting endpoints[f@n1]: is left out: it has no address`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := reader{self: "r1"}
			got := []model.Endpoint{}
			for _, in := range r.read(tt.entries) {
				got = append(got, in.endpoint)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("endpoints (-want +got):\n%s", diff)
			}
			wantProblems(t, r.problems, tt.problems...)
		})
	}
}

func twice(first, second func(*api.ServiceEntry)) []*api.ServiceEntry {
	same := meta(consul.MetaOwner, "r2", consul.MetaInstance, "i")
	return []*api.ServiceEntry{entry("y", same, second, on("n3", "10.0.0.3")), entry("x", same, first, on("n2", "10.0.0.2"))}
}

// wantProblems wants warnings whose texts begin so, in order.
func wantProblems(t *testing.T, problems []model.Problem, want ...string) {
	t.Helper()
	got := make([]string, len(problems))
	for i, p := range problems {
		got[i] = fmt.Sprintf("%s/%s %s: %s", p.Object.Namespace, p.Object.Name, p.Field, p.Message)
		if !p.Warning || p.Object.Kind != model.KindService || p.From == "" {
			t.Errorf("%+v: want a warning of a service that says where it is from", p)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got problems %q, want %q", got, want)
		return
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got problem %q, want %q", got[i], want[i])
		}
	}
}

func TestManyProblemsOfOneServiceAreCounted(t *testing.T) {
	entries := make([]*api.ServiceEntry, 1000)
	for i := range entries {
		entries[i] = entry(fmt.Sprint(i), func(e *api.ServiceEntry) { e.Service.Port = 0 })
	}
	r := reader{}
	r.read(entries)
	if last := r.problems[len(r.problems)-1].Message; len(r.problems) != maxProblems || !strings.HasSuffix(last, "(and 992 more problems of this service)") {
		t.Errorf("got %d problems, the last %q", len(r.problems), last)
	}
}

func TestNamesOfInstancesAreReducedWithoutBecomingOne(t *testing.T) {
	long := strings.Repeat("x", 200)
	seen := map[string]string{}
	for _, s := range []string{"a@n1", "a/b@n1", "a-b@n1", "a b@n1", "é@n1", "", long, long + "y", long[:128], "_nomad-task-1:web.http@n1"} {
		got := reduce(s)
		if other, ok := seen[got]; ok {
			t.Errorf("%.30q and %.30q are both %q", s, other, got)
		}
		seen[got] = s
		if len(got) > maxInstance || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-_.:@") != "" {
			t.Errorf("%.30q: got %q", s, got)
		}
	}
	if got := reduce("_nomad-task-1:web.http@n1"); got != "_nomad-task-1:web.http@n1" {
		t.Errorf("got %q, want what needs no change as it is", got)
	}
}

// FuzzEntry has whatever Consul may say be no panic, and every endpoint one that the
// mesh takes.
func FuzzEntry(f *testing.F) {
	for _, e := range []*api.ServiceEntry{
		entry("a", meta("version", "v2", consul.MetaOwner, "r1", consul.MetaInstance, "i")),
		entry("b/c", checked(api.HealthWarning)),
		entry("", on("", "::ffff:10.0.0.1")),
		entry("x", meta(consul.MetaService, "voting.default")),
		{},
	} {
		data, err := json.Marshal([]*api.ServiceEntry{e, e})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`[null,{"Checks":[null,{"Status":"odd"}],"Node":{},"Service":{"Port":-1,"Weights":{"Passing":-5}}}]`))
	f.Add([]byte(`[{"Checks":[{"Definition":null}]}]`)) // ends Consul's own decoder
	f.Fuzz(func(t *testing.T, data []byte) {
		var entries []*api.ServiceEntry
		if safely(func() error { return json.Unmarshal(data, &entries) }) != nil {
			return
		}
		r := reader{self: "r1"}
		found := r.read(entries)
		endpoints := make([]model.Endpoint, len(found))
		for i, in := range found {
			endpoints[i] = in.endpoint
			if i > 0 && found[i-1].key().compare(in.key()) >= 0 {
				t.Errorf("%v after %v: want each once, in order", in.key(), found[i-1].key())
			}
			if name := in.endpoint.Instance; name == "" || reduce(name) != name {
				t.Errorf("instance %q is none that the registry takes", name)
			}
		}
		for _, p := range model.Validate(nil, endpoints, nil).Problems {
			if !strings.Contains(p.Message, "is also that of") { // two at one address, which the model tells of
				t.Errorf("the mesh does not take it: %+v", p)
			}
		}
		if len(r.problems) > maxProblems {
			t.Errorf("got %d problems", len(r.problems))
		}
	})
}
