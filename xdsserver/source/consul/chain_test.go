package consul

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var update = flag.Bool("update", false, "record testdata/chains from a real agent, and write docs/consul-config-entries.md")

// A scenario is config entries, and what becomes of calls to the service web.
type scenario struct {
	name    string
	entries []api.ConfigEntry
	// route is its rules as describe has them; nil where there is none.
	route []string
	// services are those that say something.
	services []string
	problems []string
}

// grpcOf has Consul take routers and splitters of services.
func grpcOf(names ...string) []api.ConfigEntry {
	all := make([]api.ConfigEntry, len(names))
	for i, name := range names {
		all[i] = &api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: name, Protocol: "grpc"}
	}
	return all
}

// subsetsOf are named subsets whose filters do not matter.
func subsetsOf(names ...string) map[string]api.ServiceResolverSubset {
	all := make(map[string]api.ServiceResolverSubset)
	for _, name := range names {
		all[name] = api.ServiceResolverSubset{Filter: fmt.Sprintf("Service.Meta.version == %q", name)}
	}
	return all
}

func resolver(e api.ServiceResolverConfigEntry) *api.ServiceResolverConfigEntry {
	e.Kind = api.ServiceResolver
	if e.Name == "" {
		e.Name = "web"
	}
	return &e
}

func router(routes ...api.ServiceRoute) *api.ServiceRouterConfigEntry {
	return &api.ServiceRouterConfigEntry{Kind: api.ServiceRouter, Name: "web", Routes: routes}
}

func splitter(name string, splits ...api.ServiceSplit) *api.ServiceSplitterConfigEntry {
	return &api.ServiceSplitterConfigEntry{Kind: api.ServiceSplitter, Name: name, Splits: splits}
}

// matching is a route that goes to api.
func matching(m api.ServiceRouteHTTPMatch) api.ServiceRoute {
	return api.ServiceRoute{Match: &api.ServiceRouteMatch{HTTP: &m}, Destination: &api.ServiceRouteDestination{Service: "api"}}
}

// going is a route of every call.
func going(d api.ServiceRouteDestination) api.ServiceRoute { return api.ServiceRoute{Destination: &d} }

func headed(h api.ServiceRouteHTTPMatchHeader) api.ServiceRoute {
	return matching(api.ServiceRouteHTTPMatch{Header: []api.ServiceRouteHTTPMatchHeader{h}})
}

func (s scenario) file() string {
	return filepath.Join("testdata", "chains", strings.ReplaceAll(s.name, " ", "-")+".json")
}

// recorded are the chains that a real agent compiled of a scenario's entries.
func (s scenario) recorded(t *testing.T) map[entryName]*api.CompiledDiscoveryChain {
	t.Helper()
	data, err := os.ReadFile(s.file())
	if err != nil {
		t.Fatalf("%v: record it with -update", err)
	}
	found := map[string]*api.CompiledDiscoveryChain{}
	if err := json.Unmarshal(data, &found); err != nil {
		t.Fatal(err)
	}
	chains := map[entryName]*api.CompiledDiscoveryChain{}
	for name, chain := range found {
		chains[entryNamed("", name)] = chain
	}
	return chains
}

func entriesOf(list []api.ConfigEntry) routingEntries {
	all := make(routingEntries)
	for _, kind := range routingKinds {
		all[kind] = make(map[entryName]api.ConfigEntry)
	}
	for _, e := range list {
		all[e.GetKind()][nameOf(e)] = e
	}
	return all
}

func scenarios() []scenario {
	return slices.Concat(routerScenarios, splitterScenarios, resolverScenarios, defaultsScenarios)
}

