package model

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestValidateTrafficOfServices(t *testing.T) {
	number := func(f float64) *float64 { return &f }
	for _, tt := range []struct {
		name   string
		change func(*Service)
		want   []string
	}{
		{"all that is said without values is good", func(s *Service) {
			s.Retry, s.Hedge, s.RetryBudget, s.Breaker, s.ServiceBreaker = &Retry{}, &Hedge{}, &RetryBudget{}, &Breaker{}, &Breaker{}
			s.LoadBalancing, s.Admission = &LoadBalancing{Zone: &Zone{}, Weighted: nil}, &Admission{}
			s.OutlierDetection = &OutlierDetection{SuccessRate: &OutlierSuccessRate{}}
		}, nil},
		{"the least of everything is good", func(s *Service) {
			s.Retry = &Retry{On: Codes(1), Attempts: 1, PerTryTimeout: shortest, Backoff: Backoff{Base: shortest, Max: shortest}, BufferBytes: 1}
			s.RetryBudget = &RetryBudget{Percent: number(0), MinPerSecond: number(0), Window: time.Second}
			s.Breaker = &Breaker{ConsecutiveFailures: 1, MinPenalty: shortest, MaxPenalty: shortest, Jitter: number(0), Window: shortest, MinRequests: 1}
			s.RateLimit = &Rate{PerSecond: 0.001, Burst: 1}
		}, nil},
		{"the most of everything is good", func(s *Service) {
			s.Retry = &Retry{On: Codes(16), Attempts: 5, PerTryTimeout: day, Backoff: Backoff{Base: longest}, BufferBytes: 16 << 20}
			s.RetryBudget = &RetryBudget{Percent: number(100), MinPerSecond: number(most), Window: longest}
			s.Breaker = &Breaker{ConsecutiveFailures: most, MinPenalty: longest, MaxPenalty: longest, Jitter: number(100), SuccessRate: 1}
			s.RateLimit = &Rate{PerSecond: most, Burst: most}
		}, nil},
		{"one bound that is left out gives way to the other", func(s *Service) {
			s.Retry = &Retry{Backoff: Backoff{Max: shortest}}
			s.Breaker = &Breaker{MinPenalty: longest}
			s.ServiceBreaker = &Breaker{MaxPenalty: shortest}
			s.OutlierDetection = &OutlierDetection{FailurePercentage: &OutlierFailurePercentage{}, MaxEjectionTime: time.Second}
			s.LoadBalancing = &LoadBalancing{Policy: RingHash, MinRingSize: 8192, Zone: &Zone{High: 0.5}}
			s.Admission = &Admission{Concurrency: &Concurrency{Adaptive: true, Min: 2000}}
		}, nil},
		{"a negative duration", func(s *Service) { s.Retry = &Retry{PerTryTimeout: -time.Second} }, []string{"spec.retry.perTryTimeout: -1s is out of range: write 1ms to 24h"}},
		{"negative penalties", func(s *Service) { s.Breaker = &Breaker{MinPenalty: -1, MaxPenalty: -1} }, []string{"minPenalty: -1ns is out of range", "maxPenalty: -1ns is out of range"}},
		{"a share that is no number", func(s *Service) { s.RetryBudget = &RetryBudget{Percent: number(math.NaN())} }, []string{"spec.retryBudget.percent: NaN is out of range: write 0 to 100"}},
		{"an infinite rate", func(s *Service) { s.RateLimit = &Rate{PerSecond: math.Inf(1)} }, []string{"spec.rateLimit.requestsPerSecond: +Inf is out of range"}},
		{"OK as a code", func(s *Service) { s.Retry = &Retry{On: Codes(0)} }, []string{"spec.retry.on: holds a code that no call fails with"}},
		{"a code of the future", func(s *Service) { s.Breaker = &Breaker{On: Codes(17)} }, []string{"spec.breaker.on: holds a code"}},
		{"a policy nobody knows", func(s *Service) { s.LoadBalancing = &LoadBalancing{Policy: "random"} }, []string{`spec.loadBalancing.policy: "random" is no policy`}},
		{"a limit by what nobody counts", func(s *Service) {
			s.Admission = &Admission{RateLimits: []RateLimit{{Name: "a", Per: "address", Rate: Rate{PerSecond: 1}}, {Rate: Rate{PerSecond: 1}}}}
		}, []string{`rateLimits[0].per: "address" is nothing to count by`, "rateLimits[1].name: is empty"}},
		{"a fault of a server by headers", func(s *Service) {
			s.Admission = &Admission{Fault: &Fault{FromHeaders: true, AbortPerMillion: perMillion}}
		}, []string{"spec.admission.fault.fromHeaders: is for the faults of routes"}},
		{"methods without end", func(s *Service) {
			for i := range 65 {
				s.Methods = append(s.Methods, Method{Name: "/a.B/M" + strings.Repeat("x", i), Idempotent: true})
			}
		}, []string{"spec.methods: has 65 entries, 64 is the most"}},
		{"a retry of a stream that is not safe", func(s *Service) {
			s.Retry, s.Methods = &Retry{}, []Method{{Name: "/a.B/Up", ClientStreaming: true}}
		}, []string{"spec.retry: is for /a.B/Up, too"}},
		{"a stream that is said to be safe", func(s *Service) {
			s.Retry, s.Methods = &Retry{}, []Method{{Name: "/a.B/Up", ClientStreaming: true, Idempotent: true}}
		}, nil},
		{"a retry that is said to be safe", func(s *Service) {
			s.Retry, s.Methods = &Retry{Idempotent: true}, []Method{{Name: "/a.B/Up", ClientStreaming: true}}
		}, nil},
		{"a stream that is not retried", func(s *Service) {
			s.Retry, s.Methods = &Retry{Attempts: 1}, []Method{{Name: "/a.B/Up", ClientStreaming: true}}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := service("voting", "f:1")
			tt.change(s)
			set := Validate([]Object{s}, nil, nil)
			wantProblems(t, set.Problems, tt.want...)
			if d := cmp.Diff(lines(set.Problems), lines(CheckTraffic(s))); d != "" {
				t.Errorf("what is told of the object alone (-Validate +CheckTraffic):\n%s", d)
			}
		})
	}
}

