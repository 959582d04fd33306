package consul

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"
)

// made is a chain of web that no agent of this edition of Consul makes.
func made(change func(*api.CompiledDiscoveryChain)) *chain {
	c := &api.CompiledDiscoveryChain{
		ServiceName: "web", Datacenter: "dc1", StartNode: "start",
		Nodes: map[string]*api.DiscoveryGraphNode{
			"start": {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{Target: "web.default.default.dc1"}},
			"web":   {Type: api.DiscoveryGraphNodeTypeResolver, Resolver: &api.DiscoveryResolver{Target: "web.default.default.dc1"}},
		},
		Targets: map[string]*api.DiscoveryTarget{"web.default.default.dc1": {Service: "web", Namespace: "default", Datacenter: "dc1"}},
	}
	change(c)
	return compileChain(entryNamed("", "web"), c, entriesOf(nil))
}

func TestChainsThatNoAgentMade(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*api.CompiledDiscoveryChain)
		rules   int // of the route; zero for none
		first   string
		problem string
	}{
		{name: "to the service itself", change: func(*api.CompiledDiscoveryChain) {}},
		{
			name: "to another namespace",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Targets["web.default.default.dc1"].Namespace = "team"
			},
			rules: 1, first: "* -> web.team",
		},
		{
			name: "to another partition",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Nodes["start"].Resolver.Target = "web.default.other.dc1"
				c.Targets["web.default.other.dc1"] = c.Targets["web.default.default.dc1"]
			},
			rules: 1, first: "* -> web fails with 14", problem: "web is in the partition other, whose services are not called yet: calls fail with UNAVAILABLE",
		},
		{
			name:   "to a name that the mesh does not have",
			change: func(c *api.CompiledDiscoveryChain) { c.Targets["web.default.default.dc1"].Service = "Web_1" },
			rules:  1, first: "* -> web fails with 14", problem: `service "Web_1" may hold only`,
		},
		{
			name: "more routes than there may be",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Nodes["start"] = &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeRouter}
				for i := range maxRoutes + 10 {
					c.Nodes["start"].Routes = append(c.Nodes["start"].Routes, &api.DiscoveryRoute{NextNode: "web", Definition: &api.ServiceRoute{
						Match: &api.ServiceRouteMatch{HTTP: &api.ServiceRouteHTTPMatch{PathPrefix: fmt.Sprint("/", i)}},
					}})
				}
			},
			rules: maxRoutes, first: "/0... -> web", problem: "is left out, as are those after it: 1000 are the most",
		},
		{
			name: "more splits than there may be",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Nodes["start"] = &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeSplitter}
				for range maxSplits + 1 {
					c.Nodes["start"].Splits = append(c.Nodes["start"].Splits, &api.DiscoverySplit{Weight: 0.1, NextNode: "web"})
				}
			},
			rules: 1, first: "* -> web fails with 14", problem: "a service-splitter has 257 splits, and 256 are the most",
		},
		{
			name: "a splitter of itself",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Nodes["start"] = &api.DiscoveryGraphNode{
					Type: api.DiscoveryGraphNodeTypeSplitter, Splits: []*api.DiscoverySplit{{Weight: 100, NextNode: "start"}},
				}
			},
			rules: 1, first: "* -> web fails with 14", problem: "leads to nothing",
		},
		{
			name: "a splitter of itself, many times over",
			change: func(c *api.CompiledDiscoveryChain) {
				c.Nodes["start"] = &api.DiscoveryGraphNode{Type: api.DiscoveryGraphNodeTypeSplitter}
				for range maxSplits {
					c.Nodes["start"].Splits = append(c.Nodes["start"].Splits, &api.DiscoverySplit{Weight: 1, NextNode: "start"})
				}
			},
			rules: 1, first: "* -> web fails with 14", problem: "leads to nothing",
		},
		{
			name:   "nowhere",
			change: func(c *api.CompiledDiscoveryChain) { c.StartNode = "" },
			rules:  1, first: "* -> web fails with 14", problem: `consul's chain leads to nothing at ""`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := made(tt.change)
			if tt.problem == "" && len(c.problems) > 0 || tt.problem != "" && (len(c.problems) == 0 || !strings.Contains(c.problems[0].Message, tt.problem)) {
				t.Errorf("got problems %v, want %q", c.problems, tt.problem)
			}
			if tt.rules == 0 {
				if c.route != nil {
					t.Errorf("got %v, want none", c.route)
				}
				return
			}
			if c.route == nil || len(c.route.Rules) != tt.rules || describe(c.route.Rules[0]) != tt.first {
				t.Errorf("got %v, want %d rules from %q", c.route, tt.rules, tt.first)
			}
		})
	}
}