// TestRecordChains asks a real agent for the chains of all scenarios, with -update.
func TestRecordChains(t *testing.T) {
	if !*update {
		t.Skip("records with -update")
	}
	agent := consultest.Start(t)
	client := agent.Client(t)
	wanted := map[string]bool{}
	for _, s := range scenarios() {
		for _, e := range s.entries {
			if _, _, err := client.ConfigEntries().Set(e, nil); err != nil {
				t.Fatalf("%s: %s %s: %v", s.name, e.GetKind(), e.GetName(), err)
			}
		}
		// As Consul answers, with what its own client has no fields for.
		chains := map[string]json.RawMessage{}
		for name := range entriesOf(s.entries).routed() {
			var answer struct{ Chain json.RawMessage }
			if _, err := client.Raw().Query("/v1/discovery-chain/"+name.name, &answer, nil); err != nil {
				t.Fatal(err)
			}
			chains[name.name] = answer.Chain
		}
		data, err := json.MarshalIndent(chains, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		wanted[s.file()] = true
		if err := os.MkdirAll(filepath.Dir(s.file()), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.file(), append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, e := range slices.Backward(s.entries) {
			if _, err := client.ConfigEntries().Delete(e.GetKind(), e.GetName(), nil); err != nil {
				t.Fatalf("%s: %s %s: %v", s.name, e.GetKind(), e.GetName(), err)
			}
		}
	}
	files, err := filepath.Glob("testdata/chains/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !wanted[file] {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCompileRouting(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			p := compileRouting(entriesOf(s.entries), s.recorded(t), filters{})
			var route, services []string
			for _, o := range p.objects {
				switch o := o.(type) {
				case *model.Route:
					if o.Name != "consul.web" {
						continue
					}
					for _, rule := range o.Rules {
						route = append(route, describe(rule))
					}
				case *model.Service:
					if text := describeService(o); text != "" {
						services = append(services, text)
					}
				}
			}
			var problems []string
			for _, p := range p.problems {
				text := p.From + " " + p.Field + ": " + p.Message
				if p.Warning {
					text = "warning " + text
				}
				problems = append(problems, text)
			}
			if d := cmp.Diff(s.route, route); d != "" {
				t.Errorf("route (-want +got):\n%s", d)
			}
			if d := cmp.Diff(s.services, services); d != "" {
				t.Errorf("services (-want +got):\n%s", d)
			}
			if len(s.problems) != len(problems) {
				t.Fatalf("got problems %q, want %q", problems, s.problems)
			}
			for i, want := range s.problems {
				if !strings.Contains(problems[i], want) {
					t.Errorf("got problem %q, want %q in it", problems[i], want)
				}
			}
			accepted(t, p)
		})
	}
}

// accepted fails where the model would set an object aside.
func accepted(t *testing.T, p routingPart) {
	t.Helper()
	for _, problem := range model.Validate(p.objects, nil, nil).Problems {
		if !problem.Warning {
			t.Errorf("%s: %s: %s", problem.From, problem.Field, problem.Message)
		}
	}
}

// describe is one rule in a line: what it matches, where that goes, and what else.
func describe(r model.Rule) string {
	var b strings.Builder
	if len(r.Matches) == 0 {
		b.WriteString("*")
	}
	for _, m := range r.Matches {
		switch {
		case m.Path != nil && m.Path.Kind == model.PathPrefix:
			b.WriteString(m.Path.Value + "...")
		case m.Path != nil:
			b.WriteString("~" + m.Path.Value)
		case m.Service != "":
			fmt.Fprintf(&b, "/%s/%s", m.Service, m.Method)
		default:
			b.WriteString("*")
		}
		for _, h := range m.Headers {
			operator := map[bool]string{false: "=", true: "~"}[h.Regex]
			if h.Invert {
				operator = "!" + operator
			}
			if h.Absent {
				operator = " absent"
			}
			fmt.Fprintf(&b, " %s%s%s", h.Name, operator, h.Value)
		}
	}
	b.WriteString(" ->")
	for _, to := range r.Backends {
		fmt.Fprintf(&b, " %s", spelled(to.Service, to.Version))
		if len(r.Backends) > 1 {
			fmt.Fprintf(&b, "=%d", to.Weight)
		}
		for _, f := range to.Failover {
			fmt.Fprintf(&b, "|%s", spelled(f.Service, f.Version))
		}
	}
	if r.Timeout != nil {
		fmt.Fprintf(&b, " timeout %v", *r.Timeout)
	}
	if r.IdleTimeout != nil {
		fmt.Fprintf(&b, " idle %v", *r.IdleTimeout)
	}
	if retry := r.Retry; retry != nil {
		fmt.Fprintf(&b, " attempts %d on %v", retry.Attempts, retry.On.List())
		if retry.Idempotent {
			b.WriteString(" whatever the method")
		}
	}
	if h := r.Headers; h != nil {
		fmt.Fprintf(&b, " set %v add %v remove %v", h.Set, h.Add, h.Remove)
	}
	if r.Fault != nil {
		fmt.Fprintf(&b, " fails with %d", r.Fault.AbortCode)
	}
	return b.String()
}