func TestValidateTrafficOfRoutes(t *testing.T) {
	ok := []Backend{backend("voting", "v1", 1), backend("voting", "v2", 0)}
	up := []Match{{Service: "a.B", Method: "Up"}}
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  []string
	}{
		{"a mirror to another version", []Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("voting"), Version: "v2", PerMillion: 1}}}}, nil},
		{
			"a mirror to the version that takes the calls",
			[]Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("voting"), Version: "v1", PerMillion: 1}}}},
			[]string{"spec.rules[0].filters.requestMirror[0].backendRef: is a mirror to itself: backendRefs[0]"},
		},
		{
			"a mirror to all versions of the service that takes the calls",
			[]Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("voting"), PerMillion: 1}}}},
			[]string{"is a mirror to itself"},
		},
		{
			"a mirror to a service nobody knows",
			[]Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("votign"), PerMillion: 1}}}},
			[]string{"spec.rules[0].filters.requestMirror[0].backendRef.name: no service votign is known: did you mean voting?"},
		},
		{
			"a mirror to a version nobody runs",
			[]Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("voting"), Version: "v3", PerMillion: 1}}}},
			[]string{"warning ... spec.rules[0].filters.requestMirror[0].backendRef.version: no endpoint of voting has version v3, so copies sent there are lost"},
		},
		{
			"a mirror of more than all calls",
			[]Rule{{Backends: ok, Mirrors: []Mirror{{Service: name("voting"), Version: "v2", PerMillion: 1_000_001}}}},
			[]string{"requestMirror[0].percent: 100.0001 is out of range"},
		},
		{"a fault that callers ask for", []Rule{{Backends: ok, Fault: &Fault{FromHeaders: true, DelayPerMillion: 500_000}}}, nil},
		{
			"a fault that callers ask for and that is said, too",
			[]Rule{{Backends: ok, Fault: &Fault{FromHeaders: true, DelayPerMillion: 5, Delay: time.Second, AbortCode: 1}}},
			[]string{"delay.duration: comes from the header", "abort.code: comes from the header", "delay.percent: is of calls that ask for it, and whole"},
		},
		{
			"a retry of a stream that is not safe",
			[]Rule{{Matches: up, Backends: ok, Retry: &Retry{}}, {Backends: ok}},
			[]string{"spec.rules[0].retry: is for /a.B/Up of voting, which takes a stream"},
		},
		{"a retry of it in a rule for all", []Rule{{Backends: ok, Retry: &Retry{}}}, []string{"spec.rules[0].retry: is for /a.B/Up of voting"}},
		{
			"a retry of it by expression",
			[]Rule{{Matches: []Match{{Regex: true, Method: "U.*"}}, Backends: ok, Retry: &Retry{}}, {Backends: ok}},
			[]string{"spec.rules[0].retry: is for /a.B/Up of voting"},
		},
		{"a retry of other methods", []Rule{{Matches: []Match{{Service: "a.C"}}, Backends: ok, Retry: &Retry{}}, {Backends: ok}}, nil},
		{"a rule of its own for it", []Rule{{Matches: up, Backends: ok, Retry: &Retry{Attempts: 1}}, {Backends: ok, Retry: &Retry{}}}, nil},
		{
			"a rule of its own for some of it",
			[]Rule{
				{Matches: []Match{{Service: "a.B", Method: "Up", Headers: []HeaderMatch{{Name: "x", Value: "y"}}}}, Backends: ok, Retry: &Retry{Attempts: 1}},
				{Backends: ok, Retry: &Retry{}},
			},
			[]string{"spec.rules[1].retry: is for /a.B/Up of voting"},
		},
		{"a retry that is said to be safe", []Rule{{Matches: up, Backends: ok, Retry: &Retry{Idempotent: true}}, {Backends: ok}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := service("voting", "f:1")
			s.Methods = []Method{{Name: "/a.B/Up", ClientStreaming: true}, {Name: "/a.B/Get", Idempotent: true}}
			running := []Endpoint{registered("voting", "a", "10.0.0.1:80", "v1"), registered("voting", "b", "10.0.0.2:80", "v2")}
			set := Validate([]Object{s, route("r", tt.rules...)}, running, nil)
			wantProblems(t, set.Problems, tt.want...)
		})
	}
}

