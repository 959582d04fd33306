package consul

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul/consultest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// asked are expressions of service-resolvers, by what they ask.
var asked = map[string]string{
	"a value of the metadata":        `Service.Meta.version == v1`,
	"quoted":                         "Service.Meta.version == \"v1\" or Service.Meta[\"version\"] == `v2`",
	"another than":                   `Service.Meta.version != v1`,
	"metadata that only some have":   `Service.Meta.canary == "yes"`,
	"metadata that nobody has":       `Service.Meta.nobody == "yes"`,
	"a key is there":                 `canary in Service.Meta`,
	"a key is not there":             `canary not in Service.Meta`,
	"a tag":                          `"blue" in Service.Tags`,
	"tags contain":                   `Service.Tags contains "green"`,
	"no tags":                        `Service.Tags is empty`,
	"some tags":                      `Service.Tags is not empty`,
	"a port":                         `Service.Port == 8081`,
	"an id":                          `Service.ID == "web-2"`,
	"the name of the service":        `Service.Service == web`,
	"an address":                     `Service.Address != "10.0.0.1"`,
	"an expression":                  `Service.Meta.version matches "v[12]"`,
	"not an expression":              `Service.Meta.version not matches "v[12]"`,
	"metadata of the node":           `Node.Meta.rack == r1`,
	"the node":                       `Node.Node == other`,
	"the datacenter":                 `Node.Datacenter == dc1`,
	"weights":                        `Service.Weights.Passing == 5`,
	"both":                           `Service.Meta.version == v1 and "blue" in Service.Tags`,
	"not":                            `not (Service.Meta.version == v1)`,
	"any tag that is":                `any Service.Tags as t { t == "blue" }`,
	"the kind":                       `Service.Kind == ""`,
	"the status of a check":          `Checks.Status == warning`,
	"an address that others have":    `Service.TaggedAddresses.lan.Address == "10.0.0.3"`,
	"tag override":                   `Service.EnableTagOverride == true`,
	"the locality":                   `Service.Locality.Zone == "a"`,
	"a field that there is not":      `Service.Colour == blue`,
	"no expression":                  `Service.Meta.version ==`,
	"a number that is compared":      `Service.Port > 8080`,
	"a value that is none of a port": `Service.Port == http`,
}

// What a subset's filter holds for is what Consul itself finds by it.
func TestSubsetsHoldWhatConsulFinds(t *testing.T) {
	client := consultest.Start(t).Client(t)
	for i, s := range []api.AgentService{
		{Meta: map[string]string{"version": "v1"}, Tags: []string{"blue", "green"}, Weights: api.AgentWeights{Passing: 5, Warning: 1}},
		{Meta: map[string]string{"version": "v2", "canary": "yes"}, EnableTagOverride: true, Locality: &api.Locality{Region: "r", Zone: "a"}},
		{
			Meta: map[string]string{"version": "v10", "canary": ""}, Tags: []string{"green"},
			TaggedAddresses: map[string]api.ServiceAddress{"lan": {Address: "10.0.0.3", Port: 1}},
		},
		{},
	} {
		s.Service, s.ID, s.Address, s.Port = "web", fmt.Sprintf("web-%d", i+1), fmt.Sprintf("10.0.0.%d", i+1), 8080+i
		node := []string{"one", "other"}[i%2]
		status := []string{api.HealthPassing, api.HealthWarning}[i/2]
		_, err := client.Catalog().Register(&api.CatalogRegistration{
			Node: node, Address: "10.1.0.1", NodeMeta: map[string]string{"rack": "r" + node}, Service: &s,
			Check: &api.AgentCheck{Node: node, CheckID: s.ID, Name: "up", Status: status, ServiceID: s.ID},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	all, _, err := client.Health().Service("web", "", false, nil)
	if err != nil || len(all) != 4 {
		t.Fatal(len(all), err)
	}
	for name, filter := range asked {
		t.Run(name, func(t *testing.T) {
			for _, onlyPassing := range []bool{false, true} {
				// A subset of a filter that Consul refuses cannot be written.
				found, _, err := client.Health().Service("web", "", onlyPassing, &api.QueryOptions{Filter: filter})
				var want []string
				for _, e := range found {
					want = append(want, e.Service.ID)
				}
				read, problems := compileSubsets(entriesOf([]api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{
					Subsets: map[string]api.ServiceResolverSubset{"s": {Filter: filter, OnlyPassing: onlyPassing}},
				})})[api.ServiceResolver], filters{})
				var got []string
				for _, e := range all {
					if slices.Contains(read.of(model.ServiceName{}, e), "subset.s") {
						got = append(got, e.Service.ID)
					}
				}
				slices.Sort(want)
				slices.Sort(got)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("only passing %v, %v, %v (-Consul +subset):\n%s", onlyPassing, err, problems, d)
				}
			}
		})
	}
}

func TestASubsetThatCannotBeReadHasNoInstance(t *testing.T) {
	for filter, want := range map[string]string{
		"Service.Meta.version ==": "is no expression of Consul's, or too deep in parentheses: ",
		strings.Repeat("(", 5000): "is 5000 bytes long, and 4096 are the most: no instance is in the subset",
		"Service.Port matches 80": "is no expression of Consul's, or too deep in parentheses: ",
		strings.Repeat("(", 20) + "Service.Port == 80" + strings.Repeat(")", 20): "is no expression of Consul's, or too deep in parentheses: ",
	} {
		read, problems := compileSubsets(entriesOf([]api.ConfigEntry{resolver(api.ServiceResolverConfigEntry{
			Subsets: map[string]api.ServiceResolverSubset{"s": {Filter: filter}, "t": {}},
		})})[api.ServiceResolver], filters{})
		if len(problems) != 1 || problems[0].Warning || !strings.HasPrefix(problems[0].Message, want) || problems[0].Field != "Subsets{s}.Filter" {
			t.Errorf("%.40s: got problems %v, want %q", filter, problems, want)
		}
		entry := &api.ServiceEntry{Node: &api.Node{}, Service: &api.AgentService{Service: "web"}}
		if got := read.of(model.ServiceName{}, entry); !slices.Equal(got, []string{"subset.t"}) {
			t.Errorf("%.40s: got %q, want the other subset alone", filter, got)
		}
	}
}

func TestNamesOfSubsetsAreVersions(t *testing.T) {
	seen := map[string]string{}
	for _, subset := range []string{"v1", "a-b", strings.Repeat("x", 56), strings.Repeat("x", 57), strings.Repeat("x", 63), strings.Repeat("x", 62) + "y", "Ü", "-"} {
		version := subsetVersion(subset)
		if err := model.CheckVersion(version); err != nil {
			t.Errorf("%q: %v", subset, err)
		}
		if other, ok := seen[version]; ok {
			t.Errorf("%q and %q are one", other, subset)
		}
		seen[version] = subset
	}
	if subsetVersion("") != "" {
		t.Error("no subset has a version")
	}
}