func spelled(s model.ServiceName, version string) string {
	if version == "" {
		return s.String()
	}
	return s.String() + "@" + strings.TrimPrefix(version, "subset.")
}

// describeService is what a service says; empty for nothing.
func describeService(s *model.Service) string {
	var parts []string
	if b := s.LoadBalancing; b != nil {
		text := fmt.Sprintf("by %s", b.Policy)
		if b.Choices != 0 {
			text += fmt.Sprintf(" of %d", b.Choices)
		}
		if b.Policy == model.RingHash {
			text += fmt.Sprintf(" of %q from %d to %d", b.HashHeader, b.MinRingSize, b.MaxRingSize)
		}
		if b.Zone != nil {
			text += fmt.Sprintf(" spread %v", b.Zone.Spread)
		}
		parts = append(parts, text)
	}
	if s.Timeout != 0 {
		parts = append(parts, s.Timeout.String())
	}
	if s.Strict {
		parts = append(parts, "strict")
	}
	if s.Admission != nil {
		parts = append(parts, fmt.Sprintf("takes %v", s.Admission.RateLimits[0].Rate))
	}
	if len(parts) == 0 {
		return ""
	}
	return s.Name.String() + ": " + strings.Join(parts, ", ")
}

var defaultsScenarios = []scenario{
	{
		name: "what defaults say of a service itself",
		entries: []api.ConfigEntry{&api.ServiceConfigEntry{
			Kind: api.ServiceDefaults, Name: "web", Protocol: "grpc", LocalRequestTimeoutMs: 1500, MutualTLSMode: api.MutualTLSModeStrict,
		}},
		services: []string{"web: 1.5s, strict"},
	},
	{
		name: "what defaults say of a caller and of proxies",
		entries: []api.ConfigEntry{&api.ServiceConfigEntry{
			Kind: api.ServiceDefaults, Name: "web", Protocol: "grpc", MeshGateway: api.MeshGatewayConfig{Mode: api.MeshGatewayModeLocal},
			UpstreamConfig: &api.UpstreamConfiguration{Defaults: &api.UpstreamConfig{
				ConnectTimeoutMs: 1, Limits: &api.UpstreamLimits{MaxConcurrentRequests: new(7)},
				PassiveHealthCheck: &api.PassiveHealthCheck{Interval: time.Second, MaxFailures: 3},
			}},
			LocalConnectTimeoutMs: 10, BalanceInboundConnections: "exact_balance", MaxInboundConnections: 5,
		}},
		problems: []string{
			"warning consul:service-defaults/web MeshGateway.Mode: is not honoured: calls go from process to process",
			"warning consul:service-defaults/web UpstreamConfig.Defaults.ConnectTimeoutMs, UpstreamConfig.Defaults.Limits.MaxConcurrentRequests, UpstreamConfig.Defaults.PassiveHealthCheck.Interval and 1 more: is not honoured: it is what one caller says",
			"warning consul:service-defaults/web MaxInboundConnections: is not honoured: a connection carries many calls",
			"warning consul:service-defaults/web LocalConnectTimeoutMs, BalanceInboundConnections: is not honoured: it is about sidecar proxies",
		},
	},
	{
		name: "a service outside of the mesh",
		entries: []api.ConfigEntry{
			&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "web", Protocol: "grpc", ExternalSNI: "example.org"},
			router(going(api.ServiceRouteDestination{RequestTimeout: time.Second})),
		},
		route: []string{"* -> web timeout 1s fails with 14"},
		problems: []string{
			"consul:service-defaults/web ExternalSNI: is not honoured: a service outside of the mesh",
			"consul:service-router/web Routes[0]: web is outside of the mesh (ExternalSNI), and has no identity there: calls fail with UNAVAILABLE",
		},
	},
}
