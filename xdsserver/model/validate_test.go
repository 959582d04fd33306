package model

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateReferencesAndNames(t *testing.T) {
	voting := service("voting", "mesh.yaml:1")
	for _, tt := range []struct {
		name      string
		objects   []Object
		endpoints []Endpoint
		want      []string
		services  string
		routes    string
	}{
		{
			name:     "nothing is a good configuration",
			services: "[]", routes: "[]",
		},
		{
			name:      "a service is known from its endpoints alone",
			endpoints: []Endpoint{registered("voting", "a", "10.0.0.1:80", "v1")},
			objects:   []Object{route("r", to(backend("voting", "v1", 1)))},
			services:  "[voting]", routes: "[r]",
		},
		{
			name:    "of two objects of one name the first stays and both places are named",
			objects: []Object{voting, service("voting", "other.yaml:7")},
			want: []string{
				"error Service voting other.yaml:7 metadata.name: Service voting is written twice, at mesh.yaml:1 and at other.yaml:7: " +
					"the first stays; remove one",
			},
			services: "[voting]", routes: "[]",
		},
		{
			name:     "a service and a route may share a name",
			objects:  []Object{voting, route("voting", to(backend("voting", "", 1)))},
			services: "[voting]", routes: "[voting]",
		},
		{
			name:    "an unknown backend is an error that guesses the right name",
			objects: []Object{voting, route("r", to(backend("votnig", "", 1)))},
			want: []string{
				"error GRPCRoute r mesh.yaml:9 spec.rules[0].backendRefs[0].name: no service votnig is known: did you mean voting? If " +
					"not, start an instance of it, or write a document of kind Service for it (namespace default) first",
			},
			services: "[voting]", routes: "[]",
		},
		{
			name:    "a backend that is set aside is no unknown one",
			objects: []Object{service("voting", "mesh.yaml:1", Endpoint{}), route("r", to(backend("voting", "", 1)))},
			want: []string{
				"error Service voting mesh.yaml:1 spec.endpoints[0]: has no address",
				"error GRPCRoute r mesh.yaml:9 spec.parentRefs[0].name: service voting is set aside for what is wrong with it at mesh.yaml:1: ",
				"error GRPCRoute r mesh.yaml:9 spec.rules[0].backendRefs[0].name: service voting is set aside",
			},
			services: "[]", routes: "[]",
		},
		{
			name:     "an unknown backend that resembles nothing says what to do",
			objects:  []Object{voting, route("r", to(backend("payments", "", 1)))},
			want:     []string{"no service payments is known: start an instance of it, or write"},
			services: "[voting]", routes: "[]",
		},
		{
			name:     "an unknown parent is an error",
			objects:  []Object{service("emoji", "mesh.yaml:1"), route("r", to(backend("emoji", "", 1)))},
			want:     []string{"error GRPCRoute r ... spec.parentRefs[0].name: no service voting is known"},
			services: "[emoji]", routes: "[]",
		},
		{
			name:     "the same name in another namespace is another service",
			objects:  []Object{voting, route("r", to(backend("voting.shop", "", 1)))},
			want:     []string{"no service voting.shop is known: ... (namespace shop)"},
			services: "[voting]", routes: "[]",
		},
		{
			name:     "a backend may be in another namespace than its route",
			objects:  []Object{voting, service("voting.shop", "mesh.yaml:2"), route("r", to(backend("voting.shop", "", 1)))},
			services: "[voting voting.shop]", routes: "[r]",
		},
		{
			name:    "a version nobody runs is a warning that guesses the right one",
			objects: []Object{route("r", to(backend("voting", "v1", 9), backend("voting", "v3", 1), backend("voting", "v4", 0)))},
			endpoints: []Endpoint{
				registered("voting", "a", "10.0.0.1:80", "v1"), registered("voting", "b", "10.0.0.2:80", ""),
			},
			want: []string{
				"warning GRPCRoute r mesh.yaml:9 spec.rules[0].backendRefs[1].version: no endpoint of voting has version v3, so calls " +
					"sent there fail until one starts: did you mean v1?",
			},
			services: "[voting]", routes: "[r]",
		},
		{
			name:     "a version of a service without endpoints is a warning",
			objects:  []Object{voting, route("r", to(backend("voting", "v1", 1)))},
			want:     []string{"warning ... start one with TULLE_VERSION=v1"},
			services: "[voting]", routes: "[r]",
		},
		{
			name: "the same match in two routes of one parent is a warning, and the alphabet decides",
			objects: []Object{
				voting,
				route("b", Rule{Matches: []Match{{Service: "a.B"}}, Backends: []Backend{backend("voting", "", 1)}}),
				route("a", to(backend("voting", "", 1)),
					Rule{Matches: []Match{{Service: "a.B"}}, Backends: []Backend{backend("voting", "", 1)}}),
			},
			want: []string{
				"warning GRPCRoute b mesh.yaml:9 spec.rules[0].matches: holds for the same calls to voting as rules[1] of GRPCRoute a " +
					"at mesh.yaml:9",
			},
			services: "[voting]", routes: "[a b]",
		},
		{
			name: "headers in another order and letter case are the same match",
			objects: []Object{voting, route("r",
				Rule{
					Matches:  []Match{{Headers: []HeaderMatch{{Name: "A", Value: "1"}, {Name: "b", Value: "2"}}}},
					Backends: []Backend{backend("voting", "", 1)},
				},
				Rule{
					Matches:  []Match{{Headers: []HeaderMatch{{Name: "b", Value: "2"}, {Name: "a", Value: "1"}}}},
					Backends: []Backend{backend("voting", "", 1)},
				},
				to(backend("voting", "", 1)))},
			want:     []string{"warning ... spec.rules[1].matches: holds for the same calls"},
			services: "[voting]", routes: "[r]",
		},
		{
			name: "routes that leave calls over are a warning",
			objects: []Object{
				voting, route("r",
					Rule{
						Matches:  []Match{{Headers: []HeaderMatch{{Name: "x-canary", Value: "1"}}}},
						Backends: []Backend{backend("voting", "", 1)},
					}),
			},
			want: []string{
				"warning GRPCRoute r mesh.yaml:9 spec.rules: no rule of the routes of voting holds for every call, and calls that none " +
					"holds for fail",
			},
			services: "[voting]", routes: "[r]",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := Validate(tt.objects, tt.endpoints, nil)
			wantProblems(t, set.Problems, tt.want...)
			routes := make([]string, 0, len(set.Routes))
			for _, r := range set.Routes {
				routes = append(routes, r.Name)
			}
			if got := fmt.Sprint(sortedNames(set.Services)); got != tt.services {
				t.Errorf("services: got %s, want %s", got, tt.services)
			}
			if got := fmt.Sprint(routes); got != tt.routes {
				t.Errorf("routes: got %s, want %s", got, tt.routes)
			}
		})
	}
}

