package balancer

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A loadReport is what an endpoint says of its load with an answer (gRFC A51):
// a *trailerReport, or an *orcav3.OrcaLoadReport where the application links grpc-go's
// package orca. An endpoint that reports nothing leaves a nil pointer of the latter.
type loadReport interface {
	// GetApplicationUtilization is the share of what the application can do.
	GetApplicationUtilization() float64
	// GetCpuUtilization is the share of the processors that are in use.
	GetCpuUtilization() float64
	// GetRpsFractional is how many calls the endpoint answers in a second.
	GetRpsFractional() float64
	// GetEps is how many of them fail.
	GetEps() float64
}

// An orcaLoad is what an endpoint last said of its load. It is safe for concurrent
// use; the zero value has heard nothing. It costs what a report costs, and where
// there is none, one assertion.
type orcaLoad struct{ last atomic.Pointer[orcaSample] }

// An orcaSample is immutable, so that what is divided by each other was said at
// once.
type orcaSample struct {
	utilization float64
	heard       int64 // when

	// What follows is of the last report that a weight can be made of.
	busy, qps, eps float64
	since, at      int64 // when the first of an unbroken row came, and the last
}

// observe takes a report at the end of a call. Reports that say nothing
// are ignored (gRFC A58), and so is what no endpoint can mean.
func (l *orcaLoad) observe(load any, now int64) {
	report, ok := load.(loadReport)
	if !ok {
		return
	}
	utilization := report.GetApplicationUtilization()
	if utilization == 0 {
		utilization = report.GetCpuUtilization()
	}
	if !positive(utilization) {
		return
	}
	next := orcaSample{utilization: utilization, heard: now}
	last := l.last.Load()
	if last != nil {
		next.busy, next.qps, next.eps, next.since, next.at = last.busy, last.qps, last.eps, last.since, last.at
	}
	if qps := report.GetRpsFractional(); positive(qps) {
		if next.qps == 0 {
			next.since = now
		}
		next.busy, next.qps, next.eps, next.at = utilization, qps, 0, now
		if eps := report.GetEps(); positive(eps) {
			next.eps = eps
		}
	}
	l.last.Store(&next)
}

// positive is whether a number of an endpoint's can be reckoned with.
func positive(x float64) bool { return x > 0 && x <= math.MaxFloat64 }

// utilization returns what the endpoint last said is in use of it, 1 being all, or
// zero where it said nothing for as long as maxAge.
func (l *orcaLoad) utilization(now int64, maxAge time.Duration) float64 {
	s := l.last.Load()
	if s == nil || now-s.heard >= int64(maxAge) {
		return 0
	}
	return s.utilization
}

// weight returns the calls a second that the endpoint could answer, by what it
// said, or zero while that cannot be told (gRFC A58):
//
//	qps / (utilization + eps/qps * errorUtilizationPenalty)
func (l *orcaLoad) weight(now int64, config *resource.WeightedRoundRobinConfig) float64 {
	s := l.last.Load()
	if s == nil || s.qps == 0 {
		return 0
	}
	if now-s.at >= int64(config.WeightExpirationPeriod) {
		l.last.CompareAndSwap(s, nil) // the next report begins a row of its own
		return 0
	}
	if now-s.since < int64(config.BlackoutPeriod) {
		return 0
	}
	return s.qps / (s.busy + s.eps/s.qps*config.ErrorUtilizationPenalty)
}

// forget is for an endpoint that was connected to anew: it may be another process,
// and its reports count once they have come for the blackout period (gRFC A58).
func (l *orcaLoad) forget() { l.last.Store(nil) }
