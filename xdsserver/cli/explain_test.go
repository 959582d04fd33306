package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	policyv1 "github.com/tulle-mesh/tulle/mesh/api/policy/v1"
)

// busyRoute has everything that a route can have.
func busyRoute() *adminv1.CallRoute {
	of := durationpb.New
	breaker := &policyv1.Breaker{
		ConsecutiveFailures: 7, SuccessRate: .8, MinRequests: 5, Window: of(10 * time.Second), MinPenalty: of(time.Second), MaxPenalty: of(time.Minute), Jitter: new(.5),
		Codes: []uint32{14},
	}
	backend := func(cluster string, percent float64, fault *adminv1.CallFault) *adminv1.CallBackend {
		return &adminv1.CallBackend{Cluster: cluster, Percent: percent, Fault: fault, MaxRequests: 1024, Balancing: &policyv1.Balancing{
			Policy: policyv1.Balancing_POLICY_PEAK_EWMA, Breaker: breaker, MaxEjectedPercent: 50, MaxRequestsPerEndpoint: 100, Subset: 20,
			Zone:     &policyv1.Zone{Mode: policyv1.Zone_MODE_PREFER, Low: .8, High: 2},
			PeakEwma: &policyv1.PeakEWMA{DefaultRtt: of(30 * time.Millisecond), Decay: of(10 * time.Second), FailurePenalty: of(5 * time.Second)},
		}}
	}
	return &adminv1.CallRoute{
		Name: "canary/cast", Method: "/vote.v1.Votes/Cast", Headers: []string{"x-canary=1", "x-user present"}, Percent: 100,
		Timeout: of(2 * time.Minute), Object: "GRPCRoute/canary", Origin: "mesh.yaml:9",
		Backends: []*adminv1.CallBackend{
			backend("voting/v1", 66.66666666666667, nil),
			backend("voting/v2", 33.333333333333336, &adminv1.CallFault{AbortPercent: 10, AbortCode: 14, DelayPercent: .5, Delay: of(100 * time.Millisecond)}),
		},
		Traffic: &policyv1.Traffic{
			Retry: &policyv1.Retry{
				Codes: []uint32{14, 4, 1}, Attempts: 3, PerTryTimeout: of(500 * time.Millisecond), Idempotent: true,
				BackoffBase: of(25 * time.Millisecond), BackoffMax: of(250 * time.Millisecond), BufferBytes: 1024,
			},
			RetryBudget: &policyv1.RetryBudget{Percent: proto.Float64(20), MinPerSecond: proto.Float64(10), Window: of(10 * time.Second)},
			Hedge:       &policyv1.Hedge{Quantile: .95, Attempts: 2},
			Mirrors:     []*policyv1.Mirror{{Cluster: "voting/v3", PerMillion: 12_500, Timeout: of(time.Second)}},
			Headers:     &policyv1.Headers{Set: []*policyv1.Header{{Name: "a", Value: "1"}}, Add: []*policyv1.Header{{Name: "b", Value: "2"}}, Remove: []string{"c"}},
			RateLimit:   &policyv1.Rate{PerSecond: 100, Burst: 10},
			Breaker:     breaker,
			IdleTimeout: of(time.Hour), HashHeader: "x-user",
		},
	}
}

