package model

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestValidateEndpoints(t *testing.T) {
	a := registered("voting", "a", "10.0.0.1:80", "v1")
	later := func(e *Endpoint) { e.Since = e.Since.Add(time.Minute) }
	for _, tt := range []struct {
		name       string
		static     []Endpoint
		registered []Endpoint
		want       string // instances and what tells them apart
		problems   []string
	}{
		{
			name:       "static and registered endpoints stand side by side in order of instance",
			static:     []Endpoint{{Addresses: []string{"10.0.0.9:80"}, From: "mesh.yaml:5"}},
			registered: []Endpoint{registered("voting", "b", "10.0.0.2:80", "v2"), a},
			want:       "[10.0.0.9:80  a v1 b v2]",
		},
		{
			name:       "a static endpoint that registers itself gives way with a warning",
			static:     []Endpoint{{Addresses: []string{"10.0.0.1:80"}, Version: "old", From: "mesh.yaml:5"}},
			registered: []Endpoint{a},
			want:       "[a v1]",
			problems: []string{
				"warning Service voting mesh.yaml:5 endpoints[10.0.0.1:80]: address 10.0.0.1:80 is also that of instance a (registered, " +
					"version v1) stays: remove it from mesh.yaml:5",
			},
		},
		{
			name: "a service that restarts on its port takes the place of its lost self without a word",
			registered: []Endpoint{
				at(a, func(e *Endpoint) { e.Health = Lost }),
				at(a, func(e *Endpoint) { e.Instance = "b"; e.Version = "v2"; later(e) }),
			},
			want: "[b v2]",
		},
		{
			name: "what a registry mirrors says the subsets of who registered here, and no more",
			registered: []Endpoint{
				a,
				at(a, func(e *Endpoint) { e.From, e.Subsets, e.Version = Mirrored, []string{"canary"}, "other" }),
				at(a, func(e *Endpoint) { e.From, e.Instance = Mirrored, "gone" }),
			},
			want: "[a v1 canary]",
		},
		{
			name: "who registered here before a restart that forgot it is served, as elsewhere",
			registered: []Endpoint{
				at(a, func(e *Endpoint) { e.From, e.Health, e.Subsets = Mirrored, Lost, []string{"canary"} }),
				at(a, func(e *Endpoint) {
					e.From, e.Health, e.Instance, e.Addresses = Mirrored, NotServing, "b", []string{"10.0.0.2:80"}
				}),
			},
			want: "[a v1 canary registered elsewhere]",
		},
		{
			name: "who moved to another xdsserver is what that one says of it",
			registered: []Endpoint{
				at(a, func(e *Endpoint) { e.From, e.Health = Mirrored, Lost; later(e) }),
				at(a, func(e *Endpoint) { e.From, e.Version = Elsewhere, "v2" }),
			},
			want: "[a v2 registered elsewhere]",
		},
		{
			name: "of two that claim one address the later stays, with a warning",
			registered: []Endpoint{
				a,
				at(a, func(e *Endpoint) { e.Instance = "b"; e.Version = "v2"; later(e) }),
			},
			want:     "[b v2]",
			problems: []string{"warning ... endpoints[a]: address 10.0.0.1:80 is also that of instance b ... (TULLE_ADVERTISE)"},
		},
		{
			name: "of two that claim one instance the later stays, with a warning",
			registered: []Endpoint{
				a,
				at(a, func(e *Endpoint) { e.Addresses = []string{"10.0.0.2:80"}; e.Version = "v2"; later(e) }),
			},
			want: "[a v2]",
			problems: []string{
				"warning ... endpoints[a]: instance a is there twice: the one at 10.0.0.2:80 (registered, version v2) stays: start each " +
					"instance with a name of its own",
			},
		},
		{
			name:       "any of several addresses may clash",
			registered: []Endpoint{a, at(a, func(e *Endpoint) { e.Instance = "b"; e.Addresses = []string{"10.0.0.2:80", "10.0.0.1:80"} })},
			want:       "[a v1]",
			problems:   []string{"warning ... endpoints[b]: address 10.0.0.1:80"},
		},
		{
			name:       "a bad registered endpoint is set aside alone",
			registered: []Endpoint{a, at(a, func(e *Endpoint) { e.Instance = "b"; e.Addresses = []string{":80"} })},
			want:       "[a v1]",
			problems:   []string{"error Service voting registered endpoints[b].address: address \":80\" is not"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate([]Object{service("voting", "mesh.yaml:1", tt.static...)}, tt.registered, nil)
			wantProblems(t, set.Problems, tt.problems...)
			got := make([]string, 0, len(tt.registered))
			for _, e := range set.Endpoints[name("voting")] {
				words := append([]string{e.Instance, e.Version}, e.Subsets...)
				if e.From == Elsewhere {
					words = append(words, e.From)
				}
				got = append(got, strings.Join(words, " "))
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"emoji", "voting", "voting-api", "web"}
	for name, want := range map[string]string{
		"votnig":  "voting", // swapped
		"votin":   "voting", // missing
		"vvoting": "voting", // too many
		"Emoji":   "emoji",
		"wen":     "web",
		"voting":  "", // itself
		"x":       "",
		"payment": "",
		"":        "",
	} {
		if got := Nearest(name, known); got != want {
			t.Errorf("Nearest(%q): got %q, want %q", name, got, want)
		}
	}
}

func TestPathRegex(t *testing.T) {
	for want, m := range map[string]Match{
		`/(?:a|b)/[^/]+`: {Regex: true, Service: "a|b"},
		`/[^/]+/(?:M.*)`: {Regex: true, Method: "M.*"},
		`/a\.B/M`:        {Service: "a.B", Method: "M"},
		`/[^/]+/M`:       {Method: "M"},
	} {
		if got := m.PathRegex(); got != want {
			t.Errorf("%+v: got %s, want %s", m, got, want)
		}
	}
}

func TestWeightOfAnEndpointIsWarnedOfWherePoliciesDoNotLookAtIt(t *testing.T) {
	for policy, warned := range map[BalancingPolicy]bool{
		"": false, PeakEWMA: false, RingHash: false, RoundRobin: true, LeastRequest: true, WeightedRoundRobin: true,
	} {
		s := &Service{
			Name:          ServiceName{Namespace: "default", Name: "voting"},
			From:          "mesh.yaml:1",
			LoadBalancing: &LoadBalancing{Policy: policy},
			Endpoints:     []Endpoint{{Addresses: []string{"127.0.0.1:1"}, Weight: 3}, {Addresses: []string{"127.0.0.1:2"}, Weight: 1}},
		}
		set := Validate([]Object{s}, nil, nil)
		got := len(set.Problems) == 1 && set.Problems[0].Warning && set.Problems[0].Field == "spec.endpoints[0].weight"
		if len(set.Services) != 1 || got != warned || !warned && len(set.Problems) > 0 {
			t.Errorf("%q: got %d services and %v, want the service, and a warning: %v", policy, len(set.Services), set.Problems, warned)
		}
	}
}
