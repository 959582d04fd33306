package model

import "time"

// BalancingPolicy names how an endpoint is chosen for a call.
type BalancingPolicy string

// The policies, as people write them. Empty means PeakEWMA.
const (
	PeakEWMA           BalancingPolicy = "peak-ewma"
	RoundRobin         BalancingPolicy = "round-robin"
	LeastRequest       BalancingPolicy = "least-request"
	RingHash           BalancingPolicy = "ring-hash"
	WeightedRoundRobin BalancingPolicy = "weighted-round-robin"
)

// LoadBalancing is how clients choose among the endpoints of a service. Fields that
// are zero or nil have their defaults. Those that say how one policy works are for
// that policy only.
type LoadBalancing struct {
	Policy BalancingPolicy

	// Of PeakEWMA.

	// DefaultRTT is what an endpoint that was not called yet is taken to need; zero
	// means 30 ms.
	DefaultRTT time.Duration
	// Decay is the time constant of the average; zero means 10 s.
	Decay time.Duration
	// FailurePenalty is what a failed call counts as having taken, at least; nil
	// means 5 s. Zero counts it as it was.
	FailurePenalty *time.Duration
	// Utilization is whether the load that endpoints report multiplies theirs.
	Utilization bool

	// Choices is how many endpoints LeastRequest draws; zero means 2.
	Choices uint32

	// Of RingHash.

	// HashHeader is the header whose value is the key, in lower case; empty leaves
	// it to the application.
	HashHeader string
	// MinRingSize and MaxRingSize are in entries; zero means 1024 and 4096.
	MinRingSize, MaxRingSize uint32

	// Weighted is of WeightedRoundRobin.
	Weighted *Weighted

	SlowStart *SlowStart
	Zone      *Zone
	// Subset is how many endpoints one client uses, drawn at random; zero means all.
	Subset uint32
	// MaxStreamAge is how old a stream may become before its client opens another,
	// where endpoints are uneven; zero means as old as it likes.
	MaxStreamAge time.Duration
}

// weighs is whether the policy goes by the weights of endpoints. Nil is the default.
func (b *LoadBalancing) weighs() bool {
	return b == nil || b.Policy == "" || b.Policy == PeakEWMA || b.Policy == RingHash
}

const (
	defaultMinRing = 1024
	defaultMaxRing = 4096
)

// RingSizes returns both, with what they are when left out.
func (b *LoadBalancing) RingSizes() (least, greatest uint32) {
	return bounds(b.MinRingSize, b.MaxRingSize, defaultMinRing, defaultMaxRing)
}

// ByHeader returns the header that decides the endpoint; empty for none.
func (b *LoadBalancing) ByHeader() string {
	if b == nil {
		return ""
	}
	return b.HashHeader
}

// Weighted configures WeightedRoundRobin (gRFC A58); nil and zero mean the defaults.
type Weighted struct {
	// BlackoutPeriod is how long an endpoint reports before its weight counts; nil
	// means 10 s.
	BlackoutPeriod         *time.Duration
	WeightExpirationPeriod time.Duration // zero means 3 min
	WeightUpdatePeriod     time.Duration // zero means 1 s
	// ErrorUtilizationPenalty multiplies the share of errors; nil means 1.
	ErrorUtilizationPenalty *float64
}

// SlowStart gives an endpoint that has just become ready a growing share of calls.
type SlowStart struct {
	// Window is how long it grows; zero is off.
	Window time.Duration
	// Aggression above 1 gives more at first, below less; zero means 1.
	Aggression float64
	// MinWeightPercent is the share at the start; zero means 10.
	MinWeightPercent uint32
}

// Zone is how far calls keep to the client's own zone.
type Zone struct {
	// Spread takes zones alike. Otherwise the client's own is used while no more
	// than High calls are open to each of its endpoints in use, and endpoints of
	// others that were added are let go below Low.
	Spread bool
	// Low and High are in open calls per endpoint; zero means 0.8 and 2.
	Low, High float64
}

const (
	defaultZoneLow  = 0.8
	defaultZoneHigh = 2
)

// Band returns both, with what they are when left out.
func (z *Zone) Band() (low, high float64) {
	return bounds(z.Low, z.High, defaultZoneLow, defaultZoneHigh)
}
