package model

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(e Endpoint, change func(*Endpoint)) Endpoint {
	change(&e)
	return e
}

func addresses(n int) []string {
	a := make([]string, n)
	for i := range a {
		a[i] = fmt.Sprintf("10.0.0.%d:80", i+1)
	}
	return a
}

func TestValidateServices(t *testing.T) {
	good := Endpoint{Addresses: []string{"10.0.0.1:80"}}
	for _, tt := range []struct {
		name    string
		service *Service
		want    []string
	}{
		{"defaults are good", service("voting", "f:1"), nil},
		{
			"endpoints with IPv4 and IPv6 are good",
			service("voting", "f:1", good,
				Endpoint{Addresses: []string{"[2001:db8::1]:80", "10.0.0.2:80"}, Weight: 1, Zone: "a", Version: "v1.0_x-y"}),
			nil,
		},
		{
			"a name is a DNS label",
			&Service{Name: ServiceName{"default", "Voting"}, From: "f:1"},
			[]string{`f:1 metadata.name: is no DNS label: "Voting" may hold only`},
		},
		{
			"a namespace is a DNS label",
			&Service{Name: ServiceName{"a.b", "voting"}, From: "f:1"},
			[]string{`metadata.namespace: is no DNS label`},
		},
		{"a timeout is not negative", &Service{Name: name("voting"), Timeout: -time.Second}, []string{"spec.timeout: -1s is negative"}},
		{"a timeout is bounded", &Service{Name: name("voting"), Timeout: maxDuration + 1}, []string{"spec.timeout: ... is longer than"}},
		{
			"an endpoint's addresses are bounded",
			service("voting", "f:1", Endpoint{Addresses: addresses(17)}),
			[]string{"spec.endpoints[0].addresses: has 17 entries, 16 is the most"},
		},
		{"an endpoint has an address", service("voting", "f:1", Endpoint{}), []string{"spec.endpoints[0]: has no address"}},
		{
			"host names are refused",
			service("voting", "f:1", Endpoint{Addresses: []string{"voting.internal:80"}}),
			[]string{`spec.endpoints[0].address: address "voting.internal:80" is not an IP address and a port`},
		},
		{
			"an address has a port",
			service("voting", "f:1", Endpoint{Addresses: []string{"10.0.0.1"}}),
			[]string{"is not an IP address and a port"},
		},
		{"port 0 is refused", service("voting", "f:1", Endpoint{Addresses: []string{"10.0.0.1:0"}}), []string{"has port 0"}},
		{"the wildcard is refused", service("voting", "f:1", Endpoint{Addresses: []string{"0.0.0.0:80"}}), []string{"is the wildcard"}},
		{
			"multicast is refused",
			service("voting", "f:1", Endpoint{Addresses: []string{"224.0.0.1:80"}}),
			[]string{"is a multicast address"},
		},
		{
			"an interface zone is refused",
			service("voting", "f:1", Endpoint{Addresses: []string{"[fe80::1%eth0]:80"}}),
			[]string{"interface zone"},
		},
		{
			"an address is in its shortest form",
			service("voting", "f:1", Endpoint{Addresses: []string{"[2001:0db8::1]:80"}}),
			[]string{`write "[2001:db8::1]:80"`},
		},
		{
			"an address is there once",
			service("voting", "f:1", good, at(good, func(e *Endpoint) { e.Instance = "b" })),
			[]string{"spec.endpoints[1].address: 10.0.0.1:80 is written twice, in endpoints[0] and endpoints[1]"},
		},
		{
			"an instance is there once",
			service("voting", "f:1", Endpoint{Instance: "a", Addresses: []string{"10.0.0.1:80"}},
				Endpoint{Instance: "a", Addresses: []string{"10.0.0.2:80"}}),
			[]string{"spec.endpoints[1].instance: instance a is written twice"},
		},
		{
			"a version is a label",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Version = "v1/" })),
			[]string{`version "v1/" must begin and end`},
		},
		{
			"a version has no slash",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Version = "v/1" })),
			[]string{`may hold only letters`},
		},
		{
			"a version has no letters that look like others",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Version = "vı1" })),
			[]string{`may hold only letters`},
		},
		{
			"a version is bounded",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Version = strings.Repeat("v", 64) })),
			[]string{"longer than 63"},
		},
		{
			"a weight is bounded",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Weight = 10_001 })),
			[]string{"10001 is above 10000"},
		},
		{
			"a zone is UTF-8",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Zone = "\xff" })),
			[]string{"spec.endpoints[0].zone: is not UTF-8"},
		},
		{
			"a zone is no region and zone",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Zone = "eu/south" })),
			[]string{`spec.endpoints[0].zone: "eu/south" holds a slash, and would match no process's zone: write region: eu and zone: south`},
		},
		{"a region prints", service("voting", "f:1", at(good, func(e *Endpoint) { e.Region = "\x1b[2J" })), []string{"does not print"}},
		{
			"an instance is bounded",
			service("voting", "f:1", at(good, func(e *Endpoint) { e.Instance = strings.Repeat("x", 254) })),
			[]string{"254 bytes long, 253 is the most"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate([]Object{tt.service}, nil, nil)
			wantProblems(t, set.Problems, tt.want...)
			if got := len(set.Services) == 1; got != (tt.want == nil) {
				t.Errorf("accepted: %v", got)
			}
		})
	}
}

