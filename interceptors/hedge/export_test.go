package hedge

import "time"

// What tests look at from outside.
const (
	Buckets    = buckets
	MaxMethods = maxMethods
)

// BucketOf is bucketOf.
func BucketOf(d time.Duration) int { return bucketOf(d) }

// UpperBound is upperBound.
func UpperBound(bucket int) time.Duration { return upperBound(bucket) }

// Latency returns what the Hedger knows of a method.
func (h *Hedger) Latency(service, method string) *Latency { return h.latencies.of(service, method) }
