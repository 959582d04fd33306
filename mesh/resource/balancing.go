package resource

import "time"

// Policy names a leaf balancing policy.
type Policy string

// The policies. A cluster that asks for another is refused.
const (
	// PeakEWMA sends a call to the better of two endpoints drawn at random, by
	// their latency and open calls (Finagle, Linkerd). It is what xdsserver writes
	// where nothing is said.
	PeakEWMA Policy = "peak_ewma"
	// RoundRobin takes turns.
	RoundRobin Policy = "round_robin"
	// LeastRequest sends a call to the endpoint with the fewest open calls of some
	// drawn at random (gRFC A48).
	LeastRequest Policy = "least_request"
	// RingHash sends calls of one key to one endpoint (gRFC A42).
	RingHash Policy = "ring_hash"
	// WeightedRoundRobin takes turns by the weight that endpoints' load reports
	// come to (gRFC A58).
	WeightedRoundRobin Policy = "weighted_round_robin"
)

// Balancing is how a client chooses among the endpoints of a cluster. Its values
// are in range and have their defaults: see DefaultBalancing. It is immutable.
type Balancing struct {
	Policy Policy
	// Standard is whether a standard policy was asked for by its standard field:
	// localities then get their share by weight (gRFC A42), and zones are alike.
	Standard bool

	PeakEWMA PeakEWMAConfig
	// Choices is how many endpoints LeastRequest draws, 2 to 10.
	Choices            uint32
	RingHash           RingHashConfig
	WeightedRoundRobin WeightedRoundRobinConfig

	SlowStart SlowStart
	// Breaker is each endpoint's own; nil means none.
	Breaker *Breaker
	// Outlier is nil for none.
	Outlier *OutlierDetection
	// MaxEjectedPercent bounds how many of the cluster's endpoints may be out at
	// once for their failures, 0 to 100.
	MaxEjectedPercent uint32
	// MaxRequestsPerEndpoint is how many calls this process may have open to one
	// endpoint; zero means no limit.
	MaxRequestsPerEndpoint uint32
	Zone                   Zone
	// Subset is how many endpoints the client uses, drawn at random; zero means all.
	Subset uint32
	// MaxStreamAge is how old a stream may become before its client opens another
	// where endpoints are uneven; zero means as old as it likes.
	MaxStreamAge time.Duration
}

// PeakEWMAConfig configures [PeakEWMA].
type PeakEWMAConfig struct {
	// DefaultRTT is what an endpoint that was not called yet is taken to need.
	DefaultRTT time.Duration
	// Decay is the time constant of the average: lower forgets sooner.
	Decay time.Duration
	// FailurePenalty is what a failed call is taken to have needed, at least. Zero
	// takes it for what it did: an endpoint that fails fast then attracts calls.
	FailurePenalty time.Duration
	// Utilization is whether the utilization that an endpoint reports (ORCA)
	// multiplies its load.
	Utilization bool
}

// RingHashConfig configures [RingHash]; sizes are of the ring, in entries.
type RingHashConfig struct{ MinSize, MaxSize uint32 }

// WeightedRoundRobinConfig configures [WeightedRoundRobin] (gRFC A58).
type WeightedRoundRobinConfig struct {
	BlackoutPeriod, WeightExpirationPeriod, WeightUpdatePeriod time.Duration
	ErrorUtilizationPenalty                                    float64
}

// SlowStart gives an endpoint that has just become ready a growing share:
// max(MinWeightPercent/100, (age/Window)^(1/Aggression)) of a full one, until it
// is Window old. Window zero is off.
type SlowStart struct {
	Window           time.Duration
	Aggression       float64
	MinWeightPercent uint32
}