// Routes for methods are bounded: clients search them for each call.
func TestRoutesOfIdempotentMethodsAreBounded(t *testing.T) {
	s := service("voting", "f:1")
	for i := range maxKnownMethods {
		s.Methods = append(s.Methods, Method{Name: "/a.B/M" + strings.Repeat("x", i), Idempotent: true})
	}
	var matches []Match
	for i := range 17 {
		matches = append(matches, Match{Headers: []HeaderMatch{{Name: "x", Value: strings.Repeat("y", i+1)}}})
	}
	rules := []Rule{{Matches: matches, Backends: []Backend{backend("voting", "", 1)}}, to(backend("voting", "", 1))}
	set := Validate([]Object{s, route("r", rules...)}, nil, nil)
	wantProblems(t, set.Problems, "spec.rules: comes to more than 1000 routes for methods of voting")
}

func TestAMatchIsNarrowedToMethods(t *testing.T) {
	methods := []string{"/a.B/Get", "/a.B/Put", "/c.D/Get"}
	headers := []HeaderMatch{{Name: "x", Value: "y"}}
	for _, tt := range []struct {
		name  string
		match Match
		want  []string
	}{
		{"any", Match{}, methods},
		{"a service", Match{Service: "a.B"}, methods[:2]},
		{"a method", Match{Method: "Get"}, []string{"/a.B/Get", "/c.D/Get"}},
		{"one method is narrow already", Match{Service: "a.B", Method: "Get"}, nil},
		{"an expression for the whole", Match{Regex: true, Service: "a|c.D"}, []string{"/c.D/Get"}},
		{"headers alone", Match{Headers: headers}, methods},
		{"no expression", Match{Regex: true, Service: "("}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range tt.match.Only(methods) {
				got = append(got, "/"+m.Service+"/"+m.Method)
				if m.Regex || !slices.Equal(m.Headers, tt.match.Headers) {
					t.Errorf("got %+v of %+v", m, tt.match)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
