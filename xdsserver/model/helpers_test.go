package model

import (
	"strings"
	"testing"
	"time"
)

func name(s string) ServiceName {
	n, err := ParseServiceName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func service(s, from string, endpoints ...Endpoint) *Service {
	return &Service{Name: name(s), From: from, Endpoints: endpoints}
}

// registered is an endpoint that registered itself.
func registered(s, instance, address, version string) Endpoint {
	return Endpoint{
		Service: name(s), Instance: instance, Addresses: []string{address}, Version: version,
		From: Registered, Since: time.Unix(1_700_000_000, 0),
	}
}

func route(s string, rules ...Rule) *Route {
	n := name(s)
	return &Route{Namespace: n.Namespace, Name: n.Name, From: "mesh.yaml:9", Parents: []ServiceName{{n.Namespace, "voting"}}, Rules: rules}
}

func to(backends ...Backend) Rule { return Rule{Backends: backends} }

func backend(s, version string, weight uint32) Backend {
	return Backend{Service: name(s), Version: version, Weight: weight}
}

// lines returns one line per problem: "error|warning from field: message".
func lines(problems []Problem) string {
	var b strings.Builder
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		}
		b.WriteString(strings.Join([]string{kind, p.Object.String(), p.From, p.Field + ":", p.Message}, " ") + "\n")
	}
	return b.String()
}

// wantProblems checks that there is one problem per want, each holding its
// words (separated by "..."), in order.
func wantProblems(t *testing.T, problems []Problem, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(lines(problems), "\n"), "\n")
	if len(problems) != len(want) {
		t.Fatalf("got %d problems, want %d:\n%s", len(problems), len(want), lines(problems))
	}
	for i, w := range want {
		rest := got[i]
		for part := range strings.SplitSeq(w, "...") {
			_, after, found := strings.Cut(rest, part)
			if !found {
				t.Errorf("problem %d:\n got  %s\n want %s\n (no %q)", i, got[i], w, part)
				break
			}
			rest = after
		}
	}
}
