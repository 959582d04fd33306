package admin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
)

var errNotServed = errors.New("nothing is served")

func TestACallTakesTheFirstRouteThatMatches(t *testing.T) {
	p := publish(t, canary)
	const (
		matches = "taken"
		late    = "late it matches, too, and comes later"
		method  = "mismatch the method is not "
	)
	for name, test := range map[string]struct {
		method  string
		headers []string
		steps   []string // reset, cast, rest
		backend []string
	}{
		"by its header": {
			"/vote.v1.Votes/Cast",
			[]string{"x-canary", "1"},
			[]string{method + "/vote.v1.Votes/Reset", matches, late},
			[]string{"voting/v2 100"},
		},
		"another without it": {
			"/vote.v1.Votes/Cast", nil,
			[]string{method + "/vote.v1.Votes/Reset", "mismatch header x-canary is missing, want x-canary=1", matches},
			[]string{"voting/v1 90", "voting/v2 10"},
		},
		"and another with other values": {
			"/vote.v1.Votes/Cast",
			[]string{"x-canary", "1", "x-canary", "2"},
			[]string{method + "/vote.v1.Votes/Reset", `mismatch header x-canary is "1,2", want x-canary=1`, matches},
			[]string{"voting/v1 90", "voting/v2 10"},
		},
		"none where none matches": {
			"/a.B/C", nil,
			[]string{method + "/vote.v1.Votes/Reset", method + "/vote.v1.Votes/Cast", method + "/vote.v1.Votes/*"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, q := p.ask(test.method, test.headers...)
			got := walk(e, q)
			var steps, backends []string
			for _, s := range got.GetSteps() {
				text := strings.ToLower(strings.TrimPrefix(s.GetOutcome().String(), "ROUTE_OUTCOME_")) + " " + s.GetReason()
				steps = append(steps, strings.TrimSpace(text))
				if s.GetObject() != "GRPCRoute/canary" || s.GetOrigin() != "mesh.yaml:12" {
					t.Errorf("%s was written by %s at %s", s.GetName(), s.GetObject(), s.GetOrigin())
				}
			}
			for _, b := range got.GetBackends() {
				backends = append(backends, fmt.Sprintf("%s %v", b.GetBackend().GetCluster(), b.GetBackend().GetPercent()))
			}
			if diff := cmp.Diff(test.steps, steps); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.backend, backends); diff != "" {
				t.Errorf("backends (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhyACallFails(t *testing.T) {
	p := publish(t, canary+"---\n{apiVersion: tulle/v1, kind: AccessPolicy, metadata: {name: voting}, spec: {deny: [{from: [evil]}]}}\n")
	asked := func(method, caller string) *adminv1.ExplainCallResponse {
		e, q := p.ask(method)
		q.caller.Id = caller
		return walk(e, q)
	}
	abort := func(percent uint32, change func(*resource.Fault)) *adminv1.ExplainCallResponse {
		return walk(stubbed(t, func(r *resource.Route, _ *resource.Cluster, _ *resource.Endpoints) {
			r.Fault = &resource.Fault{AbortPerMillion: percent * 10_000, AbortCode: codes.DeadlineExceeded}
			change(r.Fault)
		}), from(&adminv1.ExplainedCaller{}))
	}
	plain := func(*resource.Fault) {}
	whole := func(reason string) []*adminv1.CallFailure {
		return []*adminv1.CallFailure{{Percent: 100, Reason: reason}}
	}
	for name, test := range map[string]struct {
		got   *adminv1.ExplainCallResponse
		fails bool
		want  []*adminv1.CallFailure
	}{
		"it does not":               {asked("/vote.v1.Votes/Cast", ""), false, nil},
		"nor when the caller may":   {asked("/vote.v1.Votes/Cast", "spiffe://tulle.local/ns/default/svc/web"), false, nil},
		"no route takes it":         {asked("/a.B/C", ""), true, whole("no route matches the call")},
		"nobody is there":           {asked("/vote.v1.Votes/Reset", ""), true, whole("voting/v3 has no endpoint that takes calls")},
		"the caller is denied":      {asked("/vote.v1.Votes/Cast", "spiffe://tulle.local/ns/default/svc/evil"), true, whole("voting denies it: AccessPolicy/voting denies it at spec.deny[0] (mesh.yaml:31)")},
		"nothing is there":          {walk(assemble("voting", stub{}), from(nil)), true, whole("Listener voting: the stub has none")},
		"some fail on purpose":      {abort(30, plain), false, []*adminv1.CallFailure{{Percent: 30, Reason: "the route fails calls on purpose with deadline-exceeded", Injected: true}}},
		"all fail on purpose":       {abort(100, plain), true, []*adminv1.CallFailure{{Percent: 100, Reason: "the route fails calls on purpose with deadline-exceeded", Injected: true}}},
		"none asks for its failure": {abort(100, func(f *resource.Fault) { f.AbortByHeader = true }), false, nil},
		"the route is a server's": {
			walk(stubbed(t, func(r *resource.Route, _ *resource.Cluster, _ *resource.Endpoints) {
				r.Unsupported, r.Clusters = "it is odd", nil
			}), from(nil)),
			true, whole("the route cannot be followed: it is odd"),
		},
		"the cluster has no identity": {
			walk(stubbed(t, func(_ *resource.Route, c *resource.Cluster, _ *resource.Endpoints) { c.PeerIDs = nil }), from(nil)),
			true, whole("cluster voting names no identity, so that no connection is made"),
		},
		"the cluster is not there": {
			walk(stubbed(t, func(r *resource.Route, _ *resource.Cluster, _ *resource.Endpoints) { r.Clusters[0].Name = "emoji" }), from(nil)),
			true, whole("Cluster emoji: the stub has none"),
		},
		"a share is dropped": {
			walk(stubbed(t, func(_ *resource.Route, _ *resource.Cluster, e *resource.Endpoints) {
				e.Drops = []resource.Drop{{Category: "load", PerMillion: 10_000}}
			}), from(nil)),
			true,
			[]*adminv1.CallFailure{{Percent: 1, Reason: `voting drops calls of category "load"`}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.got.GetFails() != test.fails {
				t.Errorf("it fails: %v, want %v", test.got.GetFails(), test.fails)
			}
			if diff := cmp.Diff(test.want, test.got.GetFailures(), protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhichEndpointsACallMayGoTo(t *testing.T) {
	mesh := []model.Endpoint{live("one", "127.0.0.1:1", model.Healthy), live("sick", "127.0.0.1:3", model.NotServing)}
	prefer := func(_ *resource.Route, c *resource.Cluster, _ *resource.Endpoints) {
		c.Balancing = resource.DefaultBalancing()
	}
	const sick = "sick 1 not serving never"
	chosen, left := "of two drawn at random the one that is faster and has fewer open calls (peak-ewma)",
		"it leaves out those that failed it lately, up to 50 % of all: which, only it knows"
	for name, test := range map[string]struct {
		change func(*resource.Route, *resource.Cluster, *resource.Endpoints)
		caller *adminv1.ExplainedCaller
		want   []string
		notes  []string
	}{
		"those of its own zone first": {
			prefer, &adminv1.ExplainedCaller{Instance: "web/1", Region: "eu", Zone: "south"},
			[]string{"one 1 healthy on overflow", "two 3 gone preferred", sick},
			[]string{chosen, "zone eu/south first, which is the process's own; others above 2 open calls for each endpoint in use", left},
		},
		"all, when none is in its zone": {
			prefer, &adminv1.ExplainedCaller{Instance: "web/1", Region: "us", Zone: "south"},
			[]string{"one 1 healthy alike", "two 3 gone alike", sick},
			[]string{chosen, "zones are alike: none of them is in us/south, the process's own zone", left},
		},
		"all, when the process says no zone": {
			prefer, &adminv1.ExplainedCaller{Instance: "web/1"},
			[]string{"one 1 healthy alike", "two 3 gone alike", sick},
			[]string{chosen, "zones are alike: the process does not say where it is (TULLE_ZONE)", left},
		},
		"all, when no process is named": {
			prefer, &adminv1.ExplainedCaller{},
			[]string{"one 1 healthy alike", "two 3 gone alike", sick},
			[]string{chosen, "a process keeps to its own zone first: name one to see which those are", left},
		},
		"all, when zones do not matter": {
			func(_ *resource.Route, c *resource.Cluster, _ *resource.Endpoints) {
				c.Balancing = resource.StandardBalancing(resource.RoundRobin)
			},
			&adminv1.ExplainedCaller{Region: "eu", Zone: "south"},
			[]string{"one 1 healthy alike", "two 3 gone alike", sick},
			[]string{"they take turns (round-robin)"},
		},
		"some of them, and others in need": {
			func(_ *resource.Route, c *resource.Cluster, e *resource.Endpoints) {
				c.Balancing = resource.StandardBalancing(resource.LeastRequest)
				c.Balancing.Subset, e.Localities[1].Priority = 1, 1
			},
			&adminv1.ExplainedCaller{},
			[]string{"one 1 healthy alike", "two 3 gone standby", sick},
			[]string{"of 2 drawn at random the one with the fewest open calls (least-request)", "each process uses 1 of the 2, drawn at random: which, only it knows"},
		},
		"by the value of a header": {
			func(r *resource.Route, c *resource.Cluster, _ *resource.Endpoints) {
				c.Balancing = resource.StandardBalancing(resource.RingHash)
				r.Traffic = &resource.Traffic{
					Retry: resource.DefaultRetry(), HashHeader: "x-user",
					Headers: &resource.Headers{Set: []resource.HeaderValue{{Name: "x-user", Value: "ann"}}},
				}
			},
			&adminv1.ExplainedCaller{},
			[]string{"one 1 healthy alike", "two 3 gone alike", sick},
			[]string{`one value of header x-user, one endpoint: that of "ann" (ring-hash)`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			step := walk(stubbed(t, test.change), from(test.caller, mesh...)).GetBackends()[0]
			var got []string
			for _, c := range step.GetCandidates() {
				got = append(got, fmt.Sprintf("%s %d %s %s", c.GetInstance(), c.GetWeight(), c.GetState(), c.GetUse()))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("candidates (-want +got):\n%s", diff)
			}
			want := slices.Concat(test.notes, []string{"whether the call is let in is not known: nothing is served"})
			if diff := cmp.Diff(want, step.GetNotes()); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhetherACallIsTriedAgain(t *testing.T) {
	safe := resource.DefaultRetry()
	safe.Idempotent = true
	for want, r := range map[string]*resource.Retry{
		"never: ":                       {Attempts: 1},
		"yes: the route says ":          safe,
		"what certainly was not sent; ": resource.DefaultRetry(),
	} {
		if got := retried(r); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHeadersArriveAsTheRouteChangesThem(t *testing.T) {
	md := metadata.Pairs("a", "1", "b", "1", "c", "1")
	got := sentHeaders(md, &resource.Headers{
		Remove: []string{"a"}, Set: []resource.HeaderValue{{Name: "b", Value: "2"}}, Add: []resource.HeaderValue{{Name: "c", Value: "2"}},
	})
	want := metadata.MD{"b": {"2"}, "c": {"1", "2"}}
	if diff := cmp.Diff(want, got); diff != "" || len(md["a"]) != 1 || len(md["c"]) != 1 {
		t.Errorf("the application's is %v now (-want +got):\n%s", md, diff)
	}
}

func TestTheLimitsThatACallIsUnder(t *testing.T) {
	const web, method = "spiffe://tulle.local/ns/default/svc/web", "/vote.v1.Votes/Cast"
	limit := func(name string, methods, callers []string) resource.RateLimit {
		return resource.RateLimit{Name: name, Per: resource.PerIdentity, Rate: resource.Rate{PerSecond: 5, Burst: 2}, Methods: methods, Callers: callers}
	}
	a := &resource.Admission{RateLimits: []resource.RateLimit{
		limit("all", nil, nil), limit("method", []string{method}, nil), limit("service", []string{"/vote.v1.Votes/*"}, []string{web}),
		limit("others", []string{"/vote.v1.Other/*"}, nil), limit("another", nil, []string{web + "2"}),
	}}
	names := func(id string) string {
		var out []string
		for _, l := range admission(a, method, id).GetRateLimits() {
			out = append(out, l.GetName())
		}
		return strings.Join(out, " ")
	}
	if got := names(web); got != "all method service" {
		t.Errorf("of a caller: %s", got)
	}
	if got := names(""); got != "all method service another" {
		t.Errorf("of anybody: %s", got)
	}
	for _, none := range []*resource.Admission{nil, {}, {RateLimits: a.RateLimits[3:4]}} {
		if got := admission(none, method, web); got != nil {
			t.Errorf("%+v limits it by %v", none, got)
		}
	}
	c := resource.DefaultConcurrency()
	got := admission(&resource.Admission{Concurrency: &c, Fault: &resource.Fault{DelayPerMillion: 1, Delay: time.Second}}, method, web)
	want := &policyv1.Admission{
		Concurrency: &policyv1.Concurrency{Limit: 20, Adaptive: true, Min: 1, Max: 1000, Tolerance: 1.5},
		Fault:       &policyv1.Fault{Delay: durationpb.New(time.Second), DelayPerMillion: 1},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMethodIsReadWithAndWithoutItsFirstSlash(t *testing.T) {
	for text, want := range map[string]string{
		"/vote.v1.Votes/Cast": "/vote.v1.Votes/Cast", "vote.v1.Votes/Cast": "/vote.v1.Votes/Cast", "Votes/Cast": "/Votes/Cast",
		"": "", "Cast": "", "/Cast": "", "a/": "", "/a/b/c": "", "//a/b": "", "/": "",
	} {
		if got, err := parseMethod(text); got != want || (err == nil) == (want == "") {
			t.Errorf("%q is read as %q, %v, want %q", text, got, err, want)
		}
	}
}