func TestValidateRoutes(t *testing.T) {
	ok := []Backend{backend("voting", "", 1)}
	matching := func(m Match) *Route {
		return route("r", Rule{Matches: []Match{m}, Backends: ok}, Rule{Backends: ok})
	}
	header := func(n, value string, regex bool) *Route {
		return matching(Match{Headers: []HeaderMatch{{Name: n, Value: value, Regex: regex}}})
	}
	faulty := func(f Fault) *Route { return route("r", Rule{Backends: ok, Fault: &f}) }
	many := func(n int, r Rule) []Rule {
		rules := make([]Rule, 0, n+1)
		for i := range n {
			r.Matches = []Match{{Method: fmt.Sprintf("M%d", i)}}
			rules = append(rules, r)
		}
		return append(rules, Rule{Backends: ok})
	}
	negative, zero := -time.Second, time.Duration(0)
	for _, tt := range []struct {
		name  string
		route *Route
		want  []string
	}{
		{"a plain route is good", route("r", Rule{Backends: ok, Timeout: &zero}), nil},
		{
			"a route's name may have dots",
			&Route{Namespace: "default", Name: "a.b", Parents: []ServiceName{name("voting")}, Rules: []Rule{to(ok...)}},
			nil,
		},
		{
			"a route's name is a DNS name",
			&Route{Namespace: "default", Name: "a..b", Parents: []ServiceName{name("voting")}, Rules: []Rule{to(ok...)}},
			[]string{"metadata.name: is no DNS name"},
		},
		{
			"a route has a parent",
			&Route{Namespace: "default", Name: "r", Rules: []Rule{to(ok...)}},
			[]string{"spec.parentRefs: names no service"},
		},
		{
			"a parent is there once",
			&Route{Namespace: "default", Name: "r", Parents: []ServiceName{name("voting"), name("voting")}, Rules: []Rule{to(ok...)}},
			[]string{"spec.parentRefs[1]: names voting, as parentRefs[0] does", "warning"},
		},
		{
			"a route of another namespace than its parent's is refused",
			&Route{Namespace: "shop", Name: "r", Parents: []ServiceName{name("voting")}, Rules: []Rule{to(ok...)}},
			[]string{"spec.parentRefs[0].namespace: is default and the route's is shop: ... move the route to namespace default"},
		},
		{"a route has a rule", route("r"), []string{"spec.rules: has no rule"}},
		{"a rule has a backend", route("r", Rule{}), []string{"spec.rules[0].backendRefs: names no service"}},
		{
			"rules have names of their own",
			route("r", Rule{Name: "a", Backends: ok, Matches: []Match{{Method: "M"}}}, Rule{Name: "a", Backends: ok}),
			[]string{"spec.rules[1].name: a is the name of rules[0] too"},
		},
		{
			"weights do not sum to zero",
			route("r", to(backend("voting", "v1", 0), backend("voting", "v2", 0))),
			[]string{"spec.rules[0].backendRefs: weights sum to zero"},
		},
		{
			"a weight is bounded",
			route("r", to(backend("voting", "", 1_000_001))),
			[]string{"spec.rules[0].backendRefs[0].weight: 1000001 is above 1000000"},
		},
		{
			"a backend is there once",
			route("r", to(backend("voting", "", 1), backend("voting", "", 2))),
			[]string{"spec.rules[0].backendRefs[1]: names the same endpoints as backendRefs[0]"},
		},
		{
			"a backend's version is a label",
			route("r", to(backend("voting", "a/b", 1))),
			[]string{"backendRefs[0].version: version \"a/b\" may hold only"},
		},
		{
			"a backend's name is a DNS label",
			route("r", to(Backend{Service: ServiceName{"default", "a/b"}, Weight: 1})),
			[]string{"spec.rules[0].backendRefs[0].name: is no DNS label"},
		},
		{"rules are bounded", route("r", many(maxRules, Rule{Backends: ok})...), []string{"spec.rules: has 65 entries, 64 is the most"}},
		{
			"a rule's timeout is not negative",
			route("r", Rule{Backends: ok, Timeout: &negative}),
			[]string{"spec.rules[0].timeouts.request: -1s is negative"},
		},

		{"an exact method is good", matching(Match{Service: "emojivoto.v1.VotingService", Method: "Vote_1"}), nil},
		{"a service holds no slash", matching(Match{Service: "a/b"}), []string{`matches[0].method.service: "a/b" is no protobuf name`}},
		{"a method holds no dot", matching(Match{Method: "a.b"}), []string{`matches[0].method.method: "a.b" is no protobuf name`}},
		{"a service is bounded", matching(Match{Service: strings.Repeat("a", 1025)}), []string{"1025 characters long"}},
		{"an expression is good", matching(Match{Regex: true, Service: `(?i)emoji.*|vot\w+`, Method: `[A-Z]{1,5}`}), nil},
		{
			"an expression is RE2",
			matching(Match{Regex: true, Method: "(?=x)"}),
			[]string{`method.method: "(?=x)" is no RE2 expression: ... invalid or unsupported Perl syntax`},
		},
		{"an expression has brackets in pairs", matching(Match{Regex: true, Service: "a)(b"}), []string{"is no RE2 expression"}},
		{
			"an expression is still one when joined to a path",
			matching(Match{Regex: true, Service: `\Qa`, Method: "b"}),
			[]string{"matches[0].method: ... is no RE2 expression"},
		},
		{"an expression is there", matching(Match{Regex: true}), []string{"has neither service nor method", "holds for the same calls"}},
		{
			"an expression is bounded in length",
			matching(Match{Regex: true, Method: strings.Repeat("a", 1025)}),
			[]string{"is 1025 characters long"},
		},
		{"an expression is bounded in size", matching(Match{Regex: true, Method: strings.Repeat(".{900}", 2)}), []string{"instructions"}},

		{"a header is good in any letter case", header("X-Canary", "always", false), nil},
		{"a header by expression is good", header("x-user", "a.*", true), nil},
		{"a header's name is a token", header("x canary", "a", false), []string{`headers[0].name: "x canary" may hold only`}},
		{"a header has a name", header("", "a", false), []string{"headers[0].name: is empty"}},
		{"a header's name is bounded", header(strings.Repeat("x", 254), "a", false), []string{"254 bytes long"}},
		{"a pseudo-header is refused", header(":path", "a", false), []string{"is a pseudo-header"}},
		{"a binary header is refused", header("trace-Bin", "a", false), []string{"is binary"}},
		{"gRPC's own headers are refused", header("grpc-timeout", "1S", false), []string{"is gRPC's own"}},
		{"a header has a value", header("x", "", false), []string{"headers[0].value: is empty"}},
		{"a header's value can be sent", header("x", "grün", false), []string{"can never be sent"}},
		{"a header's value is bounded", header("x", strings.Repeat("x", 4097), false), []string{"4097 bytes long"}},
		{"a header's expression is RE2", header("x", "[", true), []string{"headers[0].value: \"[\" is no RE2 expression"}},
		{
			"a header is matched once",
			matching(Match{Headers: []HeaderMatch{{Name: "a", Value: "1"}, {Name: "A", Value: "2"}}}),
			[]string{"headers[1].name: a is matched by headers[0] too"},
		},

		{"a fault is good", faulty(Fault{DelayPerMillion: 1, Delay: time.Second, AbortPerMillion: 1_000_000, AbortCode: 14}), nil},
		{"a fault does something", faulty(Fault{}), []string{"spec.rules[0].fault: does nothing"}},
		{
			"a share is at most all",
			faulty(Fault{AbortPerMillion: 1_000_001, AbortCode: 14}),
			[]string{"abort.percent: 100.0001 is out of range: write 0 to 100"},
		},
		{"a delay takes time", faulty(Fault{DelayPerMillion: 1}), []string{"delay.duration: 0s is less than 1ms"}},
		{"an abort has a code", faulty(Fault{AbortPerMillion: 1}), []string{"abort.code: 0 is no gRPC status code"}},
		{"an abort's code exists", faulty(Fault{AbortPerMillion: 1, AbortCode: 17}), []string{"abort.code: 17 is no gRPC status code"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate([]Object{service("voting", "f:1"), tt.route}, nil, nil)
			var errors []Problem
			for _, p := range set.Problems {
				if !p.Warning {
					errors = append(errors, p)
				}
			}
			var want []string
			for _, w := range tt.want {
				if !strings.HasPrefix(w, "warning") && !strings.HasPrefix(w, "holds for") {
					want = append(want, w)
				}
			}
			wantProblems(t, errors, want...)
			if got := len(set.Routes) == 1; got != (want == nil) {
				t.Errorf("accepted: %v", got)
			}
		})
	}
}
