package model

import "time"

// OutlierDetection ejects endpoints that do worse than the others of their service
// (gRFC A50). Fields that are zero have their defaults.
type OutlierDetection struct {
	Interval         time.Duration // zero means 10 s
	BaseEjectionTime time.Duration // zero means 30 s
	MaxEjectionTime  time.Duration // zero means 300 s
	// SuccessRate and FailurePercentage are the ways to tell; nil is off.
	SuccessRate       *OutlierSuccessRate
	FailurePercentage *OutlierFailurePercentage
}

const (
	defaultBaseEjection = 30 * time.Second
	defaultMaxEjection  = 300 * time.Second
)

// Ejections returns both times, with what they are when left out.
func (o *OutlierDetection) Ejections() (base, longest time.Duration) {
	return bounds(o.BaseEjectionTime, o.MaxEjectionTime, defaultBaseEjection, defaultMaxEjection)
}

// OutlierSuccessRate ejects endpoints whose share of successes is far below the mean.
type OutlierSuccessRate struct {
	// StdevFactor is how far, in thousandths of the standard deviation; zero means 1900.
	StdevFactor uint32
	// MinimumHosts and RequestVolume are how many endpoints need how many calls in an
	// interval; zero means 5 and 100.
	MinimumHosts, RequestVolume uint32
}

// OutlierFailurePercentage ejects endpoints of which too many calls fail.
type OutlierFailurePercentage struct {
	// Threshold is how many, in percent; zero means 85.
	Threshold uint32
	// MinimumHosts and RequestVolume are how many endpoints need how many calls in an
	// interval; zero means 5 and 50.
	MinimumHosts, RequestVolume uint32
}