func TestValidateKeepsThePreviousGoodForm(t *testing.T) {
	voting := service("voting", "mesh.yaml:1")
	good := route("r", to(backend("voting", "", 1)))
	first := Validate([]Object{voting, good}, nil, nil)
	wantProblems(t, first.Problems)

	bad := route("r", to(backend("voting", "", 0)))
	badVoting := service("voting", "mesh.yaml:1")
	badVoting.Timeout = -time.Second
	second := Validate([]Object{badVoting, bad}, nil, first)
	wantProblems(t, second.Problems, "error Service voting ... spec.timeout: -1s is negative", "error GRPCRoute r ... weights sum to zero")
	if second.Services[voting.Name] != voting || second.Routes[0] != good {
		t.Errorf("the good form is not served: %+v %+v", second.Services, second.Routes)
	}

	// It stays as long as the bad form does, and goes with it.
	third := Validate([]Object{badVoting, bad}, nil, second)
	if third.Services[voting.Name] != voting || third.Routes[0] != good {
		t.Errorf("the good form is gone after one more change: %+v %+v", third.Services, third.Routes)
	}
	if last := Validate(nil, nil, third); len(last.Services) != 0 || len(last.Routes) != 0 {
		t.Errorf("removed objects are still there: %+v %+v", last.Services, last.Routes)
	}
}

