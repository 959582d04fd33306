// Package balancertest holds what every balancing algorithm must do, as a test suite.
//
// An algorithm is a few lines on the hottest path there is, and a new one is easily
// right alone and wrong under load, or deaf to what the pool around it knows. The suite
// runs any of them in a pool of fake endpoints:
//
//	func TestRoundRobin(t *testing.T) {
//		balancertest.Run(t, balancertest.Suite{Policy: resource.RoundRobin})
//	}
//
// Run it with -race, too. It does not test what an algorithm is chosen for, such as
// where it sends load when endpoints differ: that is the algorithm's own test.
package balancertest

import (
	"testing"
	"testing/synctest"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A Suite is an algorithm and what it is held to.
type Suite struct {
	// Policy is the algorithm's name; the pool makes it.
	Policy resource.Policy
	// Configure changes the configuration, the defaults of the mesh; may be nil.
	Configure func(config *resource.Balancing)
	// Tolerance is how far the share of one of endpoints alike may be from the mean,
	// as a part of it. Zero means 0.2, which chance keeps to.
	Tolerance float64
	// Weights are those that it goes by.
	Weights Weights
}

// Weights are where an algorithm has the weights of endpoints from.
type Weights int

const (
	// NoWeights is an algorithm that goes by none.
	NoWeights Weights = iota
	// GivenWeights are those that the control plane gives.
	GivenWeights
	// ReportedWeights are those that the endpoints' load reports come to (ORCA).
	ReportedWeights
)

// Run runs the suite as subtests of t, each in a synctest bubble: in it calls take no
// time unless the rule says so. It starts goroutines and waits for them.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.Tolerance == 0 {
		s.Tolerance = 0.2
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			if r.weights && s.Weights == NoWeights {
				t.Skip("it goes by no weights")
			}
			synctest.Test(t, func(t *testing.T) { r.test(t, s) })
		})
	}
}

// A rule is one thing that every algorithm must do.
type rule struct {
	name    string
	weights bool // whether it is for algorithms that go by weights only
	test    func(t *testing.T, s Suite)
}

var rules = []rule{
	{name: "without an endpoint a call waits for the next picker", test: waitsWithoutEndpoints},
	{name: "every endpoint given is picked and no other", test: picksEach},
	{name: "endpoints alike get like shares", test: spreadsEvenly},
	{name: "endpoints get shares by their weights", weights: true, test: spreadsByWeight},
	{name: "what an endpoint's picker returns is the pick's result", test: keepsResult},
	{name: "an endpoint's error is the pick's", test: keepsError},
	{name: "the endpoints given are not changed", test: keepsMembers},
	{name: "a pick does not allocate", test: allocatesNothing},
	{name: "picks at one time are as good as one by one", test: isConcurrent},
	{name: "an endpoint that is kept out gets no calls", test: keepsOut},
	{name: "a second attempt goes to the other of two endpoints", test: avoidsTried},
	{name: "a call that was tried everywhere is tried again", test: triesAgain},
	{name: "an endpoint whose breaker is open gets no calls until its time is over", test: keepsToBreaker},
	{name: "one call at a time probes an endpoint that failed", test: probesAlone},
	{name: "an endpoint that is well again gets its share", test: comesBack},
	{name: "where all endpoints fail calls are made all the same", test: goesOnInPanic},
	{name: "no endpoint has more calls open than its limit", test: keepsLimit},
}

// config returns the configuration of a suite's pool. Calls take no time here, so none
// must be expected to, and failures count for the breaker only: endpoints are alike.
func (s Suite) config() *resource.Balancing {
	c := resource.DefaultBalancing()
	c.Policy = s.Policy
	c.PeakEWMA.DefaultRTT, c.PeakEWMA.FailurePenalty = 1, 0
	if s.Configure != nil {
		s.Configure(&c)
	}
	return &c
}