func TestRoutesAreShown(t *testing.T) {
	f := &fakeServer{routes: &adminv1.ListRoutesResponse{Service: "voting", Version: "1f", Routes: []*adminv1.CallRoute{
		busyRoute(), {Method: "*", Percent: 10, Unsupported: "it is a server's"},
	}}}
	code, out, errs := f.run(t, "routes", "voting", "-o", "wide")
	var cells [][]string
	for line := range strings.Lines(out) {
		var row []string
		for cell := range strings.SplitSeq(strings.TrimRight(line, "\n"), "   ") {
			if cell = strings.TrimSpace(cell); cell != "" {
				row = append(row, cell)
			}
		}
		cells = append(cells, row)
	}
	const breaker = "7 in a row or under 80% of 5 in 10s, 1s to 1m"
	want := [][]string{
		{
			"ROUTE", "METHOD", "HEADERS", "BACKENDS", "TIMEOUT", "RETRY", "HEDGE", "MIRROR", "FAULT", "BUDGET", "BREAKER", "SERVICE BREAKER", "BALANCING",
			"RATE LIMIT", "CAPS", "IDLE TIMEOUT", "HASH", "WRITTEN BY",
		},
		{
			"canary/cast", "/vote.v1.Votes/Cast", "x-canary=1 and x-user present", "voting/v1 66.6667%,voting/v2 33.3333%", "2m",
			"unavailable,deadline-exceeded,cancelled x3, 500ms each", "x2 after p95", "voting/v3 1.25%",
			"voting/v1: -; voting/v2: delay 100ms 0.5%,abort unavailable 10%", "20% + 10/s over 10s", breaker, breaker, "peak-ewma, own zone, subset of 20",
			"100/s, burst 10", "1024 open, 100 each endpoint", "1h", "x-user", "GRPCRoute/canary (mesh.yaml:9)",
		},
		{"(default)", "any (10% of them)", "-", "none: it is a server's", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-", "-"},
	}
	if diff := cmp.Diff(want, cells); code != 0 || errs != "" || diff != "" {
		t.Errorf("exit %d, %q (-want +got):\n%s", code, errs, diff)
	}

	_, out, _ = f.run(t, "routes", "voting", "-o", "json")
	var got struct {
		Version string
		Routes  []struct {
			Timeout string
			Traffic struct {
				Retry struct {
					On       []string
					Attempts int
				}
				Hedge struct{ Quantile float64 }
			}
			Backends []struct {
				Balancing struct{ Zone struct{ Mode string } }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := got.Routes[0]
	if got.Version != "1f" || r.Timeout != "2m" || r.Traffic.Retry.Attempts != 3 || r.Traffic.Retry.On[1] != "deadline-exceeded" ||
		r.Traffic.Hedge.Quantile != .95 || r.Backends[0].Balancing.Zone.Mode != "prefer" {
		t.Errorf("JSON is %s", out)
	}
}

// explained is a call of which there is something to say at every step.
func explained() *adminv1.ExplainCallResponse {
	route := busyRoute()
	return &adminv1.ExplainCallResponse{
		Service: "voting", Method: "/vote.v1.Votes/Cast",
		Caller: &adminv1.ExplainedCaller{
			Service: "web", Id: "spiffe://tulle.local/ns/default/svc/web", Instance: "web/one", UserAgent: "tulle 0.1.0", Region: "eu", Zone: "north",
			Connected: in(-2 * time.Hour), Note: "2 streams are open",
		},
		Resources: []*adminv1.HeldResource{
			{Type: "Listener", Name: "voting", Version: "1a", Published: "1a", State: "current", At: in(-time.Hour)},
			{Type: "RouteConfiguration", Name: "voting", Version: "2a", Published: "2b", State: "refused", Note: "the process refuses 2b: no", At: in(-2 * time.Minute)},
			{Type: "Cluster", Name: "voting/v1", Published: "3b", State: "not asked", Note: "the process did not ask for it", Assumed: true},
		},
		Steps: []*adminv1.RouteStep{
			{Name: "canary/reset", Method: "/vote.v1.Votes/Reset", Outcome: adminv1.RouteOutcome_ROUTE_OUTCOME_MISMATCH, Reason: "the method is not /vote.v1.Votes/Reset"},
			{Name: "canary/some", Method: "*", Outcome: adminv1.RouteOutcome_ROUTE_OUTCOME_SHARE, Reason: "it takes 10 % of such calls"},
			{
				Name: "canary/cast", Method: "/vote.v1.Votes/Cast", Headers: []string{"x-canary=1"}, Outcome: adminv1.RouteOutcome_ROUTE_OUTCOME_TAKEN,
				Object: "GRPCRoute/canary", Origin: "mesh.yaml:9",
			},
			{Method: "*", Outcome: adminv1.RouteOutcome_ROUTE_OUTCOME_LATE, Reason: "it matches, too, and comes later"},
		},
		Route: route, Retried: "yes: the route says so",
		Backends: []*adminv1.BackendStep{
			{
				Backend: route.GetBackends()[0], Service: "voting", Notes: []string{"they take turns"},
				Candidates: []*adminv1.Candidate{
					{Instance: "one", Addresses: []string{"10.0.0.1:80", "10.0.0.2:80"}, Region: "eu", Zone: "north", Weight: 1, State: "healthy", Use: "preferred"},
					{Instance: "two", Addresses: []string{"10.0.0.3:80"}, Weight: 2, Priority: 1, State: "lost", Use: "standby"},
				},
				Access: &adminv1.AuthorizeResponse_Verdict{Allowed: true, Reason: "AccessPolicy/voting allows it", WouldDeny: true, WouldPolicy: "default/trial"},
				Admission: &policyv1.Admission{
					RateLimits: []*policyv1.RateLimit{
						{Name: "tenants", Per: policyv1.RateLimit_PER_METADATA, MetadataKey: "x-tenant", Rate: &policyv1.Rate{PerSecond: 5, Burst: 2}},
						{Name: "all", Per: policyv1.RateLimit_PER_TOTAL, Rate: &policyv1.Rate{PerSecond: 500, Burst: 20}},
					},
					Concurrency: &policyv1.Concurrency{Limit: 20, Adaptive: true, Min: 1, Max: 1000, Tolerance: 1.5},
					Fault:       &policyv1.Fault{Delay: durationpb.New(time.Second), DelayPerMillion: 10_000, AbortCode: 8, AbortPerMillion: 1},
				},
			},
			{Backend: route.GetBackends()[1], Service: "voting", Error: "Cluster voting/v2: it is not there"},
		},
		Fails: true,
		Failures: []*adminv1.CallFailure{
			{Percent: 33.3333333, Reason: "Cluster voting/v2: it is not there"},
			{Percent: 3.33333333, Reason: "the route fails calls on purpose with unavailable", Injected: true},
		},
	}
}

const explanation = `/vote.v1.Votes/Cast of voting, called by web/one, tulle 0.1.0, zone eu/north, connected for 1h59m
  2 streams are open

1. configuration
   Listener             voting      1a   current, 59m30s ago
   RouteConfiguration   voting      2a   refused, 1m30s ago
     the process refuses 2b: no
   Cluster              voting/v1   -    not asked
     the process did not ask for it
     what follows takes the published version, 3b, for it

2. match
   × canary/reset   /vote.v1.Votes/Reset                 the method is not /vote.v1.Votes/Reset
   ~ canary/some    any                                  it takes 10 % of such calls
   → canary/cast    /vote.v1.Votes/Cast and x-canary=1   takes the call; written by GRPCRoute/canary (mesh.yaml:9)
   · (default)      any                                  it matches, too, and comes later

3. backend
   voting/v1   66.6667%
   voting/v2   33.3333%   on purpose: delay 100ms 0.5%,abort unavailable 10%
   voting/v3   1.25%      copies of unary calls; answers are dropped after 1s

4. policy
   timeout                  2m
   retry                    unavailable,deadline-exceeded,cancelled x3, 500ms each
   tried again              yes: the route says so
   hedge                    x2 after p95
   budget                   20% + 10/s over 10s
   breaker of endpoints     7 in a row or under 80% of 5 in 10s, 1s to 1m
   breaker of the service   7 in a row or under 80% of 5 in 10s, 1s to 1m
   caps                     1024 open, 100 each endpoint
   rate limit               100/s, burst 10
   idle timeout             1h
   headers                  set a=1, add b=2, remove c

5. endpoints
   voting/v1
     they take turns
     INSTANCE   ADDRESS                   ZONE       STATE     WEIGHT   USE
     one        10.0.0.1:80,10.0.0.2:80   eu/north   healthy   1        preferred
     two        10.0.0.3:80               -          lost      2        standby, priority 1
   voting/v2
     cannot be used: Cluster voting/v2: it is not there

6. access
   voting: allowed: AccessPolicy/voting allows it
     would be denied by default/trial, were it enforced
     rate limit tenants: 5/s, burst 2, each value of x-tenant
     rate limit all: 500/s, burst 20, all calls of one process together
     open calls: adaptive, 1 to 1000, from 20 on
     on purpose: delay 1s 1%
     on purpose: abort resource-exhausted 0.0001%

× The call would fail:
  33.3333% of such calls: Cluster voting/v2: it is not there
  3.3333% of such calls: the route fails calls on purpose with unavailable
`

func TestACallIsExplained(t *testing.T) {
	f := &fakeServer{explained: explained()}
	code, out, errs := f.run(t, "explain", "voting", "--method", "vote.v1.Votes/Cast", "-H", "X-Canary=1", "--instance", "web/one")
	if diff := cmp.Diff(explanation, out); code != 1 || errs != "" || diff != "" {
		t.Errorf("exit %d, %q (-want +got):\n%s", code, errs, diff)
	}
	req := f.asked[0].(*adminv1.ExplainCallRequest)
	if h := req.GetHeaders(); req.GetMethod() != "vote.v1.Votes/Cast" || req.GetInstance() != "web/one" || len(h) != 1 || h[0].GetName() != "x-canary" {
		t.Errorf("asked %v", req)
	}

	code, out, _ = f.run(t, "explain", "voting", "--method", "vote.v1.Votes/Cast", "-o", "json")
	for _, want := range []string{
		`"fails": true`, `"outcome": "late"`, `"state": "refused"`, `"assumed": true`, `"use": "standby"`, `"wouldPolicy": "default/trial"`,
		`"per": "metadata"`, `"key": "x-tenant"`, `"adaptive": true`, `"abortCode": "resource-exhausted"`, `"hashHeader": "x-user"`, `"remove": [`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("JSON lacks %s:\n%s", want, out)
		}
	}
	if code != 1 || !json.Valid([]byte(out)) {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestManyEndpointsAreCutShort(t *testing.T) {
	e := explained()
	e.Fails, e.Failures = false, nil
	e.Holders, e.Caller = &adminv1.Holders{Instances: 5, Current: 2, Refused: 1}, &adminv1.ExplainedCaller{}
	e.Backends[0].Access = nil
	for range 30 {
		e.Backends[0].Candidates = append(e.Backends[0].Candidates, e.GetBackends()[0].GetCandidates()[0])
	}
	f := &fakeServer{explained: e}
	code, out, _ := f.run(t, "explain", "voting", "--method", "a.B/C")
	for _, want := range []string{
		"called by anybody, by what is published\n",
		"   2 of 5 processes that asked for voting have all of this, 1 refuse some of it\n",
		"     and 12 more; -o json has all\n",
		"   voting: who calls is not said: name it by --from or --instance\n",
		"\n√ The call would be sent.\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
	if code != 0 {
		t.Errorf("exit %d", code)
	}
}