func TestValidateServesARouteWhoseServiceHasLeft(t *testing.T) {
	good := route("r", to(backend("voting", "v1", 1)))
	first := Validate([]Object{good}, []Endpoint{registered("voting", "a", "10.0.0.1:80", "v1")}, nil)
	wantProblems(t, first.Problems)
	second := Validate([]Object{good}, nil, first)
	if len(second.Routes) != 1 {
		t.Errorf("the route is gone with the last endpoint of its service:\n%s", lines(second.Problems))
	}
}

func TestValidateDoesNotServeAServiceThatWasNeverConfigured(t *testing.T) {
	first := Validate(nil, []Endpoint{registered("voting", "a", "10.0.0.1:80", "")}, nil)
	bad := service("voting", "mesh.yaml:1")
	bad.Timeout = -1
	second := Validate([]Object{bad}, nil, first)
	if len(second.Services) != 0 {
		t.Errorf("got %+v, want none: endpoints are no previous form of a document", second.Services)
	}
}

func TestValidateDependsOnItsArgumentsAlone(t *testing.T) {
	const services = 20
	objects, endpoints := make([]Object, 0, 2*services), make([]Endpoint, 0, 2*services)
	for i := range services {
		s := fmt.Sprintf("s%02d", i)
		objects = append(objects, service(s, "mesh.yaml:1", Endpoint{Addresses: []string{fmt.Sprintf("10.1.0.%d:80", i+1)}}))
		endpoints = append(endpoints, registered(s, "a", "10.0.0.1:80", "v1"), registered(s, "b", "10.0.0.1:80", "v2"))
		r := route(s, to(backend(s, "v9", 1), backend("nobody", "", 1)))
		r.Parents = []ServiceName{name(s)}
		objects = append(objects, r)
	}
	want := Validate(objects, endpoints, nil)
	for range 5 {
		shuffled := append([]Endpoint(nil), endpoints...)
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(want, Validate(objects, shuffled, nil)); diff != "" {
			t.Fatalf("another order of endpoints gives another set (-want +got):\n%s", diff)
		}
	}
}

func TestValidateBoundsItsGuesses(t *testing.T) {
	const routes = maxGuesses + 10
	objects := make([]Object, 0, 1+routes)
	objects = append(objects, service("voting", "mesh.yaml:1"))
	for i := range routes {
		objects = append(objects, route(fmt.Sprintf("r%d", i), to(backend("votin", "", 1))))
	}
	got := lines(Validate(objects, nil, nil).Problems)
	if n := strings.Count(got, "did you mean"); n != maxGuesses {
		t.Errorf("got %d guesses, want %d", n, maxGuesses)
	}
}

func TestValidateRefusesAKindItDoesNotKnow(t *testing.T) {
	set := Validate([]Object{stranger{}}, nil, nil)
	wantProblems(t, set.Problems, "error Mesh m mesh.yaml:1 kind: kind Mesh is not served by this version; remove the object")
}

type stranger struct{}

func (stranger) Ref() Ref       { return Ref{"Mesh", "default", "m"} }
func (stranger) Origin() string { return "mesh.yaml:1" }

func BenchmarkValidate(b *testing.B) {
	const services, endpointsEach = 5000, 10
	objects, endpoints := make([]Object, 0, 2*services), make([]Endpoint, 0, services*endpointsEach)
	for i := range services {
		s := fmt.Sprintf("s%04d", i)
		objects = append(objects, service(s, "mesh.yaml:1"))
		r := route(s, to(backend(s, "v1", 90), backend(s, "v2", 10)))
		r.Parents = []ServiceName{name(s)}
		objects = append(objects, r)
		for j := range endpointsEach {
			address := fmt.Sprintf("10.%d.%d.%d:80", i/256, i%256, j)
			endpoints = append(endpoints, registered(s, fmt.Sprint(j), address, fmt.Sprintf("v%d", 1+j%2)))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if set := Validate(objects, endpoints, nil); len(set.Problems) != 0 {
			b.Fatal(lines(set.Problems))
		}
	}
}