// A Breaker stops calls to what fails. It opens after ConsecutiveFailures or,
// where SuccessRate is set, when fewer calls than that share succeed in a Window
// of at least MinRequests. It stays open for MinPenalty, twice as long each time
// one real call tells that nothing has changed, up to MaxPenalty; each time up to
// Jitter of it longer.
type Breaker struct {
	ConsecutiveFailures    uint32 // zero means that only the rate counts
	MinPenalty, MaxPenalty time.Duration
	Jitter                 float64 // 0 to 100
	SuccessRate            float64 // 0 to 1; zero is off
	Window                 time.Duration
	MinRequests            uint32
	// Codes are those that count as failures. What this process made itself
	// (a cancelled call, a refusal of the mesh) never does.
	Codes CodeSet
}

// OutlierDetection ejects endpoints that do worse than the others (gRFC A50). Nil
// algorithms are off.
type OutlierDetection struct {
	Interval, BaseEjectionTime, MaxEjectionTime time.Duration
	SuccessRate                                 *OutlierSuccessRate
	FailurePercentage                           *OutlierFailurePercentage
}

// OutlierSuccessRate ejects endpoints whose share of successes is StdevFactor/1000
// standard deviations below the mean.
type OutlierSuccessRate struct{ StdevFactor, MinimumHosts, RequestVolume uint32 }

// OutlierFailurePercentage ejects endpoints of which more than Threshold percent
// of the calls fail.
type OutlierFailurePercentage struct{ Threshold, MinimumHosts, RequestVolume uint32 }

// Zone is how far calls keep to the client's own zone.
type Zone struct {
	// Prefer keeps to the own zone while no more than High calls are open to each
	// endpoint in use; above, endpoints of other zones are added, and let go again
	// below Low. Otherwise zones are alike.
	Prefer    bool
	Low, High float64
}

// A CodeSet is a set of gRPC status codes, as bits.
type CodeSet uint32

// Codes returns the set of some codes; those above 31 are left out.
func Codes(codes ...uint32) CodeSet {
	var s CodeSet
	for _, c := range codes {
		if c < 32 {
			s |= 1 << c
		}
	}
	return s
}

// Has reports whether the set has a code.
func (s CodeSet) Has(code uint32) bool { return code < 32 && s&(1<<code) != 0 }

// DefaultBreaker returns what a Breaker of an endpoint has where nothing is said
// (Linkerd's failure accrual, but that PERMISSION_DENIED is an answer).
func DefaultBreaker() *Breaker {
	return &Breaker{
		ConsecutiveFailures: 7,
		MinPenalty:          time.Second,
		MaxPenalty:          time.Minute,
		Jitter:              0.5,
		Window:              10 * time.Second,
		MinRequests:         5,
		Codes:               Codes(2, 4, 13, 14, 15), // UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS
	}
}

// DefaultBalancing returns what a cluster of the mesh has where nothing is said.
func DefaultBalancing() Balancing {
	return Balancing{
		Policy: PeakEWMA,
		PeakEWMA: PeakEWMAConfig{
			DefaultRTT:     30 * time.Millisecond,
			Decay:          10 * time.Second,
			FailurePenalty: 5 * time.Second,
		},
		Choices:  2,
		RingHash: RingHashConfig{MinSize: 1024, MaxSize: 4096},
		WeightedRoundRobin: WeightedRoundRobinConfig{
			BlackoutPeriod:          10 * time.Second,
			WeightExpirationPeriod:  3 * time.Minute,
			WeightUpdatePeriod:      time.Second,
			ErrorUtilizationPenalty: 1,
		},
		SlowStart:         SlowStart{Aggression: 1, MinWeightPercent: 10},
		Breaker:           DefaultBreaker(),
		MaxEjectedPercent: 50,
		Zone:              Zone{Prefer: true, Low: 0.8, High: 2},
	}
}

// StandardBalancing returns what a cluster has that names a standard policy and
// nothing of ours: nothing is ejected but by outlier detection.
func StandardBalancing(policy Policy) Balancing {
	b := DefaultBalancing()
	b.Policy, b.Standard = policy, true
	b.Breaker, b.Zone.Prefer = nil, false
	return b
}
